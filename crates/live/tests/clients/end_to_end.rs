//! Kubernetes' own end-to-end tests of its API, those that need no node: the list in `tests/kubernetes-e2e/specs.txt`.
//!
//! Their program takes minutes to build, once. They want kinds that Groma does not run, so the server serves them as kinds
//! that are kept.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use live::tools;
use live::{Groma, Skip};

use crate::run::must_end_well;

/// The flag of a server that serves kinds which it does not run.
const KEPT_KINDS: &str = "--kubernetes-kinds";
/// How long all specs may take.
const LIMIT: &str = "--ginkgo.timeout=20m";
/// The framework counts nodes that are ready before it begins; nobody runs anything on this one.
const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: paper}\n";
const NODE_STATUS: &str = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
/// How many lines of what the program said are shown when it fails.
const LINES_SHOWN: usize = 400;

#[test]
fn kubernetes_finds_its_own_api() {
    if let Err(skip) = test() {
        skip.report();
    }
}

fn test() -> Result<(), Skip> {
    let program = tools::end_to_end()?;
    let kubectl = tools::kubectl()?;
    let groma = Groma::start(&[KEPT_KINDS])?;
    create_node(&kubectl, &groma);
    let specs = specs();
    let mut command = Command::new(program);
    command
        .arg("--kubeconfig")
        .arg(groma.kubeconfig())
        .arg("--kubectl-path")
        .arg(kubectl)
        .args(["--provider=skeleton", "--num-nodes=1", "--minStartupPods=0"])
        .args(["--ginkgo.no-color", "--ginkgo.silence-skips", LIMIT])
        .arg(format!("--ginkgo.focus={}", any_of(&specs)));
    let output = command.stdin(Stdio::null()).output();
    let said = output.expect("the program runs").stdout;
    let said = String::from_utf8_lossy(&said);
    let ran = format!("Ran {} of ", specs.len());
    assert!(
        said.contains(&ran) && said.contains("SUCCESS!"),
        "not all of {} specs ran and passed\n{}",
        specs.len(),
        last_lines(&said)
    );
    Ok(())
}

fn create_node(kubectl: &Path, groma: &Groma) {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    fs::write(file.path(), NODE).expect("written");
    let command = |words: &[&str]| {
        let mut command = Command::new(kubectl);
        command.args(words);
        command
    };
    must_end_well(command(&["create", "-f"]).arg(file.path()), groma);
    let status = [
        "patch",
        "node",
        "paper",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    must_end_well(command(&status).arg(NODE_STATUS), groma);
}

/// The names of the specs, one a line.
fn specs() -> Vec<String> {
    let text = fs::read_to_string(tools::end_to_end_specs()).expect("the list can be read");
    text.lines().map(str::to_owned).collect()
}

/// An expression that matches these names and no others; the name of the suite stands before each.
fn any_of(names: &[String]) -> String {
    let exact: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    format!(" ({})$", exact.join("|"))
}

fn escaped(name: &str) -> String {
    let mut expression = String::new();
    for letter in name.chars() {
        if !letter.is_alphanumeric() && letter != ' ' {
            expression.push('\\');
        }
        expression.push(letter);
    }
    expression
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
