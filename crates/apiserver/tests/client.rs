//! The server as `kube::Client` meets it.

use apiserver::Server;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

fn crds() -> Vec<CustomResourceDefinition> {
    let crd = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.host"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "properties": {
                            "host": {"type": "string"}, "size": {"type": "integer", "default": 1, "minimum": 0},
                        }},
                        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                    },
                }},
            }],
        },
    });
    vec![serde_json::from_value(crd).expect("a definition")]
}

fn widgets(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    Api::default_namespaced_with(client, &ApiResource::from_gvk_with_plural(&kind, "widgets"))
}

fn widget(name: &str, host: &str) -> DynamicObject {
    let value = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"host": host},
    });
    serde_json::from_value(value).expect("an object")
}

#[tokio::test(start_paused = true)]
async fn one_object_lives_its_life() {
    let api = widgets(Server::in_memory(crds()).client());
    let made = api
        .create(&PostParams::default(), &widget("a", "h1"))
        .await
        .unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let mut changed = made.clone();
    changed.data["spec"]["host"] = "h2".into();
    let changed = api
        .replace("a", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    let stale = api
        .replace("a", &PostParams::default(), &made)
        .await
        .unwrap_err();
    assert!(matches!(stale, kube::Error::Api(status) if status.code == 409));
    let status = json!({"status": {"ready": true}, "spec": {"host": "ignored"}});
    let patched = api
        .patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    assert_eq!(patched.data["status"]["ready"], true);
    assert_eq!(patched.data["spec"]["host"], "h2");
    assert_eq!(patched.metadata.generation, Some(2));
    let patch = json!([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/x"]}]);
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    api.patch("a", &PatchParams::default(), &Patch::<()>::Json(patch))
        .await
        .unwrap();
    let deleting = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .expect("it waits");
    assert!(deleting.metadata.deletion_timestamp.is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn watches_follow_a_field() {
    let api = widgets(Server::in_memory(crds()).client());
    for (name, host) in [("a", "h1"), ("b", "h2"), ("c", "h1")] {
        api.create(&PostParams::default(), &widget(name, host))
            .await
            .unwrap();
    }
    let listed = api
        .list(&ListParams::default().fields("spec.host=h1"))
        .await
        .unwrap();
    let names: Vec<_> = listed
        .items
        .iter()
        .map(|w| w.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["a", "c"]);
    let version = listed.metadata.resource_version.unwrap();
    let params = WatchParams::default().fields("spec.host=h1").timeout(10);
    let events = api.watch(&params, &version).await.unwrap();
    let moved = Patch::Merge(json!({"spec": {"host": "h2"}}));
    api.patch("a", &PatchParams::default(), &moved)
        .await
        .unwrap();
    let back = Patch::Merge(json!({"spec": {"host": "h1"}}));
    api.patch("b", &PatchParams::default(), &back)
        .await
        .unwrap();
    let seen: Vec<_> = events.boxed().try_collect().await.unwrap();
    let shown: Vec<String> = seen
        .iter()
        .map(|event| match event {
            kube::core::WatchEvent::Added(w) => format!("+{}", w.metadata.name.as_ref().unwrap()),
            kube::core::WatchEvent::Deleted(w) => format!("-{}", w.metadata.name.as_ref().unwrap()),
            kube::core::WatchEvent::Bookmark(_) => "bookmark".to_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, ["-a", "+b", "bookmark"]);
}

#[tokio::test(start_paused = true)]
async fn built_ins_are_there() {
    let client = Server::in_memory(crds()).client();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"generateName": "x-"}, "data": {"a": "1"}}))
            .unwrap();
    let made = api.create(&PostParams::default(), &map).await.unwrap();
    assert!(made.metadata.name.unwrap().starts_with("x-"));
}
