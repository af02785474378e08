//! What `kubectl apply` and `kubectl explain` look for in the documents, and how they are cached.

use http_body_util::BodyExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::*;

fn documents() -> Documents {
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "sites.groma.dev"},
        "spec": {
            "group": "groma.dev", "scope": "Namespaced",
            "names": {"kind": "Site", "plural": "sites"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "a place",
                    "properties": {"spec": {"type": "object", "properties": {"region": {"type": "string"}}}},
                }},
            }],
        },
    }))
    .unwrap();
    Documents::new(Arc::new(Registry::new(&[crd]).unwrap()))
}

async fn get(
    documents: &Documents,
    path: &str,
    query: &str,
    tag: Option<&HeaderValue>,
) -> (u16, HeaderMap, Value) {
    let mut headers = HeaderMap::new();
    headers.extend(tag.map(|tag| (header::IF_NONE_MATCH, tag.clone())));
    let (head, body) = documents
        .answer(path, query, &headers)
        .unwrap()
        .into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        head.headers,
        serde_json::from_slice(&body).unwrap_or_default(),
    )
}

fn json_of(documents: &Documents, group_version: &str) -> Value {
    serde_json::from_slice(&documents.groups().by_group_version[group_version].json).unwrap()
}

#[tokio::test]
async fn the_index_leads_to_documents_that_never_change() {
    let documents = documents();
    let (_, _, index) = get(&documents, ROOT, "", None).await;
    let url = index["paths"]["apis/groma.dev/v1alpha1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let (path, query) = url.split_once('?').unwrap();
    let (code, headers, document) = get(&documents, path, query, None).await;
    assert_eq!((code, &document["openapi"]), (200, &"3.0.0".into()));
    assert_eq!(headers[header::CACHE_CONTROL], FOREVER);
    assert!(index["paths"]["api/v1"].is_object());
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let documents = documents();
    let path = "/openapi/v3/api/v1";
    let (_, headers, _) = get(&documents, path, "", None).await;
    let (code, _, body) = get(&documents, path, "", Some(&headers[header::ETAG])).await;
    assert_eq!((code, body), (304, Value::Null));
    let other = HeaderValue::from_static("\"other\"");
    assert_eq!(get(&documents, path, "", Some(&other)).await.0, 200);
}

#[tokio::test]
async fn an_old_hash_leads_to_the_new_one() {
    let documents = documents();
    let (code, headers, _) = get(&documents, "/openapi/v3/api/v1", "hash=OLD", None).await;
    let hash = &documents.groups().by_group_version["api/v1"].hash;
    assert_eq!(code, 301);
    assert_eq!(
        headers[header::LOCATION],
        format!("/openapi/v3/api/v1?hash={hash}")
    );
    let missing = documents.answer("/openapi/v3/apis/none/v1", "", &HeaderMap::new());
    assert_eq!(missing.err().map(|failure| failure.code), Some(404));
}

#[test]
fn patches_say_their_kind_types_and_parameters() {
    let document = json_of(&documents(), "apis/groma.dev/v1alpha1");
    let patch =
        &document["paths"]["/apis/groma.dev/v1alpha1/namespaces/{namespace}/sites/{name}"]["patch"];
    let kind = json!({"group": "groma.dev", "version": "v1alpha1", "kind": "Site"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
    let names: Vec<_> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"fieldValidation") && names.contains(&"dryRun"),
        "{names:?}"
    );
    let types = patch["requestBody"]["content"].as_object().unwrap();
    assert!(
        types.contains_key("application/merge-patch+json")
            && !types.contains_key(paths_strategic())
    );
    let core = json_of(&documents(), "api/v1");
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    assert!(
        patch["requestBody"]["content"]
            .as_object()
            .unwrap()
            .contains_key(paths_strategic())
    );
}

fn paths_strategic() -> &'static str {
    "application/strategic-merge-patch+json"
}

#[test]
fn schemas_name_their_kinds_and_every_reference_leads_somewhere() {
    let documents = documents();
    for (group_version, schema, kind) in [
        ("apis/groma.dev/v1alpha1", "dev.groma.v1alpha1.Site", "Site"),
        (
            "apis/groma.dev/v1alpha1",
            "dev.groma.v1alpha1.SiteList",
            "SiteList",
        ),
        ("api/v1", "io.k8s.api.core.v1.ConfigMap", "ConfigMap"),
        (
            "apis/coordination.k8s.io/v1",
            "io.k8s.api.coordination.v1.Lease",
            "Lease",
        ),
        (
            "apis/events.k8s.io/v1",
            "io.k8s.api.events.v1.Event",
            "Event",
        ),
    ] {
        let document = json_of(&documents, group_version);
        let schema = &document["components"]["schemas"][schema];
        assert_eq!(
            schema["x-kubernetes-group-version-kind"][0]["kind"], kind,
            "{schema}"
        );
        assert!(schema["properties"]["metadata"].is_object(), "{schema}");
    }
    for (group_version, document) in &documents.groups().by_group_version {
        let document: Value = serde_json::from_slice(&document.json).unwrap();
        for name in references(&document) {
            assert!(
                document["components"]["schemas"][&name].is_object(),
                "{group_version}: {name}"
            );
        }
    }
}

#[test]
fn merged_lists_say_their_keys() {
    let document = json_of(&documents(), "api/v1");
    for (schema, field, key) in [
        (
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "ownerReferences",
            "uid",
        ),
        ("io.k8s.api.core.v1.NamespaceStatus", "conditions", "type"),
    ] {
        let list = &document["components"]["schemas"][schema]["properties"][field];
        assert_eq!(
            list["x-kubernetes-patch-merge-key"], key,
            "{schema}.{field}: {list}"
        );
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields
                .get("$ref")
                .and_then(Value::as_str)
                .map(|r| r.trim_start_matches(schemas::COMPONENTS).to_owned());
            own.into_iter()
                .chain(fields.values().flat_map(references))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn version_2_says_it_all_in_one_document() {
    let documents = documents();
    let (code, headers, document) = get(&documents, V2, "", None).await;
    assert_eq!((code, &document["swagger"]), (200, &json!("2.0")));
    let site = &document["definitions"]["dev.groma.v1alpha1.Site"];
    assert_eq!(site["properties"]["metadata"]["$ref"], METADATA);
    assert_eq!(site["x-kubernetes-group-version-kind"][0]["kind"], "Site");
    let path = "/apis/groma.dev/v1alpha1/namespaces/{namespace}/sites/{name}";
    let patch = &document["paths"][path]["patch"];
    let named = |name: &str| {
        let mut all = patch["parameters"].as_array().into_iter().flatten();
        all.find(|it| it["name"] == name).cloned()
    };
    let validation = named("fieldValidation").expect("it may be asked for");
    assert_eq!(
        (&validation["in"], &validation["type"]),
        (&json!("query"), &json!("string"))
    );
    assert!(named("body").is_some() && document["paths"]["/api/v1/namespaces"].is_object());
    for name in references(&document) {
        let name = name.trim_start_matches("#/definitions/");
        assert!(document["definitions"][name].is_object(), "{name}");
    }
    let again = get(&documents, V2, "", Some(&headers[header::ETAG])).await;
    assert_eq!(again.0, 304);
}

const METADATA: &str = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

#[tokio::test]
async fn version_2_is_given_in_protobuf_to_those_who_ask() {
    let documents = documents();
    let accept = |accept: &'static str| {
        let accept = HeaderValue::from_static(accept);
        documents.answer(V2, "", &HeaderMap::from_iter([(header::ACCEPT, accept)]))
    };
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let (head, body) = accept(asked).unwrap().into_parts();
    assert_eq!(
        head.headers[header::CONTENT_TYPE],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    let body = body.collect().await.unwrap().to_bytes();
    // Field 1, three bytes long.
    assert_eq!(&body[..5], b"\x0a\x032.0");
    let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    assert!(has(b"dev.groma.v1alpha1.Site") && has(METADATA.as_bytes()));
    let refused = accept("text/html").err().map(|failure| failure.code);
    assert_eq!(refused, Some(406));
}
