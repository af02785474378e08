//! The configuration file of the application: JSON with one optional field, `greeting`.
//!
//! An unknown field is refused, so that a typing error cannot pass as a change.

use function::Refusal;
use serde::Deserialize;

/// The longest greeting.
const GREETING_MAX: usize = 1_024;

/// What the configuration file says.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// What `/` begins with.
    pub(crate) greeting: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: "hello".to_owned(),
        }
    }
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let settings: Self =
            serde_json::from_str(text).map_err(|e| Refusal::from(e.to_string()))?;
        match settings.greeting.chars().count() {
            1..=GREETING_MAX => Ok(settings),
            n => Err(format!("greeting has {n} characters, expected 1 to {GREETING_MAX}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_sets_the_greeting_and_an_empty_one_keeps_the_default() {
        let greeting = |text| Settings::parse(text).unwrap().greeting;
        assert_eq!(greeting(r#"{"greeting": "good day"}"#), "good day");
        assert_eq!(greeting("{}"), "hello");
        assert_eq!(
            greeting(&format!(
                r#"{{"greeting": "{}"}}"#,
                "é".repeat(GREETING_MAX)
            ))
            .len(),
            2 * GREETING_MAX
        );
    }

    #[test]
    fn refusals_name_the_field() {
        let refused = |text: &str| Settings::parse(text).unwrap_err().to_string();
        assert!(refused(r#"{"greting": "x"}"#).contains("greting"));
        assert!(refused(r#"{"greeting": ""}"#).contains("greeting has 0"));
        assert!(
            refused(&format!(
                r#"{{"greeting": "{}"}}"#,
                "x".repeat(GREETING_MAX + 1)
            ))
            .contains("1025")
        );
        assert!(refused("greeting = x").contains("line 1"));
    }
}
