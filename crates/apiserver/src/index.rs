//! The visible objects, with the indexes that reads and the collector need.
//!
//! By key in order, by the value at each declared field path, and by owner. The order of keys is the order of lists.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::object::{Key, Object, meta};
use crate::resource::Home;
use crate::selection::field::text_at;
use crate::selection::{Narrowest, Selection};

/// Namespace and name.
pub(crate) type Place = (String, String);

#[derive(Default)]
pub(crate) struct Objects {
    homes: BTreeMap<Arc<Home>, Shelf>,
    /// Which objects name an owner of that uid.
    dependents: BTreeMap<String, BTreeSet<Key>>,
}

/// The objects of one resource.
#[derive(Default)]
struct Shelf {
    objects: BTreeMap<Place, Arc<Object>>,
    paths: Arc<[String]>,
    by_field: BTreeMap<(String, String), BTreeSet<Place>>,
}

impl Objects {
    /// Prepares a resource whose objects are also found by the values at `paths`.
    pub(crate) fn prepare(&mut self, home: Arc<Home>, paths: Vec<String>) {
        self.prepare_again(home, paths, |object| object);
    }

    /// As [`prepare`](Self::prepare); objects that are there stay, in another form.
    pub(crate) fn prepare_again(
        &mut self,
        home: Arc<Home>,
        paths: Vec<String>,
        form: impl Fn(Arc<Object>) -> Arc<Object>,
    ) {
        let shelf = Shelf {
            paths: paths.into(),
            ..Shelf::default()
        };
        let before = self.homes.insert(home, shelf);
        let objects = before
            .into_iter()
            .flat_map(|before| before.objects.into_values());
        objects.for_each(|object| self.insert(form(object)));
    }

    /// By the values at which paths the objects of a resource are found.
    pub(crate) fn paths(&self, home: &Home) -> Arc<[String]> {
        let shelf = self.homes.get(home);
        shelf.map_or_else(Arc::default, |shelf| shelf.paths.clone())
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.homes
            .get(&key.home)?
            .objects
            .get(&(key.namespace.clone(), key.name.clone()))
    }

    pub(crate) fn insert(&mut self, object: Arc<Object>) {
        self.forget(&object.key);
        for uid in owner_uids(&object.value) {
            self.dependents
                .entry(uid.to_owned())
                .or_default()
                .insert(object.key.clone());
        }
        let shelf = self.homes.entry(object.key.home.clone()).or_default();
        let place = place(&object.key);
        for path in shelf.paths.iter() {
            let value = text_at(&object.value, path).into_owned();
            shelf
                .by_field
                .entry((path.clone(), value))
                .or_default()
                .insert(place.clone());
        }
        shelf.objects.insert(place, object);
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.forget(key);
    }

    /// Takes the object out of everything.
    fn forget(&mut self, key: &Key) {
        let Some(shelf) = self.homes.get_mut(&key.home) else {
            return;
        };
        let place = place(key);
        let Some(old) = shelf.objects.remove(&place) else {
            return;
        };
        for path in shelf.paths.iter() {
            let entry = (path.clone(), text_at(&old.value, path).into_owned());
            drop_from(&mut shelf.by_field, &entry, &place);
        }
        for uid in owner_uids(&old.value) {
            drop_from(&mut self.dependents, &uid.to_owned(), key);
        }
    }

    /// Every object, in key order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.homes.values().flat_map(|shelf| shelf.objects.values())
    }

    /// The selected objects in key order, starting after a place.
    pub(crate) fn select(&self, selection: &Selection, after: Option<&Place>) -> Vec<Arc<Object>> {
        let Some(shelf) = self.homes.get(&selection.home) else {
            return Vec::new();
        };
        let later = |place: &Place| after.is_none_or(|after| place > after);
        let candidates = shelf.candidates(selection, after);
        let chosen =
            candidates.filter(|object| later(&place(&object.key)) && selection.matches(object));
        chosen.cloned().collect()
    }

    /// How many objects there are of each resource.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Arc<Home>, usize)> {
        let homes = self.homes.iter();
        homes.map(|(home, shelf)| (home, shelf.objects.len()))
    }

    /// How many objects there are of that resource.
    pub(crate) fn count(&self, home: &Home) -> usize {
        self.homes.get(home).map_or(0, |shelf| shelf.objects.len())
    }

    /// The objects that name an owner of that uid.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// The objects of a namespace, over all resources.
    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        self.homes
            .values()
            .flat_map(move |shelf| shelf.in_namespace(namespace, None))
    }
}

impl Shelf {
    /// Objects that may be selected, by the cheapest index that fits.
    fn candidates<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<&'a Place>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
        match selection.narrowest() {
            Narrowest::Field(path, value) if self.paths.contains(&path) => {
                let places = self.by_field.get(&(path, value)).into_iter().flatten();
                Box::new(places.filter_map(|place| self.objects.get(place)))
            }
            _ => match &selection.namespace {
                Some(namespace) => Box::new(self.in_namespace(namespace, after)),
                None => Box::new(
                    self.objects
                        .range((lower(after.cloned()), Bound::Unbounded))
                        .map(|(_, o)| o),
                ),
            },
        }
    }

    fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&Place>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let first = (namespace.to_owned(), String::new());
        let start = match after {
            Some(after) if *after > first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        let range = self.objects.range((start, Bound::Unbounded));
        range
            .take_while(move |((ns, _), _)| ns == namespace)
            .map(|(_, object)| object)
    }
}

fn lower(after: Option<Place>) -> Bound<Place> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

pub(crate) fn place(key: &Key) -> Place {
    (key.namespace.clone(), key.name.clone())
}

fn drop_from<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    let Some(set) = map.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        map.remove(key);
    }
}

/// The uids of the owners that a document names.
fn owner_uids(value: &Value) -> impl Iterator<Item = &str> {
    let owners = meta(value).get("ownerReferences").and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid").and_then(Value::as_str))
}
