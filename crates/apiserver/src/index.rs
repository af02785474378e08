//! The visible objects, with the indexes that reads and the collector need.
//!
//! By key in order, by the value at each declared field path, and by owner. The order of keys is the order of lists.
//! What nobody uses is kept as text alone: a million objects take little more memory than what they say.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use crate::object::{Document, Key, Object, meta};
use crate::quota::Tally;
use crate::resource::Home;
use crate::selection::field::text_at;
use crate::selection::{Narrowest, Selection};

/// Namespace and name. Indexes share the texts.
pub(crate) type Place = (Arc<str>, Arc<str>);

/// How many objects stay read after they were used, for those who come next, and how many bytes they have as text.
const AWAKE_MAX: usize = 4096;
const AWAKE_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Objects {
    homes: BTreeMap<Arc<Home>, Shelf>,
    /// Which objects name an owner of that uid.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    /// Those that were used last, newest last.
    awake: RefCell<Awake>,
}

#[derive(Default)]
struct Awake {
    objects: VecDeque<Arc<Object>>,
    bytes: usize,
}

/// The objects of one resource.
struct Shelf {
    home: Arc<Home>,
    objects: BTreeMap<Place, Resting>,
    paths: Arc<[String]>,
    /// Where objects are that have a value at the path of that number.
    by_field: BTreeSet<(usize, Arc<str>, Place)>,
}

/// An object that nobody looks at: its text.
struct Resting {
    revision: u64,
    text: Bytes,
    /// The object as it was last used, while it is.
    awake: RefCell<Weak<Object>>,
}

/// What an object is found by, besides its key.
struct Found {
    owners: Vec<String>,
    /// The values at the shelf's paths.
    values: Vec<String>,
}

/// By the values at which paths the objects of a resource are found.
pub(crate) type Homes = BTreeMap<Arc<Home>, Arc<[String]>>;

/// An object that was read and only has to be put in its place.
pub(crate) struct Ready {
    key: Key,
    found: Found,
    resting: Resting,
}

impl Ready {
    pub(crate) fn of(object: Arc<Object>, homes: &Homes) -> Self {
        let paths = homes.get(&object.key.home);
        Self {
            key: object.key.clone(),
            found: Found::of(&object, paths.map_or(&[], |paths| paths)),
            resting: Resting::asleep(&object),
        }
    }
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
            ..Shelf::new(home.clone())
        };
        let Some(before) = self.homes.insert(home, shelf) else {
            return;
        };
        for (place, resting) in &before.objects {
            self.insert(form(before.wake(place, resting)));
        }
    }

    /// What is known of each resource that was prepared.
    pub(crate) fn homes(&self) -> Homes {
        let homes = self.homes.iter();
        homes
            .map(|(home, shelf)| (home.clone(), shelf.paths.clone()))
            .collect()
    }

    /// How many there are in each namespace, and which quotas.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (home, shelf) in &self.homes {
            for (namespace, name) in shelf.objects.keys() {
                tally.count(home, namespace, name);
            }
        }
        tally
    }

    /// By the values at which paths the objects of a resource are found.
    pub(crate) fn paths(&self, home: &Home) -> Arc<[String]> {
        let shelf = self.homes.get(home);
        shelf.map_or_else(Arc::default, |shelf| shelf.paths.clone())
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let shelf = self.homes.get(&key.home)?;
        let resting = shelf.objects.get(&place(key))?;
        if let Some(object) = resting.awake.borrow().upgrade() {
            return Some(object);
        }
        let object = shelf.wake(&place(key), resting);
        resting.awake.replace(Arc::downgrade(&object));
        self.keep_awake(object.clone());
        Some(object)
    }

    /// Keeps the object read for a while, instead of those that were used longest ago.
    fn keep_awake(&self, object: Arc<Object>) {
        let mut awake = self.awake.borrow_mut();
        awake.bytes += object.value.text().len();
        awake.objects.push_back(object);
        while awake.objects.len() > AWAKE_MAX || awake.bytes > AWAKE_BYTES_MAX {
            let Some(oldest) = awake.objects.pop_front() else {
                return;
            };
            awake.bytes -= oldest.value.text().len();
            let key = oldest.key.clone();
            drop(oldest);
            self.let_sleep(&key);
        }
    }

    /// Lets go of an object that nobody uses: what is only pointed to takes its memory, too.
    fn let_sleep(&self, key: &Key) {
        let shelf = self.homes.get(&key.home);
        let resting = shelf.and_then(|shelf| shelf.objects.get(&place(key)));
        if let Some(resting) = resting.filter(|it| it.awake.borrow().strong_count() == 0) {
            resting.awake.take();
        }
    }

    pub(crate) fn insert(&mut self, object: Arc<Object>) {
        self.forget(&object.key);
        let found = Found::of(&object, &self.paths(&object.key.home));
        let resting = Resting {
            awake: RefCell::new(Arc::downgrade(&object)),
            ..Resting::asleep(&object)
        };
        let key = object.key.clone();
        self.put(Ready {
            key,
            found,
            resting,
        });
        self.keep_awake(object);
    }

    fn shelf(&mut self, home: &Arc<Home>) -> &mut Shelf {
        let shelf = self.homes.entry(home.clone());
        shelf.or_insert_with(|| Shelf::new(home.clone()))
    }

    /// Puts an object in a place where there is none.
    pub(crate) fn put(
        &mut self,
        Ready {
            key,
            found,
            resting,
        }: Ready,
    ) {
        let place = place(&key);
        for uid in found.owners {
            let dependents = self.dependents.entry(uid).or_default();
            dependents.insert(key.clone());
        }
        let shelf = self.shelf(&key.home);
        let place = shelf.sharing(place);
        for (path, value) in found.values.into_iter().enumerate() {
            shelf.by_field.insert((path, value.into(), place.clone()));
        }
        shelf.objects.insert(place, resting);
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
        let Some(resting) = shelf.objects.remove(&place) else {
            return;
        };
        let found = Found::of(&shelf.wake(&place, &resting), &shelf.paths);
        for (path, value) in found.values.into_iter().enumerate() {
            let entry = (path, value.into(), place.clone());
            shelf.by_field.remove(&entry);
        }
        for uid in found.owners {
            drop_from(&mut self.dependents, &uid, key);
        }
    }

    /// Every object, in key order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<Object>> {
        self.homes.values().flat_map(|shelf| {
            let objects = shelf.objects.iter();
            objects.map(|(place, resting)| shelf.wake(place, resting))
        })
    }

    /// The text of every object, with where it is.
    pub(crate) fn texts(&self) -> Vec<(Arc<Home>, Place, Bytes)> {
        let shelves = self.homes.values();
        let texts = shelves.flat_map(|shelf| {
            let objects = shelf.objects.iter();
            let text = |(place, it): (&Place, &Resting)| {
                (shelf.home.clone(), place.clone(), it.text.clone())
            };
            objects.map(text)
        });
        texts.collect()
    }

    /// Every object whose text has one of these words.
    pub(crate) fn with_words(&self, words: &[&str]) -> impl Iterator<Item = Arc<Object>> {
        let finders: Vec<_> = words.iter().map(memmem::Finder::new).collect();
        let shelves = self.homes.values();
        let all = shelves.flat_map(|shelf| shelf.objects.iter().map(move |it| (shelf, it)));
        let has = move |text: &[u8]| finders.iter().any(|finder| finder.find(text).is_some());
        let with_words = all.filter(move |(_, (_, resting))| has(&resting.text));
        with_words.map(|(shelf, (place, resting))| shelf.wake(place, resting))
    }

    /// The selected objects in key order, starting after a place.
    pub(crate) fn select(&self, selection: &Selection, after: Option<&Place>) -> Vec<Arc<Object>> {
        self.selected(selection, after).collect()
    }

    /// As [`select`](Self::select), one after the other.
    pub(crate) fn selected<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<&'a Place>,
    ) -> impl Iterator<Item = Arc<Object>> + 'a {
        let shelf = self.homes.get(&selection.home);
        shelf.into_iter().flat_map(move |shelf| {
            let candidates = shelf.candidates(selection, after);
            let later = candidates.filter(move |(place, _)| after.is_none_or(|it| *place > it));
            let chosen = later.filter(|(place, resting)| resting.is_in(selection, place));
            chosen.map(|(place, resting)| shelf.wake(place, resting))
        })
    }

    /// How many objects a selection by nothing but a namespace finds after a place.
    pub(crate) fn count(&self, selection: &Selection, after: &Place) -> usize {
        let shelf = self.homes.get(&selection.home);
        shelf.map_or(0, |shelf| {
            let candidates = shelf.candidates(selection, Some(after));
            candidates.count()
        })
    }

    /// Whether a selection by nothing but a namespace finds an object at that place.
    pub(crate) fn is_at(&self, selection: &Selection, place: &Place) -> bool {
        let shelf = self.homes.get(&selection.home);
        let is_there = selection
            .namespace
            .as_ref()
            .is_none_or(|it| **it == *place.0);
        is_there && shelf.is_some_and(|shelf| shelf.objects.contains_key(place))
    }

    /// How many objects there are of each resource.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Arc<Home>, usize)> {
        let homes = self.homes.iter();
        homes.map(|(home, shelf)| (home, shelf.objects.len()))
    }

    /// How many objects there are of that resource.
    pub(crate) fn len(&self, home: &Home) -> usize {
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
    ) -> impl Iterator<Item = Arc<Object>> + 'a {
        self.homes.values().flat_map(move |shelf| {
            let objects = shelf.in_namespace(namespace, None);
            objects.map(|(place, resting)| shelf.wake(place, resting))
        })
    }
}

impl Shelf {
    fn new(home: Arc<Home>) -> Self {
        Self {
            home,
            objects: BTreeMap::new(),
            paths: Arc::default(),
            by_field: BTreeSet::new(),
        }
    }

    /// The place with the text of its namespace that the object before it has.
    fn sharing(&self, (namespace, name): Place) -> Place {
        let first = (namespace.clone(), Arc::from(""));
        let neighbour = self.objects.range(first..).next();
        match neighbour {
            Some(((shared, _), _)) if *shared == namespace => (shared.clone(), name),
            _ => (namespace, name),
        }
    }

    /// Where objects are that have that value at the path of that number.
    fn places_by_field<'a>(
        &'a self,
        path: usize,
        value: &str,
    ) -> impl Iterator<Item = &'a Place> + use<'a> {
        let value: Arc<str> = value.into();
        let first = (path, value.clone(), (Arc::from(""), Arc::from("")));
        let found = self.by_field.range(first..);
        let found = found.take_while(move |(at, found, _)| *at == path && *found == value);
        found.map(|(_, _, place)| place)
    }

    /// The object itself, read only where somebody looks into it.
    fn wake(&self, place: &Place, resting: &Resting) -> Arc<Object> {
        if let Some(object) = resting.awake.borrow().upgrade() {
            return object;
        }
        let (namespace, name) = place;
        Arc::new(Object {
            key: Key {
                home: self.home.clone(),
                namespace: namespace.to_string(),
                name: name.to_string(),
            },
            revision: resting.revision,
            value: Document::of_text(resting.text.clone()),
        })
    }

    /// Objects that may be selected, by the cheapest index that fits.
    fn candidates<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<&'a Place>,
    ) -> Box<dyn Iterator<Item = (&'a Place, &'a Resting)> + 'a> {
        if let Some(place) = self.only_place(selection) {
            return Box::new(self.objects.get_key_value(&place).into_iter());
        }
        let narrowest = selection.narrowest();
        let indexed = match &narrowest {
            Narrowest::Field(path, value) => {
                let number = self.paths.iter().position(|known| known == path);
                number.map(|number| (number, value))
            }
            _ => None,
        };
        if let Some((number, value)) = indexed {
            let places = self.places_by_field(number, value);
            return Box::new(places.filter_map(|place| self.objects.get_key_value(place)));
        }
        match &selection.namespace {
            Some(namespace) => Box::new(self.in_namespace(namespace, after)),
            None => {
                let later = (lower(after.cloned()), Bound::Unbounded);
                Box::new(self.objects.range(later))
            }
        }
    }

    /// The one place at which a selected object may be.
    fn only_place(&self, selection: &Selection) -> Option<Place> {
        let name = selection.fields.wanted("metadata.name")?;
        let namespace = match &selection.namespace {
            Some(namespace) => namespace.as_str().into(),
            // Of a resource that knows no namespaces, names are enough.
            None => {
                let ((namespace, _), _) = self.objects.first_key_value()?;
                namespace.is_empty().then(|| namespace.clone())?
            }
        };
        Some((namespace, name.into()))
    }

    fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&Place>,
    ) -> impl Iterator<Item = (&'a Place, &'a Resting)> {
        let first = (Arc::from(namespace), Arc::from(""));
        let start = match after {
            Some(after) if *after > first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        let range = self.objects.range((start, Bound::Unbounded));
        range.take_while(move |((ns, _), _)| **ns == *namespace)
    }
}

impl Resting {
    fn asleep(object: &Object) -> Self {
        Self {
            revision: object.revision,
            text: object.value.text().clone(),
            awake: RefCell::default(),
        }
    }

    /// Whether the object at that place is selected. Labels are found without reading the rest.
    fn is_in(&self, selection: &Selection, (namespace, name): &Place) -> bool {
        if let Some(object) = self.awake.borrow().upgrade() {
            return selection.matches(&object);
        }
        selection.matches_text((namespace, name), &self.text)
    }
}

impl Found {
    fn of(object: &Object, paths: &[String]) -> Self {
        let at = |path: &String| text_at(&object.value, path).into_owned();
        // Most have no owner and are found by nothing else: they need not be read.
        let has_owner = memmem::find(object.value.text(), b"\"ownerReferences\"").is_some();
        let owners = has_owner.then(|| owner_uids(&object.value).map(str::to_owned).collect());
        Self {
            owners: owners.unwrap_or_default(),
            values: paths.iter().map(at).collect(),
        }
    }
}

fn lower(after: Option<Place>) -> Bound<Place> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

pub(crate) fn place(key: &Key) -> Place {
    (key.namespace.as_str().into(), key.name.as_str().into())
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
