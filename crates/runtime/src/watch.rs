//! One watch of one kind, as a stream of erased objects that never ends and never stops at a bad object.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use kube::core::{DynamicResourceScope, Resource};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::sleep;
use tracing::warn;

use crate::kinds::Watched;
use crate::object::{KindName, Object, ObjectRef};

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

/// An object as it came, of whatever kind: the watching is compiled once and not again for each kind.
#[derive(Clone, Debug)]
struct Untyped {
    meta: ObjectMeta,
    json: Value,
}

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        let meta = ObjectMeta::deserialize(&json["metadata"]).map_err(D::Error::custom)?;
        Ok(Self { meta, json })
    }
}

impl Resource for Untyped {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// Watches all objects of a kind, or those that a field selector names.
pub(crate) fn open(
    client: Client,
    kind: KindName,
    watched: Watched,
    fields: Option<&str>,
) -> Watch {
    let config = fields.map_or_else(watcher::Config::default, |fields| {
        watcher::Config::default().fields(fields)
    });
    let events = watcher(Api::<Untyped>::all_with(client, &watched.resource), config).boxed();
    let reader = Reader { kind, watched };
    unfold(
        (events, reader, RETRY_MIN),
        async |(mut events, reader, mut retry)| loop {
            match events.next().await? {
                Ok(event) => {
                    let seen = (reader.kind.clone(), reader.seen(event));
                    return Some((seen, (events, reader, RETRY_MIN)));
                }
                Err(error) => {
                    warn!(kind = %reader.kind, error = api::chain(&error), "watch broken");
                    // Not kube's own back-off: its jitter is random, and a run could not be repeated.
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        },
    )
    .boxed()
}

/// Turns what came into typed objects of one kind.
struct Reader {
    kind: KindName,
    watched: Watched,
}

impl Reader {
    fn seen(&self, event: watcher::Event<Untyped>) -> Seen {
        match event {
            watcher::Event::Apply(object) => match self.read(object) {
                Ok(object) => Seen::Is(object),
                Err((name, problem)) => Seen::Unreadable(name, problem),
            },
            watcher::Event::Delete(object) => Seen::Gone(self.name(&object.meta)),
            watcher::Event::Init => Seen::ListBegins,
            watcher::Event::InitApply(object) => match self.read(object) {
                Ok(object) => Seen::Listed(object),
                Err((name, problem)) => Seen::ListedUnreadable(name, problem),
            },
            watcher::Event::InitDone => Seen::ListEnds,
        }
    }

    fn read(&self, object: Untyped) -> Result<Arc<dyn Object>, (ObjectRef, String)> {
        let read = (self.watched.read)(object.json);
        read.map_err(|error| (self.name(&object.meta), error.to_string()))
    }

    fn name(&self, meta: &ObjectMeta) -> ObjectRef {
        ObjectRef {
            kind: self.kind.clone(),
            namespace: meta.namespace.clone().filter(|_| self.watched.namespaced),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}
