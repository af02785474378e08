//! The same requests to a real kube-apiserver and to ours: the answers must be the same.
//!
//! What differs by its nature (uids, versions, times) is hidden; everything else counts, the order of lists and the words
//! of refusals included.

mod access;
mod admission;
#[path = "../../../apiserver/tests/protocol/answer.rs"]
mod answer;
mod apply;
mod built_ins;
mod definitions;
mod deletion;
mod documents;
#[path = "../../../apiserver/tests/protocol/hook.rs"]
mod hook;
mod kinds;
mod kubernetes;
mod pair;
mod protobuf;
mod reading;
#[path = "../../../apiserver/tests/protocol/recorded.rs"]
mod recorded;
mod replay;
mod rules;
mod scale;
mod watching;
