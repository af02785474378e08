//! Groma on a real kube-apiserver: `groma install` prepares it, `groma serve --kubeconfig` runs the controllers there, and
//! the scenarios print there what they print on our own server.
//!
//! kube-apiserver and etcd are all there is: nobody collects garbage or empties namespaces, so that nothing can hide behind
//! them.

mod agents;
mod home;
mod install;
mod moving;
mod scenarios;
mod serve;
