//! The real kubectl of two minor versions against our API server over TLS, with kubectl's watch-list on and off.

mod access;
mod place;
mod scale;
mod verbs;
mod widget;

use serde_json::Value;

use crate::place::{each, each_mut, rows};
use crate::widget::{ready, widget};

/// A namespace of its own.
const TENANT: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n";

#[test]
fn apply_creates_leaves_alone_and_changes() {
    each(|place| {
        let said = place.apply(&widget("gear", "{size: 3, colour: red, parts: [a, b]}"));
        assert_eq!(said, "widget.test.groma.dev/gear created\n");
        let said = place.apply(&widget("gear", "{size: 3, colour: red, parts: [a, b]}"));
        assert_eq!(said, "widget.test.groma.dev/gear unchanged\n");
        let said = place.apply(&widget("gear", "{size: 4, parts: [c]}"));
        assert_eq!(said, "widget.test.groma.dev/gear configured\n");
        assert_eq!(
            place.ok("get widget gear -o jsonpath={.spec}"),
            r#"{"parts":["c"],"size":4}"#
        );
        assert_eq!(
            place.ok("get widget gear -o jsonpath={.metadata.generation}"),
            "2"
        );
    });
}

#[test]
fn apply_merges_built_in_types_with_what_others_wrote() {
    each(|place| {
        let map = |data: &str| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata: {data}\n")
        };
        assert_eq!(
            place.apply(&map("{a: '1', b: '2'}")),
            "configmap/settings created\n"
        );
        place.ok("patch configmap settings -p '{\"data\":{\"other\":\"kept\"}}'");
        assert_eq!(
            place.apply(&map("{a: '3'}")),
            "configmap/settings configured\n"
        );
        assert_eq!(
            place.ok("get configmap settings -o jsonpath={.data}"),
            r#"{"a":"3","other":"kept"}"#
        );
    });
}

#[test]
fn apply_is_told_what_is_wrong() {
    each(|place| {
        let bad = place.file("bad.yaml", &widget("gear", "{size: 0, colour: green}"));
        let said = place.refused(&format!("apply -f {bad}"));
        assert!(
            said.contains("Widget.test.groma.dev \"gear\" is invalid")
                || said.contains("The Widget \"gear\" is invalid"),
            "{said}"
        );
        assert!(
            said.contains("spec.size") && said.contains("spec.colour"),
            "every problem is named: {said}"
        );
        let unknown = place.file("unknown.yaml", &widget("gear", "{size: 1, sise: 2}"));
        let said = place.refused(&format!("apply -f {unknown}"));
        assert!(said.contains("unknown field \"spec.sise\""), "{said}");
        assert!(
            place
                .refused("get widget gear")
                .contains("(NotFound): widgets.test.groma.dev \"gear\" not found")
        );
    });
}

#[test]
fn get_prints_tables_and_documents() {
    each(|place| {
        assert_eq!(
            place.run("get widgets").stderr,
            "No resources found in default namespace.\n"
        );
        place.apply(&widget("gear", "{size: 3, colour: red}"));
        place.apply(&widget("axle", "{size: 5}"));
        let table = place.ok("get widgets");
        assert_eq!(rows(&table)[0], ["NAME", "SIZE", "READY", "AGE"]);
        assert_eq!(rows(&table)[1][..2], ["axle", "5"]);
        assert_eq!(rows(&table)[2][..2], ["gear", "3"]);
        let wide = place.ok("get wd gear -o wide");
        assert_eq!(rows(&wide)[0], ["NAME", "SIZE", "READY", "COLOUR", "AGE"]);
        assert_eq!(rows(&wide)[1][2], "red", "an absent cell is empty: {wide}");
        assert_eq!(rows(&place.ok("get widgets -A"))[0][0], "NAMESPACE");
        assert_eq!(
            place.ok("get widgets -o name"),
            "widget.test.groma.dev/axle\nwidget.test.groma.dev/gear\n"
        );
        assert!(
            place
                .ok("get widget gear -o yaml")
                .starts_with("apiVersion: test.groma.dev/v1\nkind: Widget\n")
        );
        let json: Value = serde_json::from_str(&place.ok("get widgets -o json")).unwrap();
        assert_eq!(
            (&json["kind"], json["items"].as_array().map(Vec::len)),
            (&"List".into(), Some(2))
        );
        assert_eq!(
            place.ok("get widgets --chunk-size=1 -o jsonpath={.items[*].spec.size}"),
            "5 3"
        );
        assert_eq!(
            place
                .ok("get widgets --sort-by=.spec.size -o name")
                .lines()
                .next(),
            Some("widget.test.groma.dev/gear")
        );
    });
}

#[test]
fn get_knows_the_built_in_kinds() {
    each(|place| {
        place.apply(TENANT);
        place.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: tenant}\ndata: {a: '1'}\n");
        place.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: tenant}\nstringData: {a: '1'}\n");
        assert!(
            rows(&place.ok("get namespaces"))
                .iter()
                .any(|row| row[..2] == ["tenant", "Active"])
        );
        assert_eq!(
            rows(&place.ok("get configmaps -n tenant"))[1][..2],
            ["settings", "1"]
        );
        assert_eq!(
            rows(&place.ok("get secrets -n tenant"))[1][..3],
            ["key", "Opaque", "1"]
        );
        assert_eq!(rows(&place.ok("get crds"))[1][0], "widgets.test.groma.dev");
        let resources = place.ok("api-resources");
        let row = rows(&resources)
            .into_iter()
            .find(|row| row[0] == "widgets")
            .expect("it is listed");
        assert_eq!(
            row,
            ["widgets", "wd", "test.groma.dev/v1", "true", "Widget"]
        );
        assert!(
            place
                .ok("api-versions")
                .lines()
                .any(|line| line == "test.groma.dev/v1")
        );
    });
}

#[test]
fn describe_shows_fields_and_events() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        let uid = place.ok("get widget gear -o jsonpath={.metadata.uid}");
        place.apply(&format!(
            "apiVersion: v1\nkind: Event\nmetadata:\n  name: gear.1\ntype: Normal\nreason: Placed\nmessage: it has a place\ninvolvedObject:\n  apiVersion: test.groma.dev/v1\n  kind: Widget\n  name: gear\n  namespace: default\n  uid: {uid}\n"
        ));
        let said = place.ok("describe widget gear");
        let said: Vec<String> = rows(&said).iter().map(|row| row.join(" ")).collect();
        for expected in [
            "Name: gear",
            "Namespace: default",
            "Kind: Widget",
            "Size: 3",
        ] {
            assert!(
                said.iter().any(|line| line == expected),
                "{expected} in {said:#?}"
            );
        }
        assert!(
            said.iter()
                .any(|line| line.contains("Placed") && line.contains("it has a place")),
            "{said:#?}"
        );
        let events = place.ok("get events");
        assert_eq!(
            rows(&events)[0],
            ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        );
        assert!(events.contains("widget/gear"), "{events}");
    });
}

#[test]
fn label_annotate_and_select() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        place.apply(&widget("axle", "{size: 5}"));
        assert_eq!(
            place.ok("label widget gear tier=edge"),
            "widget.test.groma.dev/gear labeled\n"
        );
        assert_eq!(
            place.ok("annotate widget gear note=hello"),
            "widget.test.groma.dev/gear annotated\n"
        );
        assert_eq!(
            place.ok("get widgets -l tier=edge -o name"),
            "widget.test.groma.dev/gear\n"
        );
        assert_eq!(
            place.ok("get widgets -l 'tier notin (edge)' -o name"),
            "widget.test.groma.dev/axle\n"
        );
        assert_eq!(
            place.ok("get widgets --field-selector metadata.name=axle -o name"),
            "widget.test.groma.dev/axle\n"
        );
        assert!(
            place
                .refused("label widget gear tier=core")
                .contains("overwrite")
        );
        place.ok("label widget gear tier-");
        assert_eq!(place.ok("get widgets -l tier -o name"), "");
        assert_eq!(
            place.ok("get widget gear -o jsonpath={.metadata.annotations.note}"),
            "hello"
        );
    });
}

#[test]
fn edit_writes_what_the_editor_left() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        let said = place.edit("edit widget gear", r#"sed -i 's/size: 3/size: 9/' "$1""#);
        assert_eq!(
            said.stdout, "widget.test.groma.dev/gear edited\n",
            "{}",
            said.stderr
        );
        assert_eq!(place.ok("get widget gear -o jsonpath={.spec.size}"), "9");
        let said = place.edit("edit widget gear", "true");
        assert_eq!(
            said.stderr + &said.stdout,
            "Edit cancelled, no changes made.\n"
        );
    });
}

#[test]
fn explain_prints_fields_of_custom_and_built_in_kinds() {
    each(|place| {
        let said = place.ok("explain widget");
        assert_eq!(
            rows(&said)[..3],
            [
                vec!["GROUP:", "test.groma.dev"],
                vec!["KIND:", "Widget"],
                vec!["VERSION:", "v1"]
            ]
        );
        assert!(said.contains("Widget is something to test with."), "{said}");
        let said = place.ok("explain widget.spec.size");
        assert!(
            said.contains("FIELD: size <integer>") && said.contains("How large it is, in units."),
            "{said}"
        );
        assert!(
            place
                .ok("explain widget --recursive")
                .contains("parts\t<[]string>")
        );
        assert!(
            place
                .ok("explain configmap.data")
                .contains("FIELD: data <map[string]string>")
        );
        assert!(
            place
                .ok("explain lease.spec.holderIdentity")
                .contains("holderIdentity <string>")
        );
        assert!(
            place
                .ok("explain widget.metadata.labels")
                .contains("labels <map[string]string>")
        );
        assert!(
            place
                .refused("explain widget.spec.none")
                .contains("field \"none\" does not exist")
        );
    });
}

#[test]
fn wait_ends_when_the_condition_comes() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        let mut waiting = place.follow("wait --for=condition=Ready widget/gear --timeout=60s");
        place.ok(&ready("gear", "False"));
        place.ok(&ready("gear", "True"));
        assert_eq!(
            waiting.next().join(" "),
            "widget.test.groma.dev/gear condition met"
        );
        assert_eq!(rows(&place.ok("get widget gear"))[1][2], "True");
        place.ok("wait --for=jsonpath={.spec.size}=3 widget/gear --timeout=60s");
        let said = place.refused("wait --for=condition=Ready=False widget/gear --timeout=1s");
        assert!(
            said.contains("timed out waiting for the condition"),
            "{said}"
        );
        place.ok("delete widget gear --wait=false");
        place.ok("wait --for=delete widget/gear --timeout=60s");
    });
}

#[test]
fn get_watch_prints_each_change() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        let mut watch = place.follow("get widgets -w");
        assert_eq!(watch.next(), ["NAME", "SIZE", "READY", "AGE"]);
        assert_eq!(watch.next()[..2], ["gear", "3"]);
        place.apply(&widget("gear", "{size: 4}"));
        assert_eq!(watch.next()[..2], ["gear", "4"]);
        place.ok(&ready("gear", "True"));
        assert_eq!(watch.next()[..3], ["gear", "4", "True"]);
        place.apply(&widget("axle", "{size: 1}"));
        assert_eq!(watch.next()[..2], ["axle", "1"]);
        let mut events = place.follow("get widgets -w --output-watch-events");
        assert_eq!(events.next(), ["EVENT", "NAME", "SIZE", "READY", "AGE"]);
        assert_eq!(events.next()[..3], ["ADDED", "axle", "1"]);
        assert_eq!(events.next()[..3], ["ADDED", "gear", "4"]);
        place.ok("delete widget axle");
        assert_eq!(events.next()[..3], ["DELETED", "axle", "1"]);
    });
}

#[test]
fn delete_waits_for_finalizers() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        place.apply(&widget("axle", "{size: 5}"));
        place.ok("patch widget gear --type=merge -p '{\"metadata\":{\"finalizers\":[\"test.groma.dev/held\"]}}'");
        let mut deleting = place.follow("delete widget gear --timeout=60s");
        assert!(
            deleting
                .next()
                .join(" ")
                .starts_with("widget.test.groma.dev \"gear\" deleted")
        );
        place.ok("wait --for=jsonpath={.metadata.deletionTimestamp} widget/gear --timeout=60s");
        place.ok("patch widget gear --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]'");
        assert!(
            deleting.next().is_empty(),
            "it ends once the object is gone"
        );
        assert_eq!(
            place.ok("get widgets -o name"),
            "widget.test.groma.dev/axle\n"
        );
        place.ok("delete widgets --all");
        assert_eq!(place.ok("get widgets -o name"), "");
    });
}

#[test]
fn deleting_a_namespace_takes_its_objects_along() {
    each(|place| {
        place.apply(TENANT);
        let file = place.file("gear.yaml", &widget("gear", "{size: 3}"));
        place.ok(&format!("apply -n tenant -f {file}"));
        place.ok("delete namespace tenant --timeout=60s");
        assert!(place.refused("get namespace tenant").contains("NotFound"));
        assert_eq!(place.ok("get widgets -A -o name"), "");
        let said = place.refused(&format!("apply -n tenant -f {file}"));
        assert!(said.contains("namespaces \"tenant\" not found"), "{said}");
    });
}

#[test]
fn create_replace_and_patch_answer_as_users_know() {
    each(|place| {
        let file = place.file("gear.yaml", &widget("gear", "{size: 3}"));
        assert_eq!(
            place.ok(&format!("create -f {file}")),
            "widget.test.groma.dev/gear created\n"
        );
        assert!(
            place
                .refused(&format!("create -f {file}"))
                .contains("(AlreadyExists)")
        );
        let file = place.file("gear.yaml", &widget("gear", "{size: 8}"));
        assert_eq!(
            place.ok(&format!("replace -f {file}")),
            "widget.test.groma.dev/gear replaced\n"
        );
        let said = place.ok("patch widget gear --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/size\",\"value\":9}]'");
        assert_eq!(said, "widget.test.groma.dev/gear patched\n");
        let dry = place.ok("patch widget gear --type=merge -p '{\"spec\":{\"size\":1}}' --dry-run=server -o jsonpath={.spec.size}");
        assert_eq!(dry, "1");
        assert_eq!(place.ok("get widget gear -o jsonpath={.spec.size}"), "9");
    });
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    each_mut(|place| {
        place.apply(&widget("gear", "{size: 3}"));
        let before = place.ok("get widget gear -o json");
        place.stop();
        place.start();
        assert_eq!(place.ok("get widget gear -o json"), before);
    });
}

#[test]
fn nobody_gets_in_without_a_certificate() {
    each(|place| {
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(place.path("kubeconfig")).unwrap()).unwrap();
        config["users"][0]["user"] = serde_json::json!({"token": "guessed"});
        let stranger = place.file("stranger", &config.to_string());
        let said = place.refused(&format!("get widgets --kubeconfig {stranger}"));
        assert!(
            said.contains("error: You must be logged in to the server"),
            "{said}"
        );
    });
}

#[test]
fn server_side_apply_keeps_what_others_own() {
    each(|place| {
        let one = place.file("one.yaml", &widget("gear", "{size: 3, colour: red}"));
        let two = place.file("two.yaml", &widget("gear", "{size: 4}"));
        let said = place.ok(&format!("apply --server-side --field-manager=one -f {one}"));
        assert_eq!(said, "widget.test.groma.dev/gear serverside-applied\n");
        let said = place.refused(&format!("apply --server-side --field-manager=two -f {two}"));
        assert!(said.contains("conflict with \"one\": .spec.size"), "{said}");
        place.ok(&format!(
            "apply --server-side --field-manager=two --force-conflicts -f {two}"
        ));
        let spec = place.ok("get widget gear -o jsonpath={.spec}");
        assert_eq!(spec, r#"{"colour":"red","size":4}"#);
        let managers = "get widget gear --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}";
        assert_eq!(place.ok(managers), "one two");
        let said = place.ok(&format!("diff --server-side --force-conflicts -f {two}"));
        assert_eq!(said, "", "nothing would change");
    });
}

#[test]
fn what_was_applied_by_the_client_can_be_applied_by_the_server() {
    each(|place| {
        let first = widget("gear", "{size: 3, colour: red}");
        place.apply(&first);
        let next = place.file("next.yaml", &widget("gear", "{size: 5}"));
        let said = place.ok(&format!("apply --server-side -f {next}"));
        assert_eq!(said, "widget.test.groma.dev/gear serverside-applied\n");
        let spec = place.ok("get widget gear -o jsonpath={.spec}");
        assert_eq!(spec, r#"{"size":5}"#, "what kubectl owned as a client goes");
    });
}

#[test]
fn a_kind_of_a_user_is_made_used_and_deleted() {
    each(|place| {
        let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
            metadata: {name: gadgets.tools.example.org}\nspec:\n  group: tools.example.org\n  scope: Namespaced\n  \
            names: {plural: gadgets, kind: Gadget, shortNames: [gd]}\n  versions:\n  - name: v1\n    served: true\n    \
            storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n          \
            spec: {type: object, properties: {size: {type: integer, description: How large.}}}\n";
        place.apply(definition);
        place.ok("wait --for=condition=Established crd/gadgets.tools.example.org --timeout=10s");
        let gadget = "apiVersion: tools.example.org/v1\nkind: Gadget\nmetadata: {name: a}\nspec: {size: 1}\n";
        let said = place.apply(gadget);
        assert_eq!(said, "gadget.tools.example.org/a created\n");
        assert!(place.ok("explain gadget.spec.size").contains("How large."));
        assert_eq!(place.ok("get gd -o name"), "gadget.tools.example.org/a\n");
        place.ok("delete crd gadgets.tools.example.org --timeout=10s");
        let said = place.refused("get gd");
        assert!(
            said.contains("could not find the requested resource"),
            "{said}"
        );
    });
}
