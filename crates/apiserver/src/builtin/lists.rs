//! Lists of Kubernetes' types that are more than a row of values: what tells their items apart, for ownership, for
//! strategic merge patches and for OpenAPI.
//!
//! What is not here is owned, and replaced, as a whole.

use crate::ownership::Shape;

/// One list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    /// The name of the schema, shortened: `core.v1.PodSpec`.
    pub(crate) of: &'static str,
    pub(crate) field: &'static str,
    pub(crate) owned: Owned,
    pub(crate) merged: Merged,
}

/// How a list is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Whole,
    /// Value by value.
    Values,
    /// Item by item, which differ in these fields.
    Items(&'static [&'static str]),
}

/// What a strategic merge patch does to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    Replaced,
    /// Adds values that are not there yet.
    Values,
    /// Merges items with the same value of this field.
    By(&'static str),
}

/// All of them.
pub(crate) const LISTS: &[List] = &[
    map("apps.v1.DaemonSetStatus", "conditions", &["type"]),
    map("apps.v1.DeploymentStatus", "conditions", &["type"]),
    map("apps.v1.ReplicaSetStatus", "conditions", &["type"]),
    map("apps.v1.StatefulSetStatus", "conditions", &["type"]),
    map(
        "autoscaling.v2.HorizontalPodAutoscalerStatus",
        "conditions",
        &["type"],
    ),
    merged("batch.v1.JobStatus", "conditions", "type"),
    set("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values"),
    set("batch.v1.UncountedTerminatedPods", "failed"),
    set("batch.v1.UncountedTerminatedPods", "succeeded"),
    map("core.v1.Container", "env", &["name"]),
    map("core.v1.Container", "ports", &["containerPort", "protocol"]),
    map("core.v1.Container", "volumeDevices", &["devicePath"]),
    map("core.v1.Container", "volumeMounts", &["mountPath"]),
    set("core.v1.ContainerRestartRuleOnExitCodes", "values"),
    map(
        "core.v1.ContainerStatus",
        "allocatedResourcesStatus",
        &["name"],
    ),
    map("core.v1.ContainerStatus", "volumeMounts", &["mountPath"]),
    map("core.v1.EphemeralContainer", "env", &["name"]),
    map(
        "core.v1.EphemeralContainer",
        "ports",
        &["containerPort", "protocol"],
    ),
    map(
        "core.v1.EphemeralContainer",
        "volumeDevices",
        &["devicePath"],
    ),
    map("core.v1.EphemeralContainer", "volumeMounts", &["mountPath"]),
    map("core.v1.NamespaceStatus", "conditions", &["type"]),
    set("core.v1.NodeAllocatableResourceClaimStatus", "containers"),
    merged_set("core.v1.NodeSpec", "podCIDRs"),
    map("core.v1.NodeStatus", "addresses", &["type"]),
    map("core.v1.NodeStatus", "conditions", &["type"]),
    map(
        "core.v1.PersistentVolumeClaimStatus",
        "conditions",
        &["type"],
    ),
    map("core.v1.PodSpec", "containers", &["name"]),
    map("core.v1.PodSpec", "ephemeralContainers", &["name"]),
    map("core.v1.PodSpec", "hostAliases", &["ip"]),
    map("core.v1.PodSpec", "imagePullSecrets", &["name"]),
    map("core.v1.PodSpec", "initContainers", &["name"]),
    map("core.v1.PodSpec", "resourceClaims", &["name"]),
    map("core.v1.PodSpec", "schedulingGates", &["name"]),
    map(
        "core.v1.PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    map("core.v1.PodSpec", "volumes", &["name"]),
    map("core.v1.PodStatus", "conditions", &["type"]),
    merged("core.v1.PodStatus", "hostIPs", "ip"),
    map("core.v1.PodStatus", "podIPs", &["ip"]),
    map("core.v1.PodStatus", "resourceClaimStatuses", &["name"]),
    map(
        "core.v1.ReplicationControllerStatus",
        "conditions",
        &["type"],
    ),
    items("core.v1.ResourceRequirements", "claims", &["name"]),
    items("core.v1.ResourceStatus", "resources", &["resourceID"]),
    map("core.v1.ServiceAccount", "secrets", &["name"]),
    map("core.v1.ServiceSpec", "ports", &["port", "protocol"]),
    map("core.v1.ServiceStatus", "conditions", &["type"]),
    set("discovery.v1.Endpoint", "addresses"),
    map(
        "policy.v1.PodDisruptionBudgetStatus",
        "conditions",
        &["type"],
    ),
    set("storage.v1.CSIDriverSpec", "volumeLifecycleModes"),
    map("storage.v1.CSINodeSpec", "drivers", &["name"]),
    merged_set("meta.v1.ObjectMeta", "finalizers"),
    map("meta.v1.ObjectMeta", "ownerReferences", &["uid"]),
];

/// Types whose objects are owned as a whole.
pub(crate) const WHOLE_TYPES: &[&str] = &[
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
];

/// Maps that are owned as a whole.
pub(crate) const WHOLE_FIELDS: &[(&str, &str)] = &[
    ("core.v1.PodSpec", "nodeSelector"),
    ("core.v1.ReplicationControllerSpec", "selector"),
    ("core.v1.ServiceSpec", "selector"),
];

/// Fields of a type that is else owned as a whole, and here is not.
pub(crate) const PARTED_FIELDS: &[(&str, &str)] = &[("core.v1.PersistentVolumeSpec", "claimRef")];

/// What a strategic merge patch does to a list of that name which is owned so.
pub(crate) fn merging(field: &str, shape: &Shape) -> Merged {
    let is_owned_so = |list: &&List| match (list.owned, shape) {
        (Owned::Items(keys), Shape::Items(have, _)) => have
            .iter()
            .map(|(key, _)| key.as_str())
            .eq(keys.iter().copied()),
        (Owned::Values, Shape::Set) | (Owned::Whole, Shape::Leaf) => true,
        _ => false,
    };
    let mut same = LISTS.iter().filter(|list| list.field == field);
    same.find(is_owned_so)
        .map_or(Merged::Replaced, |list| list.merged)
}

/// The list, if it is one of these.
pub(crate) fn get(of: &str, field: &str) -> Option<&'static List> {
    LISTS
        .iter()
        .find(|list| list.of == of && list.field == field)
}

/// The name of a schema without what all of Kubernetes' have.
pub(crate) fn short(schema: &str) -> &str {
    let prefixes = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis."];
    let mut rests = prefixes
        .iter()
        .filter_map(|prefix| schema.strip_prefix(prefix));
    rests.next().unwrap_or(schema)
}

const fn map(of: &'static str, field: &'static str, keys: &'static [&'static str]) -> List {
    List {
        of,
        field,
        owned: Owned::Items(keys),
        merged: Merged::By(keys[0]),
    }
}

const fn items(of: &'static str, field: &'static str, keys: &'static [&'static str]) -> List {
    List {
        of,
        field,
        owned: Owned::Items(keys),
        merged: Merged::Replaced,
    }
}

const fn set(of: &'static str, field: &'static str) -> List {
    List {
        of,
        field,
        owned: Owned::Values,
        merged: Merged::Replaced,
    }
}

const fn merged_set(of: &'static str, field: &'static str) -> List {
    List {
        of,
        field,
        owned: Owned::Values,
        merged: Merged::Values,
    }
}

const fn merged(of: &'static str, field: &'static str, key: &'static str) -> List {
    List {
        of,
        field,
        owned: Owned::Whole,
        merged: Merged::By(key),
    }
}
