//! Watches event by event, in each form in which objects are shown.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::pair::{Pair, cups, hidden, undescribed};

const CUPS: &str = "/apis/example.com/v1/namespaces/default/cups";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const INITIAL: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
const FORMS: [&str; 3] = [
    "application/json",
    "application/json;as=Table;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
];
/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A watch that is read.
struct Watch {
    body: Body,
    unread: Vec<u8>,
}

impl Watch {
    async fn open(client: &Client, path: &str, accept: &str) -> Self {
        let request = Request::get(path).header("accept", accept);
        let request = request.body(Body::empty()).expect("a request");
        let response = client.send(request).await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        Self {
            body: response.into_body(),
            unread: Vec::new(),
        }
    }

    /// The next event that is of an object: a server may say at any time how far a watch has come.
    async fn change(&mut self) -> Value {
        loop {
            let event = self.event().await;
            if event["type"] != "BOOKMARK" {
                return event;
            }
        }
    }

    async fn event(&mut self) -> Value {
        let event = async {
            loop {
                if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.unread.drain(..=end).collect();
                    return serde_json::from_slice(&line).expect("an event");
                }
                let frame = self.body.frame().await.expect("it goes on");
                let data = frame.expect("a frame").into_data();
                self.unread.extend_from_slice(&data.unwrap_or_default());
            }
        };
        let event = tokio::time::timeout(PATIENCE, event).await;
        let mut event = hidden(undescribed(event.expect("an event in time")));
        let rows = event
            .pointer_mut("/object/rows")
            .and_then(Value::as_array_mut);
        for row in rows.into_iter().flatten() {
            let cells = row["cells"].as_array_mut().into_iter().flatten();
            cells
                .filter(|cell| is_age(cell))
                .for_each(|cell| *cell = "an age".into());
        }
        event
    }
}

/// What is so many seconds old in one answer may be older in the next.
fn is_age(cell: &Value) -> bool {
    let number = cell.as_str().and_then(|text| text.strip_suffix('s'));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

async fn pair() -> Option<Pair> {
    let column = json!({"name": "Size", "type": "integer", "jsonPath": ".size"});
    Pair::new(&[cups(&json!({"additionalPrinterColumns": [column]}))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_each_form_are_alike() {
    let Some(pair) = pair().await else { return };
    let [real, ours] = pair.clients();
    for (collection, api_version, kind) in
        [(CUPS, "example.com/v1", "Cup"), (MAPS, "v1", "ConfigMap")]
    {
        let object = |name: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        for name in ["a", "b"] {
            pair.both("POST", collection, &object(name)).await;
        }
        for form in FORMS {
            for include in ["", "&includeObject=None", "&includeObject=Object"] {
                if !include.is_empty() && !form.contains("Table") {
                    continue;
                }
                let path = &format!("{collection}?{INITIAL}{include}");
                let mut expected = Watch::open(real, path, form).await;
                let mut found = Watch::open(ours, path, form).await;
                let what = &format!("{form} {path}");
                // Two objects, and the bookmark that ends them.
                for _ in 0..3 {
                    assert_eq!(expected.event().await, found.event().await, "{what}");
                }
                pair.both("POST", collection, &object("c")).await;
                pair.merge(
                    &format!("{collection}/c"),
                    &json!({"metadata": {"labels": {"a": "b"}}}),
                )
                .await;
                pair.both(
                    "DELETE",
                    &format!("{collection}/c"),
                    &json!({"kind": "DeleteOptions", "apiVersion": "v1"}),
                )
                .await;
                for _ in 0..3 {
                    assert_eq!(expected.change().await, found.change().await, "{what}");
                }
            }
        }
    }
    pair.finish();
}
