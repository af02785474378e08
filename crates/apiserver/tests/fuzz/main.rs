//! Whatever clients send: every request is answered in the form of Kubernetes, nothing breaks the server, and nothing half
//! done stays behind. `GROMA_FUZZ=n` runs n lives instead of the few that every test run has.

mod sent;

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::{Identity, Server};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use sent::{DEFINITIONS, Sent, WIDGETS, documents, sent, widgets};

/// Lives of one server in a common test run, and requests in each.
const LIVES: u32 = 48;
const REQUESTS: usize = 24;
/// One request of so many is granted, at least.
const GRANTED_PART: usize = 5;

async fn ask(server: &Server, sent: &Sent) -> (u16, Value) {
    let mut request = http::Request::builder().method(sent.method).uri(&sent.path);
    if !sent.content_type.is_empty() {
        request = request.header("content-type", sent.content_type);
    }
    let request = request.body(Full::new(Bytes::from(sent.body.clone())));
    let request = request.expect("paths are encoded");
    let response = server.serve(&Identity::admin("fuzz"), request).await;
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (
        code,
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{sent:?}: {error}: {body:?}")),
    )
}

fn get(path: &str) -> Sent {
    Sent {
        method: "GET",
        path: path.to_owned(),
        content_type: "",
        body: Vec::new(),
    }
}

/// One server through a life of requests; says how many it granted.
async fn live(requests: &[Sent]) -> usize {
    let definition: CustomResourceDefinition =
        serde_json::from_value(widgets("self.size < 100")).expect("a definition");
    let server = Server::in_memory(vec![definition]);
    for (collection, document) in documents() {
        let good = Sent {
            method: "POST",
            path: collection.to_owned(),
            content_type: "application/json",
            body: document.to_string().into_bytes(),
        };
        let (code, answer) = ask(&server, &good).await;
        assert_eq!(code, 201, "{collection}: {answer}");
    }
    let mut granted = 0;
    for sent in requests {
        let (code, answer) = ask(&server, sent).await;
        let shown = || {
            format!(
                "{} {} {} {}\n{code} {answer}",
                sent.method,
                sent.path,
                sent.content_type,
                String::from_utf8_lossy(&sent.body)
            )
        };
        assert!((200..600).contains(&code), "{}", shown());
        granted += usize::from(code < 300);
        if code >= 400 {
            assert_eq!(
                (&answer["kind"], &answer["code"]),
                (&json!("Status"), &json!(code)),
                "{}",
                shown()
            );
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(!message.is_empty(), "{}", shown());
            // Nothing that a client sends is the server's own failure, but for what Kubernetes calls one.
            let undeclared = message.contains("field not declared in schema");
            assert!(code != 500 || undeclared, "{}", shown());
        }
    }
    for (collection, _) in documents() {
        let (code, list) = ask(&server, &get(collection)).await;
        assert_eq!(code, 200, "{collection}: {list}");
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"]
                .as_str()
                .expect("everything has a name");
            let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let (code, shown) = ask(&server, &get(&format!("{collection}/{name}"))).await;
            assert_eq!(code, 200, "{collection}/{name}: {shown}");
            assert_eq!(shown["metadata"]["uid"], item["metadata"]["uid"]);
        }
    }
    granted
}

#[test]
fn nothing_that_clients_send_breaks_the_server() {
    let lives = env::var("GROMA_FUZZ").map_or(LIVES, |lives| {
        lives.parse().expect("GROMA_FUZZ is a number")
    });
    let granted = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config {
        cases: lives,
        failure_persistence: None,
        ..Config::default()
    };
    let played = TestRunner::new(config).run(&vec(sent(), REQUESTS), |requests| {
        let granted_now = runtime.block_on(live(&requests));
        granted.fetch_add(granted_now, Ordering::Relaxed);
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
    // Otherwise this would only show that nonsense is refused.
    let (granted, all) = (granted.into_inner(), lives as usize * REQUESTS);
    assert!(
        granted * GRANTED_PART > all,
        "only {granted} of {all} requests were granted"
    );
}

/// Long and deep expressions, wherever there are some.
#[tokio::test]
async fn expressions_of_any_size_are_refused_or_evaluated() {
    for deep in [8, 30, 60, 120, 250, 1_000, 50_000] {
        evaluate(deep).await;
    }
}

async fn evaluate(deep: usize) {
    let expressions = [
        "(".repeat(deep),
        format!("{}true{}", "(".repeat(deep), ")".repeat(deep)),
        "!".repeat(deep) + "true",
        "-".repeat(deep) + "1 == 1",
        format!("true{}", " && true".repeat(deep)),
        format!("1{} == 1", " + 1".repeat(deep)),
        format!("self{}", ".size".repeat(deep)),
        format!("self{}", "[0]".repeat(deep)),
        format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        format!("{}true", "true ? ".repeat(deep)),
        format!("{}true", "[1].all(x, ".repeat(64)),
    ];
    for expression in expressions {
        let server = Server::in_memory(Vec::new());
        let post = async |path: &str, body: &Value| {
            let sent = Sent {
                method: "POST",
                path: path.to_owned(),
                content_type: "application/json",
                body: body.to_string().into_bytes(),
            };
            let (code, answer) = ask(&server, &sent).await;
            assert!([201, 422].contains(&code), "{answer}");
        };
        let mut documents = documents();
        let (policies, mut policy) = documents.remove(5);
        policy["spec"]["failurePolicy"] = "Fail".into();
        policy["spec"]["validations"] =
            json!([{"expression": expression.replace("self", "object")}]);
        post(DEFINITIONS, &widgets(&expression)).await;
        post(policies, &policy).await;
        let (bindings, binding) = &documents[5];
        post(bindings, binding).await;
        let (_, map) = &documents[0];
        post("/api/v1/namespaces/default/configmaps", map).await;
        let (code, answer) = {
            let (_, widget) = &documents[2];
            let sent = Sent {
                method: "POST",
                path: WIDGETS.to_owned(),
                content_type: "application/json",
                body: widget.to_string().into_bytes(),
            };
            ask(&server, &sent).await
        };
        // Where the rule was refused, there are no such objects.
        assert!([201, 404, 422].contains(&code), "{answer}");
    }
}
