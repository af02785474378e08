//! `groma install`: makes a Kubernetes cluster a home for Groma's controllers: definitions, who may do what, admission.
//!
//! All is first tried without effect, so that what lacks is told at once and a cluster is not left half prepared. Then it
//! is applied by the server (server-side apply) as one manager: the same again changes nothing, a newer program changes
//! what is new in it, and what others wrote beside it stays. Nothing is removed.

mod rights;

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::kinds::Kinds;
use crate::output::{self, Out, Output};
use crate::{Access, explained};

pub use rights::lacking;

/// The name of the controllers' account and roles, and of the Lease by which they agree on who leads.
pub const CONTROLLERS: &str = "groma-controllers";
/// Accounts, roles and their bindings.
const ACCESS: &str = include_str!("install/access.yaml");
/// What a host must not write, and what nobody may delete in passing.
const ADMISSION: &str = include_str!("install/admission.yaml");
/// Who writes, as the server records it.
const MANAGER: &str = "groma";
/// The oldest server: selectable fields of own kinds are for everyone since 1.32, admission policies since 1.30.
const MINOR_MIN: u32 = 32;
/// What the version of Groma's own server ends with.
const OWN_SERVER: &str = "+groma-";
/// How long a definition may take to be served.
const ESTABLISHED: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Created,
    Changed,
    Unchanged,
}

/// Prints all that is installed.
pub fn print(out: Out<'_>) -> anyhow::Result<()> {
    for document in documents()? {
        writeln!(out, "---")?;
        output::print(out, &document, Output::Yaml)?;
    }
    Ok(())
}

/// Installs, or with `dry_run` only says what would become of each object.
pub async fn install(out: Out<'_>, access: &Access, dry_run: bool) -> anyhow::Result<()> {
    let server = access.server().await?;
    let done = install_on(out, &server.client, dry_run).await;
    done.map_err(|error| server.explain(error))
}

async fn install_on(out: Out<'_>, client: &Client, dry_run: bool) -> anyhow::Result<()> {
    check_server(client).await?;
    let documents = documents()?;
    let installer = Installer {
        client,
        kinds: Kinds::discover(client).await?,
    };
    let tried = installer.try_all(&documents).await?;
    if dry_run {
        for (document, outcome) in documents.iter().zip(tried) {
            writeln!(out, "{} {} (dry run)", name(document), told(outcome))?;
        }
        return Ok(());
    }
    for document in &documents {
        let outcome = installer.apply(document, false).await?;
        writeln!(out, "{} {}", name(document), told(Some(outcome)))?;
    }
    for definition in documents.iter().filter(|it| is_definition(it)) {
        installer.until_served(definition).await?;
    }
    until_listed(client).await?;
    writeln!(out, "all definitions are served")?;
    Ok(())
}

/// Refuses servers that cannot be a home.
///
/// # Errors
/// What lacks, and what would do.
pub async fn check_server(client: &Client) -> anyhow::Result<()> {
    let version = client.apiserver_version().await?;
    let told = &version.git_version;
    if told.contains(OWN_SERVER) {
        bail!(
            "the server is Groma's own ({told}), which brings its definitions and runs its controllers; give the --kubeconfig \
             of a Kubernetes cluster"
        );
    }
    let digits = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    let parsed = digits(&version.major).zip(digits(&version.minor));
    match parsed {
        Some(parsed) if parsed >= (1, MINOR_MIN) => Ok(()),
        _ => bail!("the server is {told}; it must be Kubernetes 1.{MINOR_MIN} or newer"),
    }
}

/// The definitions that the server does not serve; everyone may ask that.
///
/// # Errors
/// If it does not answer.
pub async fn missing(client: &Client) -> anyhow::Result<Vec<String>> {
    unlisted(client, &plurals()).await
}

/// The names of all kinds.
fn plurals() -> Vec<String> {
    let all = api::crds().into_iter();
    all.map(|it| it.spec.names.plural).collect()
}

async fn unlisted(client: &Client, plurals: &[String]) -> anyhow::Result<Vec<String>> {
    let group_version = format!("{}/{}", api::GROUP, api::VERSION);
    let served = match client.list_api_group_resources(&group_version).await {
        Ok(list) => list.resources,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let lacks = |plural: &&String| !served.iter().any(|it| it.name == **plural);
    let missing = plurals.iter().filter(lacks);
    Ok(missing.map(|it| format!("{it}.{}", api::GROUP)).collect())
}

/// Waits until the server lists all kinds, as who looks for them asks: it does so only a moment after it serves them.
async fn until_listed(client: &Client) -> anyhow::Result<()> {
    let (begun, plurals) = (Instant::now(), plurals());
    loop {
        let missing = unlisted(client, &plurals).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > ESTABLISHED {
            let (missing, seconds) = (missing.join(", "), ESTABLISHED.as_secs());
            bail!("the server does not list {missing} after {seconds} s");
        }
        sleep(LOOK).await;
    }
}

/// All that is installed, in the order in which it is.
fn documents() -> anyhow::Result<Vec<Value>> {
    let mut all = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api::SYSTEM_NAMESPACE},
    })];
    for definition in api::crds() {
        all.push(serde_json::to_value(definition)?);
    }
    // Nobody gets a right before what confines it is there.
    for text in [ADMISSION, ACCESS] {
        all.extend(api::documents(text).map_err(|error| anyhow!(api::chain(&error)))?);
    }
    for document in &mut all {
        document["metadata"]["labels"]["app.kubernetes.io/managed-by"] = MANAGER.into();
    }
    Ok(all)
}

fn is_definition(document: &Value) -> bool {
    document["kind"] == "CustomResourceDefinition"
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    let found = document.pointer(pointer);
    found.and_then(Value::as_str).unwrap_or_default()
}

/// Kind and name, as they are told.
fn name(document: &Value) -> String {
    let (kind, name) = (text(document, "/kind"), text(document, "/metadata/name"));
    format!("{}/{name}", kind.to_lowercase())
}

fn told(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Created) | None => "created",
        Some(Outcome::Changed) => "changed",
        Some(Outcome::Unchanged) => "unchanged",
    }
}

/// A server, and what kinds it has.
struct Installer<'a> {
    client: &'a Client,
    kinds: Kinds,
}

impl Installer<'_> {
    /// What would become of each object; of those in a namespace that is still to be made it cannot be tried.
    async fn try_all(&self, documents: &[Value]) -> anyhow::Result<Vec<Option<Outcome>>> {
        let has_namespace = self.exists(&documents[0]).await?;
        let (mut outcomes, mut problems) = (Vec::new(), Vec::new());
        for document in documents {
            let inside = document.pointer("/metadata/namespace").is_some();
            if inside && !has_namespace {
                outcomes.push(None);
                continue;
            }
            match self.apply(document, true).await {
                Ok(outcome) => outcomes.push(Some(outcome)),
                Err(error) => match answer(&error) {
                    Some(code) => problems.push((code, explained(&error))),
                    None => return Err(error),
                },
            }
        }
        if problems.is_empty() {
            return Ok(outcomes);
        }
        let advice = match problems.iter().any(|(code, _)| *code == 403) {
            true => {
                "\nuse an account that may do this, such as that of the cluster's administrator"
            }
            false => "",
        };
        let problems: Vec<String> = problems.into_iter().map(|(_, why)| why).collect();
        bail!("nothing was changed:\n  {}{advice}", problems.join("\n  "))
    }

    async fn exists(&self, document: &Value) -> anyhow::Result<bool> {
        let api = self.api(document)?;
        let found = api.get_opt(text(document, "/metadata/name")).await;
        Ok(found
            .with_context(|| format!("cannot read {}", name(document)))?
            .is_some())
    }

    /// Has the server apply an object; says what became of it, or would.
    async fn apply(&self, document: &Value, dry_run: bool) -> anyhow::Result<Outcome> {
        let (api, what) = (self.api(document)?, || {
            format!("cannot apply {}", name(document))
        });
        let own_name = text(document, "/metadata/name");
        let before = api.get_opt(own_name).await.with_context(what)?;
        // What Groma installs is Groma's, whoever changed it since.
        let mut how = PatchParams::apply(MANAGER).force();
        how.dry_run = dry_run;
        let after = api.patch(own_name, &how, &Patch::Apply(document)).await;
        let after = after.with_context(what)?;
        Ok(match before {
            None => Outcome::Created,
            Some(before) if content(&before) == content(&after) => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        })
    }

    fn api(&self, document: &Value) -> anyhow::Result<kube::Api<DynamicObject>> {
        let namespace = document.pointer("/metadata/namespace");
        let namespace = namespace.and_then(Value::as_str);
        Ok(self.kinds.of(document)?.api(self.client, namespace))
    }

    /// Waits until the server has accepted the names of a definition and serves its objects.
    async fn until_served(&self, definition: &Value) -> anyhow::Result<()> {
        let (api, own_name) = (self.api(definition)?, text(definition, "/metadata/name"));
        let begun = Instant::now();
        loop {
            let found = api.get(own_name).await?;
            let (established, _) = condition(&found, "Established");
            let (accepted, why) = condition(&found, "NamesAccepted");
            if established == "True" {
                return Ok(());
            }
            if accepted == "False" {
                bail!("the server does not serve {own_name}: {why}");
            }
            if begun.elapsed() > ESTABLISHED {
                let seconds = ESTABLISHED.as_secs();
                bail!("the server does not serve {own_name} after {seconds} s");
            }
            sleep(LOOK).await;
        }
    }
}

/// The code of an answer that refuses, if the server answered at all.
fn answer(error: &anyhow::Error) -> Option<u16> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    })
}

/// An object without what the server alone writes.
fn content(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    object.metadata.resource_version = None;
    object.metadata.generation = None;
    object
}

/// The status and the message of a condition.
fn condition<'a>(object: &'a DynamicObject, type_: &str) -> (&'a str, &'a str) {
    let conditions = object.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == type_);
    found.map_or(("", ""), |it| (text(it, "/status"), text(it, "/message")))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    /// A server that lists one kind more each time it is asked, `most` in the end.
    fn slow_server(most: usize) -> Client {
        let kind = |it: &CustomResourceDefinition| {
            let names = &it.spec.names;
            json!({"name": names.plural, "kind": names.kind, "singularName": "", "namespaced": true, "verbs": ["get"]})
        };
        let all: Arc<[Value]> = api::crds().iter().map(kind).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = move |_: Request<Body>| {
            let n = asked.fetch_add(1, Ordering::Relaxed).min(most);
            let listed = &all[..n];
            let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "groma.dev/v1alpha1", "resources": listed});
            let answer = Response::new(Body::from(list.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(answer) }
        };
        Client::new(service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_done_when_the_server_lists_all_kinds() {
        let n_all = api::crds().len();
        let client = slow_server(n_all);
        until_listed(&client).await.expect("they come");
        assert_eq!(missing(&client).await.expect("it answers"), [""; 0]);
        let error = until_listed(&slow_server(n_all - 1)).await;
        let error = error.expect_err("one never comes").to_string();
        assert_eq!(
            error,
            "the server does not list workloads.groma.dev after 60 s"
        );
    }

    #[test]
    fn the_namespace_comes_first_and_definitions_before_what_names_them() {
        let all = documents().expect("they parse");
        let kinds: Vec<_> = all.iter().map(|it| text(it, "/kind")).collect();
        let mut blocks = kinds.clone();
        blocks.dedup();
        assert_eq!(blocks[..2], ["Namespace", "CustomResourceDefinition"]);
        let first = |end: &str| kinds.iter().position(|kind| kind.ends_with(end));
        let last_policy = kinds
            .iter()
            .rposition(|kind| kind.starts_with("ValidatingAdmission"));
        assert!(
            last_policy < first("RoleBinding"),
            "rights come last: {kinds:?}"
        );
        let n_definitions = kinds.iter().filter(|it| **it == "CustomResourceDefinition");
        assert_eq!(n_definitions.count(), api::crds().len());
    }

    #[test]
    fn every_kind_that_is_named_in_a_rule_exists() {
        let plurals: Vec<_> = api::crds()
            .into_iter()
            .map(|it| it.spec.names.plural)
            .collect();
        let all = documents().expect("they parse");
        let rules = all.iter().filter_map(|it| it["rules"].as_array()).flatten();
        for rule in rules.filter(|rule| rule["apiGroups"] == json!([api::GROUP])) {
            for resource in rule["resources"].as_array().expect("a list") {
                let resource = resource.as_str().expect("a text");
                let plural = resource.split('/').next().unwrap_or_default();
                assert!(
                    plural == "*" || plurals.iter().any(|it| it == plural),
                    "{resource}"
                );
            }
        }
    }
}
