//! What stands under `/metrics` after requests.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::access::Identity;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn send(
    server: &Server,
    who: &Identity,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let response = server.serve(who, request).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

fn admin() -> Identity {
    Identity::admin("alice")
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_what_is_served() {
    let server = Server::in_memory(Vec::new());
    let ask = async |method: &str, path: &str, body: &str| {
        send(&server, &admin(), method, path, body).await.0
    };
    let map = r#"{"metadata": {"name": "m"}}"#;
    assert_eq!(ask("POST", MAPS, map).await, 201);
    assert_eq!(ask("POST", &format!("{MAPS}?dryRun=All"), map).await, 409);
    assert_eq!(ask("GET", &format!("{MAPS}/m"), "").await, 200);
    assert_eq!(ask("GET", &format!("{MAPS}/m"), "").await, 200);
    assert_eq!(ask("GET", MAPS, "").await, 200);
    assert_eq!(ask("GET", "/api/v1/configmaps", "").await, 200);
    assert_eq!(
        ask("GET", &format!("{MAPS}?watch=1&timeoutSeconds=1"), "").await,
        200
    );
    assert_eq!(ask("GET", "/version", "").await, 200);
    assert_eq!(ask("BREW", "/coffee", "").await, 405);
    assert_eq!(ask("GET", "/api/v1/namespaces/a/secretz/b", "").await, 404);
    let (code, page) = send(&server, &admin(), "GET", PATH, "").await;
    assert_eq!(code, 200);
    let labels = |verb: &str, dry_run: &str, resource: &str, scope: &str| {
        let (version, part) = match resource.strip_prefix('/') {
            Some(_) => ("", resource),
            None => (if resource.is_empty() { "" } else { "v1" }, ""),
        };
        let resource = if part.is_empty() { resource } else { "" };
        format!(
            r#"verb="{verb}",dry_run="{dry_run}",group="",version="{version}",resource="{resource}",subresource="{part}",scope="{scope}",component="apiserver""#
        )
    };
    let counted = [
        ("POST", "", "configmaps", "resource", 201, 1),
        ("POST", "All", "configmaps", "resource", 409, 1),
        ("GET", "", "configmaps", "resource", 200, 2),
        ("LIST", "", "configmaps", "namespace", 200, 1),
        ("LIST", "", "configmaps", "cluster", 200, 1),
        ("WATCH", "", "configmaps", "namespace", 200, 1),
        ("GET", "", "/version", "", 200, 1),
        ("other", "", "", "", 405, 1),
        ("GET", "", "", "", 404, 1),
    ];
    for (verb, dry_run, resource, scope, code, n) in counted {
        let labels = labels(verb, dry_run, resource, scope);
        let line = format!("apiserver_request_total{{{labels},code=\"{code}\"}} {n}\n");
        assert!(page.contains(&line), "{line} in\n{page}");
    }
    for line in [
        "# TYPE apiserver_request counter\n",
        "apiserver_storage_objects{resource=\"configmaps\"} 1\n",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
        "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0\n",
        "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"configmaps\"} 1\n",
        "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",\
         scope=\"namespace\",component=\"apiserver\"} 0\n",
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"exempt\",flow_schema=\"exempt\"} 10\n",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"hosts\"} 118\n",
        "process_open_fds ",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    assert!(
        page.contains("apiserver_request_duration_seconds_bucket{le=\"0.005\",verb=\"GET\""),
        "{page}"
    );
    assert!(
        page.contains("apiserver_response_sizes_count{verb=\"LIST\","),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test(start_paused = true)]
async fn what_clients_make_up_makes_no_series() {
    let server = Server::in_memory(Vec::new());
    let lines = async || {
        send(&server, &admin(), "GET", PATH, "")
            .await
            .1
            .lines()
            .count()
    };
    let ask = async |n: usize| {
        for path in [
            format!("/a{n}"),
            format!("/healthz/a{n}"),
            format!("/api/v1/a{n}"),
            format!("/apis/g{n}/v1/a"),
            format!("{MAPS}/m{n}"),
            format!("/api/v1/namespaces/n{n}/configmaps"),
        ] {
            for method in ["GET", "DELETE", &format!("M{n}")] {
                send(&server, &admin(), method, &path, "").await;
            }
        }
    };
    lines().await;
    ask(0).await;
    let before = lines().await;
    for n in 1..20 {
        ask(n).await;
    }
    assert_eq!(lines().await, before);
}

#[tokio::test(start_paused = true)]
async fn metrics_are_for_administrators() {
    let server = Server::in_memory(Vec::new());
    let host = Identity::host("mad-1");
    let (code, body) = send(&server, &host, "GET", PATH, "").await;
    assert_eq!(code, 403);
    assert!(
        body.contains(r#"User \"system:host:mad-1\" cannot get path \"/metrics\""#),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn health_is_told_as_kubernetes_tells_it() {
    let server = Server::in_memory(Vec::new());
    let cases = [
        ("/livez", 200, "ok"),
        ("/livez/ping", 200, "ok"),
        ("/readyz/storage", 200, "ok"),
        ("/healthz", 200, "ok"),
        ("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n"),
        (
            "/readyz?verbose=1",
            200,
            "[+]ping ok\n[+]storage ok\nreadyz check passed\n",
        ),
        (
            "/readyz?verbose&exclude=storage&exclude=b&exclude=a",
            200,
            "[+]ping ok\n[+]storage excluded: ok\n\
             warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check passed\n",
        ),
    ];
    for (path, code, text) in cases {
        assert_eq!(
            send(&server, &admin(), "GET", path, "").await,
            (code, text.to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        send(&server, &admin(), "GET", "/livez/storage", "").await.0,
        404
    );
    assert_eq!(
        send(&server, &admin(), "GET", "/livez?nonsense=1", "")
            .await
            .0,
        400
    );
}
