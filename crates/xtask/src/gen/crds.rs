//! One CustomResourceDefinition per kind, as YAML that `kubectl apply` takes.

use crate::r#gen::Outputs;
use anyhow::{Context, Result};
use std::path::Path;

const HEADER: &str = "# Written by `cargo xtask gen` from crates/api; do not edit.\n";

pub(crate) fn outputs(folder: &Path) -> Result<Outputs> {
    let mut outputs = Outputs::new();
    for crd in api::crds() {
        let name = &crd.spec.names.plural;
        let yaml = serde_saphyr::to_string(&crd)
            .with_context(|| format!("cannot write {name} as YAML"))?;
        outputs.insert(
            folder.join(format!("{name}.yaml")),
            format!("{HEADER}{yaml}"),
        );
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn yaml_reads_back_as_the_definition() {
        let outputs = outputs(Path::new("crds")).unwrap();
        assert!(outputs.len() > 1);
        for crd in api::crds() {
            let yaml = &outputs[&Path::new("crds").join(format!("{}.yaml", crd.spec.names.plural))];
            let read: Value = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(
                read,
                serde_json::to_value(&crd).unwrap(),
                "{}",
                crd.spec.names.kind
            );
        }
    }
}
