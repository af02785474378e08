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
        ("/spec/conversion", webhook, "spec.conversion.strategy"),
        ("/spec/versions/0/schema", schema, "spec.versions"),
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
    let mut other = definition(3);
    other["metadata"]["name"] = "things.tools.example.org".into();
    other["spec"]["names"]["plural"] = "things".into();
    api.call("POST", DEFINITIONS, &definition(3)).await;
    let made = api.call("POST", DEFINITIONS, &other).await;
    assert_eq!(
        made.body["status"]["conditions"][0]["reason"],
        "NamesConflict"
    );
    assert_eq!(
        api.get("/apis/tools.example.org/v1/namespaces/default/things")
            .await
            .code,
        404
    );
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
