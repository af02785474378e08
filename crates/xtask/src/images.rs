//! Packs the network functions as OCI image layouts, one folder per image, so that `layout:NAME` finds `DIR/NAME`.
//!
//! The own functions are built here; `nft` and nginx are taken from the machine, each with the shared libraries it needs.
//! Nothing is pulled, and the same programs always give the same digests.

mod layer;
mod layout;
mod recipe;
mod tree;

use crate::cargo;
use crate::images::recipe::{Program, RECIPES, Recipe};
use crate::images::tree::Tree;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Builds every program, packs every image into its folder below `out`, and returns the folder of the programs.
pub(crate) fn pack_all(out: &Path) -> Result<PathBuf> {
    let programs = cargo::build_release()?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for recipe in RECIPES {
        let digest = pack(recipe, &programs, out)?;
        println!("{:<10} {digest}", recipe.name);
    }
    Ok(programs)
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
