//! Children: what differs between those that a plan wants and those that exist, and the writes that mend it.
//!
//! A child may have several owners; one of them, its controller, writes it. A controller that is being deleted hands
//! the child over if another owner lives on, else it deletes the child; any other owner that is being deleted waits
//! until the child names it no more.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use api::{Error, ErrorKind, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::patch::patch_meta;
use crate::child::{Child, owned_selector};
use crate::ctx::Ctx;
use crate::failure::failed;
use crate::object::{Kind, KindName, Object, ObjectRef, owner_uids};
use crate::reconcile::{Plan, Wait};

/// One difference.
pub(super) enum Change {
    /// The executor of this child is dead: its finalizer goes.
    Forget(Existing),
    Create(Arc<dyn Object>),
    /// The existing child and the whole of what it should be.
    Update(Arc<dyn Object>, Box<Value>),
    /// The child goes on under another owner.
    HandOver(Existing),
    Delete(Existing),
}

/// A child as the cache or the API shows it.
#[derive(Clone)]
pub(super) struct Existing {
    pub name: ObjectRef,
    pub meta: ObjectMeta,
}

/// A parent and the kinds of which it may have children.
pub(super) struct Family<'a> {
    parent: OwnerReference,
    namespace: Option<&'a str>,
    deleting: bool,
    owned: &'a BTreeSet<KindName>,
}

type Differences = (Vec<Change>, Vec<Wait>);

impl<'a> Family<'a> {
    pub fn of<K: Kind>(parent: &'a K, owned: &'a BTreeSet<KindName>) -> Self {
        let meta = parent.meta();
        Self {
            parent: parent
                .controller_owner_ref(&())
                .expect("an object from the API has a name and a uid"),
            namespace: meta.namespace.as_deref(),
            deleting: meta.deletion_timestamp.is_some(),
            owned,
        }
    }

    /// What differs, and which children must go before others can come.
    pub async fn compare<S>(&self, ctx: &Ctx, plan: &Plan<S>) -> Result<Differences> {
        // The cache may not know yet a child that was just created, so the looks before the finalizer goes are live.
        let existing = if self.deleting {
            self.live(ctx).await?
        } else {
            self.cached(ctx)
        };
        let (mut changes, mut waits) = (forget(ctx, plan, &existing)?, Vec::new());
        for child in &plan.children {
            self.compare_wanted(ctx, child, &mut changes, &mut waits)?;
        }
        let wanted: BTreeSet<ObjectRef> = plan.children.iter().map(Child::reference).collect();
        for child in existing
            .into_iter()
            .filter(|child| !wanted.contains(&child.name))
        {
            self.compare_unwanted(ctx, child, &mut changes, &mut waits);
        }
        Ok((changes, waits))
    }

    fn cached(&self, ctx: &Ctx) -> Vec<Existing> {
        let cache = ctx.cache();
        let children = cache
            .owned_by(&self.parent.uid)
            .filter(|(name, _)| self.owned.contains(&name.kind));
        children
            .map(|(name, child)| Existing {
                name: name.clone(),
                meta: child.metadata().clone(),
            })
            .collect()
    }

    async fn live(&self, ctx: &Ctx) -> Result<Vec<Existing>> {
        let mut found = Vec::new();
        let only =
            ListParams::default().labels(&owned_selector(&self.parent.uid, &self.parent.kind));
        for kind in self.owned {
            let (resource, namespaced) = {
                let cache = ctx.cache();
                let watched = cache.kind(kind).expect("a kind that is owned is watched");
                (watched.resource.clone(), watched.namespaced)
            };
            let api = ctx.api(&resource, self.namespace.filter(|_| namespaced));
            let list = api
                .list(&only)
                .await
                .map_err(failed(format!("list children of kind {kind}")))?;
            // Only the owner references make a child: a label may have been copied, and an orphan keeps it.
            let own = |meta: &ObjectMeta| owner_uids(meta).any(|uid| uid == self.parent.uid);
            let children = list.into_iter().filter(|child| own(&child.metadata));
            found.extend(children.map(|child| Existing {
                name: ObjectRef {
                    kind: kind.clone(),
                    namespace: child.metadata.namespace.clone(),
                    name: child.metadata.name.clone().unwrap_or_default(),
                },
                meta: child.metadata,
            }));
        }
        Ok(found)
    }

    fn compare_wanted(
        &self,
        ctx: &Ctx,
        child: &Child,
        changes: &mut Vec<Change>,
        waits: &mut Vec<Wait>,
    ) -> Result<()> {
        let name = child.reference();
        if !self.owned.contains(&name.kind) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("cannot own {name}: `uses` does not say so"),
            ));
        }
        if ctx.cache().is_unreadable(&name) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("cannot compare {name}: it exists and does not parse"),
            ));
        }
        let Some(existing) = ctx.find(&name) else {
            changes.push(Change::Create(child.owned(&self.parent)));
            return Ok(());
        };
        let meta = existing.metadata();
        let controlled_elsewhere = controller(meta).is_some_and(|uid| uid != self.parent.uid);
        if meta.deletion_timestamp.is_some() {
            waits.push(Wait::Object(name, "is being deleted".into()));
        } else if controlled_elsewhere || !owner_uids(meta).any(|uid| uid == self.parent.uid) {
            waits.push(Wait::Object(name, "belongs to another".into()));
        } else if !child.matches(&*existing, &self.parent) {
            let body = child.updated(&*existing, &self.parent);
            changes.push(Change::Update(existing, Box::new(body)));
        }
        Ok(())
    }

    fn compare_unwanted(
        &self,
        ctx: &Ctx,
        child: Existing,
        changes: &mut Vec<Change>,
        waits: &mut Vec<Wait>,
    ) {
        let controller = controller(&child.meta);
        let controls = controller == Some(self.parent.uid.as_str());
        let inherited = self.deleting && others_live(ctx, &child, &self.parent.uid);
        let wait = |why: &str| Wait::Object(child.name.clone(), why.into());
        if controller.is_some() && !controls {
            // Another writes it; only one that is going must see its name go from it.
            waits.extend(self.deleting.then(|| wait("still names it as an owner")));
        } else if child.meta.deletion_timestamp.is_some() {
            waits.push(wait("is being deleted"));
        } else if inherited && controls {
            changes.push(Change::HandOver(child));
        } else if inherited {
            waits.push(wait("still names it as an owner"));
        } else {
            changes.push(Change::Delete(child));
        }
    }
}

/// The children whose executor was declared dead and which still wait for it.
fn forget<S>(ctx: &Ctx, plan: &Plan<S>, existing: &[Existing]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for name in &plan.forgotten {
        let finalizer = name.kind.finalizer();
        let held = |child: &&Existing| {
            child.meta.deletion_timestamp.is_some()
                && child
                    .meta
                    .finalizers
                    .iter()
                    .flatten()
                    .any(|f| *f == finalizer)
        };
        match existing.iter().find(|child| child.name == *name) {
            Some(child) => changes.extend(Some(child).filter(held).cloned().map(Change::Forget)),
            None if ctx
                .find(name)
                .is_some_and(|object| object.metadata().owner_references.is_none()) =>
            {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("cannot forget {name}: it is no child"),
                ));
            }
            // It is gone already.
            None => {}
        }
    }
    Ok(changes)
}

fn controller(meta: &ObjectMeta) -> Option<&str> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

fn others_live(ctx: &Ctx, child: &Existing, uid: &str) -> bool {
    let mut others = child
        .meta
        .owner_references
        .iter()
        .flatten()
        .filter(|owner| owner.uid != uid);
    let cache = ctx.cache();
    others.any(|owner| cache.lives(&child.name, owner))
}

/// Makes one difference go. AlreadyExists and Conflict mean that the cache was behind: another look, no condition.
pub(super) async fn write(ctx: &Ctx, change: &Change) -> Result<()> {
    match change {
        Change::Forget(child) => {
            let finalizer = child.name.kind.finalizer();
            let rest: Vec<_> = child
                .meta
                .finalizers
                .iter()
                .flatten()
                .filter(|other| **other != finalizer)
                .collect();
            patch_child(
                ctx,
                child,
                json!({"op": "replace", "path": "/metadata/finalizers", "value": rest}),
            )
            .await
        }
        Change::Create(child) => {
            let body = dynamic(child.json());
            let done = ctx
                .api_of(&**child)
                .create(&PostParams::default(), &body)
                .await;
            done.map(drop)
                .map_err(failed(format!("create {}", child.reference())))
        }
        Change::Update(child, body) => {
            let (api, name) = (ctx.api_of(&**child), child.reference());
            let done = api
                .replace(
                    &name.name,
                    &PostParams::default(),
                    &dynamic((**body).clone()),
                )
                .await;
            done.map(drop)
                .map_err(failed(format!("update {name}")))
                .map_err(gone_is_conflict)
        }
        Change::HandOver(child) => {
            let mut owners = child.meta.owner_references.clone().unwrap_or_default();
            owners.iter_mut().for_each(|owner| owner.controller = None);
            patch_child(
                ctx,
                child,
                json!({"op": "replace", "path": "/metadata/ownerReferences", "value": owners}),
            )
            .await
        }
        Change::Delete(child) => delete(ctx, child).await,
    }
}

async fn patch_child(ctx: &Ctx, child: &Existing, operation: Value) -> Result<()> {
    let api = ctx.api_at(&child.name)?;
    patch_meta(&api, &child.name, &child.meta, None, vec![operation])
        .await
        .map(drop)
}

async fn delete(ctx: &Ctx, child: &Existing) -> Result<()> {
    let only = Preconditions {
        uid: child.meta.uid.clone(),
        resource_version: None,
    };
    let how = DeleteParams::background().preconditions(only);
    let done = ctx
        .api_at(&child.name)?
        .delete(&child.name.name, &how)
        .await;
    match done.map_err(failed(format!("delete {}", child.name))) {
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gone while we looked: the watch will say so.
pub(super) fn gone_is_conflict(error: Error) -> Error {
    match error.kind {
        ErrorKind::NotFound => Error {
            kind: ErrorKind::Conflict,
            ..error
        },
        _ => error,
    }
}

fn dynamic(json: Value) -> DynamicObject {
    serde_json::from_value(json).expect("every object has the form of an object")
}

impl Change {
    /// The child that this deletes.
    pub fn deleted(&self) -> Option<&ObjectRef> {
        match self {
            Self::Delete(child) => Some(&child.name),
            Self::Forget(_) | Self::Create(_) | Self::Update(..) | Self::HandOver(_) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forget(child) => write!(f, "~ {}: forget its executor", child.name),
            Self::Create(child) => write!(f, "+ {}", child.reference()),
            Self::Update(child, _) => write!(f, "~ {}", child.reference()),
            Self::HandOver(child) => write!(f, "~ {}: hand over", child.name),
            Self::Delete(child) => write!(f, "- {}", child.name),
        }
    }
}
