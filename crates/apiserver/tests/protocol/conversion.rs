//! Versions that a webhook converts: v1 has one `address`, v2 has `host` and `port`.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::definitions::DEFINITIONS;
use crate::hook::Hook;
use crate::{Api, names};

const V1: &str = "/apis/net.example.org/v1/namespaces/default/endpoints";
const V2: &str = "/apis/net.example.org/v2/namespaces/default/endpoints";
const NAME: &str = "endpoints.net.example.org";

fn definition(client: &Value, stored: &str) -> Value {
    let version = |name: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter();
        let fields: serde_json::Map<_, _> = fields
            .map(|(field, kind)| ((*field).to_owned(), json!({"type": kind})))
            .collect();
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
        json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": schema}})
    };
    let webhook = json!({"clientConfig": client, "conversionReviewVersions": ["v1"]});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {
            "group": "net.example.org", "scope": "Namespaced", "names": {"plural": "endpoints", "kind": "Endpoint"},
            "versions": [
                version("v1", &[("address", "string")]),
                version("v2", &[("host", "string"), ("port", "integer")]),
            ],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    })
}

fn converted(object: &Value, to: &Value) -> Value {
    let mut object = object.clone();
    if object["apiVersion"] == *to {
        return object;
    }
    object["apiVersion"] = to.clone();
    let spec = &object["spec"];
    object["spec"] = match to.as_str() {
        Some("net.example.org/v1") => {
            json!({"address": format!("{}:{}", spec["host"].as_str().unwrap_or_default(), spec["port"])})
        }
        _ => {
            let address = spec["address"].as_str().unwrap_or_default();
            let (host, port) = address.split_once(':').unwrap_or((address, "0"));
            json!({"host": host, "port": port.parse::<u16>().unwrap_or(0)})
        }
    };
    object
}

fn review(review: &Value, result: &Value, objects: &[Value]) -> Value {
    json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"],
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects},
    })
}

/// An honest webhook, and others by path.
async fn hook() -> Hook {
    Hook::start(|path, asked| {
        let request = &asked["request"];
        let objects = request["objects"].as_array().expect("objects").iter();
        let mut objects: Vec<Value> = objects
            .map(|object| converted(object, &request["desiredAPIVersion"]))
            .collect();
        match path {
            "/garbled" => return json!([1]),
            "/refuses" => {
                return review(
                    &asked,
                    &json!({"status": "Failure", "message": "not today"}),
                    &[],
                );
            }
            "/loses" => drop(objects.pop()),
            "/renames" => objects[0]["metadata"]["name"] = "other".into(),
            "/forgets" => objects[0]["apiVersion"] = "net.example.org/v9".into(),
            _ => {
                // Who owns it is not for a webhook to say, but labels are.
                objects.iter_mut().for_each(|object| {
                    object["metadata"]["ownerReferences"] = json!([]);
                    object["metadata"]["generation"] = 77.into();
                    object["metadata"]["labels"]["seen"] = "yes".into();
                });
            }
        }
        review(&asked, &json!({"status": "Success"}), &objects)
    })
    .await
}

fn endpoint(name: &str, address: &str) -> Value {
    json!({"apiVersion": "net.example.org/v1", "kind": "Endpoint", "metadata": {"name": name}, "spec": {"address": address}})
}

#[tokio::test]
async fn every_version_shows_the_same_object() {
    let (api, hook) = (Api::new(), hook().await);
    let made = api
        .call("POST", DEFINITIONS, &definition(&hook.config("/"), "v2"))
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let made = api.call("POST", V1, &endpoint("a", "h1:80")).await;
    assert_eq!(
        (made.code, &made.body["spec"]["address"]),
        (201, &json!("h1:80"))
    );
    assert_eq!(made.body["metadata"]["generation"], 1);
    let shown = api.get(&format!("{V2}/a")).await;
    assert_eq!(shown.body["spec"], json!({"host": "h1", "port": 80}));
    assert_eq!(shown.body["metadata"]["labels"]["seen"], "yes");
    hook.heard();
    assert_eq!(names(&api.get(V2).await.body), ["a"]);
    assert_eq!(
        hook.heard(),
        [] as [Value; 0],
        "the stored form costs nothing"
    );
    api.call("POST", V1, &endpoint("b", "h2:81")).await;
    hook.heard();
    let listed = api.get(V1).await;
    assert_eq!(listed.body["items"][1]["spec"]["address"], "h2:81");
    let heard = hook.heard();
    assert_eq!(heard.len(), 1, "a list is converted at once");
    assert_eq!(
        heard[0]["request"]["objects"].as_array().map(Vec::len),
        Some(2)
    );
    let patch = json!({"spec": {"address": "h3:82"}});
    let patched = api.call("PATCH", &format!("{V1}/a"), &patch).await;
    assert_eq!(
        (
            &patched.body["spec"]["address"],
            &patched.body["metadata"]["generation"]
        ),
        (&json!("h3:82"), &json!(2))
    );
    let shown = api.get(&format!("{V2}/a")).await;
    assert_eq!(shown.body["spec"], json!({"host": "h3", "port": 82}));
}

#[tokio::test]
async fn a_watch_shows_its_version() {
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", DEFINITIONS, &definition(&hook.config("/"), "v2"))
        .await;
    api.call("POST", V1, &endpoint("a", "h1:80")).await;
    let path = format!("{V1}?watch=true");
    let mut lines = api.send("GET", &path, &[], String::new()).await.into_body();
    let mut next = async || {
        let frame = lines.frame().await.expect("a line").expect("no error");
        let line = frame.into_data().expect("data");
        serde_json::from_slice::<Value>(&line).expect("JSON")
    };
    let first = next().await;
    assert_eq!(first["object"]["spec"]["address"], "h1:80", "{first}");
    api.call(
        "POST",
        V2,
        &json!({"metadata": {"name": "b"}, "spec": {"host": "h2", "port": 81}}),
    )
    .await;
    let second = next().await;
    assert_eq!(second["object"]["spec"]["address"], "h2:81", "{second}");
    let broken = definition(&hook.config("/refuses"), "v2");
    let path = format!("{DEFINITIONS}/{NAME}");
    let changed = api
        .call("PATCH", &path, &json!({"spec": broken["spec"]}))
        .await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let ended = lines.frame().await.is_none();
    assert!(
        ended,
        "who watched sees no more of what is converted otherwise now"
    );
}

#[tokio::test]
async fn long_lists_are_converted_in_parts() {
    const OBJECTS: usize = 40;
    const TEXT_BYTES: usize = 128 * 1024;
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", DEFINITIONS, &definition(&hook.config("/"), "v2"))
        .await;
    for n in 0..OBJECTS {
        let host = "h".repeat(TEXT_BYTES);
        let body =
            json!({"metadata": {"name": format!("e{n:02}")}, "spec": {"host": host, "port": n}});
        let made = api.call("POST", V2, &body).await;
        assert_eq!(made.code, 201, "{}", made.body["message"]);
    }
    hook.heard();
    let listed = api.get(V1).await;
    assert_eq!(names(&listed.body).len(), OBJECTS);
    let last = listed.body["items"][OBJECTS - 1]["spec"]["address"].as_str();
    assert!(last.is_some_and(|it| it.ends_with("h:39")));
    assert!(hook.heard().len() > 1);
}

#[tokio::test]
async fn versions_that_only_differ_in_their_schema_lose_what_the_stored_one_has_not() {
    let api = Api::new();
    let mut definition = definition(&Value::Null, "v2");
    definition["spec"]["conversion"] = json!({"strategy": "None"});
    let made = api.call("POST", DEFINITIONS, &definition).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let made = api.call("POST", V1, &endpoint("a", "h1:80")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    for path in [V1, V2] {
        let shown = api.get(&format!("{path}/a")).await;
        assert_eq!(
            shown.body["spec"],
            json!({}),
            "only what is stored is shown"
        );
    }
}

#[tokio::test]
async fn what_was_stored_in_another_version_stays_readable() {
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", DEFINITIONS, &definition(&hook.config("/"), "v1"))
        .await;
    api.call("POST", V1, &endpoint("a", "h1:80")).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    let spec = &definition(&hook.config("/"), "v2")["spec"];
    let moved = api.call("PATCH", &path, &json!({"spec": spec})).await;
    assert_eq!(moved.body["status"]["storedVersions"], json!(["v1", "v2"]));
    hook.heard();
    let shown = api.get(&format!("{V1}/a")).await;
    assert_eq!(shown.body["spec"]["address"], "h1:80");
    assert_eq!(hook.heard().len(), 0, "it is still stored as v1");
    let shown = api.get(&format!("{V2}/a")).await;
    assert_eq!(shown.body["spec"], json!({"host": "h1", "port": 80}));
    let before = shown.body["metadata"]["resourceVersion"].clone();
    let same = api.call("PUT", &format!("{V2}/a"), &shown.body).await;
    assert_eq!(same.code, 200, "{}", same.body);
    assert_ne!(
        same.body["metadata"]["resourceVersion"], before,
        "it is stored anew"
    );
    hook.heard();
    api.get(&format!("{V2}/a")).await;
    assert_eq!(hook.heard().len(), 0, "as v2");
}

#[tokio::test]
async fn who_owns_what_is_known_in_every_version() {
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", DEFINITIONS, &definition(&hook.config("/"), "v2"))
        .await;
    let apply = |manager: &'static str, version: &'static str, spec: Value| {
        let body = json!({"apiVersion": format!("net.example.org/{version}"), "kind": "Endpoint",
            "metadata": {"name": "a"}, "spec": spec});
        let path = format!(
            "/apis/net.example.org/{version}/namespaces/default/endpoints/a?fieldManager={manager}"
        );
        let api = &api;
        async move {
            let headers = [("content-type", "application/apply-patch+yaml")];
            api.ask("PATCH", &path, &headers, body.to_string()).await
        }
    };
    let made = apply("one", "v1", json!({"address": "h1:80"})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let refused = apply("two", "v2", json!({"host": "h2", "port": 80})).await;
    assert_eq!(
        refused.code, 409,
        "the address is another's: {}",
        refused.body
    );
    assert_eq!(
        refused.body["details"]["causes"][0]["field"],
        ".spec.address"
    );
    let same = apply("two", "v2", json!({"host": "h1", "port": 80})).await;
    assert_eq!(same.code, 200, "{}", same.body);
}

#[tokio::test]
async fn a_webhook_that_lies_changes_nothing() {
    let (api, hook) = (Api::new(), hook().await);
    api.call("POST", DEFINITIONS, &definition(&hook.config("/"), "v2"))
        .await;
    api.call("POST", V1, &endpoint("a", "h1:80")).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    for (lie, expected) in [
        ("/garbled", "expected webhook response"),
        ("/refuses", "not today"),
        ("/loses", "it returned 0 objects, expected 1"),
        ("/renames", "must have the same metadata.name"),
        ("/forgets", "it returned an object whose apiVersion"),
    ] {
        let spec = &definition(&hook.config(lie), "v2")["spec"];
        let changed = api.call("PATCH", &path, &json!({"spec": spec})).await;
        assert_eq!(changed.code, 200, "{}", changed.body);
        let shown = api.get(&format!("{V1}/a")).await;
        assert_eq!(
            (shown.code, &shown.body["reason"]),
            (500, &json!("InternalError"))
        );
        let message = shown.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{lie}: {message}");
        let made = api.call("POST", V1, &endpoint("b", "h2:80")).await;
        assert_eq!(made.code, 500, "{}", made.body);
        assert_eq!(names(&api.get(V2).await.body), ["a"], "nothing half done");
        let watch = api.get(&format!("{V1}?watch=true&timeoutSeconds=1")).await;
        assert_eq!(watch.code, 500);
    }
}

#[tokio::test]
async fn where_a_webhook_is_must_be_said_well() {
    let api = Api::new();
    let cases = [
        (json!({}), "exactly one of url or service is required"),
        (
            json!({"url": "http://127.0.0.1/"}),
            "'https' is the only allowed URL scheme",
        ),
        (
            json!({"url": "https://a@127.0.0.1/"}),
            "user information is not permitted",
        ),
        (
            json!({"url": "https://127.0.0.1/?a=b"}),
            "query parameters are not permitted",
        ),
        (
            json!({"service": {"namespace": "x", "name": "y", "port": 0}}),
            "port is not valid",
        ),
        (
            json!({"url": "https://127.0.0.1/", "caBundle": "bm8="}),
            "unable to load root certificates",
        ),
    ];
    for (client, expected) in cases {
        let refused = api
            .call("POST", DEFINITIONS, &definition(&client, "v2"))
            .await;
        assert_eq!(refused.code, 422, "{client}: {}", refused.body);
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{client}: {message}");
    }
    let service = json!({"service": {"namespace": "x", "name": "y"}});
    let made = api
        .call("POST", DEFINITIONS, &definition(&service, "v2"))
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let refused = api.call("POST", V1, &endpoint("a", "h:1")).await;
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("no route to the service x/y:443"),
        "{message}"
    );
}
