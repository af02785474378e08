//! Writing all of it into a home that has nothing of Groma's yet, before its controllers run there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use apiserver::store::backup;
use apiserver::store::sealed::Sealer;
use clap::Args;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::{Kind, beside, own};

/// Who writes, as the server records it.
const MANAGER: &str = "groma-import";
/// What every namespace is given anyway.
const GIVEN: [(&str, &str); 2] = [
    ("serviceaccounts", "default"),
    ("configmaps", "kube-root-ca.crt"),
];
/// Secrets of that type belong to the server that made them.
const OF_ONE_SERVER: &str = "kubernetes.io/service-account-token";

/// Options of `groma import`.
#[derive(Debug, Args)]
pub struct Importing {
    /// What `groma export` or `groma backup` has written
    file: PathBuf,
    /// Keys that open the Secrets in it
    #[arg(long, value_name = "FILE")]
    secret_keys: PathBuf,
}

/// An object on its way.
struct Item {
    kind: Kind,
    object: DynamicObject,
    /// Its uid where it comes from.
    uid: String,
    /// Those of its owners.
    owners: BTreeSet<String>,
}

/// Puts everything there.
pub async fn import(options: &Importing, access: &cli::Access) -> anyhow::Result<()> {
    let items = in_order(read(options)?)?;
    let server = access.server().await?;
    let done = put(&server.client, items).await;
    let n = done.map_err(|error| server.explain(error))?;
    println!("{n} objects are there; the controllers may run now");
    Ok(())
}

fn read(options: &Importing) -> anyhow::Result<Vec<Item>> {
    let told = |why: apiserver::store::Error| anyhow!(api::chain(&why));
    let keys = || {
        format!(
            "cannot take the keys of Secrets from {}",
            options.secret_keys.display()
        )
    };
    let text = std::fs::read_to_string(&options.secret_keys).with_context(keys)?;
    let sealer = Sealer::parse(&text).map_err(told).with_context(keys)?;
    let what = || format!("cannot import {}", options.file.display());
    let source = BufReader::new(File::open(&options.file).with_context(what)?);
    let (_, content) = backup::read(source).map_err(told).with_context(what)?;
    let mut items = Vec::new();
    for (key, value) in content.entries {
        let Some(kind) = kind_of(&key) else {
            continue;
        };
        let value = sealer
            .opened(&key, value)
            .map_err(told)
            .with_context(what)?;
        let object: DynamicObject = serde_json::from_slice(&value).with_context(what)?;
        items.push(Item::of(kind, object));
    }
    // Of a backup, which has everything, only what is Groma's and beside it.
    let namespaces: BTreeSet<String> = items
        .iter()
        .filter(|item| item.is_own())
        .filter_map(|item| item.object.namespace())
        .collect();
    items.retain(|item| item.is_own() || item.is_moved(&namespaces));
    Ok(items)
}

fn kind_of(key: &str) -> Option<Kind> {
    let (group, rest) = key.split_once('/')?;
    let plural = rest.split('/').next()?;
    let is_it = |kind: &Kind| kind.resource.group == group && kind.resource.plural == plural;
    own().into_iter().chain(beside()).find(is_it)
}

impl Item {
    fn of(kind: Kind, object: DynamicObject) -> Self {
        let owners = object.owner_references().iter();
        Self {
            owners: owners.map(|owner| owner.uid.clone()).collect(),
            uid: object.uid().unwrap_or_default(),
            kind,
            object,
        }
    }

    fn is_own(&self) -> bool {
        self.kind.resource.group == api::GROUP
    }

    fn is_moved(&self, namespaces: &BTreeSet<String>) -> bool {
        let name = self.object.name_any();
        let plural = self.kind.resource.plural.as_str();
        let namespace = match plural {
            "namespaces" => name.clone(),
            _ => self.object.namespace().unwrap_or_default(),
        };
        let is_given = GIVEN.contains(&(plural, name.as_str()));
        let is_bound = self.object.data["type"] == OF_ONE_SERVER;
        namespaces.contains(&namespace) && !is_given && !is_bound
    }

    fn what(&self) -> String {
        let namespace = self.object.namespace();
        let namespace = namespace.map(|it| format!("{it}/")).unwrap_or_default();
        format!(
            "{} {namespace}{}",
            self.kind.resource.kind,
            self.object.name_any()
        )
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match self.object.namespace() {
            Some(namespace) => {
                Api::namespaced_with(client.clone(), &namespace, &self.kind.resource)
            }
            None => Api::all_with(client.clone(), &self.kind.resource),
        }
    }
}

/// Namespaces first, then what is beside Groma's objects, then those, each after its owners; what bounds them comes last.
fn in_order(items: Vec<Item>) -> anyhow::Result<Vec<Item>> {
    let known: BTreeSet<String> = items.iter().map(|item| item.uid.clone()).collect();
    let rank = |item: &Item| match item.kind.resource.plural.as_str() {
        "namespaces" => 0,
        "limitranges" | "resourcequotas" => 3,
        _ if item.is_own() => 2,
        _ => 1,
    };
    let mut waiting = items;
    waiting.sort_by_key(rank);
    let (mut placed, mut ordered) = (BTreeSet::new(), Vec::new());
    while !waiting.is_empty() {
        let is_ready = |item: &Item| {
            let mut owners = item.owners.iter();
            owners.all(|owner| placed.contains(owner) || !known.contains(owner))
        };
        let (ready, later): (Vec<Item>, Vec<Item>) = waiting.into_iter().partition(is_ready);
        if let (true, Some(first)) = (ready.is_empty(), later.first()) {
            bail!("{} is owned by what it owns itself", first.what());
        }
        placed.extend(ready.iter().map(|item| item.uid.clone()));
        ordered.extend(ready);
        waiting = later;
    }
    Ok(ordered)
}

async fn put(client: &Client, items: Vec<Item>) -> anyhow::Result<usize> {
    is_empty(client).await?;
    let (mut uids, mut leaving) = (BTreeMap::new(), Vec::new());
    let n = items.len();
    for item in items {
        let made = make(client, &item, &uids).await;
        let made = made.with_context(|| format!("cannot import {}", item.what()))?;
        uids.insert(item.uid.clone(), made);
        if item.object.metadata.deletion_timestamp.is_some() {
            leaving.push(item);
        }
    }
    for item in leaving {
        let (objects, name) = (item.api(client), item.object.name_any());
        let deleted = objects.delete(&name, &DeleteParams::background()).await;
        deleted.with_context(|| format!("cannot go on to delete {}", item.what()))?;
    }
    Ok(n)
}

/// Controllers would not know what to make of half of two homes.
async fn is_empty(client: &Client) -> anyhow::Result<()> {
    for kind in own() {
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource);
        let found = objects.list(&ListParams::default().limit(1)).await;
        let plural = &kind.resource.plural;
        let found = found.with_context(|| {
            format!("{plural} are not served there; on a cluster, `groma install` comes first")
        })?;
        if let Some(object) = found.items.first() {
            bail!(
                "there is {} {} already: import into a home without objects (one that broke off leaves some: delete the namespaces \
                 and all of Groma's objects, or take another home)",
                kind.resource.kind,
                object.name_any()
            );
        }
    }
    Ok(())
}

/// Makes an object, or finds that it is there; answers its uid.
async fn make(
    client: &Client,
    item: &Item,
    uids: &BTreeMap<String, String>,
) -> anyhow::Result<String> {
    let objects = item.api(client);
    let how = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let wanted = moved(&item.object, uids);
    let made = match objects.create(&how, &wanted).await {
        Err(kube::Error::Api(status)) if status.code == 409 && !item.is_own() => {
            objects.get(&item.object.name_any()).await?
        }
        made => made?,
    };
    let uid = made.uid().context("it has no uid")?;
    let status = item.object.data.get("status").filter(|_| item.kind.status);
    if let Some(status) = status {
        let patch = Patch::Merge(json!({"status": status}));
        let how = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = item.object.name_any();
        objects.patch_status(&name, &how, &patch).await?;
    }
    Ok(uid)
}

/// The object as it is made elsewhere: without what the server gives it, and owned by those that its owners have become.
fn moved(object: &DynamicObject, uids: &BTreeMap<String, String>) -> DynamicObject {
    let mut moved = object.clone();
    let metadata = &mut moved.metadata;
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.creation_timestamp = None;
    metadata.generation = None;
    metadata.managed_fields = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    // An owner that is not moved would be missed at once, and the object removed.
    if let Some(owners) = &mut metadata.owner_references {
        owners.retain_mut(|owner| match uids.get(&owner.uid) {
            Some(uid) => {
                owner.uid.clone_from(uid);
                true
            }
            None => false,
        });
    }
    moved
}
