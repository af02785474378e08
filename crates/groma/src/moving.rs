//! `groma export` and `groma import`: what Groma keeps in one home, put into another: a server of ours, or a Kubernetes
//! cluster.
//!
//! An export has the form of a backup, so that `groma restore` makes a server of it in which every object is the same one.
//! An import goes through the API, where the server gives objects new uids; who owns whom is kept.
//! What is not Groma's own stays where it is: definitions of others and their objects, and roles of the whole cluster.

mod export;
mod import;

use k8s_openapi::api::core::v1::{
    ConfigMap, LimitRange, Namespace, ResourceQuota, Secret, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::ApiResource;

pub use self::export::{Exporting, export};
pub use self::import::{Importing, import};

/// A kind that is moved.
struct Kind {
    resource: ApiResource,
    namespaced: bool,
    /// Whether its status is written by itself.
    status: bool,
}

/// Groma's own kinds.
fn own() -> Vec<Kind> {
    let kind = |crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let spec = &crd.spec;
        let version = spec.versions.iter().find(|version| version.storage)?;
        let subresources = version.subresources.as_ref();
        Some(Kind {
            resource: ApiResource {
                group: spec.group.clone(),
                version: version.name.clone(),
                api_version: format!("{}/{}", spec.group, version.name),
                kind: spec.names.kind.clone(),
                plural: spec.names.plural.clone(),
            },
            namespaced: spec.scope == "Namespaced",
            status: subresources.is_some_and(|it| it.status.is_some()),
        })
    };
    api::crds().iter().filter_map(kind).collect()
}

/// What is in the namespaces where Groma's own objects are, and they themselves first.
fn beside() -> Vec<Kind> {
    let kind = |resource: ApiResource| Kind {
        namespaced: resource.plural != "namespaces",
        resource,
        status: false,
    };
    let resources = [
        ApiResource::erase::<Namespace>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Role>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<LimitRange>(&()),
        ApiResource::erase::<ResourceQuota>(&()),
    ];
    resources.map(kind).into()
}
