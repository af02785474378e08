//! The CustomResourceDefinitions of all kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
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
    all
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
