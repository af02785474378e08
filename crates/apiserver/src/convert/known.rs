//! Conversions for who decides without waiting: what is not known yet is noted, looked up, and then it is decided again.
//!
//! Who owns which fields depends on an object's form in every version in which somebody wrote it
//! ([`crate::ownership`]). That is decided by pure functions, and a webhook has to be waited for.

use std::cell::RefCell;

use serde_json::Value;

use super::{by_rule, stored_by_rule};
use crate::failure::Failure;
use crate::resource::{Resource, Version};

/// How often a decision may ask for what it did not ask for before.
const ROUNDS_MAX: usize = 16;

/// What is known of documents in other versions.
#[derive(Default)]
pub(crate) struct Known {
    known: Vec<Conversion>,
    wanted: RefCell<Vec<(Value, String)>>,
}

struct Conversion {
    from: Value,
    /// The name of the version.
    to: String,
    made: Value,
}

impl Known {
    /// The document of one version in another one; `None` if that has to be looked up first.
    pub(crate) fn convert(
        &self,
        resource: &Resource,
        (from, to): (&Version, &Version),
        value: &Value,
    ) -> Option<Value> {
        if resource.converter.is_none() {
            let stored = stored_by_rule(resource, from, value.clone());
            return Some(by_rule(resource, to, stored));
        }
        let mut known = self.known.iter();
        if let Some(it) = known.find(|it| it.to == to.name && it.from == *value) {
            return Some(it.made.clone());
        }
        self.wanted
            .borrow_mut()
            .push((value.clone(), to.name.clone()));
        None
    }

    /// Decides, as often as it takes until all is known that the decision asks for.
    pub(crate) async fn decide<T>(
        resource: &Resource,
        decide: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut known = Self::default();
        for _ in 0..ROUNDS_MAX {
            let decided = decide(&known);
            let wanted = known.wanted.take();
            if wanted.is_empty() {
                return decided;
            }
            known.look_up(resource, wanted).await?;
        }
        Err(Failure::internal(
            "the conversion webhook converts the same document in another way each time",
        ))
    }

    async fn look_up(
        &mut self,
        resource: &Resource,
        wanted: Vec<(Value, String)>,
    ) -> Result<(), Failure> {
        let Some(converter) = &resource.converter else {
            return Ok(());
        };
        for (from, to) in wanted {
            let Some(version) = resource.version(&to) else {
                continue;
            };
            let api_version = resource.api_version(&to);
            let schema = version.schema.as_deref();
            let values = vec![from.clone()];
            let mut made = converter.convert(&api_version, schema, values).await?;
            let made = made.swap_remove(0);
            self.known.push(Conversion { from, to, made });
        }
        Ok(())
    }
}
