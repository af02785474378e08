//! `DeleteOptions`: how an object is to go, from the body and the query of a deletion.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use crate::decode;
use crate::deletion::Preconditions;
use crate::failure::{Cause, Failure};
use crate::query::{Fate, Propagation, Query, no_run};

/// How an object is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) preconditions: Preconditions,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
    /// Whether the client is told by the code of the answer that something still holds the object: whoever says in the
    /// older way that dependents go, too, expects that.
    pub(crate) tells_rest: bool,
}

/// As it travels. What is unknown is refused as in a query: a misspelt `dryRun` would delete.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Given {
    kind: String,
    #[serde(rename = "apiVersion")]
    _api_version: String,
    // Objects here stop nothing themselves, so every grace period is honoured by deleting at once.
    #[serde(rename = "gracePeriodSeconds")]
    _grace_period_seconds: Option<i64>,
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
        given.check_kind()?;
        let in_body = given.fate();
        let checked = in_body.propagation().and_then(|_| given.check_run());
        checked.map_err(|cause| Failure::delete_options(&cause))?;
        // The body counts where the query says nothing.
        let fate = match query.fate.is_said() {
            true => &query.fate,
            false => &in_body,
        };
        let propagation = fate.propagation();
        let preconditions = given.preconditions.unwrap_or_default();
        Ok(Self {
            preconditions: Preconditions {
                uid: preconditions.uid,
                resource_version: preconditions.resource_version,
            },
            propagation: propagation.map_err(|cause| Failure::delete_options(&cause))?,
            dry_run: query.dry_run || given.dry_run.is_some_and(|list| !list.is_empty()),
            tells_rest: fate.orphans == Some(false),
        })
    }
}

impl Given {
    fn check_kind(&self) -> Result<(), Failure> {
        match self.kind.as_str() {
            "" | "DeleteOptions" => Ok(()),
            kind => Err(Failure::bad_request(format!(
                "the body is no DeleteOptions but a {kind}"
            ))),
        }
    }

    fn fate(&self) -> Fate {
        Fate {
            policy: self.propagation_policy.clone(),
            orphans: self.orphan_dependents,
        }
    }

    fn check_run(&self) -> Result<(), Cause> {
        let runs = self.dry_run.as_deref().unwrap_or_default();
        let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
        match runs.iter().all(|run| *run == "All") {
            true => Ok(()),
            false => Err(no_run(&runs)),
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
            (json!({"kind": "ConfigMap"}), 400),
            (json!({"dryRun": ["all"]}), 422),
            (json!({"gracePeriodSeconds": "soon"}), 400),
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
