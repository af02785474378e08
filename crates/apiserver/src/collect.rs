//! Garbage collection: what owners leave behind, what namespaces leave behind, and what is past its time.
//!
//! Driven by changes, not by time: each published change notes what may have become garbage, and the server looks at
//! that right after, in slices, under its lock. Nothing waits and no task runs, so with in-memory storage a cascade is
//! over when the call that caused it returns. After a restart everything is looked at once.

mod expiry;
mod owners;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::collect::expiry::Expiry;
use crate::collect::owners::Tie;
use crate::definition;
use crate::deletion::{self, Deletion, FOREGROUND, ORPHAN, Preconditions};
use crate::engine::Engine;
use crate::history::{Change, Event};
use crate::namespace;
use crate::object::{Key, Object, finalizers, is_deleting, meta};
use crate::query::Propagation;
use crate::registry::Registry;
use crate::selection::Selection;
use crate::state::State;

/// How many looks are taken before other requests get the lock.
const LOOKS_PER_SLICE: usize = 128;

/// Something to look at; the order is that of looking.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// Do this object's owners and finalizers still allow it to be as it is?
    At(Key),
    /// The same of an owner that an object in this namespace names.
    Owner(String, Tie),
    /// Take the reference to an owner with that uid out of it.
    Release(Key, String),
    /// Delete it, in the foreground if the flag is set.
    Delete(Key, bool),
    /// Delete all that is in this namespace.
    Sweep(String),
    /// Is this namespace empty, and may it go?
    Empty(String),
    /// Delete all that is of this definition; may it go?
    Undefine(String),
}

/// What may have become garbage.
#[derive(Default)]
pub(crate) struct Collector {
    looks: BTreeSet<Look>,
    expiry: Expiry,
}

/// What is in the text of every object that has owners, or is being deleted.
const OWNED: &str = "\"ownerReferences\"";
const DELETED: &str = "\"deletionTimestamp\"";

impl Collector {
    /// Notes what a change may have made garbage.
    pub(crate) fn note(&mut self, event: &Event, dependents: impl Iterator<Item = Key>) {
        let key = &event.new.key;
        if event.change == Change::Deleted {
            self.looks.extend(dependents.map(Look::At));
            self.note_owners(event);
            if !key.home.group.is_empty() {
                self.looks.insert(Look::Undefine(key.home.definition()));
            }
            if !key.namespace.is_empty() {
                self.looks.insert(Look::Empty(key.namespace.clone()));
            }
            return;
        }
        self.expiry.note(&event.new);
        if needs_look(event.old.as_deref(), &event.new) {
            self.looks.insert(Look::At(key.clone()));
            self.note_owners(event);
        }
        if is_deleting(&event.new.value) {
            self.looks.extend(ends_of_content(key));
        }
    }

    /// Owners may wait for this object.
    fn note_owners(&mut self, event: &Event) {
        let namespace = &event.new.key.namespace;
        let states = event.old.iter().chain([&event.new]);
        let ties = states.flat_map(|object| owners::ties(&object.value));
        self.looks
            .extend(ties.map(|tie| Look::Owner(namespace.clone(), tie)));
    }

    fn take_slice(&mut self) -> Vec<Look> {
        let mut slice = Vec::new();
        while slice.len() < LOOKS_PER_SLICE
            && let Some(look) = self.looks.pop_first()
        {
            slice.push(look);
        }
        slice
    }
}

/// Whether a change of the object itself can make it garbage, or is the start of its end.
fn needs_look(old: Option<&Object>, new: &Object) -> bool {
    let owners = |object: &Object| meta(&object.value).get("ownerReferences").cloned();
    let ends = |object: &Object| is_deleting(&object.value) && is_held(&object.value);
    ends(new) || owners(new) != old.and_then(owners)
}

/// Whether a finalizer of the collector itself holds the object.
fn is_held(value: &Value) -> bool {
    finalizers(value)
        .iter()
        .any(|finalizer| [FOREGROUND, ORPHAN].contains(finalizer))
}

/// What goes with an object that is being deleted because it is in it, or of its kind.
fn ends_of_content(key: &Key) -> Vec<Look> {
    let name = || key.name.clone();
    match (is_namespace(key), definition::is_definition(key)) {
        (true, _) => vec![Look::Sweep(name()), Look::Empty(name())],
        (_, true) => vec![Look::Undefine(name())],
        _ => Vec::new(),
    }
}

fn is_namespace(key: &Key) -> bool {
    key.home.group.is_empty() && key.home.plural == "namespaces"
}

impl Engine {
    /// Looks at everything that may have become garbage, and removes what did.
    pub(crate) fn collect(self: &Arc<Self>) {
        loop {
            let now = (self.clock)();
            let mut state = self.state();
            if state.broken.is_some() {
                return;
            }
            let due = state.collector.expiry.take(now);
            let slice = state.collector.take_slice();
            if due.is_empty() && slice.is_empty() {
                return;
            }
            let registry = self.registry();
            let mut pass = Pass {
                registry: &registry,
                now: self.now(),
                state: &mut state,
            };
            due.iter()
                .for_each(|(key, revision)| pass.expire(key, *revision));
            slice.into_iter().for_each(|look| pass.look(look));
            drop(state);
            self.submit();
        }
    }
}

impl State {
    /// Everything is looked at once: what a crash interrupted goes on.
    pub(crate) fn suspect_all(&mut self, now: Timestamp) {
        let events = Selection::all(Arc::new(expiry::home()));
        let found = self.objects.selected(&events, None).map(|event| {
            let ends = Expiry::found(&event, now);
            (ends, event.key.clone(), event.revision)
        });
        self.collector.expiry.restore(found.collect());
        for home in expiry::dated_homes() {
            let all = Selection::all(Arc::new(home));
            let found = self.objects.selected(&all, None);
            found.for_each(|object| self.collector.expiry.note(&object));
        }
        // Of all the others nothing needs to be read.
        for object in self.objects.with_words(&[OWNED, DELETED]) {
            if needs_look(None, &object) {
                self.collector.looks.insert(Look::At(object.key.clone()));
            }
            if is_deleting(&object.value) {
                self.collector.looks.extend(ends_of_content(&object.key));
            }
        }
    }
}

/// Looks under the lock.
struct Pass<'a> {
    registry: &'a Registry,
    now: String,
    state: &'a mut State,
}

impl Pass<'_> {
    fn look(&mut self, look: Look) {
        match look {
            Look::At(key) => self.judge(&key),
            Look::Owner(namespace, tie) => {
                if let Some(key) = tie.resolve(self.registry, &namespace) {
                    self.judge(&key);
                }
            }
            Look::Release(key, uid) => self.release(&key, |tie| tie.uid == uid),
            Look::Delete(key, foreground) => {
                self.delete(&key, foreground.then_some(Propagation::Foreground))
            }
            Look::Sweep(namespace) => self.sweep(&namespace),
            Look::Empty(namespace) => self.finish_namespace(&namespace),
            Look::Undefine(name) => self.undefine(&name),
        }
    }

    fn judge(&mut self, key: &Key) {
        let Some(object) = self.state.latest(key) else {
            return;
        };
        if !is_deleting(&object.value) {
            self.judge_owners(&object);
            return;
        }
        let held_by = finalizers(&object.value);
        if held_by.contains(&ORPHAN) {
            self.set_dependents_free(&object);
        } else if held_by.contains(&FOREGROUND) {
            self.delete_dependents_first(&object);
        }
    }

    /// Garbage is what names owners of which none exists.
    fn judge_owners(&mut self, object: &Object) {
        let ties = owners::ties(&object.value);
        if ties.is_empty() {
            return;
        }
        let standing: Vec<Standing> = ties.iter().map(|tie| self.standing(object, tie)).collect();
        if standing.contains(&Standing::Exists) {
            let ends = |tie: &Tie| {
                ties.iter()
                    .zip(&standing)
                    .any(|(t, s)| t.uid == tie.uid && *s != Standing::Exists)
            };
            if standing
                .iter()
                .any(|standing| *standing != Standing::Exists)
            {
                self.release(&object.key, ends);
            }
            return;
        }
        // An owner that waits for its dependents wants theirs to go first, too.
        let foreground = standing.contains(&Standing::Waits);
        self.delete(&object.key, foreground.then_some(Propagation::Foreground));
    }

    fn standing(&self, object: &Object, tie: &Tie) -> Standing {
        let Some(key) = tie.resolve(self.registry, &object.key.namespace) else {
            return Standing::Exists;
        };
        match self.state.latest(&key) {
            Some(owner) if owner.uid() == tie.uid => {
                let waits =
                    is_deleting(&owner.value) && finalizers(&owner.value).contains(&FOREGROUND);
                if waits {
                    Standing::Waits
                } else {
                    Standing::Exists
                }
            }
            _ => Standing::Gone,
        }
    }

    fn set_dependents_free(&mut self, owner: &Object) {
        let ties = self.dependents(owner);
        if ties.is_empty() {
            self.drop_finalizer(owner, ORPHAN);
            return;
        }
        let release = |(key, _): &(Key, bool)| Look::Release(key.clone(), owner.uid().to_owned());
        self.state.collector.looks.extend(ties.iter().map(release));
    }

    fn delete_dependents_first(&mut self, owner: &Object) {
        let ties = self.dependents(owner);
        if ties.iter().all(|(_, blocks)| !blocks) {
            self.drop_finalizer(owner, FOREGROUND);
            return;
        }
        let not_yet = |key: &Key| {
            self.state
                .latest(key)
                .is_some_and(|object| !is_deleting(&object.value))
        };
        let looks: Vec<Look> = ties
            .iter()
            .filter(|(key, _)| not_yet(key))
            .map(|(key, _)| Look::At(key.clone()))
            .collect();
        self.state.collector.looks.extend(looks);
    }

    /// Who names that owner, and whether it says that the owner has to wait.
    fn dependents(&self, owner: &Object) -> Vec<(Key, bool)> {
        let keys = self.state.objects.dependents(owner.uid());
        let tied = keys.filter_map(|key| {
            let object = self.state.latest(key)?;
            let tie = owners::ties(&object.value)
                .into_iter()
                .find(|tie| tie.uid == owner.uid())?;
            Some((key.clone(), tie.blocks))
        });
        tied.collect()
    }

    /// Takes references to owners out of an object.
    fn release(&mut self, key: &Key, which: impl Fn(&Tie) -> bool) {
        let Some(object) = self.state.latest(key) else {
            return;
        };
        let value = owners::without(&object.value, which);
        if value != *object.value {
            self.state.set(key, value);
        }
    }

    fn delete(&mut self, key: &Key, propagation: Option<Propagation>) {
        let Some(object) = self.state.latest(key) else {
            return;
        };
        let Some(resource) = self.registry.at_home(&key.home) else {
            // Its kind is not served any more: nobody is left who would take a finalizer off it.
            self.state.remove(key, object.value.clone());
            return;
        };
        let foreground =
            propagation.filter(|_| self.state.objects.dependents(object.uid()).next().is_some());
        let decided = deletion::delete(
            resource,
            &object,
            &Preconditions::default(),
            foreground,
            &self.now,
        );
        match decided {
            Ok(Deletion::Now) => drop(self.state.remove(key, object.value.clone())),
            Ok(Deletion::Later(value)) if !is_deleting(&object.value) => {
                drop(self.state.set(key, *value))
            }
            // Without preconditions nothing is refused, and what is being deleted already goes its way.
            Ok(_) | Err(_) => {}
        }
    }

    /// What goes by itself goes unless it was written again.
    fn expire(&mut self, key: &Key, revision: u64) {
        if self
            .state
            .latest(key)
            .is_some_and(|event| event.revision == revision)
        {
            self.delete(key, None);
        }
    }

    fn drop_finalizer(&mut self, object: &Object, finalizer: &str) {
        let mut value = object.value.clone();
        let left: Vec<&str> = finalizers(&object.value)
            .into_iter()
            .filter(|f| *f != finalizer)
            .collect();
        match left.is_empty() {
            true => drop(
                value["metadata"]
                    .as_object_mut()
                    .map(|fields| fields.remove("finalizers")),
            ),
            false => value["metadata"]["finalizers"] = left.into(),
        }
        self.settle(&object.key, value);
    }

    /// Writes an object that is being deleted, or removes it if nothing holds it any more.
    fn settle(&mut self, key: &Key, value: Value) {
        let Some(resource) = self.registry.at_home(&key.home) else {
            return;
        };
        match deletion::is_finished(resource, &value) {
            true => drop(self.state.remove(key, value)),
            false => drop(self.state.set(key, value)),
        }
    }

    fn sweep(&mut self, namespace: &str) {
        let objects = self.state.objects.in_namespace(namespace);
        let looks: Vec<Look> = objects
            .map(|object| Look::Delete(object.key.clone(), false))
            .collect();
        self.state.collector.looks.extend(looks);
    }

    fn undefine(&mut self, name: &str) {
        let definitions = self.registry.get(definition::GROUP, definition::PLURAL);
        let Some(key) = definitions.map(|definitions| definitions.key("", name)) else {
            return;
        };
        let held = |definition: &Arc<Object>| {
            is_deleting(&definition.value)
                && finalizers(&definition.value).contains(&definition::CLEAN_UP)
        };
        let Some(definition) = self.state.latest(&key).filter(held) else {
            return;
        };
        let home = Arc::new(definition::home(&definition.value));
        let objects = self
            .state
            .objects
            .select(&Selection::all(home.clone()), None);
        if objects.is_empty() && !self.state.pending_at(&home) {
            self.drop_finalizer(&definition, definition::CLEAN_UP);
            return;
        }
        let left = objects.iter().filter(|object| !is_deleting(&object.value));
        let looks: Vec<Look> = left
            .map(|object| Look::Delete(object.key.clone(), false))
            .collect();
        self.state.collector.looks.extend(looks);
    }

    fn finish_namespace(&mut self, name: &str) {
        let Some(namespaces) = self.registry.get("", "namespaces") else {
            return;
        };
        let key = namespaces.key("", name);
        let Some(namespace) = self
            .state
            .latest(&key)
            .filter(|namespace| is_deleting(&namespace.value))
        else {
            return;
        };
        if self.state.objects.in_namespace(name).next().is_some() || self.state.pending_in(name) {
            return;
        }
        let mut value = namespace.value.clone();
        if let Some(list) = value
            .pointer_mut("/spec/finalizers")
            .and_then(Value::as_array_mut)
        {
            list.retain(|finalizer| finalizer != namespace::FINALIZER);
        }
        if value != *namespace.value {
            self.settle(&key, value);
        }
    }
}

/// How it is about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is there, or nobody here can tell.
    Exists,
    /// It is being deleted and waits for its dependents.
    Waits,
    /// It is not there.
    Gone,
}
