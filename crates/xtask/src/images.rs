//! Packs the network functions as OCI image layouts, one folder per image, so that `layout:NAME` finds `DIR/NAME`.
//!
//! The own functions are built here; `nft` and nginx are taken from the machine, each with the shared libraries it needs.
//! Nothing is pulled, and the same programs always give the same digests.

mod layer;
mod layout;
mod recipe;
mod tree;

use crate::cargo::{self, Profile};
use crate::images::recipe::{Program, RECIPES, Recipe};
use crate::images::tree::Tree;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The programs that were built and the images made of them.
pub(crate) struct Packed {
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
    /// Why an image could not be packed, by its name.
    missing: BTreeMap<&'static str, anyhow::Error>,
}

impl Packed {
    /// Fails unless these images are there.
    pub(crate) fn require(mut self, names: &[&'static str]) -> Result<PathBuf> {
        match names.iter().find_map(|name| self.missing.remove(*name)) {
            Some(error) => Err(error),
            None => Ok(self.programs),
        }
    }

    /// Why images are not there.
    pub(crate) fn missing(&self) -> impl Iterator<Item = String> {
        self.missing.values().map(|error| format!("{error:#}"))
    }
}

/// The names of all images.
pub(crate) fn names() -> Vec<&'static str> {
    RECIPES.iter().map(|recipe| recipe.name).collect()
}

/// Builds every program and packs every image into its folder below `out`; one whose programs this machine lacks is left
/// out.
pub(crate) fn pack_all(profile: Profile, out: &Path) -> Result<Packed> {
    let programs = cargo::build_programs(profile)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut missing = BTreeMap::new();
    for recipe in RECIPES {
        match pack(recipe, &programs, out) {
            Ok(digest) => println!("{:<10} {digest}", recipe.name),
            Err(error) => {
                missing.insert(recipe.name, error);
            }
        }
    }
    Ok(Packed { programs, missing })
}

fn pack(recipe: &Recipe, programs: &Path, out: &Path) -> Result<String> {
    let tree = tree(recipe, programs).with_context(|| format!("cannot pack {}", recipe.name))?;
    layout::write(recipe, &tree, &out.join(recipe.name))
}

/// All files of an image: programs with their libraries, fixed files, and the folders a runtime mounts on.
fn tree(recipe: &Recipe, programs: &Path) -> Result<Tree> {
    let mut tree = Tree::with_base();
    for program in recipe.programs {
        let (from, to) = match program {
            Program::Built(name) => (programs.join(name), PathBuf::from("/usr/bin").join(name)),
            Program::Installed { path, package } => {
                (installed(path, package)?, PathBuf::from(path))
            }
        };
        tree.add_program(&from, &to)?;
    }
    for (path, text) in recipe.files {
        tree.add_text(path, text);
    }
    Ok(tree)
}

fn installed(path: &str, package: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if !path.is_file() {
        bail!(
            "{} is missing; install the package {package}, or run tools/setup.sh",
            path.display()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
