//! Structural schemas (`openAPIV3Schema` of a definition): what the fields of a custom resource may be.
//!
//! Parsed once per version into a form on which each pass is a walk: dropping unknown fields ([`prune`]), filling in
//! defaults ([`fill`]), checking values ([`check`]) and evaluating CEL rules ([`rules`]). A schema that Kubernetes
//! would refuse is refused here too as far as these passes would misunderstand it.

mod check;
mod cost;
mod fill;
mod format;
mod formed;
mod lists;
mod prune;
mod rules;
pub(crate) mod structural;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failure::Cause;
use crate::ownership::Shape;
use crate::schema::format::Format;
pub(crate) use crate::schema::prune::{indexed, join};
use crate::schema::rules::Rule;
pub(crate) use crate::schema::values::value;

/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 64;
/// Most problems that one answer lists.
const PROBLEMS_MAX: usize = 64;
/// How many schemas are remembered that were parsed lately.
const PARSED_LATELY_MAX: usize = 64;
/// Fields that every object has, whatever its schema says.
const OBJECT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// One node of a parsed schema.
#[derive(Default)]
pub struct Schema {
    kind: Option<Kind>,
    nullable: bool,
    int_or_string: bool,
    preserve_unknown: bool,
    embedded: bool,
    properties: BTreeMap<String, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    list: List,
    /// An object that is owned as a whole.
    atomic: bool,
    default: Option<Value>,
    limits: Limits,
    required: Vec<String>,
    choices: Option<Vec<Value>>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
    rules: Vec<Rule>,
}

/// Schemas that were parsed lately, by the digests of their texts.
struct Lately(Mutex<VecDeque<([u8; 32], Arc<Schema>)>>);

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What fields besides the named ones there may be.
#[derive(Default)]
enum Additional {
    /// None: they are unknown.
    #[default]
    Unknown,
    /// Any.
    Any,
    /// Those that keep this schema.
    Schema(Box<Schema>),
}

/// What a list is.
#[derive(Default)]
enum List {
    #[default]
    Atomic,
    /// No value twice.
    Set,
    /// No two items with the same values of these fields.
    Map(Vec<String>),
}

/// What values may be.
#[derive(Default)]
struct Limits {
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    chars: (Option<i64>, Option<i64>),
    items: (Option<i64>, Option<i64>),
    properties: (Option<i64>, Option<i64>),
    pattern: Option<Regex>,
    format: Option<Format>,
}

impl Schema {
    /// Parses the schema of a version.
    ///
    /// # Errors
    /// When it uses what is not structural, with the path of the field.
    pub fn parse(props: &JSONSchemaProps) -> Result<Self, String> {
        Self::node(props, "openAPIV3Schema", 0)
    }

    /// The parsed schema of that text, shared with whoever parsed the same one lately. A definition is checked before it
    /// is taken, and served under the lock of the server, where parsing would take too long.
    pub(crate) fn shared(props: &JSONSchemaProps, text: &Value) -> Result<Arc<Self>, String> {
        static LATELY: Lately = Lately(Mutex::new(VecDeque::new()));
        LATELY.parsed(props, text)
    }

    /// Drops fields that the schema does not know; adds their paths to `unknown`.
    pub(crate) fn prune(&self, value: &mut Value, unknown: &mut Vec<String>) {
        prune::root(self, value, unknown);
    }

    /// How the values of objects with this schema are owned.
    pub(crate) fn shape(&self) -> Shape {
        match self.object_shape() {
            Shape::Fields(fields, others) => Shape::Fields(Shape::whole(fields), others),
            _ => Shape::unknown_object(),
        }
    }

    fn part_shape(&self) -> Shape {
        let is_object = !self.properties.is_empty() || self.preserve_unknown;
        match self.kind {
            _ if self.int_or_string || self.atomic => Shape::Leaf,
            Some(Kind::Object) if self.embedded => self.shape(),
            Some(Kind::Object) => self.object_shape(),
            Some(Kind::Array) => self.list_shape(),
            None if is_object => self.object_shape(),
            _ => Shape::Leaf,
        }
    }

    fn object_shape(&self) -> Shape {
        let fields = self.properties.iter();
        let fields = fields.map(|(name, schema)| (name.clone(), schema.part_shape()));
        let others = match &self.additional {
            Additional::Schema(schema) => schema.part_shape(),
            Additional::Unknown | Additional::Any => Shape::Unknown,
        };
        Shape::Fields(fields.collect(), Box::new(others))
    }

    fn list_shape(&self) -> Shape {
        match (&self.list, &self.items) {
            (List::Set, _) => Shape::Set,
            (List::Map(keys), Some(items)) => {
                let default = |key: &String| items.properties.get(key)?.default.clone();
                let keys = keys.iter().map(|key| (key.clone(), default(key)));
                Shape::Items(keys.collect(), Box::new(items.part_shape()))
            }
            (List::Atomic | List::Map(_), _) => Shape::Leaf,
        }
    }

    /// Fills in defaults, drops nulls that mean nothing and writes whole numbers as such.
    pub(crate) fn fill(&self, value: &mut Value) {
        fill::fill(self, value);
    }

    /// Whether pruning and filling would leave a document as it is.
    pub(crate) fn is_formed(&self, value: &Value) -> bool {
        formed::root(self, value)
    }

    /// What is wrong with a document; `old` is its previous state, for rules about transitions, and `apart` says that its
    /// status is written by itself.
    pub(crate) fn problems(&self, value: &Value, old: Option<&Value>, apart: bool) -> Vec<Cause> {
        let mut causes = check::problems(self, value, old, apart);
        causes.extend(lists::problems(self, value, old));
        // As in Kubernetes: rules may rely on types and sizes, so they wait until the values have them.
        if !causes.iter().any(Cause::blocks_rules) {
            rules::problems(self, value, old, &mut causes);
        } else if self.is_ruled() {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                       complete validation";
            causes.push(Cause::invalid(check::NO_FIELD, &Value::Null, why));
        }
        causes.truncate(PROBLEMS_MAX);
        causes
    }

    /// Whether there are rules here or below.
    fn is_ruled(&self) -> bool {
        let others = match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unknown | Additional::Any => None,
        };
        let mut below = self.properties.values();
        !self.rules.is_empty()
            || below.any(Self::is_ruled)
            || others.is_some_and(|it| it.is_ruled())
            || self.items.as_ref().is_some_and(|it| it.is_ruled())
    }

    fn node(props: &JSONSchemaProps, path: &str, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("{path}: schemas may be at most {DEPTH_MAX} deep"));
        }
        refuse_unstructural(props, path)?;
        let many = |list: &Option<Vec<JSONSchemaProps>>| {
            list.iter()
                .flatten()
                .map(|props| Self::node(props, path, depth + 1))
                .collect::<Result<Vec<_>, _>>()
        };
        let under = |name: &str, props: &JSONSchemaProps| {
            Self::node(props, &format!("{path}.{name}"), depth + 1)
        };
        let properties = props.properties.iter().flatten();
        Ok(Self {
            kind: props
                .type_
                .as_deref()
                .map(|name| Kind::parse(name, path))
                .transpose()?,
            nullable: props.nullable == Some(true),
            int_or_string: props.x_kubernetes_int_or_string == Some(true),
            preserve_unknown: props.x_kubernetes_preserve_unknown_fields == Some(true),
            embedded: props.x_kubernetes_embedded_resource == Some(true),
            properties: properties
                .map(|(name, p)| Ok((name.clone(), under(name, p)?)))
                .collect::<Result<_, String>>()?,
            additional: match &props.additional_properties {
                None | Some(JSONSchemaPropsOrBool::Bool(false)) => Additional::Unknown,
                Some(JSONSchemaPropsOrBool::Bool(true)) => Additional::Any,
                Some(JSONSchemaPropsOrBool::Schema(props)) => {
                    Additional::Schema(Box::new(under("*", props)?))
                }
            },
            items: match &props.items {
                Some(JSONSchemaPropsOrArray::Schema(props)) => {
                    Some(Box::new(under("items", props)?))
                }
                Some(JSONSchemaPropsOrArray::Schemas(_)) => {
                    return Err(format!("{path}.items must be one schema"));
                }
                None => None,
            },
            list: List::parse(props, path)?,
            atomic: props.x_kubernetes_map_type.as_deref() == Some("atomic"),
            default: props.default.as_ref().map(|default| default.0.clone()),
            limits: Limits::parse(props, path)?,
            required: props.required.clone().unwrap_or_default(),
            choices: props
                .enum_
                .as_ref()
                .map(|list| list.iter().map(|choice| choice.0.clone()).collect()),
            all_of: many(&props.all_of)?,
            any_of: many(&props.any_of)?,
            one_of: many(&props.one_of)?,
            not: props
                .not
                .as_ref()
                .map(|props| Self::node(props, path, depth + 1).map(Box::new))
                .transpose()?,
            rules: rules::parse(props, path)?,
        })
    }

    /// The schema of a field of an object.
    fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unknown | Additional::Any => None,
        })
    }
}

fn refuse_unstructural(props: &JSONSchemaProps, path: &str) -> Result<(), String> {
    let forbidden = [
        ("$ref", props.ref_path.is_some()),
        ("definitions", props.definitions.is_some()),
        ("dependencies", props.dependencies.is_some()),
        ("patternProperties", props.pattern_properties.is_some()),
        ("additionalItems", props.additional_items.is_some()),
        ("uniqueItems: true", props.unique_items == Some(true)),
    ];
    match forbidden.iter().find(|(_, used)| *used) {
        Some((name, _)) => Err(format!(
            "{path}: {name} is not allowed in a structural schema"
        )),
        None => Ok(()),
    }
}

impl Lately {
    fn parsed(&self, props: &JSONSchemaProps, text: &Value) -> Result<Arc<Schema>, String> {
        let digest = Sha256::digest(text.to_string()).into();
        let parsed = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, schema)) = parsed().iter().find(|(known, _)| *known == digest) {
            return Ok(schema.clone());
        }
        let schema = Arc::new(Schema::parse(props)?);
        let mut parsed = parsed();
        parsed.push_front((digest, schema.clone()));
        parsed.truncate(PARSED_LATELY_MAX);
        Ok(schema)
    }
}

impl Kind {
    fn parse(name: &str, path: &str) -> Result<Self, String> {
        Ok(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            other => return Err(format!("{path}.type is {other:?}, and must be a JSON type")),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// The type of a value; `None` for null.
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        })
    }
}

/// The items of a list as it was, by their keys: found at once, for lists are long.
struct Earlier<'v> {
    keys: &'v [String],
    items: HashMap<String, &'v Value>,
}

impl<'v> Earlier<'v> {
    /// The item that has the same keys.
    fn of(&self, item: &Value) -> Option<&'v Value> {
        self.items.get(&identity(self.keys, item)).copied()
    }
}

/// What the keys of an item say, as text.
fn identity(keys: &[String], item: &Value) -> String {
    let values: Vec<Option<&Value>> = keys.iter().map(|key| item.get(key)).collect();
    serde_json::json!(values).to_string()
}

impl List {
    /// The items of the list as it was; those of lists without keys have no counterparts.
    fn earlier<'v>(&'v self, old: Option<&'v Value>) -> Earlier<'v> {
        let keys = match self {
            Self::Map(keys) => keys.as_slice(),
            Self::Atomic | Self::Set => &[],
        };
        let items = old.and_then(Value::as_array).filter(|_| !keys.is_empty());
        let items = items.into_iter().flatten();
        Earlier {
            keys,
            items: items.map(|item| (identity(keys, item), item)).collect(),
        }
    }

    fn parse(props: &JSONSchemaProps, path: &str) -> Result<Self, String> {
        match props.x_kubernetes_list_type.as_deref() {
            None | Some("atomic") => Ok(Self::Atomic),
            Some("set") => Ok(Self::Set),
            Some("map") => match props.x_kubernetes_list_map_keys.as_deref() {
                Some(keys) if !keys.is_empty() => Ok(Self::Map(keys.to_vec())),
                _ => Err(format!(
                    "{path}.x-kubernetes-list-map-keys must name the keys of the list"
                )),
            },
            Some(other) => Err(format!(
                "{path}.x-kubernetes-list-type is {other:?}, and must be atomic, set or map"
            )),
        }
    }
}

impl Limits {
    fn parse(props: &JSONSchemaProps, path: &str) -> Result<Self, String> {
        let compile = |pattern: &String| {
            Regex::new(pattern).map_err(|error| format!("{path}.pattern: {error}"))
        };
        Ok(Self {
            minimum: props.minimum,
            maximum: props.maximum,
            exclusive_minimum: props.exclusive_minimum == Some(true),
            exclusive_maximum: props.exclusive_maximum == Some(true),
            multiple_of: props.multiple_of,
            chars: (props.min_length, props.max_length),
            items: (props.min_items, props.max_items),
            properties: (props.min_properties, props.max_properties),
            pattern: props.pattern.as_ref().map(compile).transpose()?,
            format: Format::parse(props),
        })
    }
}
