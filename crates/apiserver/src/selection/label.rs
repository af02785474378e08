//! Label selectors of every form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>5`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Given;
use serde_json::Value;

use crate::selection::REQUIREMENTS_MAX;

/// Requirements that all have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses a selector.
    ///
    /// # Errors
    /// When the text is no selector.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim() };
        let mut requirements = Vec::new();
        while !parser.rest.is_empty() {
            requirements.push(parser.requirement().map_err(|why| refuse(&why))?);
            if requirements.len() > REQUIREMENTS_MAX {
                return Err(refuse(&format!("at most {REQUIREMENTS_MAX} requirements")));
            }
            if !parser.rest.is_empty() && !parser.take(",") {
                let found = parser.token();
                return Err(format!("found '{found}', expected: ',' or 'end of string'"));
            }
        }
        Ok(Self(requirements))
    }

    /// The selector that an object holds, as `matchLabels` and `matchExpressions`; nothing selects everything.
    pub(crate) fn given(given: Option<&Given>) -> Result<Self, String> {
        let mut requirements = Vec::new();
        let labels = given.and_then(|given| given.match_labels.as_ref());
        for (key, value) in labels.into_iter().flatten() {
            requirements.push(Requirement {
                key: key.clone(),
                test: Test::In(vec![value.clone()]),
            });
        }
        let expressions = given.and_then(|given| given.match_expressions.as_ref());
        for expression in expressions.into_iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let operator = expression.operator.as_str();
            let test = match (operator, values.is_empty()) {
                ("In", false) => Test::In(values),
                ("NotIn", false) => Test::NotIn(values),
                ("Exists", true) => Test::Exists,
                ("DoesNotExist", true) => Test::Absent,
                ("In" | "NotIn", true) => {
                    return Err(format!("operator {operator} needs values"));
                }
                ("Exists" | "DoesNotExist", false) => {
                    return Err(format!("operator {operator} takes no values"));
                }
                _ => {
                    return Err(format!(
                        "{operator:?} is no operator: In, NotIn, Exists, DoesNotExist"
                    ));
                }
            };
            let key = expression.key.clone();
            crate::names::check_label_key(&key)?;
            requirements.push(Requirement { key, test });
        }
        Ok(Self(requirements))
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: Option<&Value>) -> bool {
        self.0.iter().all(|r| {
            let label = labels
                .and_then(|labels| labels.get(&r.key))
                .and_then(Value::as_str);
            r.test.holds(label)
        })
    }
}

impl Test {
    fn holds(&self, label: Option<&str>) -> bool {
        let is_in = |values: &[String]| {
            label.is_some_and(|label| values.iter().any(|value| value == label))
        };
        let number = || label.and_then(|label| label.parse::<i64>().ok());
        match self {
            Self::In(values) => is_in(values),
            Self::NotIn(values) => !is_in(values),
            Self::Exists => label.is_some(),
            Self::Absent => label.is_none(),
            Self::Greater(than) => number().is_some_and(|number| number > *than),
            Self::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

fn refuse(why: &str) -> String {
    format!("unable to parse requirement: {why}")
}

/// Consumes the text from the left.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.take("!") {
            return Ok(Requirement {
                key: self.key()?,
                test: Test::Absent,
            });
        }
        let key = self.key()?;
        let test = self.test()?;
        Ok(Requirement { key, test })
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok(Test::Exists);
        }
        if self.take("!=") {
            return Ok(Test::NotIn(vec![self.value()?]));
        }
        if self.take("==") || self.take("=") {
            return Ok(Test::In(vec![self.value()?]));
        }
        if self.take(">") {
            return Ok(Test::Greater(self.number()?));
        }
        if self.take("<") {
            return Ok(Test::Less(self.number()?));
        }
        match self.word() {
            "in" => Ok(Test::In(self.values()?)),
            "notin" => Ok(Test::NotIn(self.values()?)),
            other => Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            )),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        if !self.take("(") {
            return Err(format!("found '{}', expected: '('", self.rest));
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        match self.take(")") {
            true => Ok(values),
            false => Err(format!("found '{}', expected: ',' or ')'", self.rest)),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse()
            .map_err(|_| format!("'{word}' is not an integer"))
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        crate::names::check_label_key(key)?;
        Ok(key.to_owned())
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        crate::names::check_label_value(value)?;
        Ok(value.to_owned())
    }

    /// The text up to the next operator, comma, bracket or space; it may be empty.
    fn word(&mut self) -> &str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!<>,()".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    /// What comes next, for a message.
    fn token(&mut self) -> String {
        match self.word() {
            "" => self.rest.chars().take(1).collect(),
            word => word.to_owned(),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest.trim_start();
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(selector: &str, expected: bool) {
        let labels = json!({"app": "web", "tier": "front", "n": "5", "empty": ""});
        let parsed = LabelSelector::parse(selector).expect(selector);
        assert_eq!(parsed.matches(Some(&labels)), expected, "{selector}");
    }

    #[test]
    fn every_form_selects() {
        for matching in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web",
            "tier!=back",
            "nope!=x",
            "app in (web, db)",
            "app in (web),tier notin (back,)",
            "nope notin (a)",
            "!nope",
            "! nope",
            "n>4",
            "n<6",
            "empty=",
            "empty",
            "app,tier=front,!nope",
            "empty in ()",
        ] {
            check(matching, true);
        }
        for other in [
            "nope",
            "app=db",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "!app",
            "n>5",
            "n<5",
            "app>1",
        ] {
            check(other, false);
        }
    }

    #[test]
    fn refuses_what_is_no_selector() {
        for bad in [
            "=a", "a in b", "a in (b", "a b", "a=b c", "a>x", "a=*", "-a", "a,,b", "!",
        ] {
            LabelSelector::parse(bad).expect_err(bad);
        }
    }
}
