//! Sources: each file says what it is for, nothing is left for later, exceptions carry their reason, and time, chance,
//! environment and tasks come only from where they may.
//!
//! These are searches in the text, good enough for code that is written in good faith.

use crate::layers::Layers;
use crate::tidy::files::File;

/// Words that must not be in any file; written in two halves so that this file does not hold them itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        concat!("TO", "DO"),
        "do it, or state the limit in docs/limits.md",
    ),
    (
        concat!("FIX", "ME"),
        "do it, or state the limit in docs/limits.md",
    ),
    (
        concat!("/wo", "rk/"),
        "paths of one machine do not belong here",
    ),
];

/// What pure crates and blocks must take from their context, so that a test can decide it.
const FROM_CONTEXT: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "thread_rng",
    "env::var",
];

/// How a task is started on its own; written in two halves like the words above.
const SPAWNS: &[&str] = &[concat!("tokio::sp", "awn("), concat!("task::sp", "awn(")];

/// Where a task may be started on its own, and why; everybody else joins what it starts.
const MAY_SPAWN: &[(&str, &str)] = &[
    ("runtime", "it starts the reconcilers and joins them"),
    (
        "apiserver",
        "one task per connection, and the writer of the store",
    ),
    ("lab", "its daemon forwards packets and connections"),
    (
        "adapter-oci",
        "one task per container, joined by whoever holds the container",
    ),
    ("cli", "a connection is driven by a task that ends with it"),
    ("linux", "a netlink connection is driven by a task"),
    ("groma", "the binary composes what runs"),
    ("testbed", "proof"),
    ("live", "proof"),
];

/// All problems of the sources.
pub(crate) fn check(layers: &Layers, files: &[File]) -> Vec<String> {
    files
        .iter()
        .flat_map(|file| file_problems(layers, file))
        .collect()
}

fn file_problems(layers: &Layers, file: &File) -> Vec<String> {
    let mut problems = forbidden(file);
    if file.is_rust() {
        problems.extend(beginning(file));
        problems.extend(reasons(file));
        problems.extend(context(layers, file));
        problems.extend(spawns(file));
    }
    problems
}

fn forbidden(file: &File) -> Vec<String> {
    let lines = (1..).zip(file.text.lines());
    let found = lines.flat_map(|(n, line)| {
        FORBIDDEN
            .iter()
            .map(move |(word, hint)| (n, line, word, hint))
    });
    let found = found.filter(|(_, line, word, _)| line.contains(*word));
    found
        .map(|(n, _, word, hint): (usize, _, _, _)| format!("{}:{n}: {word}: {hint}", file.path))
        .collect()
}

fn beginning(file: &File) -> Vec<String> {
    let path = &file.path;
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        problems.push(format!(
            "{path}:1: a file begins with `//!` and what it is for"
        ));
    }
    if path.ends_with("/mod.rs") {
        problems.push(format!(
            "{path}: `foo.rs` stands beside `foo/`; there is no mod.rs"
        ));
    }
    problems
}

/// An allowed or expected lint says why.
fn reasons(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in file.text.match_indices(opening) {
            let line_start = file.text[..at].rfind('\n').map_or(0, |end| end + 1);
            let is_attribute = file.text[line_start..at].trim().is_empty();
            let attribute = file.text[at..].split(")]").next().unwrap_or_default();
            if is_attribute && !attribute.contains("reason =") {
                let n = file.text[..at].lines().count() + 1;
                problems.push(format!(
                    "{}:{n}: {opening}…)] carries `reason = \"…\"`",
                    file.path
                ));
            }
        }
    }
    problems
}

fn context(layers: &Layers, file: &File) -> Vec<String> {
    let place = file
        .package()
        .and_then(|package| layers.crates.get(package));
    let bound = place.is_some_and(|place| matches!(place.layer.as_str(), "pure" | "blocks"));
    if !bound {
        return Vec::new();
    }
    let say = |n, word| {
        format!(
            "{}:{n}: {word}: time, chance and environment come from the context",
            file.path
        )
    };
    // The clock of tokio is the context's: a test pauses it.
    let has_tokio_clock = file
        .text
        .lines()
        .any(|line| line.contains("tokio::time::") && line.contains("Instant"));
    found(file, FROM_CONTEXT)
        .filter(|(_, word)| !(has_tokio_clock && *word == "Instant::now"))
        .map(|(n, word)| say(n, word))
        .collect()
}

fn spawns(file: &File) -> Vec<String> {
    let package = file.package().unwrap_or_default();
    let is_function = file.path.starts_with("functions/");
    if is_function || MAY_SPAWN.iter().any(|(name, _)| *name == package) {
        return Vec::new();
    }
    let say = |n| {
        format!(
            "{}:{n}: {package} may not start a task of its own; join it",
            file.path
        )
    };
    found(file, SPAWNS).map(|(n, _)| say(n)).collect()
}

/// Where code that is no test and no comment holds one of the words.
fn found<'a>(file: &'a File, words: &'a [&str]) -> impl Iterator<Item = (usize, &'a str)> {
    let code = file
        .lines_without_tests()
        .filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(move |(n, line)| {
        words
            .iter()
            .filter(move |word| line.contains(**word))
            .map(move |word| (n, *word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: &str = r#"
        layers = ["blocks", "machinery"]
        [crates]
        mco = { layer = "blocks", uses = [], dev = [] }
        runtime = { layer = "machinery", uses = [], dev = [] }
    "#;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let layers = Layers::parse(LAYERS).unwrap();
        file_problems(
            &layers,
            &File {
                path: path.to_owned(),
                text: text.to_owned(),
            },
        )
    }

    #[track_caller]
    fn check(path: &str, body: &str, expected: Option<&str>) {
        let problems = problems(path, &format!("//! What it is for.\n{body}"));
        match expected {
            None => assert!(problems.is_empty(), "{problems:?}"),
            Some(part) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                assert!(problems[0].contains(part), "{problems:?}");
            }
        }
    }

    #[test]
    fn file_says_what_it_is_for() {
        assert_eq!(problems("crates/mco/src/lib.rs", "use std::fmt;").len(), 1);
        assert_eq!(problems("crates/mco/src/a/mod.rs", "//! Text.").len(), 1);
    }

    #[test]
    fn nothing_is_left_for_later() {
        check(
            "crates/mco/src/lib.rs",
            concat!("// TO", "DO: more"),
            Some("crates/mco/src/lib.rs:2"),
        );
        check(
            "docs/x.md",
            concat!("see /wo", "rk/main"),
            Some("one machine"),
        );
    }

    #[test]
    fn exception_carries_its_reason() {
        let path = "crates/runtime/src/lib.rs";
        check(path, "#[allow(dead_code)]", Some("runtime/src/lib.rs:2"));
        check(
            path,
            "#[allow(\n    unsafe_code,\n    reason = \"a call\"\n)]",
            None,
        );
        check(path, "// as in `#[allow(x)]`", None);
    }

    #[test]
    fn time_comes_from_the_context_in_blocks() {
        let body = "fn now() { Instant::now(); }";
        check("crates/mco/src/lib.rs", body, Some("Instant::now"));
        check("crates/runtime/src/lib.rs", body, None);
        check(
            "crates/mco/src/lib.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{body}"),
            None,
        );
        check("crates/mco/src/lib/tests.rs", body, None);
        check(
            "crates/mco/src/lib.rs",
            &format!("use tokio::time::Instant;\n{body}"),
            None,
        );
    }

    #[test]
    fn tasks_are_started_only_where_they_may_be() {
        check(
            "crates/mco/src/lib.rs",
            "tokio::spawn(work);",
            Some("may not start a task"),
        );
        check("crates/runtime/src/lib.rs", "tokio::spawn(work);", None);
        check("functions/probe/src/main.rs", "tokio::spawn(work);", None);
        check("crates/mco/src/lib.rs", "// never tokio::spawn(work)", None);
    }
}
