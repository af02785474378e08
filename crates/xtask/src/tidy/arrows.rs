//! Arrows: what each crate's manifest uses is allowed by `crates/layers.toml`, and that file keeps its own rules.

use crate::cargo::{Dependency, Package};
use crate::layers::{Layers, Place};

/// What a pure crate must not depend on: it has no threads of others, clock, socket or log.
const IMPURE: &[&str] = &[
    "hyper",
    "kube",
    "libc",
    "nftables",
    "reqwest",
    "rtnetlink",
    "rustix",
    "tokio",
    "tracing",
];

/// All problems of the arrows.
pub(crate) fn check(layers: &Layers, packages: &[Package]) -> Vec<String> {
    let mut problems: Vec<_> = layers
        .crates
        .iter()
        .flat_map(|(name, place)| rules(layers, name, place))
        .collect();
    for package in packages {
        match layers.crates.get(&package.name) {
            Some(place) => problems.extend(package_problems(layers, package, place)),
            None => problems.push(format!("{}: not in crates/layers.toml", package.name)),
        }
    }
    let known = |name: &&String| packages.iter().any(|package| package.name == **name);
    let gone = layers.crates.keys().filter(|name| !known(name));
    problems.extend(gone.map(|name| format!("crates/layers.toml: there is no crate {name}")));
    problems
}

/// The rules that `layers.toml` itself must keep.
fn rules(layers: &Layers, name: &str, place: &Place) -> Vec<String> {
    let Some(height) = layers.height(name) else {
        return vec![format!(
            "crates/layers.toml: {name} stands in the unknown layer {}",
            place.layer
        )];
    };
    let mut problems = Vec::new();
    for used in layers.expand(&place.uses) {
        let below = layers.height(used).is_some_and(|used| used < height);
        let beside = matches!(place.layer.as_str(), "pure" | "machinery" | "functions")
            && layers.crates[used].layer == place.layer;
        if !below && !beside {
            problems.push(format!(
                "crates/layers.toml: {name} uses {used}, which is not below it"
            ));
        }
        let may_name_adapters = matches!(place.layer.as_str(), "binary" | "proof");
        if layers.crates[used].layer == "adapters" && !may_name_adapters {
            problems.push(format!(
                "crates/layers.toml: {name} uses the adapter {used}; only binary and proof may"
            ));
        }
    }
    problems
}

fn package_problems(layers: &Layers, package: &Package, place: &Place) -> Vec<String> {
    let uses = layers.expand(&place.uses);
    let dev = layers.expand(&place.dev);
    let wrong = |dependency: &&Dependency| {
        let name = dependency.name.as_str();
        let is_dev = dependency.kind.as_deref() == Some("dev");
        match dependency.path {
            Some(_) => !(uses.contains(name) || is_dev && dev.contains(name)),
            None => place.layer == "pure" && !is_dev && IMPURE.contains(&name),
        }
    };
    let found = package.dependencies.iter().filter(wrong);
    let say = |dependency: &Dependency| {
        let kind = dependency.kind.as_deref().unwrap_or("normal");
        format!(
            "{}: the {kind} dependency {} is not allowed by crates/layers.toml",
            package.name, dependency.name
        )
    };
    found.map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const LAYERS: &str = r#"
        layers = ["pure", "blocks", "adapters", "binary"]
        [crates]
        api = { layer = "pure", uses = [], dev = [] }
        mco = { layer = "blocks", uses = ["api"], dev = ["sim"] }
        wdm = { layer = "blocks", uses = ["api"], dev = [] }
        sim = { layer = "adapters", uses = ["api"], dev = [] }
        groma = { layer = "binary", uses = ["pure", "blocks", "adapters"], dev = [] }
    "#;

    /// The problems of one more arrow: from, to, kind, and whether it lies in the workspace.
    fn problems(from: &str, to: &str, kind: Option<&str>, inside: bool) -> usize {
        let layers = Layers::parse(LAYERS).unwrap();
        let package = |name: &String| Package {
            name: name.clone(),
            description: None,
            dependencies: Vec::new(),
        };
        let mut packages: Vec<_> = layers.crates.keys().map(package).collect();
        let from = packages
            .iter_mut()
            .find(|package| package.name == from)
            .unwrap();
        from.dependencies.push(Dependency {
            name: to.to_owned(),
            kind: kind.map(str::to_owned),
            path: inside.then(PathBuf::new),
        });
        check(&layers, &packages).len()
    }

    #[test]
    fn arrows_go_down_and_blocks_meet_no_blocks() {
        for (from, to, kind, expected) in [
            ("mco", "api", None, 0),
            ("groma", "sim", None, 0),
            ("mco", "wdm", None, 1),
            ("api", "mco", None, 1),
            ("mco", "sim", Some("dev"), 0),
            ("mco", "sim", None, 1),
            ("wdm", "sim", Some("dev"), 1),
        ] {
            assert_eq!(
                problems(from, to, kind, true),
                expected,
                "{from} -> {to} {kind:?}"
            );
        }
    }

    #[test]
    fn pure_crates_stay_pure() {
        assert_eq!(problems("api", "tokio", None, false), 1);
        assert_eq!(problems("api", "tokio", Some("dev"), false), 0);
        assert_eq!(problems("mco", "tokio", None, false), 0);
    }

    #[test]
    fn file_that_breaks_its_own_rules_is_found() {
        let text = LAYERS.replace(
            r#"wdm = { layer = "blocks", uses = ["api"]"#,
            r#"wdm = { layer = "blocks", uses = ["sim"]"#,
        );
        let problems = check(&Layers::parse(&text).unwrap(), &[]);
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("wdm uses sim, which is not below it")),
            "{problems:?}"
        );
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("uses the adapter sim")),
            "{problems:?}"
        );
    }

    #[test]
    fn crate_without_a_place_is_found() {
        let layers = Layers::parse(&LAYERS.replace("wdm = ", "other = ")).unwrap();
        let package = Package {
            name: "wdm".to_owned(),
            description: None,
            dependencies: Vec::new(),
        };
        let problems = check(&layers, &[package]);
        assert!(
            problems.contains(&"wdm: not in crates/layers.toml".to_owned()),
            "{problems:?}"
        );
        assert!(
            problems.contains(&"crates/layers.toml: there is no crate other".to_owned()),
            "{problems:?}"
        );
    }
}
