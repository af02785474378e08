//! Definitions that users add: served at once, changed, and gone with their objects.

use serde_json::{Value, json};

use crate::{Api, names};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const GADGETS: &str = "/apis/tools.example.org/v1/namespaces/default/gadgets";

pub fn definition(maximum: u32) -> Value {
    let spec =
        json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": maximum}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.tools.example.org"},
        "spec": {
            "group": "tools.example.org", "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

pub fn gadget(name: &str, size: u32) -> Value {
    json!({"apiVersion": "tools.example.org/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": size}})
}

#[tokio::test]
async fn a_definition_serves_as_soon_as_it_is_made() {
    let api = Api::new();
    assert_eq!(api.get(GADGETS).await.code, 404);
    let made = api.call("POST", DEFINITIONS, &definition(3)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let conditions = made.body["status"]["conditions"]
        .as_array()
        .expect("a list");
    let shown: Vec<_> = conditions
        .iter()
        .map(|it| (&it["type"], &it["status"]))
        .collect();
    let (accepted, established) = (json!("NamesAccepted"), json!("Established"));
    let yes = json!("True");
    assert_eq!(shown, [(&accepted, &yes), (&established, &yes)]);
    assert_eq!(made.body["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made.body["spec"]["names"]["listKind"], "GadgetList");
    assert_eq!(api.call("POST", GADGETS, &gadget("a", 3)).await.code, 201);
    assert_eq!(api.call("POST", GADGETS, &gadget("b", 4)).await.code, 422);
    let listed = api.get(GADGETS).await;
    assert_eq!(
        (names(&listed.body), &listed.body["kind"]),
        (vec!["a"], &json!("GadgetList"))
    );
    let found = api.get("/apis/tools.example.org/v1").await;
    assert_eq!(found.body["resources"][0]["shortNames"], json!(["gd"]));
    assert_eq!(
        api.get("/openapi/v3/apis/tools.example.org/v1").await.code,
        200
    );
}

#[tokio::test]
async fn each_version_of_a_group_has_an_api_service_while_it_is_served() {
    const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    let api = Api::new();
    let own = format!("{SERVICES}/v1.tools.example.org");
    assert_eq!(
        api.get(&format!("{SERVICES}/v1.")).await.body["spec"]["version"],
        "v1"
    );
    assert_eq!(api.get(&own).await.code, 404);
    api.call("POST", DEFINITIONS, &definition(3)).await;
    let made = api.get(&own).await.body;
    assert_eq!(made["spec"]["group"], "tools.example.org");
    assert_eq!(made["status"]["conditions"][0]["type"], "Available");
    // They follow from what is served, and are nobody's to write.
    for method in ["PUT", "DELETE"] {
        assert_eq!(api.call(method, &own, &made).await.code, 405, "{method}");
    }
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    assert_eq!(api.call("DELETE", &path, &json!({})).await.code, 200);
    assert_eq!(api.get(&own).await.code, 404);
}

#[tokio::test]
async fn a_changed_definition_counts_at_once_and_keeps_its_objects() {
    let api = Api::new();
    api.call("POST", DEFINITIONS, &definition(3)).await;
    api.call("POST", GADGETS, &gadget("a", 3)).await;
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let version = &definition(9)["spec"]["versions"][0];
    let patch = json!({"spec": {"versions": [version]}});
    let changed = api.call("PATCH", &path, &patch).await;
    assert_eq!(
        (changed.code, &changed.body["metadata"]["generation"]),
        (200, &json!(2))
    );
    assert_eq!(api.call("POST", GADGETS, &gadget("b", 9)).await.code, 201);
    assert_eq!(names(&api.get(GADGETS).await.body), ["a", "b"]);
    let moved = api
        .call("PATCH", &path, &json!({"spec": {"scope": "Cluster"}}))
        .await;
    assert_eq!(moved.code, 422, "{}", moved.body);
}

#[tokio::test]
async fn its_objects_go_before_a_definition_and_nothing_is_served_after() {
    let api = Api::new();
    api.call("POST", DEFINITIONS, &definition(3)).await;
    let mut held = gadget("held", 1);
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    for object in [&gadget("a", 1), &held] {
        assert_eq!(api.call("POST", GADGETS, object).await.code, 201);
    }
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let going = api.call("DELETE", &path, &Value::Null).await;
    assert!(
        going.body["metadata"]["deletionTimestamp"].is_string(),
        "{}",
        going.body
    );
    assert_eq!(names(&api.get(GADGETS).await.body), ["held"]);
    let refused = api.call("POST", GADGETS, &gadget("b", 1)).await;
    assert_eq!(refused.code, 405, "{}", refused.body);
    let free = json!({"metadata": {"finalizers": null}});
    api.call("PATCH", &format!("{GADGETS}/held"), &free).await;
    assert_eq!(api.get(&path).await.code, 404);
    assert_eq!(api.get(GADGETS).await.code, 404);
    assert_eq!(
        api.call("POST", DEFINITIONS, &definition(3)).await.code,
        201,
        "it may come back"
    );
    assert_eq!(names(&api.get(GADGETS).await.body), [""; 0]);
}

#[tokio::test]
async fn what_is_no_definition_is_refused_by_field() {
    let api = Api::new();
    let webhook = json!({"strategy": "Webhook"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "$ref": "#"}});
    let cases = [
        (
            "/metadata/name",
            json!("gadgets.example.org"),
            "metadata.name",
        ),
        ("/spec/versions/0/storage", json!(false), "spec.versions"),
        (
            "/spec/conversion",
            webhook,
            "spec.conversion.webhookClientConfig",
        ),
        (
            "/spec/conversion",
            json!({"strategy": "Magic"}),
            "spec.conversion.strategy",
        ),
        (
            "/spec/versions/0/schema",
            schema,
            "spec.validation.openAPIV3Schema.$ref",
        ),
        (
            "/spec/versions/0/name",
            json!("1v"),
            "spec.versions[0].name",
        ),
        (
            "/spec/names/shortNames",
            json!(["A"]),
            "spec.names.shortNames[0]",
        ),
        (
            "/spec/versions/0/deprecationWarning",
            json!("old"),
            "spec.versions[0].deprecationWarning",
        ),
        ("/spec/scope", json!("Global"), "spec.scope"),
        ("/spec/names/kind", json!("No Kind"), "spec.names.kind"),
    ];
    for (path, value, field) in cases {
        let mut definition = definition(3);
        let (parent, name) = path.rsplit_once('/').expect("a path");
        definition.pointer_mut(parent).expect("it is there")[name] = value;
        let refused = api.call("POST", DEFINITIONS, &definition).await;
        assert_eq!(refused.code, 422, "{field}: {}", refused.body);
        let causes = refused.body["details"]["causes"]
            .as_array()
            .expect("causes");
        assert!(
            causes.iter().any(|cause| cause["field"] == field),
            "{field}: {causes:?}"
        );
    }
    let mut built_in = definition(3);
    built_in["metadata"]["name"] = "leases.coordination.k8s.io".into();
    built_in["spec"]["group"] = "coordination.k8s.io".into();
    let approval = "api-approved.kubernetes.io";
    assert_eq!(api.call("POST", DEFINITIONS, &built_in).await.code, 422);
    built_in["metadata"]["annotations"][approval] = "unapproved, a test".into();
    built_in["spec"]["names"] = json!({"plural": "leases", "kind": "Other"});
    let made = api.call("POST", DEFINITIONS, &built_in).await;
    assert_eq!(
        made.body["status"]["conditions"][0]["reason"],
        "PluralConflict"
    );
    let leases = api.get("/apis/coordination.k8s.io/v1/leases").await;
    assert_eq!(leases.body["kind"], "LeaseList", "what is built in stays");
    let mut other = definition(3);
    other["metadata"]["name"] = "things.tools.example.org".into();
    other["spec"]["names"]["plural"] = "things".into();
    api.call("POST", DEFINITIONS, &definition(3)).await;
    let made = api.call("POST", DEFINITIONS, &other).await;
    assert_eq!(
        made.body["status"]["conditions"][0]["reason"],
        "ListKindConflict"
    );
    assert_eq!(
        api.get("/apis/tools.example.org/v1/namespaces/default/things")
            .await
            .code,
        404
    );
}

#[tokio::test]
async fn who_did_not_get_a_name_gets_it_when_the_other_goes() {
    let api = Api::new();
    api.call("POST", DEFINITIONS, &definition(3)).await;
    let mut other = definition(3);
    other["metadata"]["name"] = "things.tools.example.org".into();
    other["spec"]["names"]["plural"] = "things".into();
    api.call("POST", DEFINITIONS, &other).await;
    let (things, own) = (
        "/apis/tools.example.org/v1/namespaces/default/things",
        format!("{DEFINITIONS}/things.tools.example.org"),
    );
    assert_eq!(api.get(things).await.code, 404);
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(api.get(things).await.code, 200);
    let served = api.get(&own).await.body;
    assert_eq!(served["status"]["acceptedNames"]["kind"], "Gadget");
    let back = api.call("POST", DEFINITIONS, &definition(3)).await;
    assert_eq!(back.code, 201);
    assert_eq!(api.get(GADGETS).await.code, 404, "now its names are taken");
}

#[tokio::test]
async fn the_best_version_comes_first_and_a_deprecated_one_says_so() {
    let api = Api::new();
    let mut many = definition(3);
    let version = |name: &str| {
        let mut version = many["spec"]["versions"][0].clone();
        version["name"] = name.into();
        version["storage"] = (name == "v1").into();
        version["deprecated"] = (name == "v1beta1").into();
        version
    };
    let versions = ["v1beta1", "v1", "v2alpha1"].map(version);
    many["spec"]["versions"] = json!(versions);
    let made = api.call("POST", DEFINITIONS, &many).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let group = api.get("/apis/tools.example.org").await.body;
    let listed = group["versions"].as_array().expect("versions");
    let listed: Vec<_> = listed.iter().map(|it| &it["version"]).collect();
    assert_eq!(listed, ["v1", "v1beta1", "v2alpha1"]);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let old = "/apis/tools.example.org/v1beta1/namespaces/default/gadgets";
    let warning = r#"299 - "tools.example.org/v1beta1 Gadget is deprecated; use tools.example.org/v1 Gadget""#;
    assert_eq!(api.get(old).await.warnings, [warning]);
    let missing = api.get(&format!("{old}/none")).await;
    assert_eq!((missing.code, missing.warnings.len()), (404, 1));
    assert!(api.get(GADGETS).await.warnings.is_empty());
}

#[tokio::test]
async fn a_version_goes_only_after_nothing_is_stored_in_it() {
    let api = Api::new();
    let mut two = definition(3);
    let first = two["spec"]["versions"][0].clone();
    let mut second = first.clone();
    (second["name"], second["storage"]) = ("v2".into(), false.into());
    two["spec"]["versions"] = json!([first, second]);
    api.call("POST", DEFINITIONS, &two).await;
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    second["storage"] = true.into();
    let only = json!({"spec": {"versions": [second]}});
    let refused = api.call("PATCH", &path, &only).await;
    assert_eq!(refused.code, 422);
    let causes = &refused.body["details"]["causes"];
    assert_eq!(causes[0]["field"], "status.storedVersions[0]");
    let mut old = two["spec"]["versions"][0].clone();
    old["storage"] = false.into();
    let moved = json!({"spec": {"versions": [second, old]}});
    assert_eq!(api.call("PATCH", &path, &moved).await.code, 200);
    let migrated = json!({"status": {"storedVersions": ["v2"], "conditions": [
        {"type": "Migrated", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    let status = format!("{path}/status");
    let said = api.call("PATCH", &status, &migrated).await.body;
    assert_eq!(said["status"]["storedVersions"], json!(["v2"]));
    let kinds = said["status"]["conditions"].as_array().expect("a list");
    let kinds: Vec<_> = kinds.iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["Migrated", "NamesAccepted", "Established"]);
    let last = api.call("PATCH", &path, &only).await;
    assert_eq!(last.code, 200, "{}", last.body);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_version_that_goes_ends() {
    let api = Api::new();
    let mut two = definition(3);
    let mut other = two["spec"]["versions"][0].clone();
    (other["name"], other["storage"]) = ("v2".into(), false.into());
    let versions = two["spec"]["versions"].as_array_mut().expect("a list");
    versions.push(other);
    api.call("POST", DEFINITIONS, &two).await;
    let started = std::time::Instant::now();
    let path = "/apis/tools.example.org/v2/gadgets?watch=true&resourceVersion=0";
    let (lines, _) = tokio::join!(api.watch(path), async {
        let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
        let only = json!({"spec": {"versions": [definition(3)["spec"]["versions"][0]]}});
        api.call("PATCH", &path, &only).await
    });
    assert!(lines.is_empty() && started.elapsed().as_secs() < 60);
    assert_eq!(api.get(path).await.code, 404);
}

/// A definition with a list of numbers and a rule about it.
fn ruled(most: Option<u64>, rule: &str) -> Value {
    let mut list = json!({"type": "array", "items": {"type": "integer"}});
    if let Some(most) = most {
        list["maxItems"] = most.into();
    }
    let spec = json!({"type": "object", "properties": {"a": list}, "x-kubernetes-validations": [{"rule": rule}]});
    let mut definition = definition(3);
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec;
    definition
}

#[tokio::test]
async fn rules_that_cost_too_much_are_refused() {
    const LOOPS: &str = "self.a.all(x, self.a.all(y, x == y))";
    let api = Api::new();
    for (definition, words) in [
        (ruled(None, LOOPS), "exceeds budget"),
        (ruled(None, "self.z == 100"), "undefined field 'z'"),
    ] {
        let refused = api.call("POST", DEFINITIONS, &definition).await;
        let said = refused.body["message"].as_str().expect("a message");
        assert!(refused.code == 422 && said.contains(words), "{said}");
    }
    let made = api
        .call("POST", DEFINITIONS, &ruled(Some(725), LOOPS))
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let mut many = gadget("many", 1);
    many["spec"] = json!({"a": vec![20; 725]});
    let refused = api.call("POST", GADGETS, &many).await;
    let said = refused.body["message"].as_str().expect("a message");
    assert!(said.contains("call cost exceeds limit"), "{said}");
    many["spec"] = json!({"a": vec![20; 50]});
    assert_eq!(api.call("POST", GADGETS, &many).await.code, 201);
}

#[tokio::test]
async fn definitions_of_the_program_itself_stay() {
    let api = Api::new();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    for (method, body) in [
        ("DELETE", Value::Null),
        ("PATCH", json!({"spec": {"scope": "Cluster"}})),
    ] {
        assert_eq!(api.call(method, &path, &body).await.code, 403, "{method}");
    }
    assert_eq!(api.get(&path).await.code, 200);
}

#[tokio::test]
async fn a_definition_waits_for_its_objects_whatever_a_user_writes() {
    let api = Api::new();
    let mut copied = definition(3);
    copied["metadata"]["annotations"] = json!({"groma.dev/own": "true"});
    let made = api.call("POST", DEFINITIONS, &copied).await;
    assert!(made.body["metadata"]["annotations"]["groma.dev/own"].is_null());
    api.call("POST", GADGETS, &gadget("a", 1)).await;
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let mut replaced = definition(3);
    let version = &made.body["metadata"]["resourceVersion"];
    replaced["metadata"]["resourceVersion"] = version.clone();
    assert_eq!(api.call("PUT", &path, &replaced).await.code, 200);
    api.call("DELETE", &path, &Value::Null).await;
    assert_eq!(api.get(&path).await.code, 404);
    api.call("POST", DEFINITIONS, &definition(3)).await;
    assert_eq!(
        names(&api.get(GADGETS).await.body),
        [""; 0],
        "nothing was left behind"
    );
}

#[tokio::test]
async fn another_stored_version_leaves_objects_usable_in_both() {
    let api = Api::new();
    let mut two = definition(3);
    let first = two["spec"]["versions"][0].clone();
    let version = |name: &str, stored: bool| {
        let mut version = first.clone();
        (version["name"], version["storage"]) = (name.into(), stored.into());
        version
    };
    two["spec"]["versions"] = json!([version("v1", true), version("v2", false)]);
    api.call("POST", DEFINITIONS, &two).await;
    api.call("POST", GADGETS, &gadget("a", 1)).await;
    let path = format!("{DEFINITIONS}/gadgets.tools.example.org");
    let moved = json!({"spec": {"versions": [version("v1", false), version("v2", true)]}});
    let moved = api.call("PATCH", &path, &moved).await;
    assert_eq!(moved.body["status"]["storedVersions"], json!(["v1", "v2"]));
    for version in ["v1", "v2"] {
        let path = format!("/apis/tools.example.org/{version}/namespaces/default/gadgets/a");
        let read = api.get(&path).await.body;
        assert_eq!(read["apiVersion"], format!("tools.example.org/{version}"));
        let written = api.call("PUT", &path, &read).await;
        assert_eq!(written.code, 200, "{}", written.body);
    }
}

#[tokio::test]
async fn what_is_owned_is_nested_no_deeper_than_can_be_read_again() {
    let api = Api::new();
    let mut any = definition(3);
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    any["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = open;
    api.call("POST", DEFINITIONS, &any).await;
    let nested = |depth: usize| {
        let mut spec = json!({});
        for _ in 0..depth {
            spec = json!({"a": spec});
        }
        let mut gadget = gadget("deep", 1);
        gadget["spec"] = spec;
        gadget
    };
    assert_eq!(api.call("POST", GADGETS, &nested(124)).await.code, 413);
    assert_eq!(api.call("POST", GADGETS, &nested(110)).await.code, 201);
}
