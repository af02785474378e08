//! An embedded Kubernetes-style API server, generic over CustomResourceDefinitions.
//!
//! Controllers and clients meet it as a tower service: in process through [`Server::client`], or on a socket through
//! [`Server::service_for`] with the identity that the door has established. Objects live in an in-memory index above
//! the storage port ([`store::Storage`]); a write is answered and shown to watchers only once it is durable.
//! It knows no kind of its own project beyond who may do what in [`access`], and never touches the world.

mod about;
pub mod access;
mod admission;
pub mod audit;
mod authentication;
mod backup;
mod body;
mod boot;
mod builtin;
#[cfg(test)]
mod chance;
mod collect;
mod convert;
mod decode;
mod definition;
mod deletion;
mod direct;
mod discovery;
pub mod door;
mod engine;
mod expression;
mod failure;
mod fairness;
mod furnish;
mod health;
mod history;
mod hooks;
mod https;
mod hub;
mod ids;
mod index;
pub mod kubeconfig;
mod limits;
mod list;
pub mod listen;
mod loading;
mod metadata;
mod metrics;
mod names;
mod namespace;
mod nonresource;
mod object;
mod openapi;
mod options;
mod ownership;
mod passage;
mod patch;
mod priority;
mod private_file;
mod protobuf;
mod query;
mod quota;
mod read;
mod registry;
mod render;
mod replica;
mod request;
mod resource;
mod review;
mod rules;
mod scale;
mod schema;
mod selection;
mod serve;
mod server;
mod signing;
mod state;
pub mod store;
mod table;
mod tag;
pub mod tls;
mod watch;
mod webhook;
mod write;

pub use access::{HOSTS_GROUP, HOSTS_NAMESPACE, Identity};
pub use authentication::account::Key as AccountKey;
pub use authentication::certificate::revocation;
pub use authentication::{HOST_FORGOTTEN, bootstrap, oidc};
pub use body::{BODY_BYTES_MAX, Body};
pub use engine::Clock;
pub use failure::{Cause, Failure};
pub use history::{Change, Event, HISTORY_EVENTS_DEFAULT};
pub use hub::WATCH_BUFFER_EVENTS;
pub use object::{Key, Object};
pub use query::{IncludeObject, Query};
pub use registry::Registry;
pub use request::{Request, Subresource, Verb};
pub use resource::{Conversion, Home, Resource, Traits, Version};
pub use serve::Service;
pub use server::{Builder, Server};
pub use signing::HOST_SIGNER;
