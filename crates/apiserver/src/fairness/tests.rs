//! Which level a request goes to, and what clients meet at a socket when a level is full.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use futures::channel::mpsc;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

use super::*;
use crate::listen::{self, Listening};

#[test]
fn groups_lead_to_the_first_level_that_fits() {
    let cases: [(&[&str], Class); 6] = [
        (&["system:authenticated", "system:masters"], Class::Exempt),
        (&["system:hosts", "system:authenticated"], Class::Hosts),
        (
            &[
                "system:serviceaccounts",
                "system:serviceaccounts:groma-system",
            ],
            Class::Controllers,
        ),
        (
            &["system:serviceaccounts", "system:serviceaccounts:lab"],
            Class::ServiceAccounts,
        ),
        (&["users", "system:authenticated"], Class::Default),
        (&["system:unauthenticated"], Class::CatchAll),
    ];
    for (groups, expected) in cases {
        assert_eq!(Class::of(groups.iter().copied()), expected, "{groups:?}");
    }
}

#[test]
fn flows_are_users_and_those_of_controllers_namespaces_too() {
    let flows = |class| {
        let asked = [("a", "x"), ("a", "y"), ("b", "x")];
        let flows = asked.map(|(user, namespace)| flow(class, user, namespace));
        [flows[0] == flows[1], flows[0] == flows[2]]
    };
    assert_eq!(flows(Class::Default), [true, false]);
    assert_eq!(flows(Class::Controllers), [false, false]);
}

#[test]
fn lists_take_seats_by_what_they_read() {
    let cases = [
        (0, 600, 1),
        (100, 600, 1),
        (101, 600, 2),
        (100_000, 600, 10),
        (100_000, 40, 6),
        (100_000, 1, 1),
    ];
    for (objects, seats, expected) in cases {
        assert_eq!(width_of(objects, seats), expected, "{objects} of {seats}");
    }
}

const REVIEWS: &str = "http://groma/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

type Client = http2::SendRequest<Empty<Bytes>>;

/// The door of one user to a server.
async fn door(server: &Server, folder: &Path, host: &str) -> (Listening, Client) {
    let path = folder.join(host);
    let (server, host) = (server.clone(), host.to_owned());
    let service = move |_| server.service_for(Identity::host(&host));
    let listening = listen::unix(&path, service).await.unwrap();
    let stream = UnixStream::connect(path).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    (listening, client)
}

/// What is told under `/metrics` of the level of hosts.
async fn told(server: &Server, name: &str) -> usize {
    let admin = Identity::admin("alice");
    let request = http::Request::get("/metrics")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let page = server.serve(&admin, request).await.into_body();
    let page = page.collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let start = format!("apiserver_flowcontrol_{name}{{priority_level=\"hosts\"");
    let lines = page.lines().filter(|line| line.starts_with(&start));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    numbers.sum()
}

async fn until(server: &Server, name: &str, expected: usize) {
    while told(server, name).await != expected {
        tokio::task::yield_now().await;
    }
}

/// A client that floods fills its queues and is refused; another gets its turn after few.
#[tokio::test]
async fn at_a_socket_a_flood_is_refused_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_memory(Vec::new());
    let level = &server.fairness().0[Class::Hosts as usize];
    let author = Identity::host("flood");
    let mut held = Vec::new();
    for _ in 0..level.seats() {
        let seat = server.fairness().seat(&server, &author, None);
        held.push(seat.await.expect("a seat that is free"));
    }
    let get = || {
        let request = http::Request::get("http://groma/version");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let (_door, mut flood) = door(&server, folder.path(), "flood").await;
    let (most, refused) = (HAND * QUEUE_REQUESTS_MAX, 20);
    let ask = |client: &mut Client| tokio::spawn(client.send_request(get()));
    let answers: Vec<_> = (0..most + refused).map(|_| ask(&mut flood)).collect();
    until(&server, "current_inqueue_requests", most).await;
    until(&server, "rejected_requests_total", refused).await;
    let (_other_door, mut quiet) = door(&server, folder.path(), "quiet").await;
    let quiet = ask(&mut quiet);
    until(&server, "current_inqueue_requests", most + 1).await;
    let answer = {
        held.pop();
        quiet.await.unwrap().unwrap()
    };
    assert_eq!(answer.status(), 200);
    drop(held);
    let mut codes = BTreeMap::new();
    for answer in answers {
        let answer: http::Response<Incoming> = answer.await.unwrap().unwrap();
        *codes.entry(answer.status().as_u16()).or_insert(0) += 1;
        if answer.status() != 429 {
            continue;
        }
        assert_eq!(answer.headers()["retry-after"], "1");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let message = "Too many requests, please try again later.";
        assert_eq!(
            (&status["message"], &status["reason"]),
            (&message.into(), &"TooManyRequests".into())
        );
    }
    assert_eq!(codes, BTreeMap::from([(200, most), (429, refused)]));
}

/// Who sends slowly keeps no seat.
#[tokio::test]
async fn a_request_that_is_still_sent_takes_no_seat() {
    let server = Server::in_memory(Vec::new());
    let (_sender, body) = mpsc::unbounded::<Result<Frame<Bytes>, Infallible>>();
    let request = http::Request::post(REVIEWS)
        .body(StreamBody::new(body))
        .unwrap();
    let author = Identity::host("slow");
    let mut answer = Box::pin(server.serve(&author, request));
    assert!(futures::poll!(&mut answer).is_pending());
    assert_eq!(told(&server, "current_executing_seats").await, 0);
}
