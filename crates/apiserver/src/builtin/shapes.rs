//! How objects of Kubernetes' types are owned: from the schemas of their Rust types and what [`super::lists`] adds to them.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::lists::{self, Owned};
use crate::ownership::Shape;

/// Metadata, which all kinds have alike.
const METADATA: &str = "meta.v1.ObjectMeta";

/// Makes shapes, and keeps the schemas of the types that kinds share.
pub(super) struct Shapes {
    generator: SchemaGenerator,
}

impl Default for Shapes {
    fn default() -> Self {
        let generator = SchemaSettings::openapi3().into_generator();
        Self { generator }
    }
}

impl Shapes {
    /// The shape of a kind, and whether it has a status.
    pub(super) fn of<T: JsonSchema>(&mut self) -> (Shape, bool) {
        drop(self.generator.subschema_for::<T>());
        let schemas = Schemas(self.generator.definitions());
        match schemas.named(&T::schema_name()) {
            Shape::Fields(fields, others) => {
                let status = fields.contains_key("status");
                (Shape::Fields(Shape::whole(fields), others), status)
            }
            _ => (Shape::unknown_object(), false),
        }
    }
}

/// Schemas by name.
struct Schemas<'a>(&'a Map<String, Value>);

impl Schemas<'_> {
    fn named(&self, name: &str) -> Shape {
        let short = lists::short(name);
        match short {
            METADATA => Shape::metadata(),
            short if lists::WHOLE_TYPES.contains(&short) => Shape::Leaf,
            short => self.object(short, self.0.get(name).unwrap_or(&Value::Null)),
        }
    }

    fn object(&self, name: &str, schema: &Value) -> Shape {
        let Some(properties) = schema["properties"].as_object() else {
            return self.value(schema);
        };
        let fields = properties.iter();
        let fields = fields.map(|(field, schema)| (field.clone(), self.field(name, field, schema)));
        Shape::Fields(fields.collect(), Box::new(Shape::Leaf))
    }

    fn field(&self, of: &str, field: &str, schema: &Value) -> Shape {
        if lists::WHOLE_FIELDS.contains(&(of, field)) {
            return Shape::Leaf;
        }
        if lists::PARTED_FIELDS.contains(&(of, field)) {
            let target = reference(schema).and_then(|name| self.0.get(name));
            return self.object("", target.unwrap_or(&Value::Null));
        }
        match lists::get(of, field).map(|list| list.owned) {
            Some(Owned::Values) => Shape::Set,
            Some(Owned::Items(keys)) => {
                // The one key that may be left out.
                let default = |key: &str| (key == "protocol").then(|| json!("TCP"));
                let keys = keys.iter().map(|key| ((*key).to_owned(), default(key)));
                Shape::Items(keys.collect(), Box::new(self.value(&schema["items"])))
            }
            Some(Owned::Whole) => Shape::Leaf,
            None => self.value(schema),
        }
    }

    fn value(&self, schema: &Value) -> Shape {
        match (reference(schema), &schema["additionalProperties"]) {
            (Some(name), _) => self.named(name),
            (None, entries @ Value::Object(_)) => Shape::map(self.value(entries)),
            (None, _) => Shape::Leaf,
        }
    }
}

/// The name of the schema that stands here.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str();
    let reference = direct.or_else(|| schema["allOf"][0]["$ref"].as_str());
    Some(reference?.rsplit_once('/')?.1)
}
