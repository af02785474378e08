//! One pass over one object: look, act, say what came of it. Only code below this module writes to the API.

mod children;
mod look;
mod patch;
mod status;

use std::sync::Arc;

use api::{Error, ErrorKind, Result};
use serde_json::json;
use tracing::{debug, error, info, warn};

use crate::ctx::Ctx;
use crate::object::{KindName, Object, deleting};
use crate::reconcile::{Reconciler, Role, Wait};
use look::{Look, look};
use patch::patch;

/// How a pass ended; the loop turns it into the next wake-up.
#[derive(Debug)]
pub(crate) enum End {
    /// The object needs this reconciler no more.
    Gone,
    Settled,
    /// `world`: steps were taken, so nothing but another look tells what came of it.
    Acted {
        world: bool,
    },
    Waiting(Vec<Wait>),
    Failed(Error),
}

pub(crate) struct Pass {
    pub end: End,
    /// The object as this pass wrote it last; newer than the cache until the watch catches up.
    pub newest: Option<Arc<dyn Object>>,
}

/// When a pass leaves the status alone, because another look follows soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub with_acting: bool,
    pub with_outage: bool,
}

impl Role {
    /// The finalizer of a reconciler of this role.
    fn finalizer(self, kind: &KindName) -> Option<String> {
        match self {
            Self::Owner => Some(kind.finalizer()),
            Self::Guest { finalizer, .. } => finalizer.map(str::to_owned),
        }
    }

    /// The type of its own condition.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::Owner => api::READY,
            Self::Guest { condition, .. } => condition,
        }
    }
}

/// Runs one pass; `object` is then the newest state that the pass saw.
pub(crate) async fn run<R: Reconciler>(
    reconciler: &R,
    ctx: &Ctx,
    object: &mut Arc<R::Object>,
    patience: Patience,
) -> Result<End> {
    let finalizer = R::role().finalizer(&KindName::of::<R::Object>());
    if let Some(finalizer) = &finalizer
        && !has_finalizer(&**object, finalizer)
    {
        if deleting(&**object) {
            return Ok(End::Gone);
        }
        // Before anything is made: a thing without a finalizer would be left behind.
        let all: Vec<_> = finalizers(&**object).chain([finalizer.as_str()]).collect();
        let add = json!({"op": "add", "path": "/metadata/finalizers", "value": all});
        *object = patch::<R::Object>(ctx, object, None, vec![add]).await?;
    }
    let (look, end) = match look(reconciler, ctx, object).await {
        Ok(look) => {
            let end = act(reconciler, ctx, object, &look)
                .await
                .unwrap_or_else(End::Failed);
            (Some(look), end)
        }
        Err(error) => (None, End::Failed(error)),
    };
    log(look.as_ref(), &end);
    match (&end, finalizer) {
        (End::Settled, Some(finalizer)) if deleting(&**object) => {
            let rest: Vec<_> = finalizers(&**object)
                .filter(|other| *other != finalizer)
                .collect();
            let remove = json!({"op": "replace", "path": "/metadata/finalizers", "value": rest});
            *object = patch::<R::Object>(ctx, object, None, vec![remove]).await?;
            Ok(End::Gone)
        }
        _ => status::conclude(reconciler, ctx, object, look.as_ref(), end, patience).await,
    }
}

fn finalizers(object: &impl Object) -> impl Iterator<Item = &str> {
    object
        .metadata()
        .finalizers
        .iter()
        .flatten()
        .map(String::as_str)
}

fn has_finalizer(object: &impl Object, finalizer: &str) -> bool {
    finalizers(object).any(|other| other == finalizer)
}

async fn act<R: Reconciler>(
    reconciler: &R,
    ctx: &Ctx,
    object: &R::Object,
    look: &Look<R>,
) -> Result<End> {
    if let Some(refused) = look.plan.refused.clone().filter(|_| !deleting(object)) {
        return Err(refused);
    }
    for change in &look.changes {
        children::write(ctx, change).await?;
    }
    for step in &look.plan.steps {
        reconciler.act(ctx, object, step).await?;
    }
    Ok(match (&look.plan, look.changes.is_empty()) {
        (plan, _) if !plan.steps.is_empty() => End::Acted { world: true },
        (_, false) => End::Acted { world: false },
        (plan, true) if !plan.waits.is_empty() => End::Waiting(plan.waits.clone()),
        _ => End::Settled,
    })
}

fn log<R: Reconciler>(look: Option<&Look<R>>, end: &End) {
    match end {
        End::Gone | End::Settled => debug!("nothing to do"),
        End::Waiting(waits) => debug!(?waits, "waiting"),
        End::Acted { .. } => info!(
            plan = look.map(Look::lines).unwrap_or_default().join("; "),
            "changed"
        ),
        End::Failed(failure) => match failure.kind {
            ErrorKind::Conflict => debug!(error = api::chain(failure), "someone wrote first"),
            ErrorKind::Internal => error!(error = api::chain(failure), "failed"),
            _ => warn!(error = api::chain(failure), "failed"),
        },
    }
}
