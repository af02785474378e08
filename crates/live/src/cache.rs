//! What the live tests build or install once: in `$XDG_CACHE_HOME/groma`, or `~/.cache/groma`.
//!
//! A folder there is named after what it is made of, so a new version is made beside the old one and nothing is made
//! twice. Old ones are left to whoever empties the cache.

use std::env;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Skip;

/// Letters of the hash that name a folder.
const KEY_CHARS: usize = 16;

/// The product in the folder of that name; made first if it is not there.
///
/// It is made beside its place and renamed, so that an interrupted run leaves none. Test programs may run at once: the
/// first makes it, the others wait.
///
/// # Errors
/// Why it cannot be made.
pub fn once(
    folder: &str,
    product: &str,
    make: impl FnOnce(&Path) -> Result<(), Skip>,
) -> Result<PathBuf, Skip> {
    let folder = home()?.join(folder);
    let product = folder.join(product);
    fs::create_dir_all(&folder).map_err(|error| unusable(&folder, &error))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(|error| unusable(&lock_path, &error))?;
    // Released when the file is closed.
    lock.lock().map_err(|error| unusable(&lock_path, &error))?;
    if !product.exists() {
        let unfinished = product.with_added_extension("new");
        make(&unfinished)?;
        fs::rename(&unfinished, &product).map_err(|error| unusable(&product, &error))?;
    }
    Ok(product)
}

/// The name of a folder for something that is made of these.
#[must_use]
pub fn key(name: &str, ingredients: &[Vec<u8>]) -> String {
    let mut hash = Sha256::new();
    for ingredient in ingredients {
        hash.update(ingredient);
    }
    let mut key = format!("{name}-");
    for byte in hash.finalize().iter().take(KEY_CHARS / 2) {
        write!(key, "{byte:02x}").expect("writing to a string cannot fail");
    }
    key
}

/// Why a file or program is of no use.
pub fn unusable(path: &Path, error: &io::Error) -> Skip {
    Skip::because(format!("cannot use {}: {error}", path.display()))
}

/// Where all of it is.
pub(crate) fn home() -> Result<PathBuf, Skip> {
    let named = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    let base = base.ok_or_else(|| {
        Skip::because("neither XDG_CACHE_HOME nor HOME is set, so nothing can be cached")
    })?;
    Ok(base.join("groma"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_the_ingredients_only() {
        let of = |text: &str| key("kubernetes", &[text.as_bytes().to_vec()]);
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a").len(), "kubernetes-".len() + KEY_CHARS);
    }
}
