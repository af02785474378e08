//! One watch of one kind, as a stream of erased objects that never ends and never stops at a bad object.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use kube::core::{DeserializeGuard, Resource};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::time::sleep;
use tracing::warn;

use crate::object::{Kind, KindName, Object, ObjectRef};

/// A watch that failed is opened again after this time, then after twice this time, and so on.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// The events of one kind.
pub(crate) type Watch = BoxStream<'static, (KindName, Seen)>;

/// One event of a watch.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The object is now so.
    Is(Arc<dyn Object>),
    /// The object is gone.
    Gone(ObjectRef),
    /// The object is there but does not parse; nothing is known of what it says.
    Unreadable(ObjectRef, String),
    /// A new list begins.
    ListBegins,
    /// An object of the list.
    Listed(Arc<dyn Object>),
    /// An object of the list that does not parse.
    ListedUnreadable(ObjectRef, String),
    /// The list is complete: what it lacks is gone.
    ListEnds,
}

/// Watches all objects of a kind, or those that a field selector names.
pub(crate) fn open<K: Kind>(client: Client, fields: Option<&str>) -> Watch {
    let config = fields.map_or_else(watcher::Config::default, |fields| {
        watcher::Config::default().fields(fields)
    });
    let events = watcher(Api::<DeserializeGuard<K>>::all(client), config).boxed();
    unfold((events, RETRY_MIN), async |(mut events, mut retry)| {
        loop {
            match events.next().await? {
                Ok(event) => {
                    return Some(((KindName::of::<K>(), seen(event)), (events, RETRY_MIN)));
                }
                Err(error) => {
                    warn!(kind = %K::kind(&()), error = api::chain(&error), "watch broken");
                    // Not kube's own back-off: its jitter is random, and a run could not be repeated.
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    })
    .boxed()
}

fn seen<K: Kind>(event: watcher::Event<DeserializeGuard<K>>) -> Seen {
    match event {
        watcher::Event::Apply(DeserializeGuard(Ok(object))) => Seen::Is(Arc::new(object)),
        watcher::Event::Apply(bad) => Seen::Unreadable(name(&bad), problem(bad)),
        watcher::Event::Delete(object) => Seen::Gone(name(&object)),
        watcher::Event::Init => Seen::ListBegins,
        watcher::Event::InitApply(DeserializeGuard(Ok(object))) => Seen::Listed(Arc::new(object)),
        watcher::Event::InitApply(bad) => Seen::ListedUnreadable(name(&bad), problem(bad)),
        watcher::Event::InitDone => Seen::ListEnds,
    }
}

fn name<K: Kind>(object: &DeserializeGuard<K>) -> ObjectRef {
    let meta = object.meta();
    ObjectRef::new::<K>(
        meta.namespace.as_deref(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

fn problem<K>(object: DeserializeGuard<K>) -> String {
    object
        .0
        .err()
        .map(|invalid| invalid.error)
        .unwrap_or_default()
}
