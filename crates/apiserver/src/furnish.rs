//! What clients of Kubernetes expect of every namespace and of the server itself, where Kubernetes' kinds are served: an
//! account and the certificate of the authority in each namespace, and a Service that stands for the API.
//!
//! In Kubernetes controllers see to it; here it is there as soon as the namespace is.

use serde_json::json;

use crate::boot;
use crate::failure::Failure;
use crate::object::is_deleting;
use crate::selection::Selection;
use crate::server::Server;

/// Namespaces of Kubernetes' own parts, besides what every server has.
const NAMESPACES: [&str; 2] = ["kube-node-lease", "kube-public"];
/// The address that clients in pods would use: the first of the usual range.
const ADDRESS: &str = "10.0.0.1";

/// Makes what is not there yet in all of a server, if it serves those kinds.
pub(crate) fn everything(server: &Server) -> Result<(), Failure> {
    if server.certificate().is_none() {
        return Ok(());
    }
    for name in NAMESPACES {
        boot::ensure_namespace(server, name)?;
    }
    let registry = server.registry();
    let namespaces = registry.get("", "namespaces");
    let namespaces = namespaces.ok_or_else(Failure::no_such_path)?;
    let (all, _) = server.snapshot(&Selection::all(namespaces.home.clone()));
    for object in all.iter().filter(|object| !is_deleting(&object.value)) {
        namespace(server, &object.key.name);
    }
    let port = json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443});
    let service = json!({
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": ADDRESS, "clusterIPs": [ADDRESS], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [port]},
    });
    boot::ensure(server, "services", service)
}

/// Makes what is not there yet in a namespace, if the server serves those kinds.
pub(crate) fn namespace(server: &Server, name: &str) {
    let Some(certificate) = server.certificate() else {
        return;
    };
    let account = json!({"metadata": {"name": "default", "namespace": name}});
    let map = json!({"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": {"ca.crt": certificate}});
    for (plural, object) in [("serviceaccounts", account), ("configmaps", map)] {
        // It may be going again already.
        if let Err(failure) = boot::ensure(server, plural, object) {
            tracing::debug!(namespace = name, plural, why = %failure, "not furnished");
        }
    }
}
