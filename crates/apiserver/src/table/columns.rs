//! The columns of one resource: what each is called, and what its cells say.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use serde_json::{Value, json};

use super::age;
use super::builtin;
use super::jsonpath::JsonPath;
use crate::object::meta_text;
use crate::resource::{Resource, Version};

/// One column.
pub(super) struct Column {
    pub(super) name: String,
    /// As in OpenAPI, or `date`.
    pub(super) kind: String,
    pub(super) format: String,
    pub(super) description: String,
    /// 0 is always shown, higher ones with `-o wide`.
    pub(super) priority: i32,
    pub(super) content: Content,
}

/// Where a cell's content comes from.
pub(super) enum Content {
    /// What the path leads to.
    Path(JsonPath),
    /// What the function makes of the object.
    Made(fn(&Value, Timestamp) -> Value),
    /// The definition has a path that cannot be followed.
    Nothing,
}

/// The columns of a version: the name, then the definition's or the built-in ones, or the age.
pub(super) fn of(resource: &Resource, version: &Version) -> Vec<Column> {
    if let Some(columns) = builtin::columns(resource) {
        return columns;
    }
    let mut columns = vec![name()];
    columns.extend(version.columns.iter().map(Column::defined));
    if version.columns.is_empty() {
        columns.push(age());
    }
    columns
}

/// The first column of nearly every table.
pub(super) fn name() -> Column {
    // The row of a bookmark has an empty name.
    let mut column = Column::made("Name", |object, _| meta_text(object, "name").into());
    column.format = "name".to_owned();
    column.description = "the name, unique within its kind and namespace".to_owned();
    column
}

/// The last column of nearly every table.
pub(super) fn age() -> Column {
    let mut column = Column::at("Age", "date", ".metadata.creationTimestamp");
    column.description = "the time since the object was created".to_owned();
    column
}

impl Column {
    pub(super) fn at(name: &str, kind: &str, path: &str) -> Self {
        let path = JsonPath::parse(path).expect("paths in this crate are tested");
        Self::new(name, kind, Content::Path(path))
    }

    pub(super) fn made(name: &str, make: fn(&Value, Timestamp) -> Value) -> Self {
        Self::new(name, "string", Content::Made(make))
    }

    /// The same, shown only with `-o wide`.
    pub(super) fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    fn new(name: &str, kind: &str, content: Content) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            content,
        }
    }

    fn defined(definition: &CustomResourceColumnDefinition) -> Self {
        let content = match JsonPath::parse(&definition.json_path) {
            Ok(path) => Content::Path(path),
            Err(_) => Content::Nothing,
        };
        let mut column = Self::new(&definition.name, &definition.type_, content);
        column.format = definition.format.clone().unwrap_or_default();
        let path = &definition.json_path;
        let given = definition.description.clone().filter(|it| !it.is_empty());
        column.description = given.unwrap_or_else(|| {
            format!("Custom resource definition column (in JSONPath format): {path}")
        });
        column.priority = definition.priority.unwrap_or_default();
        column
    }

    /// As in `columnDefinitions`. A date is sent as text, because its age is what is shown.
    pub(super) fn definition(&self) -> Value {
        let kind = if self.kind == "date" {
            "string"
        } else {
            &self.kind
        };
        json!({
            "name": self.name, "type": kind, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }

    /// The cell of an object; null where it has nothing to show.
    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.content {
            Content::Made(make) => make(object, now),
            Content::Path(path) => path
                .first(object)
                .map_or(Value::Null, |v| self.shown(v, now)),
            Content::Nothing => Value::Null,
        }
    }

    fn shown(&self, value: &Value, now: Timestamp) -> Value {
        match (self.kind.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("date", Value::String(then)) => age::since(then, now).into(),
            ("date", _) => "<invalid>".into(),
            ("string", Value::String(text)) => text.clone().into(),
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(n)) if n.is_i64() || n.is_u64() => value.clone(),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            _ => Value::Null,
        }
    }
}
