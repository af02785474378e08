//! Bodies as Kubernetes' Go clients write them, made by its own code (`tests/bodies`): the same bytes to both servers, and
//! objects made by chance, which must be the same whether they come as protobuf or as JSON.

use std::io::Write;
use std::process::{Command, Stdio};

use apiserver::Server;
use k8s_openapi::ByteString;
use live::tools;
use serde_json::{Value, json};

use crate::pair::{Pair, Step, ask, hidden};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";
/// How many objects of each kind are made, and where chance begins.
const MADE: &str = "40";
const SEED: &str = "20260729";

/// The objects as a Go client sends them; `None`, with the reason told, where there is no Go.
fn encoded(objects: &[Value]) -> Option<Vec<Vec<u8>>> {
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let written = written(&["encode"], &lines)?;
    let read = |line: &str| serde_json::from_str::<ByteString>(line);
    let bodies: Result<Vec<_>, _> = written.lines().map(read).collect();
    Some(
        bodies
            .expect("bytes")
            .into_iter()
            .map(|body| body.0)
            .collect(),
    )
}

/// What the program says.
fn written(arguments: &[&str], input: &str) -> Option<String> {
    let program = match tools::bodies() {
        Ok(program) => program,
        Err(skip) => {
            skip.report();
            return None;
        }
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut running = command.spawn().expect("the program starts");
    let mut stdin = running.stdin.take().expect("it reads");
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = running.wait_with_output().expect("it ends");
    feeding.join().expect("no panic").expect("it reads all");
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).expect("a text"))
}

fn good() -> Vec<(&'static str, Value)> {
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "a"});
    let policy = json!({"podSelector": {"matchLabels": {"a": "b"}},
        "ingress": [{"ports": [{"port": 80}, {"port": "dns", "protocol": "UDP"}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]});
    let regarding = json!({"kind": "ConfigMap", "namespace": "default", "name": "a"});
    vec![
        (
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": {"l": "x"}}}),
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v", "empty": ""}, "binaryData": {"b": "/w=="}, "immutable": false}),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "x"}, "data": {"b": "eQ=="}}),
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "secrets": [{"name": "s"}], "automountServiceAccountToken": false}),
        ),
        (
            "/api/v1/namespaces/default/events",
            json!({"apiVersion": "v1", "kind": "Event", "involvedObject": regarding, "reason": "R", "reportingComponent": "c", "reportingInstance": "i", "message": "m", "type": "Normal", "count": 2,
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:01Z", "source": {"component": "c"}}),
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "spec": {"holderIdentity": "me", "leaseDurationSeconds": 10, "renewTime": "2026-01-01T00:00:00.000001Z"}}),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": policy}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({"apiVersion": rbac, "kind": "ClusterRole", "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            json!({"apiVersion": rbac, "kind": "RoleBinding", "roleRef": role, "subjects": [{"kind": "User", "name": "u"}]}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_go_clients_answer_alike() {
    let (paths, mut objects): (Vec<&str>, Vec<Value>) = good().into_iter().unzip();
    for object in &mut objects {
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = "a".into();
        }
    }
    let changed = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["labels"] = json!({"changed": "yes"});
        object
    };
    let changes: Vec<Value> = objects.iter().map(changed).collect();
    let gone = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let all = [objects.clone(), changes, vec![gone]].concat();
    let Some(mut bodies) = encoded(&all) else {
        return;
    };
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let send = async |method: &str, path: &str, body: &[u8]| {
        let content_type = PROTOBUF;
        pair.compare(&Step {
            method,
            path,
            content_type,
            body: body.to_vec(),
        })
        .await;
    };
    let gone = bodies.pop().expect("it was encoded");
    let changes = bodies.split_off(objects.len());
    for ((path, object), (body, change)) in
        paths.iter().zip(&objects).zip(bodies.iter().zip(&changes))
    {
        let name = object["metadata"]["name"].as_str().expect("a name");
        send("POST", path, body).await;
        let one = format!("{path}/{name}");
        // It is replaced only as it is known.
        if object["kind"] != "Lease" {
            send("PUT", &one, change).await;
        }
        // One goes later and says when that began, the other is answered with what it was.
        if object["kind"] == "Namespace" || object["kind"] == "ServiceAccount" {
            continue;
        }
        send("DELETE", &one, &gone).await;
    }
    pair.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_by_chance_is_read_as_json_is() {
    let Some(written) = written(&["random", SEED, MADE], "") else {
        return;
    };
    let server = Server::builder().kubernetes_kinds("").build();
    let server = server.expect("a server");
    let (client, registry) = (server.client(), server.registry());
    let mut compared = 0;
    for line in written.lines() {
        let mut made: Value = serde_json::from_str(line).expect("an object in two forms");
        let text = |field: &str| made[field].as_str().expect("a text");
        let Some((resource, version)) = registry.by_kind(text("apiVersion"), text("kind")) else {
            continue;
        };
        let root = if resource.group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{}", resource.group)
        };
        let namespace = if resource.namespaced {
            "/namespaces/default"
        } else {
            ""
        };
        let path = &format!("{root}/{version}{namespace}/{}?dryRun=All", resource.plural);
        let post = |content_type, body| Step {
            method: "POST",
            path,
            content_type,
            body,
        };
        let bytes: ByteString = serde_json::from_value(made["protobuf"].take()).expect("bytes");
        let expected = ask(
            &client,
            &post(JSON, made["object"].to_string().into_bytes()),
        )
        .await;
        let found = ask(&client, &post(PROTOBUF, bytes.0)).await;
        // Why it is refused is said in the words of its form.
        if expected.0 >= 400 && expected.0 == found.0 {
            continue;
        }
        assert_eq!(
            (expected.0, hidden(expected.1)),
            (found.0, hidden(found.1)),
            "seed {SEED}: {made}"
        );
        compared += 1;
    }
    assert!(compared > 0);
}
