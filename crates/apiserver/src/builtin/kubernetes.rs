//! Kinds of Kubernetes that nothing here runs: stored and served for clients that expect them, when the server is told to
//! (`groma serve --kubernetes-kinds`).
//!
//! They are checked by their types, and owned and merged as in Kubernetes. What controllers, schedulers and admission
//! plugins of Kubernetes would add or refuse is not there.

mod autoscalers;
mod defaults;

use k8s_openapi::Resource as Described;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    Endpoints, LimitRange, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate,
    ReplicationController, ResourceQuota, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::shapes::Shapes;
use super::{Builtin, typed};
use crate::resource::{Born, Complete, Resource};
use crate::scale::Scale;
use crate::{limits, quota};

/// What `kubectl get all` lists.
const ALL: &[&str] = &["all"];

/// Every such resource.
pub(super) fn resources() -> Vec<Resource> {
    let mut shapes = Shapes::default();
    let shapes = &mut shapes;
    let bounds = bounds(shapes).into();
    let kinds = [core(shapes), bounds, workloads(shapes), cluster(shapes)];
    let kinds = kinds.into_iter().flatten().map(Builtin::resource);
    kinds.chain([autoscalers::resource(shapes)]).collect()
}

/// What bounds tenants. Where other kinds of Kubernetes are served it may say what only Kubernetes looks after; elsewhere
/// that is refused.
fn bounds(shapes: &mut Shapes) -> [Builtin; 2] {
    let ranges = kind::<LimitRange>(shapes, &["limits"]);
    [ranges, kind::<ResourceQuota>(shapes, &["quota"])]
}

/// What bounds tenants, for servers that serve nothing else of Kubernetes.
pub(super) fn strict_bounds() -> [Resource; 2] {
    let [mut ranges, mut quotas] = bounds(&mut Shapes::default());
    ranges.traits.problems = Some(limits::problems);
    quotas.traits.problems = Some(quota::problems);
    [ranges, quotas].map(Builtin::resource)
}

fn core(shapes: &mut Shapes) -> Vec<Builtin> {
    let mut nodes = kind::<Node>(shapes, &["no"]).everywhere();
    nodes.traits.status_at_birth = true;
    vec![
        kind::<Pod>(shapes, &["po"])
            .counted()
            .in_all()
            .completed(defaults::pod)
            .selectable(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ])
            .born(|_| json!({"phase": "Pending", "qosClass": "BestEffort"})),
        nodes.selectable(&["spec.unschedulable"]),
        kind::<Service>(shapes, &["svc"])
            .in_all()
            .completed(defaults::service)
            .selectable(&["spec.clusterIP", "spec.type"])
            .born(|_| json!({"loadBalancer": {}})),
        kind::<Endpoints>(shapes, &["ep"]).completed(defaults::endpoints),
        kind::<ReplicationController>(shapes, &["rc"])
            .counted()
            .scaled()
            .in_all()
            .completed(defaults::replication_controller)
            .selectable(&["status.replicas"]),
        kind::<PodTemplate>(shapes, &[]).completed(defaults::pod_template),
        kind::<PersistentVolume>(shapes, &["pv"])
            .everywhere()
            .completed(defaults::volume)
            .born(|_| json!({"phase": "Pending"})),
        kind::<PersistentVolumeClaim>(shapes, &["pvc"])
            .completed(defaults::claim)
            .born(|_| json!({"phase": "Pending"})),
    ]
}

fn workloads(shapes: &mut Shapes) -> Vec<Builtin> {
    vec![
        kind::<Deployment>(shapes, &["deploy"])
            .counted()
            .scaled()
            .in_all()
            .completed(defaults::deployment),
        kind::<ReplicaSet>(shapes, &["rs"])
            .counted()
            .scaled()
            .in_all()
            .completed(defaults::replica_set)
            .selectable(&["status.replicas"]),
        kind::<DaemonSet>(shapes, &["ds"])
            .counted()
            .in_all()
            .completed(defaults::daemon_set),
        kind::<StatefulSet>(shapes, &["sts"])
            .counted()
            .scaled()
            .in_all()
            .completed(defaults::stateful_set),
        kind::<ControllerRevision>(shapes, &[]),
        kind::<Job>(shapes, &[])
            .counted()
            .in_all()
            .completed(defaults::job)
            .selectable(&["status.successful"]),
        kind::<CronJob>(shapes, &["cj"])
            .counted()
            .in_all()
            .completed(defaults::cron_job),
        kind::<PodDisruptionBudget>(shapes, &["pdb"]).counted(),
        kind::<EndpointSlice>(shapes, &[]).counted(),
        kind::<Ingress>(shapes, &["ing"]).counted(),
    ]
}

fn cluster(shapes: &mut Shapes) -> Vec<Builtin> {
    let kinds = [
        kind::<IngressClass>(shapes, &[]).counted(),
        kind::<StorageClass>(shapes, &["sc"]).completed(defaults::storage_class),
        kind::<PriorityClass>(shapes, &["pc"])
            .counted()
            .completed(defaults::priority_class),
        kind::<CSIDriver>(shapes, &[]).counted(),
        kind::<CSINode>(shapes, &[]),
        kind::<VolumeAttachment>(shapes, &[]),
        kind::<RuntimeClass>(shapes, &[]),
    ];
    kinds.into_iter().map(Builtin::everywhere).collect()
}

/// A kind of a type, in namespaces.
pub(super) fn kind<T>(shapes: &mut Shapes, short_names: &'static [&'static str]) -> Builtin
where
    T: Described + DeserializeOwned + Serialize + JsonSchema,
{
    let mut builtin = Builtin::core(T::URL_PATH_SEGMENT, T::KIND, short_names, typed::<T>());
    (builtin.shape, builtin.status) = shapes.of::<T>();
    builtin.group = T::GROUP;
    builtin.version = T::VERSION;
    builtin.traits.blank = &["spec", "status"];
    if builtin.status {
        builtin.traits.status_with_metadata = true;
        builtin.traits.born = Some(|_| json!({}));
    }
    builtin
}

impl Builtin {
    /// In no namespace.
    pub(super) fn everywhere(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// With generations.
    fn counted(mut self) -> Self {
        self.traits.generation = true;
        self
    }

    /// With replicas.
    fn scaled(mut self) -> Self {
        self.scale = Some(Scale {
            wanted: ".spec.replicas".to_owned(),
            found: ".status.replicas".to_owned(),
            selector: None,
        });
        self
    }

    fn in_all(mut self) -> Self {
        self.categories = ALL;
        self
    }

    fn completed(mut self, complete: Complete) -> Self {
        self.traits.complete = Some(complete);
        self
    }

    pub(super) fn selectable(mut self, paths: &[&str]) -> Self {
        self.selectable = paths.iter().map(|path| (*path).to_owned()).collect();
        self
    }

    fn born(mut self, status: Born) -> Self {
        self.traits.born = Some(status);
        self
    }
}
