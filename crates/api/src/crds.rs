//! The CustomResourceDefinitions of all kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;

use crate::{mco, tcm, tcrr, tcso, wdm};

/// The definitions of all kinds, in order of their names.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        tcrr::Provider::crd(),
        tcrr::VirtualisationStack::crd(),
        tcrr::Site::crd(),
        tcrr::Link::crd(),
        tcrr::Host::crd(),
        tcrr::ResourcePool::crd(),
        mco::Workload::crd(),
        mco::Placement::crd(),
        mco::PlacementPolicy::crd(),
        mco::WorkloadRecord::crd(),
        wdm::WorkloadDeployment::crd(),
        wdm::Instance::crd(),
        tcm::NetworkDomain::crd(),
        tcm::Network::crd(),
        tcm::ServiceFunctionChain::crd(),
        tcm::HostDatapath::crd(),
        tcso::Service::crd(),
    ];
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            bound(schema);
        }
    }
    all
}

/// Gives 32-bit numbers without a sign their maximum: Kubernetes takes their format for a remark.
fn bound(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref() == Some("uint32") {
        schema.maximum.get_or_insert(u32::MAX.into());
    }
    schema
        .properties
        .iter_mut()
        .flatten()
        .for_each(|(_, field)| bound(field));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        bound(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        bound(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_structural_schema_in_its_category() {
        let crds = crds();
        assert_eq!(crds.len(), 17);
        for crd in crds {
            let names = &crd.spec.names;
            assert_eq!(
                names.categories.as_deref(),
                Some(&["groma".to_owned()][..]),
                "{}",
                names.kind
            );
            let schema = crd.spec.versions[0]
                .schema
                .as_ref()
                .and_then(|schema| schema.open_api_v3_schema.as_ref());
            assert!(
                schema.is_some_and(|schema| schema.properties.is_some()),
                "{}",
                names.kind
            );
        }
    }
}
