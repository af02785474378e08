//! What a schema of Groma's kinds admits, its Rust type reads: an object that nothing can read is never reconciled.

use kube::core::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::schema::{Additional, Kind, Schema};

/// Most variants of one enum in any kind; each is in one of so many documents.
const VARIANTS: usize = 8;

/// A kind: the name of its definition, and whether its type reads a document.
type Reader = (String, fn(&Value) -> Result<(), String>);

fn reader<K: CustomResourceExt + DeserializeOwned>() -> Reader {
    let read = |document: &Value| {
        let read = K::deserialize(document);
        read.map(drop).map_err(|error| error.to_string())
    };
    (K::crd_name().to_owned(), read)
}

fn readers() -> Vec<Reader> {
    vec![
        reader::<api::Provider>(),
        reader::<api::VirtualisationStack>(),
        reader::<api::Site>(),
        reader::<api::Link>(),
        reader::<api::Host>(),
        reader::<api::ResourcePool>(),
        reader::<api::Workload>(),
        reader::<api::Placement>(),
        reader::<api::PlacementPolicy>(),
        reader::<api::WorkloadRecord>(),
        reader::<api::WorkloadDeployment>(),
        reader::<api::Instance>(),
        reader::<api::NetworkDomain>(),
        reader::<api::Network>(),
        reader::<api::ServiceFunctionChain>(),
        reader::<api::HostDatapath>(),
        reader::<api::Service>(),
    ]
}

fn edges() -> Vec<Value> {
    let (nines, more) = ("9".repeat(17), "9".repeat(18));
    let mut edges = vec![
        json!(null),
        json!(i64::MIN),
        json!(-1),
        json!(-1.0),
        json!(0),
        json!(0.5),
        json!(1),
        json!(2.0),
        json!(u16::MAX),
        json!(u32::from(u16::MAX) + 1),
        json!(u32::MAX),
        json!(u64::from(u32::MAX) + 1),
        json!(100_000_000_000_000_000_u64),
        json!(i64::MAX),
        json!(i64::MAX as u64 + 1),
        json!(u64::MAX),
        json!(1e30),
        json!(format!("{nines}Ei")),
        json!(format!("{nines}.{nines}")),
        json!(more),
        json!(format!("{more}E")),
        json!(format!("0.{more}E")),
    ];
    let texts = [
        "",
        "-1",
        "1",
        "1e3",
        ".5",
        "1.",
        "0.0001m",
        "40.4168",
        "180",
        "180.000000",
        "-180.000001",
        "181",
        "999",
        "::/0",
        "fd00::/64",
        "fd00::/128",
        "fd00::/129",
        "fd00::/064",
        "192.0.2.0/24",
        "::192.0.2.0/120",
        ":/64",
        "x/64",
        "::1",
        "192.0.2.1",
        "fe80::1%1",
        "2026-11-21T10:00:00Z",
        "2026-11-21t10:00:00z",
        "2026-11-21T10:00:00.123456789012Z",
        "2026-11-21T10:00:00+01:00",
        "2026-11-21T24:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-11-21T10:00:60Z",
        "2026-11-21 10:00:00Z",
        "2026-11-21T10:00Z",
        "-000001-01-01T00:00:00Z",
    ];
    edges.extend(texts.map(Value::from));
    edges
}

/// A document with a value in every field.
struct Sample<'a> {
    /// Which variant of every enum it has.
    variant: usize,
    /// The fields whose values have bounds, by JSON pointer.
    bounded: Vec<(String, &'a Schema)>,
}

impl<'a> Sample<'a> {
    fn of(&mut self, schema: &'a Schema, path: &str) -> Value {
        let limits = &schema.limits;
        let number = schema.int_or_string || schema.kind == Some(Kind::Integer);
        if number || limits.format.is_some() || limits.pattern.is_some() {
            self.bounded.push((path.to_owned(), schema));
        }
        match schema.kind {
            Some(Kind::Object) => self.object(schema, path),
            Some(Kind::Array) => {
                let items = schema.items.as_ref().expect("lists have items");
                json!([self.of(items, &format!("{path}/0"))])
            }
            Some(Kind::Boolean) => json!(true),
            _ => fitting(schema, path),
        }
    }

    fn object(&mut self, schema: &'a Schema, path: &str) -> Value {
        let variant = self.variant % schema.one_of.len().max(1);
        let others = schema.one_of.iter().enumerate();
        let others = others.filter(|(index, _)| *index != variant);
        let others: Vec<&String> = others.flat_map(|(_, other)| &other.required).collect();
        let mut fields = Map::new();
        for (name, known) in &schema.properties {
            if !others.contains(&name) {
                fields.insert(name.clone(), self.of(known, &format!("{path}/{name}")));
            }
        }
        if let Additional::Schema(known) = &schema.additional {
            fields.insert("a".to_owned(), self.of(known, &format!("{path}/a")));
        }
        fields.into()
    }
}

/// Some value that the schema admits.
fn fitting(schema: &Schema, path: &str) -> Value {
    if let Some(choices) = &schema.choices {
        return choices[0].clone();
    }
    let values = [
        json!(1),
        json!(1280),
        json!("a"),
        json!("A"),
        json!("AA"),
        json!("/a/a"),
        json!("SIGHUP"),
        json!("layout:a"),
        json!("2001:db8::/64"),
        json!("2001:db8::"),
        json!("40.4"),
        json!("1"),
        json!("2026-11-21T10:00:00Z"),
        json!("CAP_KILL"),
    ];
    let mut values = values.into_iter();
    let found = values.find(|value| schema.problems(value, None, false).is_empty());
    found.unwrap_or_else(|| panic!("no value fits {path}"))
}

#[test]
fn what_a_schema_admits_its_type_reads() {
    let (crds, readers, edges) = (api::crds(), readers(), edges());
    assert_eq!(crds.len(), readers.len());
    for crd in crds {
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        let reader = readers.iter().find(|(known, _)| known == name);
        let (_, read) = reader.unwrap_or_else(|| panic!("{name} has no reader"));
        let version = &crd.spec.versions[0];
        let props = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = Schema::parse(props.expect("a schema")).expect("it can be parsed");
        for variant in 0..VARIANTS {
            let mut sample = Sample {
                variant,
                bounded: Vec::new(),
            };
            let mut document = sample.of(&schema, "");
            document["metadata"] = json!({"name": "a"});
            assert_eq!(read(&document), Ok(()), "{name}: {document:#}");
            for (path, bounded) in sample.bounded {
                check_edges(bounded, &edges, |edge| {
                    let mut document = document.clone();
                    *document.pointer_mut(&path).expect("it is in the sample") = edge.clone();
                    assert_eq!(read(&document), Ok(()), "{name}: {path}: {edge}");
                });
            }
        }
    }
}

fn check_edges(schema: &Schema, edges: &[Value], read: impl Fn(&Value)) {
    for edge in edges {
        let mut edge = edge.clone();
        schema.fill(&mut edge);
        if schema.problems(&edge, None, false).is_empty() {
            read(&edge);
        }
    }
}
