//! The labels of metrics: all of them come from what is served.

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::HeaderMap;
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder};

use crate::request::{Request, Subresource, Verb};
use crate::resource::Home;

/// What is no resource.
static NOWHERE: LazyLock<Arc<Home>> = LazyLock::new(|| home("", ""));

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    /// Whether it was only tried; of no matter for some metrics.
    dry_run: Option<bool>,
    home: Arc<Home>,
    version: String,
    /// The subresource, or the path of what is no resource.
    part: &'static str,
    scope: &'static str,
}

/// What was asked for and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answered {
    pub(super) asked: Asked,
    pub(super) code: u16,
}

/// Reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sort(pub(super) &'static str);

/// A resource in a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind(Arc<Home>, String);

/// Where objects are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored(pub(super) Arc<Home>);

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Level(pub(super) &'static str);

/// A priority level, and which requests go there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) level: &'static str,
    pub(crate) schema: &'static str,
}

/// A level, and why a request got no turn there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rejected(pub(crate) Flow, pub(crate) &'static str);

/// A level, and whether a request that waited got its turn there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waited(pub(crate) Flow, pub(crate) bool);

impl Asked {
    /// About nothing that is served.
    pub(crate) fn path(verb: &str, part: &'static str) -> Self {
        Self {
            verb: match verb {
                "get" | "list" => "GET",
                "head" => "HEAD",
                "watch" => "WATCH",
                "post" | "create" => "POST",
                "put" | "update" => "PUT",
                "patch" => "PATCH",
                "delete" | "deletecollection" => "DELETE",
                "options" => "OPTIONS",
                _ => "other",
            },
            dry_run: Some(false),
            home: NOWHERE.clone(),
            version: String::new(),
            part,
            scope: "",
        }
    }

    /// About a resource.
    pub(crate) fn resource(request: &Request, headers: &HeaderMap) -> Self {
        Self {
            verb: verb(request, headers),
            dry_run: Some(request.query.dry_run),
            home: home_of(request),
            version: request.version.clone(),
            part: request.subresource.map_or("", Subresource::name),
            scope: match (request.name.is_empty(), request.namespace.is_empty()) {
                (false, _) => "resource",
                _ if request.verb == Verb::Create => "resource",
                (true, false) => "namespace",
                (true, true) => "cluster",
            },
        }
    }

    /// Through the door of an agent.
    pub(crate) fn door((group, version): (&str, &str), plural: &str, part: &'static str) -> Self {
        Self {
            verb: "CONNECT",
            dry_run: Some(false),
            home: home(group, plural),
            version: version.to_owned(),
            part,
            scope: "resource",
        }
    }

    /// The same for metrics that do not tell tries apart.
    pub(super) fn for_any_run(&self) -> Self {
        Self {
            dry_run: None,
            ..self.clone()
        }
    }
}

impl Kind {
    pub(super) fn of(request: &Request) -> Self {
        Self(home_of(request), request.version.clone())
    }
}

fn home(group: &str, plural: &str) -> Arc<Home> {
    Arc::new(Home {
        group: group.to_owned(),
        plural: plural.to_owned(),
    })
}

/// The names under which the resource is served; nearly all are stored under the same.
fn home_of(request: &Request) -> Arc<Home> {
    let resource = &request.resource;
    match resource.home.group == resource.group && resource.home.plural == resource.plural {
        true => resource.home.clone(),
        false => home(&resource.group, &resource.plural),
    }
}

/// As Kubernetes counts verbs.
fn verb(request: &Request, headers: &HeaderMap) -> &'static str {
    match request.verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch if crate::decode::content_type(headers).starts_with("application/apply") => {
            "APPLY"
        }
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

/// Writes one label.
fn label(
    encoder: &mut LabelSetEncoder<'_>,
    name: &str,
    value: impl EncodeLabelValue,
) -> fmt::Result {
    (name, value).encode(encoder.encode_label())
}

impl EncodeLabelSet for Asked {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, "verb", self.verb)?;
        if let Some(dry_run) = self.dry_run {
            label(encoder, "dry_run", if dry_run { "All" } else { "" })?;
        }
        label(encoder, "group", self.home.group.as_str())?;
        label(encoder, "version", self.version.as_str())?;
        label(encoder, "resource", self.home.plural.as_str())?;
        label(encoder, "subresource", self.part)?;
        label(encoder, "scope", self.scope)?;
        label(encoder, "component", "apiserver")
    }
}

impl EncodeLabelSet for Answered {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.asked.encode(encoder)?;
        label(encoder, "code", u32::from(self.code))
    }
}

impl EncodeLabelSet for Sort {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, "request_kind", self.0)
    }
}

impl EncodeLabelSet for Kind {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, "group", self.0.group.as_str())?;
        label(encoder, "version", self.1.as_str())?;
        label(encoder, "resource", self.0.plural.as_str())
    }
}

impl EncodeLabelSet for Stored {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Home { group, plural } = &*self.0;
        let name = match group.as_str() {
            "" => plural.clone(),
            group => format!("{plural}.{group}"),
        };
        label(encoder, "resource", name)
    }
}

impl EncodeLabelSet for Level {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, "priority_level", self.0)
    }
}

impl EncodeLabelSet for Flow {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        label(encoder, "priority_level", self.level)?;
        label(encoder, "flow_schema", self.schema)
    }
}

impl EncodeLabelSet for Rejected {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)?;
        label(encoder, "reason", self.1)
    }
}

impl EncodeLabelSet for Waited {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)?;
        label(encoder, "execute", if self.1 { "true" } else { "false" })
    }
}
