//! What parts the values of a kind have, as far as ownership goes: what is owned as a whole, and what in parts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// How the values at one place are owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// As a whole.
    Leaf,
    /// Nobody knows their form: objects by their fields, everything else as a whole.
    Unknown,
    /// By their fields: the named ones, and all others of one shape.
    Fields(BTreeMap<String, Shape>, Box<Shape>),
    /// A list of different plain values, each owned by itself.
    Set,
    /// A list of items that are told apart by the values of these fields, some of which have defaults.
    Items(Vec<(String, Option<Value>)>, Box<Shape>),
}

/// `ObjectMeta`.
static METADATA: LazyLock<Shape> = LazyLock::new(|| {
    let owners = Shape::Items(vec![("uid".to_owned(), None)], Box::new(Shape::Leaf));
    Shape::named([
        ("annotations", Shape::map(Shape::Leaf)),
        ("finalizers", Shape::Set),
        ("labels", Shape::map(Shape::Leaf)),
        ("ownerReferences", owners),
    ])
});

impl Shape {
    /// Objects whose entries have one shape.
    pub(crate) fn map(entries: Self) -> Self {
        Self::Fields(BTreeMap::new(), Box::new(entries))
    }

    /// Parts of objects with these fields; what is not named here is owned as a whole.
    pub(crate) fn named<const N: usize>(fields: [(&str, Self); N]) -> Self {
        let fields = fields.map(|(name, shape)| (name.to_owned(), shape));
        Self::Fields(BTreeMap::from(fields), Box::new(Self::Leaf))
    }

    /// `ObjectMeta`.
    pub(crate) fn metadata() -> Self {
        METADATA.clone()
    }

    /// The shape of a field of an object.
    pub(crate) fn field(&self, name: &str) -> &Self {
        match self {
            Self::Fields(named, others) => named.get(name).unwrap_or(others),
            Self::Unknown => self,
            _ => &Self::Leaf,
        }
    }

    /// The shape of the items of a list.
    pub(crate) fn items(&self) -> &Self {
        match self {
            Self::Items(_, items) => items,
            _ => &Self::Leaf,
        }
    }

    /// Objects of the API of which nothing is known but that.
    pub(crate) fn unknown_object() -> Self {
        Self::Fields(Self::whole(BTreeMap::new()), Box::new(Self::Unknown))
    }

    /// Objects of the API with these fields; what is not named here is owned as a whole.
    pub(crate) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        match Self::named(fields) {
            Self::Fields(fields, others) => Self::Fields(Self::whole(fields), others),
            other => other,
        }
    }

    /// What all objects of the API have, added to fields of a kind.
    pub(crate) fn whole(mut fields: BTreeMap<String, Self>) -> BTreeMap<String, Self> {
        fields.insert("apiVersion".to_owned(), Self::Leaf);
        fields.insert("kind".to_owned(), Self::Leaf);
        fields.insert("metadata".to_owned(), METADATA.clone());
        fields
    }

    /// The form of a value that stands here. One of another type than this place has is owned as a whole.
    pub(super) fn of(&self, value: &Value) -> Form<'_> {
        match (self, value) {
            (Self::Fields(named, others), Value::Object(_) | Value::Null) => {
                Form::Fields(Some(named), others)
            }
            (Self::Unknown, Value::Object(_)) => Form::Fields(None, self),
            (Self::Set, Value::Array(_) | Value::Null) => Form::List(None),
            (Self::Items(keys, items), Value::Array(_) | Value::Null) => {
                Form::List(Some((keys, items)))
            }
            _ => Form::Leaf,
        }
    }

    /// The form of two values of which one may be missing. Two that have nothing in common are owned as a whole.
    pub(super) fn of_both(&self, one: Option<&Value>, other: Option<&Value>) -> Form<'_> {
        match (one, other) {
            (Some(one), Some(other)) => match (self.of(one), self.of(other)) {
                (Form::Leaf, _) => Form::Leaf,
                (_, form) => form,
            },
            (Some(one), None) | (None, Some(one)) => self.of(one),
            (None, None) => Form::Leaf,
        }
    }

    /// The shape behind a path element, whatever the value is.
    pub(super) fn behind(&self, element: &str) -> (&Self, bool) {
        match (self, element.split_at(2)) {
            (Self::Fields(named, others), ("f:", name)) => {
                let shape = named.get(name);
                (shape.unwrap_or(others), shape.is_some())
            }
            (Self::Items(_, items), ("k:", _)) => (items, false),
            _ => (&Self::Unknown, false),
        }
    }
}

/// The fields by which items are told apart, with their defaults.
type Keys = [(String, Option<Value>)];

/// How one value is owned.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// As a whole.
    Leaf,
    /// By named fields, if there are any, and others.
    Fields(Option<&'a BTreeMap<String, Shape>>, &'a Shape),
    /// By items with keys; a set has none.
    List(Option<(&'a Keys, &'a Shape)>),
}

impl<'a> Form<'a> {
    /// The shape of a field.
    pub(super) fn field(self, name: &str) -> &'a Shape {
        match self {
            Self::Fields(named, others) => named.and_then(|all| all.get(name)).unwrap_or(others),
            Self::Leaf | Self::List(_) => &Shape::Leaf,
        }
    }

    /// Whether a field is one of the schema, and no entry of a map.
    pub(super) fn names(self, name: &str) -> bool {
        matches!(self, Self::Fields(Some(named), _) if named.contains_key(name))
    }

    /// The shape of the items of a list.
    pub(super) fn items(self) -> &'a Shape {
        match self {
            Self::List(Some((_, items))) => items,
            _ => &Shape::Leaf,
        }
    }

    /// What tells an item of a list from others.
    pub(super) fn element(self, item: &Value) -> Result<String, String> {
        match (self, item) {
            (Self::List(Some((keys, _))), Value::Object(item)) => keyed(keys, item),
            (Self::List(Some(_)), item) => Err(format!(
                "an item of a list with keys must be an object, not {item}"
            )),
            (_, Value::Object(_) | Value::Array(_) | Value::Null) => {
                Err(format!("a set holds plain values only, not {item}"))
            }
            (_, item) => Ok(format!("v:{}", plain(item))),
        }
    }
}

fn keyed(keys: &Keys, item: &Map<String, Value>) -> Result<String, String> {
    let value = |(name, default): &(String, Option<Value>)| {
        let value = item.get(name).or(default.as_ref())?;
        Some((name.clone(), plain(value)))
    };
    let found: Map<String, Value> = keys.iter().filter_map(value).collect();
    if found.is_empty() {
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        return Err(format!("an item has none of the keys of its list: {names}"));
    }
    Ok(format!("k:{}", Value::Object(found)))
}

/// A whole number is written in one way.
fn plain(value: &Value) -> Value {
    let whole = value
        .as_f64()
        .filter(|number| value.is_f64() && number.fract() == 0.0);
    match whole.map(|number| format!("{number:.0}").parse::<i64>()) {
        Some(Ok(whole)) => whole.into(),
        _ => value.clone(),
    }
}
