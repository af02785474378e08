//! An embedded Kubernetes-style API server, generic over CustomResourceDefinitions.
//!
//! Controllers and clients meet it as a tower service: in process through [`Server::client`], or on a socket through
//! [`Server::service_for`] with the identity that the door has established. Objects live in an in-memory index above
//! the storage port ([`store::Storage`]); a write is answered and shown to watchers only once it is durable.
//! It knows no kind of its own project beyond the two access rules in [`access`], and never touches the world.

pub mod store;
