//! Roles as kubectl makes them, and what it says of rights: `create role`, `--as`, `auth`.

use serde_json::Value;

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

#[test]
fn an_account_comes_in_with_the_token_that_was_made_for_it() {
    each(|place| {
        place.ok("create serviceaccount bot");
        place.ok("create secret generic box");
        place.ok("create rolebinding bot --clusterrole=view --serviceaccount=default:bot");
        let lines = [
            "create token bot",
            "create token bot --duration 10m --bound-object-kind Secret --bound-object-name box",
        ];
        for line in lines {
            let token = place.ok(line);
            let mut config: Value =
                serde_json::from_slice(&std::fs::read(place.path("kubeconfig")).unwrap()).unwrap();
            config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
            let file = place.file("bot", &config.to_string());
            let as_bot = |line: &str| format!("{line} --kubeconfig {file}");
            let whoami = place.ok(&as_bot(
                "auth whoami -o jsonpath={.status.userInfo.username}",
            ));
            assert_eq!(whoami, "system:serviceaccount:default:bot");
            place.ok(&as_bot("get configmaps"));
            let said = place.refused(&as_bot("get secrets"));
            assert!(said.contains("Error from server (Forbidden)"), "{said}");
        }
        let said = place.refused("create token bot --audience a --duration 1m");
        assert!(
            said.contains("may not specify a duration less than 10 minutes"),
            "{said}"
        );
        let said = place.refused("create token nobody");
        assert!(
            said.contains("serviceaccounts \"nobody\" not found"),
            "{said}"
        );
    });
}
