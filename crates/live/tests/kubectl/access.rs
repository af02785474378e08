//! Roles as kubectl makes them, and what it says of rights: `create role`, `--as`, `auth`.

use crate::place::{each, rows};

#[test]
fn rights_are_given_and_told() {
    each(|place| {
        place.ok("create role maps --verb=get,list --resource=configmaps");
        place.ok("create rolebinding vi --role=maps --user=vi --group=lookers");
        assert_eq!(place.ok("auth can-i list configmaps --as vi"), "yes\n");
        assert_eq!(
            place.ok("auth can-i list configmaps --as x --as-group lookers"),
            "yes\n"
        );
        for line in [
            "auth can-i delete configmaps --as vi",
            "auth can-i list configmaps --as x",
            "auth can-i list configmaps --as vi -n kube-system",
            "auth can-i get /metrics --as vi",
        ] {
            assert_eq!(place.run(line).stdout, "no\n", "{line}");
        }
        let said = place.refused("get secrets --as vi");
        let expected = "Error from server (Forbidden): secrets is forbidden: User \"vi\" cannot list resource \"secrets\" in \
            API group \"\" in the namespace \"default\"\n";
        assert_eq!(said, expected);
        place.ok("get configmaps --as vi");
    });
}

#[test]
fn a_user_is_told_who_he_is_and_all_that_he_may_do() {
    each(|place| {
        place.ok("create rolebinding vi --clusterrole=view --user=vi");
        let list = place.ok("auth can-i --list --as vi");
        let lines = rows(&list);
        let about = |resource: &str| lines.iter().find(|line| line[0] == resource);
        let maps = about("configmaps").expect("a line about them");
        assert_eq!(maps[maps.len() - 3..], ["[get", "list", "watch]"]);
        assert!(about("secrets").is_none(), "{list}");
        let who = place.ok("auth whoami --as vi --as-group a --as-uid 7");
        let groups = who.lines().find(|line| line.starts_with("Groups"));
        assert!(
            groups.is_some_and(|line| line.ends_with("[a system:authenticated]")),
            "{who}"
        );
    });
}

#[test]
fn nobody_gives_what_he_has_not() {
    each(|place| {
        place.ok("create rolebinding ann --clusterrole=admin --user=ann");
        place.ok("create rolebinding vi --clusterrole=view --user=vi --as ann");
        let said =
            place.refused("create rolebinding all --clusterrole=cluster-admin --user=ann --as ann");
        assert!(
            said.contains("is attempting to grant RBAC permissions not currently held"),
            "{said}"
        );
    });
}
