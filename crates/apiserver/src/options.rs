//! `DeleteOptions`: how an object is to go, from the body and the query of a deletion.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use crate::decode;
use crate::deletion::Preconditions;
use crate::failure::Failure;
use crate::query::{Propagation, Query, orphan, propagation};

/// How an object is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) preconditions: Preconditions,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    preconditions: Option<GivenPreconditions>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GivenPreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body, with what the query says on top.
    pub(crate) fn parse(query: &Query, headers: &HeaderMap, body: &Bytes) -> Result<Self, Failure> {
        let given: Given = match body.is_empty() {
            true => Given::default(),
            false => {
                decode::refuse_foreign(headers)?;
                serde_json::from_slice(body).map_err(|error| {
                    Failure::bad_request(format!("the body is no DeleteOptions: {error}"))
                })?
            }
        };
        let preconditions = given.preconditions.unwrap_or_default();
        let policy = given
            .propagation_policy
            .as_deref()
            .filter(|policy| !policy.is_empty());
        let policy = policy
            .map(propagation)
            .transpose()
            .map_err(|why| Failure::bad_request(format!("propagationPolicy: {why}")))?;
        let in_body = policy.or(given.orphan_dependents.map(orphan));
        Ok(Self {
            preconditions: Preconditions {
                uid: preconditions.uid,
                resource_version: preconditions.resource_version,
            },
            propagation: query.propagation.or(in_body),
            dry_run: query.dry_run || given.dry_run.is_some_and(|list| !list.is_empty()),
        })
    }
}
