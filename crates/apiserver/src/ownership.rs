//! Who owns which fields of an object (KEP-555, server-side apply): kept on every write, and asked by those who apply.
//!
//! Whoever changes a field owns it. Whoever applies says all that he wants: what he does not say any more goes, unless
//! somebody else owns it, and what another owns with another value is a conflict unless he forces it. `set` holds sets of
//! fields, `shape` what parts values have, `walk` what differs between values, `managers` how all of it is written down.
//! The rules are those of `structured-merge-diff` and of `k8s.io/apimachinery/pkg/util/managedfields`.

mod managers;
mod set;
mod shape;
mod walk;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::convert::Known;
use crate::metadata::ANNOTATION_BYTES_MAX;
use crate::object::{meta, meta_mut};
use crate::resource::{Resource, Version};

pub(crate) use managers::{Manager, Managers, Operation, Writer, same};
pub(crate) use set::FieldSet;
pub(crate) use shape::Shape;

use set::{Node, field};
use walk::{Differences, compare, fields, merge, with_named, without};

/// Where ownership is written down.
pub(crate) const FIELD: &str = "managedFields";
/// The manager by which kubectl applies.
const KUBECTL: &str = "kubectl";
/// The annotation in which kubectl keeps what it applied without the server's help.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who owns what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// A resource in the version of a request: how its values are owned, and what they are in other versions.
#[derive(Clone, Copy)]
pub(crate) struct Forms<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) version: &'a Version,
    pub(crate) known: &'a Known,
}

/// How somebody applies.
#[derive(Clone, Debug)]
pub(crate) struct Apply {
    pub(crate) writer: Writer,
    /// What he sent.
    pub(crate) sent: Value,
    /// Whether he takes what others own.
    pub(crate) force: bool,
    /// RFC 3339.
    pub(crate) now: String,
}

/// A field that another owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// As a message names him.
    pub(crate) manager: String,
    pub(crate) path: String,
}

/// Why something cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Others own it.
    Conflicts(Vec<Conflict>),
    /// It makes no sense.
    Invalid(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Invalid(why)
    }
}

impl<'a> Forms<'a> {
    fn api_version(self) -> String {
        self.resource.api_version(&self.version.name)
    }

    /// A value of the request's version in another one, and how it is owned there; `None` if that is not served.
    fn at<'v>(self, api_version: &str, value: &'v Value) -> Option<(Cow<'v, Value>, &'a Shape)> {
        if api_version == self.api_version() {
            return Some((Cow::Borrowed(value), &self.version.shape));
        }
        let version = self.other(api_version)?;
        let versions = (self.version, version);
        let served = self.known.convert(self.resource, versions, value)?;
        Some((Cow::Owned(served), &version.shape))
    }

    /// The served version of that name.
    fn other(self, api_version: &str) -> Option<&'a Version> {
        let mut versions = self.resource.versions.iter();
        versions.find(|it| self.resource.api_version(&it.name) == api_version)
    }
}

impl Managers {
    /// Those of an object.
    pub(crate) fn of(object: &Value) -> Result<Self, String> {
        Self::parse(meta(object).get(FIELD))
    }

    /// Those that count before a write: what a client sends, unless that says nothing; an empty list, or one empty entry,
    /// says that nobody owns anything.
    pub(crate) fn before(given: Option<&Value>, kept: Option<&Value>) -> Self {
        let reset = [json!([]), json!([{}])];
        if given.is_some_and(|given| reset.contains(given)) {
            return Self::default();
        }
        let given = Self::parse(given).ok().filter(|given| !given.is_empty());
        given.unwrap_or_else(|| Self::parse(kept).unwrap_or_default())
    }

    /// Writes them into an object.
    pub(crate) fn write(&self, object: &mut Value) {
        match self.is_empty() {
            true => meta_mut(object).remove(FIELD),
            false => meta_mut(object).insert(FIELD.to_owned(), self.to_value()),
        };
    }
}

/// Who owns what after somebody made `new` of `old` in any other way than by applying.
pub(crate) fn updated(
    forms: Forms<'_>,
    old: &Value,
    new: &Value,
    managers: Managers,
    writer: Writer,
    now: &str,
) -> Result<Managers, String> {
    let managers = adapted(forms, managers);
    let (mut managers, seen) = match taken(forms, old, new, managers, None)? {
        Ok(taken) => taken,
        Err(_) => return Err("nobody who updates can be in conflict".to_owned()),
    };
    let fields = seen.now().difference(&UNOWNED);
    if !fields.is_empty() {
        let before = managers.take(&writer).map(|before| before.fields);
        managers.put(Manager {
            writer,
            time: Some(now.to_owned()),
            fields: fields.union(before.unwrap_or_default()),
        });
    }
    managers.forget_ancient();
    Ok(managers)
}

/// Who owns what of an object that somebody applies first.
pub(crate) fn first(forms: Forms<'_>, config: &Value, apply: &Apply) -> Result<Managers, Refused> {
    let mut managers = Managers::default();
    managers.put(Manager {
        writer: apply.writer.clone(),
        time: Some(apply.now.clone()),
        fields: fields(&forms.version.shape, config)?.difference(&UNOWNED),
    });
    Ok(managers)
}

/// What comes of an object when somebody applies his configuration, and who owns what then.
///
/// kubectl may take what it applied itself before it did so on the server: the annotation that it left says what that was.
pub(crate) fn applied(
    forms: Forms<'_>,
    live: &Value,
    config: &Value,
    managers: Managers,
    apply: &Apply,
) -> Result<(Value, Managers), Refused> {
    let last = last_applied(live).filter(|_| apply.writer.name == KUBECTL);
    let Some(last) = last else {
        return merged(forms, live, config, managers, apply);
    };
    let done = match merged(forms, live, config, managers.clone(), apply) {
        Err(Refused::Conflicts(mut conflicts)) => {
            // What cannot be read says nothing.
            let own = still_own(forms, &last, live).unwrap_or_default().paths();
            conflicts.retain(|conflict| !own.contains(&conflict.path));
            if !conflicts.is_empty() {
                return Err(Refused::Conflicts(conflicts));
            }
            let forced = Apply {
                force: true,
                ..apply.clone()
            };
            merged(forms, live, config, managers, &forced)
        }
        done => done,
    };
    let (mut object, managers) = done?;
    let sent = format!("{}\n", apply.sent);
    let annotations = &mut object["metadata"]["annotations"];
    match sent.len() <= ANNOTATION_BYTES_MAX {
        true => annotations[LAST_APPLIED] = sent.into(),
        false => drop(
            annotations
                .as_object_mut()
                .map(|all| all.remove(LAST_APPLIED)),
        ),
    }
    Ok((object, managers))
}

/// What kubectl applied last without the server's help.
fn last_applied(live: &Value) -> Option<Value> {
    let annotations = meta(live).get("annotations")?;
    serde_json::from_str(annotations.get(LAST_APPLIED)?.as_str()?).ok()
}

/// What kubectl applied and nobody has changed since.
fn still_own(forms: Forms<'_>, last: &Value, live: &Value) -> Result<FieldSet, String> {
    let shape = &forms.version.shape;
    let seen = compare(shape, last, live)?;
    let own = fields(shape, last)?;
    Ok(own.difference(&seen.now()).difference(&seen.removed))
}

/// As [`applied`], whatever kubectl did before.
fn merged(
    forms: Forms<'_>,
    live: &Value,
    config: &Value,
    managers: Managers,
    apply: &Apply,
) -> Result<(Value, Managers), Refused> {
    let mut managers = adapted(forms, managers);
    let Apply {
        writer, force, now, ..
    } = apply;
    if managers.is_empty() {
        let writer = Writer {
            name: BEFORE_FIRST_APPLY.to_owned(),
            operation: Operation::Update,
            ..writer.clone()
        };
        let blank = blank(forms.resource, forms.version);
        managers = updated(forms, &blank, live, managers, writer, now)?;
    }
    let shape = &forms.version.shape;
    let object = merge(shape, live, config)?;
    let last = managers.take(writer);
    let time = last.as_ref().and_then(|last| last.time.clone());
    // What nobody owns is his until what goes is gone: the name of the object keeps its metadata in place.
    managers.put(Manager {
        writer: writer.clone(),
        time,
        fields: fields(shape, config)?,
    });
    let object = match last {
        Some(last) => pruned(forms, object, &managers, &last)?,
        None => object,
    };
    let (mut managers, _) = match taken(forms, live, &object, managers, Some((writer, *force)))? {
        Ok(taken) => taken,
        Err(conflicts) => return Err(Refused::Conflicts(conflicts)),
    };
    if let Some(mut own) = managers.take(writer) {
        own.fields = own.fields.difference(&UNOWNED);
        if object != *live {
            own.time = Some(now.clone());
        }
        managers.put(own);
    }
    Ok((object, managers))
}

/// Who owns what in the form that the kind has today. What was owned in parts and is one now belongs to all of them; what
/// was one and has parts now stays as it was written down, as in Kubernetes.
fn adapted(forms: Forms<'_>, mut managers: Managers) -> Managers {
    for manager in &mut managers.0 {
        let mut versions = forms.resource.versions.iter();
        let own = &manager.writer.api_version;
        let version = versions.find(|it| forms.resource.api_version(&it.name) == *own);
        if let Some(version) = version
            && walk::is_outgrown(&version.shape, &manager.fields)
        {
            manager.fields = walk::adapted(&version.shape, &manager.fields);
        }
    }
    managers
}

type Taken = Result<(Managers, Differences), Vec<Conflict>>;

/// Takes from all but the one who applies what is now otherwise, if he may.
fn taken(
    forms: Forms<'_>,
    old: &Value,
    new: &Value,
    managers: Managers,
    applies: Option<(&Writer, bool)>,
) -> Result<Taken, String> {
    let own = compare(&forms.version.shape, old, new)?;
    let mut seen = BTreeMap::from([(forms.api_version(), own)]);
    let mut conflicts = Vec::new();
    let mut left = Managers::default();
    for mut manager in managers.0 {
        if applies.is_some_and(|(writer, _)| manager.writer.is(writer)) {
            left.put(manager);
            continue;
        }
        let api_version = &manager.writer.api_version;
        if !seen.contains_key(api_version) {
            let (old, new) = (forms.at(api_version, old), forms.at(api_version, new));
            // Nobody owns anything in a version that is not served any more.
            let (Some((old, shape)), Some((new, _))) = (old, new) else {
                continue;
            };
            seen.insert(api_version.clone(), compare(shape, &old, &new)?);
        }
        let seen = &seen[api_version];
        let conflict = manager.fields.intersection(&seen.now());
        let shown = manager.writer.shown();
        conflicts.extend(conflict.paths().into_iter().map(|path| Conflict {
            manager: shown.clone(),
            path,
        }));
        manager.fields = manager
            .fields
            .difference(&conflict)
            .difference(&seen.removed);
        left.put(manager);
    }
    if applies.is_some_and(|(_, force)| !force) && !conflicts.is_empty() {
        return Ok(Err(conflicts));
    }
    let own = seen.remove(&forms.api_version()).unwrap_or_default();
    Ok(Ok((left, own)))
}

/// Removes what the one who applies said the last time and does not say now, unless somebody else owns it.
fn pruned(
    forms: Forms<'_>,
    merged: Value,
    managers: &Managers,
    last: &Manager,
) -> Result<Value, String> {
    let version = &last.writer.api_version;
    let pruned = in_version(forms, version, &merged, |shape, merged| {
        Ok(without(shape, merged, &with_named(shape, &last.fields)))
    })?;
    let Some(mut pruned) = pruned else {
        return Ok(merged);
    };
    // The version of the last time first: what was removed may be needed to convert.
    let mut owned: BTreeMap<(bool, &String), FieldSet> = BTreeMap::new();
    for manager in &managers.0 {
        let at = &manager.writer.api_version;
        let all = owned.entry((at != version, at)).or_default();
        *all = std::mem::take(all).union(manager.fields.clone());
    }
    for ((_, at), owned) in &owned {
        pruned = put_back(forms, at, &merged, pruned, |shape, gone| {
            gone.difference(&with_named(shape, owned))
        })?;
    }
    // What nobody owns stays too, unless it was his and is not any more.
    let owned = owned.remove(&(false, version)).unwrap_or_default();
    put_back(forms, version, &merged, pruned, |shape, gone| {
        let his = gone.intersection(&with_named(shape, &last.fields));
        his.difference(&with_named(shape, &owned))
    })
}

/// The merged object without those of the pruned fields that are to go.
fn put_back(
    forms: Forms<'_>,
    version: &str,
    merged: &Value,
    pruned: Value,
    goes: impl Fn(&Shape, FieldSet) -> FieldSet,
) -> Result<Value, String> {
    let all_of = |value: &Value| {
        let all = forms
            .at(version, value)
            .map(|(value, shape)| fields(shape, &value).map(|fields| with_named(shape, &fields)));
        all.transpose()
    };
    let (Some(before), Some(after)) = (all_of(merged)?, all_of(&pruned)?) else {
        return Ok(pruned);
    };
    let rest = in_version(forms, version, merged, |shape, merged| {
        let gone = goes(shape, before.difference(&after));
        Ok(without(shape, merged, &gone))
    })?;
    Ok(rest.unwrap_or(pruned))
}

/// Does something to a value in another version and brings it back; `None` if that is not served.
fn in_version(
    forms: Forms<'_>,
    api_version: &str,
    value: &Value,
    change: impl Fn(&Shape, &Value) -> Result<Option<Value>, String>,
) -> Result<Option<Value>, String> {
    let Some((value, shape)) = forms.at(api_version, value) else {
        return Ok(None);
    };
    let changed = change(shape, &value)?.unwrap_or_else(|| json!({}));
    if api_version == forms.api_version() {
        return Ok(Some(changed));
    }
    let version = forms.other(api_version);
    let versions = (
        version.ok_or("the version was served a moment ago")?,
        forms.version,
    );
    Ok(forms.known.convert(forms.resource, versions, &changed))
}

/// Whether two states differ at most in when their managers wrote last. A value that the server completes (`2.0`) looks
/// changed to who applies it, and is not.
pub(crate) fn is_same_but_for_times(new: &Value, old: &Value) -> bool {
    let whole = Map::new();
    let (new_fields, old_fields) = (
        new.as_object().unwrap_or(&whole),
        old.as_object().unwrap_or(&whole),
    );
    let managers = |value: &Value| meta(value).get(FIELD).and_then(Value::as_array).cloned();
    let (news, olds) = (
        managers(new).unwrap_or_default(),
        managers(old).unwrap_or_default(),
    );
    let same_manager = |one: &Value, other: &Value| match (one.as_object(), other.as_object()) {
        (Some(one), Some(other)) => is_same_but(one, other, "time"),
        _ => one == other,
    };
    is_same_but(new_fields, old_fields, "metadata")
        && is_same_but(meta(new), meta(old), FIELD)
        && news.len() == olds.len()
        && news
            .iter()
            .all(|new| olds.iter().any(|old| same_manager(new, old)))
}

fn is_same_but(one: &Map<String, Value>, other: &Map<String, Value>, field: &str) -> bool {
    let rest = |fields: &Map<String, Value>| fields.len() - usize::from(fields.contains_key(field));
    let mut all = one.iter();
    rest(one) == rest(other)
        && all.all(|(name, content)| name == field || other.get(name) == Some(content))
}

/// What nobody owns: who an object is, and what only the server writes.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut metadata = Node::member();
    for name in [
        "clusterName",
        "creationTimestamp",
        "generation",
        FIELD,
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        metadata.below.put(field(name), Node::member());
    }
    let mut unowned = FieldSet::default();
    unowned.put(field("apiVersion"), Node::member());
    unowned.put(field("kind"), Node::member());
    unowned.put(field("metadata"), metadata);
    unowned
});

/// The object that nobody has written yet: what is in it is nobody's.
pub(crate) fn blank(resource: &Resource, version: &Version) -> Value {
    let mut blank = json!({"metadata": {}});
    for part in resource.traits.blank {
        let mut place = &mut blank;
        for field in part.split('/') {
            place = &mut place[field];
            if !place.is_object() {
                *place = json!({});
            }
        }
    }
    blank["apiVersion"] = resource.api_version(&version.name).into();
    blank["kind"] = resource.kind.clone().into();
    blank
}
