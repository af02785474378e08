//! From what is stored to what a server serves: definitions first, then every object in its place and in the form of its
//! schema.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{thread, vec};

use bytes::Bytes;
use serde_json::Value;

use crate::index::{Objects, Ready};
use crate::object::{Key, Object};
use crate::registry::Registry;
use crate::store::Loaded;
use crate::{boot, definition};

/// What is served with the definitions that users have made.
pub(crate) fn with_stored(registry: Arc<Registry>, loaded: &Loaded) -> Arc<Registry> {
    let prefix = format!("{}/{}/", definition::GROUP, definition::PLURAL);
    let stored = loaded
        .entries
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix));
    let definitions = stored.filter_map(|(_, json)| serde_json::from_slice::<Value>(json).ok());
    let users = definitions.filter(|it| !definition::is_former(&registry, it));
    let users: Vec<Value> = users
        .filter(|it| !registry.is_own(definition::name(it)))
        .collect();
    users.iter().fold(registry, |registry, definition| {
        Arc::new(registry.redefined(None, Some(definition)))
    })
}

/// How many loaded objects a thread reads at a time.
const READ_AT_ONCE: usize = 4_096;

/// Puts loaded objects in their places.
pub(crate) fn shelve(
    registry: &Registry,
    entries: Vec<(String, Bytes)>,
) -> Result<Objects, api::Error> {
    let mut objects = Objects::default();
    for resource in registry.all() {
        objects.prepare(resource.home.clone(), resource.stored_paths());
    }
    let homes = objects.homes();
    let read = |(key, text): (String, Bytes)| {
        let object = Key::of_storage(&key).and_then(|key| Object::of_storage(key, text));
        let object = object.ok_or_else(|| boot::unreadable(format!("{key} is no object")))?;
        Ok(Ready::of(in_form(registry, Arc::new(object)), &homes))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (done, reading) = sync_channel(threads);
    let unread = Mutex::new(entries.into_iter());
    thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(|| read_all(&unread, read, done));
        }
        drop(done);
        for some in reading {
            some?.into_iter().for_each(|it| objects.put(it));
        }
        Ok(objects)
    })
}

/// Reads what nobody else has begun to read, until nobody wants any more.
fn read_all<T>(
    unread: &Mutex<vec::IntoIter<(String, Bytes)>>,
    read: impl Fn((String, Bytes)) -> Result<T, api::Error>,
    done: SyncSender<Result<Vec<T>, api::Error>>,
) {
    loop {
        let mut all = unread.lock().unwrap_or_else(PoisonError::into_inner);
        let some: Vec<_> = all.by_ref().take(READ_AT_ONCE).collect();
        drop(all);
        if some.is_empty() {
            return;
        }
        let some: Result<Vec<_>, _> = some.into_iter().map(&read).collect();
        let failed = some.is_err();
        if done.send(some).is_err() || failed {
            return;
        }
    }
}

/// The object as its schema has it today, which may be newer than the object: without fields that went, and with the
/// defaults of those that came. Everything that compares states relies on both having one form.
pub(crate) fn in_form(registry: &Registry, object: Arc<Object>) -> Arc<Object> {
    let resource = registry.at_home(&object.key.home);
    let schema = resource.and_then(|resource| resource.stored_schema(&object.value));
    let Some(schema) = schema else {
        return object;
    };
    if schema.is_formed(&object.value) {
        return object;
    }
    let mut value = object.value.clone();
    schema.prune(&mut value, &mut Vec::new());
    schema.fill(&mut value);
    Arc::new(object.with(value))
}
