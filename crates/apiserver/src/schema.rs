//! Structural schemas.

use serde_json::Value;

use crate::failure::Cause;

/// A parsed schema.
pub struct Schema;

impl Schema {
    /// Parses the `openAPIV3Schema` of a version.
    ///
    /// # Errors
    /// When it is not structural.
    pub fn parse(_schema: &Value) -> Result<Self, String> {
        Ok(Self)
    }

    pub(crate) fn prune(&self, _value: &mut Value, _unknown: &mut Vec<String>) {}
    pub(crate) fn fill(&self, _value: &mut Value) {}
    pub(crate) fn problems(&self, _value: &Value, _old: Option<&Value>) -> Vec<Cause> {
        Vec::new()
    }
}
