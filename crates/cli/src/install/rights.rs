//! Whether an account has the rights that Groma's controllers need, asked of the server before they start: a controller
//! without a right would only try again and again.

use anyhow::anyhow;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::{ACCESS, CONTROLLERS, text};

/// So many questions are asked at a time.
const ASKED_MAX: usize = 16;

/// The rights of the controllers that this account lacks, one a line; none if it has all.
///
/// # Errors
/// If the server does not answer.
pub async fn lacking(client: &Client) -> anyhow::Result<Vec<String>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let ask = async |right: ResourceAttributes| {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(right.clone()),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        Ok::<_, kube::Error>((!allowed).then(|| told(&right)))
    };
    let asked = stream::iter(needed()?).map(ask).buffered(ASKED_MAX);
    let lacking: Vec<Option<String>> = asked.try_collect().await?;
    Ok(lacking.into_iter().flatten().collect())
}

/// `patch hosts/status.groma.dev`
fn told(right: &ResourceAttributes) -> String {
    let word = |field: &Option<String>| field.clone().unwrap_or_default();
    let part = right.subresource.as_ref();
    let part = part.map(|part| format!("/{part}")).unwrap_or_default();
    let place = right.namespace.as_ref();
    let place = place
        .map(|it| format!(" in namespace {it}"))
        .unwrap_or_default();
    let (verb, resource, group) = (word(&right.verb), word(&right.resource), word(&right.group));
    format!("{verb} {resource}{part}.{group}{place}")
}

/// All rights of the controllers' roles.
fn needed() -> anyhow::Result<Vec<ResourceAttributes>> {
    let documents = api::documents(ACCESS).map_err(|error| anyhow!(api::chain(&error)))?;
    let is_role = |it: &&Value| it["rules"].is_array() && text(it, "/metadata/name") == CONTROLLERS;
    let mut rights = Vec::new();
    for role in documents.iter().filter(is_role) {
        let namespace = role.pointer("/metadata/namespace").and_then(Value::as_str);
        for rule in role["rules"].as_array().into_iter().flatten() {
            for resource in words(&rule["resources"]).flat_map(expanded) {
                let (resource, part) = match resource.split_once('/') {
                    Some((resource, part)) => (resource.to_owned(), Some(part.to_owned())),
                    None => (resource, None),
                };
                rights.extend(words(&rule["verbs"]).map(|verb| ResourceAttributes {
                    group: words(&rule["apiGroups"]).next().map(str::to_owned),
                    resource: Some(resource.clone()),
                    subresource: part.clone(),
                    verb: Some(verb.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }));
            }
        }
    }
    Ok(rights)
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Whoever may do something with each kind may do it with all, even if no rule says `*`.
fn expanded(resource: &str) -> Vec<String> {
    match resource {
        "*" => api::crds()
            .into_iter()
            .map(|it| it.spec.names.plural)
            .collect(),
        // Only some clusters ask for it, and these say so when an object is made.
        _ if resource.ends_with("/finalizers") => Vec::new(),
        _ => vec![resource.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_told_as_a_person_would_grant_it() {
        let told: Vec<_> = needed()
            .expect("the roles parse")
            .iter()
            .map(told)
            .collect();
        for right in [
            "watch hosts.groma.dev",
            "patch hosts/status.groma.dev",
            "update leases.coordination.k8s.io in namespace groma-system",
        ] {
            assert!(
                told.iter().any(|it| it == right),
                "{right} is not in {told:?}"
            );
        }
        assert!(!told.iter().any(|it| it.contains('*')), "{told:?}");
    }
}
