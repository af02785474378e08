//! Where the objects are: in a server of the control plane's own, over a store that outlives it, or on a cluster.

use std::sync::Arc;

use apiserver::store::memory::Memory;
use apiserver::{Body, Identity, Server};
use bytes::Bytes;
use futures::future::{join_all, ready};
use futures::stream::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use crate::line::no_answer;

/// Where the objects are.
#[derive(Clone)]
pub enum Home {
    /// With the control plane; only the store outlives its process.
    Own(Memory),
    /// On a Kubernetes cluster, which no scenario stops.
    Cluster(Cluster),
}

/// A cluster, as each of those who use it.
#[derive(Clone)]
pub struct Cluster(Arc<dyn Fn(&Identity) -> Client + Send + Sync>);

impl Cluster {
    /// The cluster that these clients reach; it must have our definitions, and no objects of them.
    pub fn new(client: impl Fn(&Identity) -> Client + Send + Sync + 'static) -> Self {
        Self(Arc::new(client))
    }

    /// The client of someone.
    pub fn client(&self, identity: &Identity) -> Client {
        (self.0)(identity)
    }

    /// All objects of our kinds, or of the one of that name in any case.
    pub async fn objects(&self, kind: &str) -> Vec<Value> {
        let client = self.client(&Identity::admin("user"));
        let of_kind = |known: &str| kind.is_empty() || known.eq_ignore_ascii_case(kind);
        let definitions = api::crds().into_iter();
        let definitions = definitions.filter(|it| of_kind(&it.spec.names.kind));
        let lists = definitions.map(|definition| {
            let names = definition.spec.names;
            let kind = GroupVersionKind::gvk(api::GROUP, api::VERSION, &names.kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
            list(client.clone(), resource)
        });
        join_all(lists).await.into_iter().flatten().collect()
    }
}

/// All objects of a resource, as a list shows them, with their kind.
async fn list(client: Client, resource: ApiResource) -> Vec<Value> {
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let list = api.list(&ListParams::default()).await;
    let mut objects = list.expect("a user may list").items;
    for object in &mut objects {
        object.types = Some(kube::api::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
    }
    let json = |object| serde_json::to_value(object).expect("an object serialises");
    objects.iter().map(json).collect()
}

/// What answers requests.
#[derive(Clone)]
pub enum Door {
    /// A server in this process.
    Server(Server),
    /// A server elsewhere, as its client reaches it.
    Far(Client),
}

impl Door {
    /// Answers a request of someone.
    pub async fn answer(
        &self,
        identity: &Identity,
        request: Request<kube::client::Body>,
    ) -> Response<Body> {
        match self {
            Self::Server(server) => server.serve(identity, request).await,
            Self::Far(client) => match client.send(request).await {
                Ok(answer) => answer.map(infallible),
                Err(_) => no_answer(),
            },
        }
    }
}

/// A body that ends where its connection breaks.
fn infallible(body: kube::client::Body) -> Body {
    let pieces = body.into_data_stream();
    let pieces = pieces.take_while(|piece| ready(piece.is_ok()));
    let frames = pieces.filter_map(|piece| ready(piece.ok().map(|it: Bytes| Ok(Frame::data(it)))));
    StreamBody::new(frames).boxed_unsync()
}
