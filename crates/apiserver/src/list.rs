//! Lists: selected objects of one snapshot, in pages.
//!
//! A page says at which revision the first page was read and after which object the next one starts. Later pages
//! rebuild that snapshot from what is there now and the kept history, so no copy is held for a client that may
//! never come back; when the history no longer reaches, the answer is 410, and the client starts again or goes on with what
//! there is now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use http::{HeaderMap, Response};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::convert;
use crate::failure::Failure;
use crate::history::Kept;
use crate::index::{Place, place};
use crate::object::Object;
use crate::query::VersionMatch;
use crate::render::Render;
use crate::request::Request;
use crate::selection::{FieldSelector, LabelSelector, Selection};
use crate::server::Server;
use crate::state::State;

/// Where a page starts.
#[derive(Debug, PartialEq, Eq)]
struct Continue {
    /// The revision of the snapshot; that of now if there is none any more.
    revision: Option<u64>,
    /// The last object of the page before.
    after: Place,
}

/// In a token: what there is now.
const NOW: &str = "now";
/// Why a list starts again, unless its client can do with what is no snapshot.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
    without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
    Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted \
    between the time the first chunk was returned and now may show up in the list.";

pub(crate) async fn list(
    server: &Server,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let render = Render::of(server, request, headers)?;
    let (objects, metadata) = page(server, request)?;
    let objects = render.served(&objects).await?;
    Ok(body::json(200, render.list(&objects, metadata)))
}

/// The objects of the page that the request asks for, and the metadata of its list.
pub(crate) fn page(
    server: &Server,
    request: &Request,
) -> Result<(Vec<Arc<Object>>, Value), Failure> {
    let selection = selection(request)?;
    let start = Continue::of(request)?;
    let state = server.state();
    refuse_future(&state, &request.query.resource_version)?;
    let revision = snapshot(&state, request, start.as_ref())?;
    let after = start.as_ref().map(|start| &start.after);
    let later = changes_after(&state, &selection, revision);
    let later = later.map_err(|failure| match failure.code {
        410 => forgotten(start.as_ref()),
        _ => failure,
    })?;
    let limit = match request.query.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let (now, more) = unchanged(&state, &selection, after, &later, limit);
    drop(state);
    let mut objects = undone(now, &later, &selection, after);
    let metadata = cut(
        &mut objects,
        limit,
        revision,
        selection_is_open(&selection).then_some(more),
    );
    Ok((objects, metadata))
}

/// The first objects that are as they were before those changes, one more than the limit if there are more, and how many
/// come after them.
fn unchanged(
    state: &State,
    selection: &Selection,
    after: Option<&Place>,
    later: &[Arc<Kept>],
    limit: usize,
) -> (Vec<Arc<Object>>, usize) {
    let changed: BTreeSet<Place> = later.iter().map(|kept| place(&kept.key)).collect();
    let now = state.objects.selected(selection, after);
    let now = now.filter(|object| changed.is_empty() || !changed.contains(&place(&object.key)));
    let now: Vec<_> = now.take(limit.saturating_add(1)).collect();
    if now.len() <= limit || !selection_is_open(selection) {
        return (now, 0);
    }
    let last = now.last().map(|object| place(&object.key));
    let more = last.map_or(0, |last| {
        let among = changed.range((Bound::Excluded(&last), Bound::Unbounded));
        let among = among.filter(|place| state.objects.is_at(selection, place));
        state.objects.count(selection, &last) - among.count()
    });
    (now, more)
}

/// What the request selects.
pub(crate) fn selection(request: &Request) -> Result<Selection, Failure> {
    let query = &request.query;
    let version = request.served();
    // Objects are selected as they are stored; what a webhook makes of them is not seen.
    let resource = &request.resource;
    let is_stored = resource.api_version(&version.name) == resource.stored_as;
    let is_seen = resource.converter.is_none() || is_stored;
    let accept = |path: &str| {
        let known = matches!(path, "metadata.name" | "metadata.namespace")
            || is_seen && version.selectable.iter().any(|p| p == path);
        known.then(|| convert::stored_path(version.conversion, path))
    };
    let labels = LabelSelector::parse(&query.label_selector).map_err(Failure::bad_request)?;
    let fields =
        FieldSelector::parse(&query.field_selector, accept).map_err(Failure::bad_request)?;
    let namespace = match request.namespace.as_str() {
        "" => fields.wanted("metadata.namespace").map(str::to_owned),
        namespace => Some(namespace.to_owned()),
    };
    let home = request.resource.home.clone();
    Ok(Selection {
        home,
        namespace,
        labels,
        fields,
    })
}

/// A version that this server has not reached yet cannot be served.
pub(crate) fn refuse_future(state: &State, version: &str) -> Result<(), Failure> {
    let asked: u64 = version.parse().unwrap_or(0);
    if asked <= state.revision() {
        return Ok(());
    }
    let message = format!(
        "Too large resource version: {asked}, current: {}",
        state.revision()
    );
    let mut failure = Failure::new(504, "Timeout", message);
    let causes =
        json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
    failure.details.insert("causes".to_owned(), causes);
    failure
        .details
        .insert("retryAfterSeconds".to_owned(), 1.into());
    Err(failure)
}

/// The revision that the list shows.
fn snapshot(state: &State, request: &Request, start: Option<&Continue>) -> Result<u64, Failure> {
    let query = &request.query;
    match (start, query.version_match) {
        (Some(start), _) => Ok(start.revision.unwrap_or(state.revision())),
        (None, Some(VersionMatch::Exact)) => query
            .resource_version
            .parse()
            .map_err(|_| Failure::bad_request("resourceVersion must be a number")),
        (None, _) => Ok(state.revision()),
    }
}

/// The snapshot cannot be made any more.
fn forgotten(start: Option<&Continue>) -> Failure {
    let Some(start) = start else {
        let message = "The resourceVersion for the provided list is too old.";
        return Failure::new(410, "Expired", message);
    };
    let go_on = Continue {
        revision: None,
        after: start.after.clone(),
    };
    let mut failure = Failure::new(410, "Expired", INCONSISTENT);
    failure.continue_token = Some(go_on.token());
    failure
}

/// What has changed since the snapshot.
fn changes_after(
    state: &State,
    selection: &Selection,
    revision: u64,
) -> Result<Vec<Arc<Kept>>, Failure> {
    if revision > state.revision() {
        return Err(Failure::bad_request(
            "the continue token is from another server",
        ));
    }
    if revision == state.revision() {
        return Ok(Vec::new());
    }
    state.history.of(selection, revision)
}

/// The selected objects as they were before those changes, in key order.
fn undone(
    now: Vec<Arc<Object>>,
    later: &[Arc<Kept>],
    selection: &Selection,
    after: Option<&Place>,
) -> Vec<Arc<Object>> {
    if later.is_empty() {
        return now;
    }
    // The first change after the snapshot says what was there.
    let mut first: BTreeMap<Place, &Kept> = BTreeMap::new();
    for kept in later {
        first.entry(place(&kept.key)).or_insert(kept);
    }
    let mut all: BTreeMap<_, _> = now
        .into_iter()
        .map(|object| (place(&object.key), object))
        .collect();
    for (place, kept) in first {
        all.remove(&place);
        if after.is_some_and(|after| place <= *after) {
            continue;
        }
        if let Some(old) = kept.old().filter(|old| selection.matches(old)) {
            all.insert(place, old);
        }
    }
    all.into_values().collect()
}

/// Cuts a page off, and says in the metadata where the next one starts, and how many remain if it is known how many more
/// there are than these.
fn cut(objects: &mut Vec<Arc<Object>>, limit: usize, revision: u64, more: Option<usize>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if objects.len() <= limit {
        return metadata;
    }
    let remaining = objects.len() - limit;
    objects.truncate(limit);
    let last = objects.last().expect("the limit is not zero");
    metadata["continue"] = Continue {
        revision: Some(revision),
        after: place(&last.key),
    }
    .token()
    .into();
    if let Some(more) = more {
        metadata["remainingItemCount"] = (remaining + more).into();
    }
    metadata
}

/// Kubernetes tells how many objects remain only where no selector is in the way.
fn selection_is_open(selection: &Selection) -> bool {
    selection.labels.is_empty() && selection.fields.is_empty()
}

impl Continue {
    fn of(request: &Request) -> Result<Option<Self>, Failure> {
        match request.query.continue_token.as_str() {
            "" => Ok(None),
            token => {
                let parsed = Self::parse(token);
                parsed
                    .map(Some)
                    .ok_or_else(|| Failure::bad_request("continue key is not valid"))
            }
        }
    }

    fn token(&self) -> String {
        let revision = self.revision.map(|revision| revision.to_string());
        let revision = revision.as_deref().unwrap_or(NOW);
        format!("v1.{revision}.{}/{}", self.after.0, self.after.1)
    }

    fn parse(token: &str) -> Option<Self> {
        let (revision, after) = token.strip_prefix("v1.")?.split_once('.')?;
        let (namespace, name) = after.split_once('/')?;
        Some(Self {
            revision: match revision {
                NOW => None,
                revision => Some(revision.parse().ok()?),
            },
            after: (namespace.into(), name.into()),
        })
    }
}
