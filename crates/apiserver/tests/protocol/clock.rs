//! Clocks that jump: times of objects and ends of tokens are of the clock, everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use apiserver::{Identity, Server};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::{Api, MAPS, map};

const HOUR: i64 = 3600;
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_breaks_nothing() {
    let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    let clock = seconds.clone();
    let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).expect("a time");
    let server = Server::builder().clock(Arc::new(now)).build();
    let api = Api(server.expect("a server"));
    let watched = format!(
        "{MAPS}?watch=true&timeoutSeconds=30&resourceVersion={}",
        api.0.revision()
    );
    let watch = api.send("GET", &watched, &[], String::new()).await;
    let begun = Instant::now();
    let watching = tokio::spawn(watch.into_body().collect());
    api.call("POST", ACCOUNTS, &json!({"metadata": {"name": "bot"}}))
        .await;
    let mut last = api.0.revision();
    for (n, jump) in [5 * HOUR, -10 * HOUR, 3 * HOUR, -1, 24 * HOUR]
        .into_iter()
        .enumerate()
    {
        let spec = json!({"spec": {"expirationSeconds": 600}});
        let token = api
            .call("POST", &format!("{ACCOUNTS}/bot/token"), &spec)
            .await;
        assert_eq!(token.code, 201);
        let token = token.body["status"]["token"]
            .as_str()
            .expect("a token")
            .to_owned();
        assert_eq!(who(&api, &token).await, 201);
        seconds.fetch_add(jump, Ordering::Relaxed);
        // Issued later than now, or ended: neither counts, and both do when the clock is right again.
        let expected = if jump.abs() < 60 { 201 } else { 401 };
        assert_eq!(who(&api, &token).await, expected, "{jump}");
        seconds.fetch_sub(jump, Ordering::Relaxed);
        assert_eq!(who(&api, &token).await, 201);
        seconds.fetch_add(jump, Ordering::Relaxed);
        let made = api.call("POST", MAPS, &map(&format!("m{n}"))).await;
        assert_eq!(made.code, 201);
        let revision = made.body["metadata"]["resourceVersion"].as_str();
        let revision: u64 = revision.expect("a version").parse().expect("a number");
        assert!(revision > last, "no revision goes back");
        last = revision;
        let lease =
            json!({"metadata": {"name": format!("l{n}")}, "spec": {"leaseDurationSeconds": 1}});
        let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
        assert_eq!(api.call("POST", leases, &lease).await.code, 201);
    }
    let heard = watching.await.expect("it runs").expect("a body").to_bytes();
    assert_eq!(
        begun.elapsed().as_secs(),
        30,
        "a watch ends by the time that passes"
    );
    assert_eq!(
        heard
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        5
    );
}

/// The code that whoever shows that token is answered.
async fn who(api: &Api, token: &str) -> u16 {
    let request = http::Request::builder()
        .method("POST")
        .uri(WHOAMI)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(http_body_util::Full::<bytes::Bytes>::from("{}"));
    let request = request.expect("a request");
    let response = api.0.serve(&Identity::anonymous(), request).await;
    response.status().as_u16()
}
