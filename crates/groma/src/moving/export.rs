//! Reading all of it, page by page.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use apiserver::store::backup::Writer;
use apiserver::store::sealed::Sealer;
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::{Kind, beside, own};
use crate::backup::Unfinished;

/// Objects of one page.
const PAGE: u32 = 500;

/// The label by which what was installed is known.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Options of `groma export`.
#[derive(Debug, Args)]
pub struct Exporting {
    /// Where it goes; a file that is there is replaced once the new one is whole
    file: PathBuf,
    /// Keys that seal Secrets in it, as those of `groma serve --secret-keys`; made when the file is not there
    #[arg(long, value_name = "FILE")]
    secret_keys: PathBuf,
}

/// What was read.
struct Read {
    /// By their keys in a store.
    objects: Vec<(String, Value)>,
    /// The newest version of all lists.
    revision: u64,
}

/// Writes what Groma keeps there.
pub async fn export(options: &Exporting, access: &cli::Access) -> anyhow::Result<()> {
    let sealer = Sealer::open(&options.secret_keys).map_err(|why| {
        let keys = options.secret_keys.display();
        anyhow::anyhow!(
            "cannot take the keys of Secrets from {keys}: {}",
            api::chain(&why)
        )
    })?;
    let server = access.server().await?;
    let read = all(&server.client).await;
    let Read {
        mut objects,
        revision,
    } = read.map_err(|error| server.explain(error))?;
    objects.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut unfinished = Unfinished::new(&options.file)?;
    let now = format!("{:.0}", Timestamp::now());
    let (mut writer, mut lines) = Writer::begin(now, revision, revision);
    for (key, object) in &objects {
        let text = Bytes::from(object.to_string());
        writer.object(&mut lines, key, &sealer.sealed(key, &text));
        unfinished.file.write_all(&lines)?;
        lines.clear();
    }
    unfinished.file.write_all(&writer.end())?;
    unfinished.finish()?;
    println!("{} has {} objects", options.file.display(), objects.len());
    Ok(())
}

async fn all(client: &Client) -> anyhow::Result<Read> {
    let mut read = Read {
        objects: Vec::new(),
        revision: 0,
    };
    for kind in own() {
        read.list(client, &kind, None).await?;
    }
    let of_objects = read
        .objects
        .iter()
        .filter_map(|(_, object)| object["metadata"]["namespace"].as_str());
    let namespaces: BTreeSet<String> = of_objects.map(str::to_owned).collect();
    for kind in beside() {
        for namespace in &namespaces {
            read.list(client, &kind, Some(namespace)).await?;
        }
    }
    Ok(read)
}

impl Read {
    /// Takes all objects of a kind, or those that concern a namespace.
    async fn list(
        &mut self,
        client: &Client,
        kind: &Kind,
        namespace: Option<&str>,
    ) -> anyhow::Result<()> {
        let objects: Api<DynamicObject> = match namespace.filter(|_| kind.namespaced) {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource),
            None => Api::all_with(client.clone(), &kind.resource),
        };
        let mut page = ListParams::default().limit(PAGE);
        if let Some(namespace) = namespace.filter(|_| !kind.namespaced) {
            page = page.fields(&format!("metadata.name={namespace}"));
        }
        loop {
            let list = objects.list(&page).await;
            let list = list.with_context(|| format!("cannot read {}", kind.resource.plural))?;
            let version = list.metadata.resource_version.unwrap_or_default();
            self.revision = self.revision.max(version.parse().unwrap_or_default());
            for object in list.items.into_iter().filter(|it| !is_installed(kind, it)) {
                self.take(kind, object)?;
            }
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, kind: &Kind, object: DynamicObject) -> anyhow::Result<()> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if object.metadata.uid.is_none() {
            bail!(
                "{} {name} has no uid: this is no API server of Kubernetes",
                kind.resource.plural
            );
        }
        let mut value = serde_json::to_value(object)?;
        // Items of lists need not say it.
        value["apiVersion"] = kind.resource.api_version.clone().into();
        value["kind"] = kind.resource.kind.clone().into();
        let (group, plural) = (&kind.resource.group, &kind.resource.plural);
        self.objects
            .push((format!("{group}/{plural}/{namespace}/{name}"), value));
        Ok(())
    }
}

/// Whether `groma install` has put it there: it is of one home. The namespace is of all.
fn is_installed(kind: &Kind, object: &DynamicObject) -> bool {
    let by = object.labels().get(MANAGED_BY).map(String::as_str);
    by == Some("groma") && kind.namespaced && kind.resource.group != api::GROUP
}
