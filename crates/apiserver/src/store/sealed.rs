//! Secrets at rest: a layer over any storage that seals what is stored of them, and opens it when a server starts.
//!
//! A sealed value is `sealed:1:NAME:`, the name of the key, and then nonce, ciphertext and tag of AES-256-GCM (NIST SP
//! 800-38D). The key under which it is stored is bound in, so that no sealed value can be put in another's place; what was never sealed is taken as it is. Names and
//! times of Secrets stay readable: keys of the storage are not sealed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::private_file::{self, PRIVATE};
use crate::store::{Batch, Done, Error, Limits, Loaded, Storage};

/// What the keys of Secrets begin with.
pub(crate) const SECRETS: &str = "/secrets/";
/// What a sealed value begins with; no JSON document does.
const MARK: &[u8] = b"sealed:1:";
/// What ends the name of the key.
const NAME_END: u8 = b':';
/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// The name of the key that is made when there is none.
const FIRST: &str = "first";
/// Longest name of a key.
const NAME_BYTES_MAX: usize = 63;
/// Most keys of a file.
const KEYS_MAX: usize = 64;

/// Keys by their names: the first one seals, all of them open.
struct Keys {
    first: String,
    all: BTreeMap<String, RandomizedNonceKey>,
}

/// Seals and opens. Clones share their keys, which can be replaced at any time.
#[derive(Clone)]
pub struct Sealer(Arc<Shared>);

struct Shared {
    keys: RwLock<Arc<Keys>>,
    /// Whether something was loaded that the first key has not sealed.
    stale: AtomicBool,
}

/// What is wrong with a file of keys, or with what was sealed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "there is no key; expected lines of a name and 32 bytes in base64, of which the first seals"
    )]
    Empty,
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    #[error(
        "line {line}: expected a name of at most {NAME_BYTES_MAX} letters, digits or -, a space, and {KEY_BYTES} bytes in base64"
    )]
    Line { line: usize },
    #[error("line {line}: there is another key {name:?}")]
    Twice { line: usize, name: String },
    #[error("{key} is sealed by the key {name:?}, which is not among the keys")]
    Unknown { key: String, name: String },
    #[error(
        "{key} cannot be opened by the key {name:?}: it is another key of that name, or the value was changed"
    )]
    Changed { key: String, name: String },
}

impl Sealer {
    /// A file with one new key.
    ///
    /// # Panics
    /// When the machine has no randomness.
    #[must_use]
    pub fn new_file(name: &str) -> String {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key).expect("a machine without randomness cannot serve");
        format!("{name} {}\n", STANDARD.encode(key))
    }

    /// Reads the keys in that file, or makes one with a new key that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be read or made, or a line is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        private_file::create(path, Self::new_file(FIRST).as_bytes(), PRIVATE)
            .map_err(Error::new)?;
        let text = private_file::read(path).map_err(Error::new)?;
        Self::parse(&text.unwrap_or_default())
    }

    /// Reads keys: in each line a name and 32 bytes in base64. The first one seals, all of them open. Empty lines and
    /// lines that start with `#` mean nothing.
    ///
    /// # Errors
    /// When a line is none, without showing it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let keys = RwLock::new(Arc::new(Keys::parse(text).map_err(Error::new)?));
        let stale = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared { keys, stale })))
    }

    /// Seals with other keys from now on.
    ///
    /// # Errors
    /// When a line is none; then nothing changes.
    pub fn replace(&self, text: &str) -> Result<(), Error> {
        let keys = Arc::new(Keys::parse(text).map_err(Error::new)?);
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether something was loaded that the key which seals now has not sealed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.stale.load(Ordering::Relaxed)
    }

    /// The name of the key that seals.
    #[must_use]
    pub fn key_name(&self) -> String {
        self.keys().first.clone()
    }

    fn keys(&self) -> Arc<Keys> {
        let keys = self.0.keys.read();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The value as it is stored under a key.
    #[must_use]
    pub fn sealed(&self, key: &str, value: &Bytes) -> Bytes {
        match key.starts_with(SECRETS) {
            true => self.keys().seal(key, value),
            false => value.clone(),
        }
    }

    /// A stored value as it was before it was sealed, if it was.
    ///
    /// # Errors
    /// When no key opens it.
    pub fn opened(&self, key: &str, value: Bytes) -> Result<Bytes, Error> {
        self.keys().opened(key, value).map_err(Error::new)
    }

    /// Notes whether a value is sealed by the key that seals now.
    fn note(&self, keys: &Keys, key: &str, value: &[u8]) {
        let by_first = parts(value).is_some_and(|(name, _)| name == keys.first);
        if key.starts_with(SECRETS) && !by_first {
            self.0.stale.store(true, Ordering::Relaxed);
        }
    }
}

/// The name of the key and what it has sealed, of a sealed value.
fn parts(value: &[u8]) -> Option<(&str, &[u8])> {
    let rest = value.strip_prefix(MARK)?;
    let end = rest.iter().position(|byte| *byte == NAME_END)?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

impl Keys {
    fn parse(text: &str) -> Result<Self, Refused> {
        let mut keys = Self {
            first: String::new(),
            all: BTreeMap::new(),
        };
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (name, key) = key_of(text).ok_or(Refused::Line { line })?;
            if keys.all.is_empty() {
                keys.first = name.to_owned();
            }
            if keys.all.insert(name.to_owned(), key).is_some() {
                let name = name.to_owned();
                return Err(Refused::Twice { line, name });
            }
            if keys.all.len() > KEYS_MAX {
                return Err(Refused::TooMany);
            }
        }
        match keys.all.is_empty() {
            true => Err(Refused::Empty),
            false => Ok(keys),
        }
    }

    /// A stored value as it was before it was sealed, if it was.
    fn opened(&self, key: &str, value: Bytes) -> Result<Bytes, Refused> {
        match parts(&value).filter(|_| key.starts_with(SECRETS)) {
            Some((name, sealed)) => self.open(key, name, sealed),
            // From a time when nothing was sealed, or no Secret.
            None => Ok(value),
        }
    }

    fn seal(&self, key: &str, value: &[u8]) -> Bytes {
        let sealing = &self.all[&self.first];
        let mut sealed = value.to_vec();
        let nonce = sealing
            .seal_in_place_append_tag(Aad::from(key), &mut sealed)
            .expect("values are far below the limit of the cipher");
        let name = self.first.as_bytes();
        Bytes::from([MARK, name, &[NAME_END], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, key: &str, name: &str, sealed: &[u8]) -> Result<Bytes, Refused> {
        let (key, name) = (key.to_owned(), name.to_owned());
        let Some(opening) = self.all.get(&name) else {
            return Err(Refused::Unknown { key, name });
        };
        let parts = sealed.split_at_checked(NONCE_LEN);
        let opened = parts.and_then(|(nonce, sealed)| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut value = sealed.to_vec();
            let length = opening
                .open_in_place(nonce, Aad::from(key.as_str()), &mut value)
                .ok()?
                .len();
            value.truncate(length);
            Some(Bytes::from(value))
        });
        opened.ok_or(Refused::Changed { key, name })
    }
}

/// The name and the key of a line.
fn key_of(line: &str) -> Option<(&str, RandomizedNonceKey)> {
    let (name, key) = line.split_once(char::is_whitespace)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.len() > NAME_BYTES_MAX || !name.chars().all(is_name) {
        return None;
    }
    let key = STANDARD.decode(key.trim()).ok()?;
    Some((name, RandomizedNonceKey::new(&AES_256_GCM, &key).ok()?))
}

/// A storage in which Secrets are sealed.
pub(crate) struct Sealed {
    storage: Box<dyn Storage>,
    sealer: Sealer,
}

impl Sealed {
    /// Seals what goes into that storage.
    pub(crate) fn new(storage: Box<dyn Storage>, sealer: Sealer) -> Self {
        Self { storage, sealer }
    }
}

impl Storage for Sealed {
    fn load(&self) -> Result<Loaded, Error> {
        let mut loaded = self.storage.load()?;
        let keys = self.sealer.keys();
        for (key, value) in &mut loaded.entries {
            self.sealer.note(&keys, key, value);
            let opened = keys.opened(key, std::mem::take(value));
            *value = opened.map_err(Error::new)?;
        }
        // What was before may be sealed by a key that is gone; then it is, too.
        for at in (0..loaded.changes.len()).rev() {
            let undo = &mut loaded.changes[at];
            let before = undo.before.take();
            let opened = before.map(|before| keys.opened(&undo.key, before));
            match opened.transpose() {
                Ok(before) => undo.before = before,
                Err(error) => {
                    tracing::warn!(%error, "a kept change cannot be opened and is forgotten");
                    loaded.forgotten = undo.revision;
                    loaded.changes.drain(..=at);
                    break;
                }
            }
        }
        Ok(loaded)
    }

    fn limits(&self) -> Limits {
        self.storage.limits()
    }

    fn commit(&self, mut batch: Batch, done: Done) {
        for write in &mut batch.writes {
            let value = write.value.take();
            write.value = value.map(|value| self.sealer.sealed(&write.key, &value));
        }
        self.storage.commit(batch, done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;
    use crate::store::{Write, contract};

    const KEY: &str = "/secrets/default/password";

    fn file(names: &[&str]) -> String {
        names.iter().map(|name| Sealer::new_file(name)).collect()
    }

    fn sealer(text: &str) -> Sealer {
        Sealer::parse(text).expect("keys")
    }

    fn put(storage: &impl Storage, key: &str, value: &'static str) {
        let after = storage.load().expect("loads").revision;
        let write = Write {
            revision: after + 1,
            key: key.to_owned(),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        let batch = Batch {
            after,
            revision: after + 1,
            writes: vec![write],
            forget: 0,
        };
        storage.commit(batch, Box::new(|done| done.expect("memory takes it")));
    }

    fn refusal<T>(result: Result<T, Error>) -> String {
        result
            .err()
            .map_or_else(String::new, |error| api::chain(&error))
    }

    #[test]
    fn keeps_the_contract() {
        let (memory, sealer) = (Memory::default(), sealer(&file(&["a"])));
        contract::check(move || Sealed::new(Box::new(memory.clone()), sealer.clone()));
    }

    #[test]
    fn secrets_are_stored_sealed_and_all_else_as_it_is() {
        let memory = Memory::default();
        let sealed = Sealed::new(Box::new(memory.clone()), sealer(&file(&["a"])));
        put(&sealed, KEY, "{\"data\":\"hunter2\"}");
        put(&sealed, KEY, "{\"data\":\"hunter3\"}");
        put(&sealed, "/configmaps/default/x", "{\"data\":\"plain\"}");
        let stored = format!("{:?}", memory.load().expect("loads"));
        assert!(
            !stored.contains("hunter") && stored.contains("plain"),
            "{stored}"
        );
        assert!(stored.contains("sealed:1:a:"), "{stored}");
        let loaded = sealed.load().expect("loads");
        assert_eq!(loaded.entries[1].1, "{\"data\":\"hunter3\"}");
        let before = loaded.changes[1].before.as_deref();
        assert_eq!(before, Some(&b"{\"data\":\"hunter2\"}"[..]));
    }

    #[test]
    fn another_key_goes_on_while_the_older_one_opens() {
        let (memory, old, new) = (Memory::default(), file(&["old"]), file(&["new"]));
        let sealer = sealer(&old);
        let storage = Sealed::new(Box::new(memory.clone()), sealer.clone());
        put(&storage, KEY, "{}");
        assert!(!sealer.is_stale());
        sealer.replace(&format!("{new}{old}")).expect("keys");
        storage.load().expect("the older one opens");
        assert!(sealer.is_stale());
        put(&storage, KEY, "{}");
        let (_, value) = memory.load().expect("loads").entries.remove(0);
        assert!(value.starts_with(b"sealed:1:new:"));
        // Of what is there now the older key is not needed any more, of what was before it is.
        let loaded = storage.load().expect("both open");
        assert_eq!((loaded.forgotten, loaded.changes.len()), (0, 2));
        sealer.replace(&new).expect("keys");
        let loaded = storage.load().expect("all that is there opens");
        assert_eq!((loaded.forgotten, loaded.changes.len()), (2, 0));
        sealer.replace(&file(&["newer"])).expect("keys");
        let refused = refusal(storage.load());
        assert!(
            refused.contains("is sealed by the key \"new\", which is not among the keys"),
            "{refused}"
        );
    }

    #[test]
    fn what_was_never_sealed_is_read_and_known() {
        let memory = Memory::default();
        put(&memory, KEY, "{}");
        let sealer = sealer(&file(&["a"]));
        let loaded = Sealed::new(Box::new(memory), sealer.clone())
            .load()
            .expect("loads");
        assert_eq!(loaded.entries[0].1, "{}");
        assert!(sealer.is_stale());
    }

    #[test]
    fn what_was_changed_or_moved_is_not_opened() {
        let (memory, sealer) = (Memory::default(), sealer(&file(&["a"])));
        let value = sealer.sealed(KEY, &Bytes::from("{}"));
        let opened = |key: &str, value: Vec<u8>| {
            sealer
                .keys()
                .opened(key, Bytes::from(value))
                .map_err(Error::new)
        };
        assert_eq!(opened(KEY, value.to_vec()).expect("it opens"), "{}");
        for at in MARK.len() + 2..value.len() {
            let mut changed = value.to_vec();
            changed[at] ^= 1;
            assert!(refusal(opened(KEY, changed)).contains("the value was changed"));
        }
        let moved = refusal(opened("/secrets/default/other", value.to_vec()));
        assert!(moved.contains("the value was changed"), "{moved}");
        assert!(refusal(opened(KEY, value[..12].to_vec())).contains("cannot be opened"));
        drop(memory);
    }

    #[test]
    fn a_file_is_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let value = Bytes::from("{}");
        let first = Sealer::open(&path).expect("it is made").sealed(KEY, &value);
        let again = Sealer::open(&path).expect("it is there");
        let opened = again.keys().opened(KEY, first);
        assert_eq!(opened.expect("by the same key"), value);
    }

    #[test]
    fn a_file_of_keys_is_refused_without_being_shown() {
        let key = STANDARD.encode([7; KEY_BYTES]);
        let cases = [
            (String::new(), "there is no key"),
            ("# nothing\n\n".to_owned(), "there is no key"),
            (format!("{key}\n"), "line 1: expected a name"),
            (
                format!("a {key}\nb {}", &key[4..]),
                "line 2: expected a name",
            ),
            (format!("a/b {key}"), "line 1: expected a name"),
            (
                format!("a {key}\n\na {key}"),
                "line 3: there is another key \"a\"",
            ),
        ];
        for (text, expected) in cases {
            let refused = refusal(Sealer::parse(&text));
            assert!(refused.contains(expected), "{refused}");
            assert!(!refused.contains(&key[4..]), "{refused}");
        }
        let many: String = (0..=KEYS_MAX).map(|n| format!("k{n} {key}\n")).collect();
        assert!(refusal(Sealer::parse(&many)).contains("more than 64"));
    }
}
