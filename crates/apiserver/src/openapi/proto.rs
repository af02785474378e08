//! OpenAPI v2 in protobuf, as `gnostic` defines it and kubectl reads it.
//!
//! Only the messages and fields that our documents use are here; their numbers are those of `OpenAPIv2.proto`.

use prost::{Message, Oneof};
use serde_json::{Map, Value};

/// The bytes of a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    Document::of(document).encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<NamedSchemas>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    put: Option<Operation>,
    #[prost(message, optional, tag = "4")]
    post: Option<Operation>,
    #[prost(message, optional, tag = "5")]
    delete: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
    #[prost(message, repeated, tag = "9")]
    parameters: Vec<ParametersItem>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, repeated, tag = "1")]
    tags: Vec<String>,
    #[prost(string, tag = "5")]
    operation_id: String,
    #[prost(string, repeated, tag = "6")]
    produces: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    consumes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, optional, tag = "9")]
    responses: Option<Responses>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(oneof = "AnyParameter", tags = "1, 2")]
    any: Option<AnyParameter>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred of them live as long as it takes to write a document down"
)]
#[derive(Clone, PartialEq, Oneof)]
enum AnyParameter {
    #[prost(message, tag = "1")]
    Body(Box<BodyParameter>),
    #[prost(message, tag = "2")]
    Other(OtherParameter),
}

#[derive(Clone, PartialEq, Message)]
struct BodyParameter {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    place: String,
    #[prost(bool, tag = "4")]
    required: bool,
    #[prost(message, optional, tag = "5")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct OtherParameter {
    #[prost(oneof = "Placed", tags = "3, 4")]
    placed: Option<Placed>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Placed {
    #[prost(message, tag = "3")]
    Query(QueryParameter),
    #[prost(message, tag = "4")]
    Path(PathParameter),
}

#[derive(Clone, PartialEq, Message)]
struct QueryParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
    #[prost(bool, tag = "20")]
    unique_items: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PathParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    kind: String,
    #[prost(bool, tag = "19")]
    unique_items: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    response_code: Vec<NamedResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedResponse {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseValue {
    #[prost(message, optional, tag = "1")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<SchemaItem>,
}

#[derive(Clone, PartialEq, Message)]
struct SchemaItem {
    #[prost(message, optional, tag = "1")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "3")]
    title: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(message, optional, tag = "5")]
    default: Option<Any>,
    #[prost(double, tag = "6")]
    multiple_of: f64,
    #[prost(double, tag = "7")]
    maximum: f64,
    #[prost(bool, tag = "8")]
    exclusive_maximum: bool,
    #[prost(double, tag = "9")]
    minimum: f64,
    #[prost(bool, tag = "10")]
    exclusive_minimum: bool,
    #[prost(int64, tag = "11")]
    max_length: i64,
    #[prost(int64, tag = "12")]
    min_length: i64,
    #[prost(string, tag = "13")]
    pattern: String,
    #[prost(int64, tag = "14")]
    max_items: i64,
    #[prost(int64, tag = "15")]
    min_items: i64,
    #[prost(bool, tag = "16")]
    unique_items: bool,
    #[prost(int64, tag = "17")]
    max_properties: i64,
    #[prost(int64, tag = "18")]
    min_properties: i64,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    choices: Vec<Any>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<Additional>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<Texts>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<NamedSchemas>,
    #[prost(message, optional, tag = "29")]
    external_docs: Option<ExternalDocs>,
    #[prost(message, optional, tag = "30")]
    example: Option<Any>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct Additional {
    #[prost(oneof = "AnyAdditional", tags = "1, 2")]
    any: Option<AnyAdditional>,
}

#[derive(Clone, PartialEq, Oneof)]
enum AnyAdditional {
    #[prost(message, tag = "1")]
    Schema(Box<Schema>),
    #[prost(bool, tag = "2")]
    Allowed(bool),
}

#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

/// `Definitions`, and `Properties`.
#[derive(Clone, PartialEq, Message)]
struct NamedSchemas {
    #[prost(message, repeated, tag = "1")]
    all: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

/// `TypeItem`.
#[derive(Clone, PartialEq, Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ExternalDocs {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    url: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

/// A value as YAML, of which JSON is a part.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

impl Document {
    fn of(value: &Value) -> Self {
        Self {
            swagger: text(&value["swagger"]),
            info: Some(Info {
                title: text(&value["info"]["title"]),
                version: text(&value["info"]["version"]),
            }),
            paths: Some(Paths {
                path: each(&value["paths"], |name, value| NamedPathItem {
                    name,
                    value: Some(PathItem::of(value)),
                }),
            }),
            definitions: NamedSchemas::of(&value["definitions"]),
        }
    }
}

impl PathItem {
    fn of(value: &Value) -> Self {
        let operation = |method: &str| value.get(method).map(Operation::of);
        Self {
            get: operation("get"),
            put: operation("put"),
            post: operation("post"),
            delete: operation("delete"),
            patch: operation("patch"),
            parameters: items(&value["parameters"], ParametersItem::of),
        }
    }
}

impl Operation {
    fn of(value: &Value) -> Self {
        Self {
            tags: items(&value["tags"], text),
            operation_id: text(&value["operationId"]),
            produces: items(&value["produces"], text),
            consumes: items(&value["consumes"], text),
            parameters: items(&value["parameters"], ParametersItem::of),
            responses: Some(Responses {
                response_code: each(&value["responses"], NamedResponse::of),
            }),
            vendor_extension: extensions(value),
        }
    }
}

impl ParametersItem {
    fn of(value: &Value) -> Self {
        let (name, place) = (text(&value["name"]), text(&value["in"]));
        let (kind, required) = (text(&value["type"]), truth(&value["required"]));
        let unique_items = truth(&value["uniqueItems"]);
        let placed = match place.as_str() {
            "body" => {
                return Self::any(AnyParameter::Body(Box::new(BodyParameter {
                    name,
                    place,
                    required,
                    schema: Some(Schema::of(&value["schema"])),
                })));
            }
            "path" => Placed::Path(PathParameter {
                required,
                place,
                name,
                kind,
                unique_items,
            }),
            _ => Placed::Query(QueryParameter {
                required,
                place,
                name,
                kind,
                unique_items,
            }),
        };
        Self::any(AnyParameter::Other(OtherParameter {
            placed: Some(placed),
        }))
    }

    fn any(any: AnyParameter) -> Self {
        Self {
            parameter: Some(Parameter { any: Some(any) }),
        }
    }
}

impl NamedResponse {
    fn of(name: String, value: &Value) -> Self {
        let response = Response {
            description: text(&value["description"]),
            schema: value.get("schema").map(|schema| SchemaItem {
                schema: Some(Schema::of(schema)),
            }),
        };
        Self {
            name,
            value: Some(ResponseValue {
                response: Some(response),
            }),
        }
    }
}

impl Schema {
    fn of(value: &Value) -> Self {
        let number = |field: &str| value[field].as_f64().unwrap_or_default();
        let count = |field: &str| value[field].as_i64().unwrap_or_default();
        let kind = value["type"].as_str().map(|kind| Texts {
            value: vec![kind.to_owned()],
        });
        let docs = value.get("externalDocs").map(|docs| ExternalDocs {
            description: text(&docs["description"]),
            url: text(&docs["url"]),
        });
        Self {
            reference: text(&value["$ref"]),
            format: text(&value["format"]),
            title: text(&value["title"]),
            description: text(&value["description"]),
            default: value.get("default").map(Any::of),
            multiple_of: number("multipleOf"),
            maximum: number("maximum"),
            exclusive_maximum: truth(&value["exclusiveMaximum"]),
            minimum: number("minimum"),
            exclusive_minimum: truth(&value["exclusiveMinimum"]),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: text(&value["pattern"]),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: truth(&value["uniqueItems"]),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: items(&value["required"], text),
            choices: items(&value["enum"], Any::of),
            additional_properties: value.get("additionalProperties").map(Additional::of),
            kind,
            items: value.get("items").map(|items| Items {
                schema: vec![Self::of(items)],
            }),
            properties: value.get("properties").and_then(NamedSchemas::of),
            external_docs: docs,
            example: value.get("example").map(Any::of),
            vendor_extension: extensions(value),
        }
    }
}

impl Additional {
    fn of(value: &Value) -> Box<Self> {
        let any = match value {
            Value::Bool(allowed) => AnyAdditional::Allowed(*allowed),
            schema => AnyAdditional::Schema(Box::new(Schema::of(schema))),
        };
        Box::new(Self { any: Some(any) })
    }
}

impl NamedSchemas {
    fn of(value: &Value) -> Option<Self> {
        let all = each(value, |name, value| NamedSchema {
            name,
            value: Some(Schema::of(value)),
        });
        Some(Self { all })
    }
}

impl Any {
    fn of(value: &Value) -> Self {
        Self {
            yaml: format!("{value}\n"),
        }
    }
}

/// What no standard knows.
fn extensions(value: &Value) -> Vec<NamedAny> {
    let fields = value.as_object().into_iter().flatten();
    let own = fields.filter(|(name, _)| name.starts_with("x-"));
    own.map(|(name, value)| NamedAny {
        name: name.clone(),
        value: Some(Any::of(value)),
    })
    .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

fn items<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(of).collect()
}

fn each<T>(value: &Value, of: impl Fn(String, &Value) -> T) -> Vec<T> {
    let fields = value.as_object().into_iter().flat_map(Map::iter);
    fields
        .map(|(name, value)| of(name.clone(), value))
        .collect()
}
