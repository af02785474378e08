//! Answers, as far as they are compared: code, type, and the kinds of what is in them, read from JSON or protobuf.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What the bookmark is marked with that ends the initial events of a watch.
const END: &str = "k8s.io/initial-events-end";
/// How long initial events may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: u16,
    pub content_type: String,
    /// What the document is, or what each event of a watch says; of events alike that follow each other only the first.
    pub says: Vec<String>,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn whole(response: Response<Body>) -> Self {
        let mut answer = Self::begun(&response);
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        answer.says.extend(answer.document(&body));
        answer
    }

    /// Reads the initial events of a watch; it must end them.
    pub async fn initial(response: Response<Body>) -> Self {
        let mut answer = Self::begun(&response);
        let mut body = response.into_body();
        let mut unread = Vec::new();
        let all = async {
            loop {
                while let Some(event) = answer.next_event(&mut unread) {
                    let (said, is_end) = answer.event(&event);
                    if answer.says.last() != Some(&said) {
                        answer.says.push(said);
                    }
                    if is_end {
                        return;
                    }
                }
                let frame = body.frame().await.expect("a bookmark before the end");
                let frame = frame.expect("a frame").into_data();
                unread.extend_from_slice(&frame.unwrap_or_default());
            }
        };
        let ended = tokio::time::timeout(PATIENCE, all).await;
        assert!(ended.is_ok(), "no bookmark ends {answer:?}");
        answer
    }

    fn begun(response: &Response<Body>) -> Self {
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map_or("", |it| it.to_str().expect("a text"));
        Self {
            code: response.status().as_u16(),
            content_type: content_type.to_owned(),
            says: Vec::new(),
        }
    }

    fn is_protobuf(&self) -> bool {
        self.content_type.starts_with(PROTOBUF)
    }

    /// Kind and version of a document that has one.
    fn document(&self, body: &[u8]) -> Option<String> {
        if self.is_protobuf() {
            return Some(enveloped_kind(body));
        }
        let is_json = self.content_type.starts_with(JSON);
        let document: Value = is_json.then(|| serde_json::from_slice(body).expect("JSON"))?;
        document["kind"].is_string().then(|| kind(&document))
    }

    /// Takes the next event that is there as a whole.
    fn next_event(&self, unread: &mut Vec<u8>) -> Option<Vec<u8>> {
        let (start, end) = if self.is_protobuf() {
            let bytes = *unread.first_chunk::<4>()?;
            (
                4,
                4 + usize::try_from(u32::from_be_bytes(bytes)).expect("it is small"),
            )
        } else {
            (0, 1 + unread.iter().position(|byte| *byte == b'\n')?)
        };
        if unread.len() < end {
            return None;
        }
        let event: Vec<u8> = unread.drain(..end).collect();
        Some(event[start..].to_vec())
    }

    /// What an event says, and whether it ends the initial ones.
    fn event(&self, event: &[u8]) -> (String, bool) {
        if self.is_protobuf() {
            let name = String::from_utf8_lossy(part(event, 1)).into_owned();
            let object = part(part(event, 2), 1);
            let is_end = object.windows(END.len()).any(|it| it == END.as_bytes());
            return (format!("{name} {}", enveloped_kind(object)), is_end);
        }
        let event: Value = serde_json::from_slice(event).expect("JSON");
        let object = &event["object"];
        let is_end = object["metadata"]["annotations"][END] == "true";
        let name = event["type"].as_str().expect("a type");
        (format!("{name} {}", kind(object)), is_end)
    }
}

fn kind(document: &Value) -> String {
    let text = |name: &str| document[name].as_str().unwrap_or_default();
    format!("{} {}", text("apiVersion"), text("kind"))
}

/// Kind and version of what is in a `runtime.Unknown`.
fn enveloped_kind(body: &[u8]) -> String {
    let meta = part(body.strip_prefix(b"k8s\0").expect("an envelope"), 1);
    let text = |number| String::from_utf8_lossy(part(meta, number)).into_owned();
    format!("{} {}", text(1), text(2))
}

/// A field of a message that has a length.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|it| *it < 0x80);
    [&[number << 3 | 2, length.expect("it is short")], content].concat()
}

/// The first field of that number, which has a length; nothing if there is none.
fn part(mut message: &[u8], wanted: u64) -> &[u8] {
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            2 => usize::try_from(varint(&mut message)).expect("it is small"),
            other => panic!("no field of type {other} comes before"),
        };
        let (content, rest) = message.split_at(length);
        if key >> 3 == wanted {
            return content;
        }
        message = rest;
    }
    &[]
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = message.split_first().expect("a whole number");
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}
