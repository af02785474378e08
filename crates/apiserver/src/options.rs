//! `DeleteOptions`: how an object is to go, from the body and the query of a deletion.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use crate::decode;
use crate::deletion::Preconditions;
use crate::failure::Failure;
use crate::query::{ONE_PROPAGATION, Propagation, Query, orphan, propagation};

/// How an object is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) preconditions: Preconditions,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

/// As it travels. What is unknown is refused as in a query: a misspelt `dryRun` would delete.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Given {
    kind: String,
    #[serde(rename = "apiVersion")]
    _api_version: String,
    grace_period_seconds: Option<i64>,
    preconditions: Option<GivenPreconditions>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
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
                let options = decode::delete_options(headers, body)?;
                Given::deserialize(options).map_err(|error| {
                    Failure::bad_request(format!("the body is no DeleteOptions: {error}"))
                })?
            }
        };
        given.check().map_err(|why| {
            Failure::new(422, "Invalid", format!("DeleteOptions is invalid: {why}"))
        })?;
        let in_body = given.propagation_policy.as_deref().map(propagation);
        let in_body = in_body.and_then(Result::ok);
        let in_body = in_body.or(given.orphan_dependents.map(orphan));
        let preconditions = given.preconditions.unwrap_or_default();
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

impl Given {
    /// The rules of Kubernetes, and that nothing is asked that means nothing.
    fn check(&self) -> Result<(), String> {
        if !matches!(self.kind.as_str(), "" | "DeleteOptions") {
            return Err(format!("kind: {:?} must be \"DeleteOptions\"", self.kind));
        }
        if let Some(policy) = &self.propagation_policy {
            propagation(policy).map_err(|why| format!("propagationPolicy: {policy:?} {why}"))?;
        }
        if self.propagation_policy.is_some() && self.orphan_dependents.is_some() {
            return Err(ONE_PROPAGATION.to_owned());
        }
        // Objects here stop nothing themselves, so every grace period is honoured by deleting at once.
        if let Some(seconds) = self.grace_period_seconds.filter(|seconds| *seconds < 0) {
            return Err(format!(
                "gracePeriodSeconds: {seconds} must not be negative"
            ));
        }
        let runs = self.dry_run.iter().flatten();
        match runs.into_iter().find(|run| *run != "All") {
            Some(run) => Err(format!("dryRun: {run:?} must be \"All\"")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &Value) -> Result<DeleteOptions, Failure> {
        let body = Bytes::from(body.to_string());
        DeleteOptions::parse(&Query::default(), &HeaderMap::new(), &body)
    }

    #[test]
    fn options_of_clients_are_read() {
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground", "preconditions": {"uid": "1"}, "dryRun": ["All"]});
        let options = parse(&body).expect("all of it is honoured");
        assert!(options.dry_run);
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.preconditions.uid.as_deref(), Some("1"));
        let orphans = parse(&json!({"orphanDependents": true})).expect("the older way");
        assert_eq!(orphans.propagation, Some(Propagation::Orphan));
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        let cases = [
            (json!({"dryrun": ["All"]}), 400),
            (json!({"preconditions": {"resourceVersoin": "1"}}), 400),
            (json!({"kind": "ConfigMap"}), 422),
            (json!({"dryRun": ["all"]}), 422),
            (json!({"gracePeriodSeconds": -1}), 422),
            (json!({"propagationPolicy": "Never"}), 422),
            (
                json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
                422,
            ),
        ];
        for (body, code) in cases {
            assert_eq!(parse(&body).expect_err("refused").code, code, "{body}");
        }
    }
}
