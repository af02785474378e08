//! The messages of Kubernetes: which numbers their fields have, what those are called in JSON, and what they hold.
//!
//! Read from the tables in `messages/`, whose README says how they are written, when the first such body comes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The tables by API group, of which core has no name.
const TABLES: [(&str, &str); 19] = [
    ("", include_str!("messages/core.txt")),
    (
        "admissionregistration.k8s.io",
        include_str!("messages/admissionregistration.k8s.io.txt"),
    ),
    (
        "apiextensions.k8s.io",
        include_str!("messages/apiextensions.k8s.io.txt"),
    ),
    ("apps", include_str!("messages/apps.txt")),
    (
        "authentication.k8s.io",
        include_str!("messages/authentication.k8s.io.txt"),
    ),
    (
        "authorization.k8s.io",
        include_str!("messages/authorization.k8s.io.txt"),
    ),
    ("autoscaling", include_str!("messages/autoscaling.txt")),
    ("batch", include_str!("messages/batch.txt")),
    (
        "certificates.k8s.io",
        include_str!("messages/certificates.k8s.io.txt"),
    ),
    (
        "coordination.k8s.io",
        include_str!("messages/coordination.k8s.io.txt"),
    ),
    (
        "discovery.k8s.io",
        include_str!("messages/discovery.k8s.io.txt"),
    ),
    ("events.k8s.io", include_str!("messages/events.k8s.io.txt")),
    ("meta", include_str!("messages/meta.txt")),
    (
        "networking.k8s.io",
        include_str!("messages/networking.k8s.io.txt"),
    ),
    ("node.k8s.io", include_str!("messages/node.k8s.io.txt")),
    ("policy", include_str!("messages/policy.txt")),
    (
        "rbac.authorization.k8s.io",
        include_str!("messages/rbac.authorization.k8s.io.txt"),
    ),
    (
        "scheduling.k8s.io",
        include_str!("messages/scheduling.k8s.io.txt"),
    ),
    (
        "storage.k8s.io",
        include_str!("messages/storage.k8s.io.txt"),
    ),
];

/// One message.
#[derive(Debug, Default)]
pub(super) struct Message {
    fields: Vec<Field>,
    /// In JSON it is the value of its last field.
    pub(super) one_of: bool,
}

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    number: u64,
    /// In JSON; `None` if its fields stand among those of the message around it.
    pub(super) name: Option<&'static str>,
    pub(super) many: Many,
    pub(super) kind: Kind,
    /// An empty value is one in JSON, too.
    pub(super) may_be_empty: bool,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    One,
    List,
    /// By texts.
    Map,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int,
    Float,
    Bytes,
    /// In seconds.
    Time,
    /// In microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// A JSON document as text.
    Json,
    /// Of a group and with a name.
    Message(&'static str, &'static str),
}

/// The messages by group and name.
type Groups = HashMap<&'static str, HashMap<&'static str, Message>>;

/// The message of a kind, if there is one.
pub(super) fn get(group: &str, name: &str) -> Option<&'static Message> {
    static ALL: LazyLock<Groups> = LazyLock::new(read);
    ALL.get(group)?.get(name)
}

impl Message {
    /// All of them, by number.
    pub(super) fn fields(&self) -> impl DoubleEndedIterator<Item = &Field> {
        self.fields.iter()
    }

    /// The field with that number; `None` if it is not known.
    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

fn read() -> Groups {
    let mut groups = Groups::new();
    for (group, table) in TABLES {
        let all = groups.entry(group).or_default();
        let mut message: Option<&mut Message> = None;
        for line in table.lines() {
            match (line.strip_prefix("  "), &mut message) {
                (Some(line), Some(message)) => message.fields.push(Field::read(group, line)),
                (Some(_), None) => panic!("{group}: a field stands before every message"),
                (None, _) => {
                    let name = line.trim_end_matches(" =");
                    let made = all.entry(name).or_default();
                    made.one_of = name != line;
                    message = Some(made);
                }
            }
        }
    }
    groups
}

impl Field {
    fn read(group: &'static str, line: &'static str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a field has three words");
        let number = word().parse().expect("a field has a number");
        let name = Some(word()).filter(|name| *name != "-");
        let kind = word();
        let (kind, may_be_empty) = match kind.strip_suffix('?') {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        let within = |open, close| kind.strip_prefix(open)?.strip_suffix(close);
        let (many, kind) = match (within('[', ']'), within('{', '}')) {
            (Some(kind), _) => (Many::List, kind),
            (None, Some(kind)) => (Many::Map, kind),
            (None, None) => (Many::One, kind),
        };
        Self {
            number,
            name,
            many,
            kind: Kind::read(group, kind),
            may_be_empty,
        }
    }
}

impl Kind {
    fn read(group: &'static str, word: &'static str) -> Self {
        match word {
            "string" => Self::Text,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "quantity" => Self::Quantity,
            "intorstring" => Self::IntOrString,
            "json" => Self::Json,
            name => match name.split_once('/') {
                Some(("core", name)) => Self::Message("", name),
                Some((group, name)) => Self::Message(group, name),
                None => Self::Message(group, name),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_named_is_there() {
        let groups = read();
        let all = groups
            .iter()
            .flat_map(|(group, all)| all.iter().map(move |it| (group, it)));
        for (group, (name, message)) in all {
            let mut numbers = std::collections::BTreeSet::new();
            for field in &message.fields {
                assert!(numbers.insert(field.number), "{group}/{name} {field:?}");
                if let Kind::Message(group, name) = field.kind {
                    assert!(get(group, name).is_some(), "{group}/{name}");
                }
            }
        }
    }

    #[test]
    fn fields_are_read_as_they_are_written() {
        let field = Field::read("apps", "3 selector meta/LabelSelector");
        assert_eq!(field.kind, Kind::Message("meta", "LabelSelector"));
        let field = Field::read("", "2 - {bytes}");
        assert_eq!(
            (field.name, field.many, field.kind),
            (None, Many::Map, Kind::Bytes)
        );
        let field = Field::read("", "1 replicas int?");
        assert!(field.may_be_empty && field.many == Many::One);
    }
}
