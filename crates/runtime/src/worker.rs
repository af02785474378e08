//! A reconciler whose type was erased, so that the loop can hold several.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::ctx::Ctx;
use crate::kinds::Kinds;
use crate::object::{Object, ObjectRef, downcast};
use crate::pass::{self, End, Pass, Patience};
use crate::reconcile::{Reconciler, Role};

/// What the loop asks of a reconciler.
pub(crate) trait Worker: Send + Sync {
    fn role(&self) -> Role;
    fn uses(&self) -> Kinds;
    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef>;
    /// One pass over an object of the worker's kind.
    fn pass<'a>(
        &'a self,
        ctx: &'a Ctx,
        object: Arc<dyn Object>,
        patience: Patience,
    ) -> BoxFuture<'a, Pass>;
}

impl<R: Reconciler> Worker for R {
    fn role(&self) -> Role {
        R::role()
    }

    fn uses(&self) -> Kinds {
        let mut kinds = Kinds::default();
        kinds.reads::<R::Object>();
        R::uses(&mut kinds);
        kinds
    }

    fn changes(&self, ctx: &Ctx) -> BoxStream<'static, ObjectRef> {
        Reconciler::changes(self, ctx)
    }

    fn pass<'a>(
        &'a self,
        ctx: &'a Ctx,
        object: Arc<dyn Object>,
        patience: Patience,
    ) -> BoxFuture<'a, Pass> {
        Box::pin(async move {
            let mut object =
                downcast::<R::Object>(object).expect("a worker is only given objects of its kind");
            let end = pass::run(self, ctx, &mut object, patience)
                .await
                .unwrap_or_else(End::Failed);
            Pass {
                end,
                newest: Some(object),
            }
        })
    }
}
