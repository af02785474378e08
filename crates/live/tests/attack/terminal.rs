//! Text that would be obeyed: line breaks and escape sequences on their way to logs and terminals.

use std::fs;

use serde_json::{Value, json};

use crate::ground::{Ground, TENANT, named};

/// Clears the screen, names the window, ends the line and begins one of its own.
const HOSTILE: &str = "fine\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01T00:00:00Z ERROR groma: all is lost\u{9b}31m\u{202e}\u{8}";

/// What no terminal may get to see.
fn obeyed(text: &str) -> Option<char> {
    let is_bad = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
    text.chars().find(is_bad)
}

#[test]
fn neither_log_nor_audit_log_nor_terminal_obeys_what_somebody_wrote() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let services = format!("/apis/groma.dev/v1alpha1/namespaces/{TENANT}/workloads");
    let mut workload = named("hostile");
    workload["metadata"]["annotations"] = json!({"note": HOSTILE});
    workload["spec"] = json!({"artefacts": [{"form": "container", "image": "layout:http-app"}], "execution": {"command": [HOSTILE]}, "resources": {"cpu": "100m"}});
    let made = ground.ask(&eve, "POST", &services, &workload);
    assert_eq!(made.code, 201, "{made:?}");
    let condition = json!({"type": "Ready", "status": "False", "reason": "Hostile", "message": HOSTILE, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"conditions": [condition]}});
    ground
        .ask(
            &ground.admin(),
            "PATCH",
            &format!("{services}/hostile/status"),
            status,
        )
        .is(200);
    let event = json!({
        "metadata": {"name": "hostile", "namespace": TENANT}, "type": "Warning", "reason": "Hostile", "message": HOSTILE,
        "involvedObject": {"apiVersion": "groma.dev/v1alpha1", "kind": "Workload", "name": "hostile", "namespace": TENANT},
    });
    ground
        .ask(
            &eve,
            "POST",
            &format!("/api/v1/namespaces/{TENANT}/events"),
            event,
        )
        .is(201);
    // Refused, and told of what was sent.
    let mut unnamable = named(HOSTILE);
    ground.ask(&eve, "POST", &services, &unnamable).is(422);
    unnamable["metadata"]["name"] = json!("x");
    unnamable["spec"] = json!({HOSTILE: HOSTILE});
    let strict = format!("{services}?fieldValidation=Strict");
    ground.ask(&eve, "POST", &strict, &unnamable).is(400);
    // Heads cannot hold line breaks; all else they may.
    let agent = "evil\u{9b}1m\u{202e}";
    for path in [&*services, "/x%0d%0aERROR%1b[2J"] {
        ground.send(
            &eve,
            ("GET", path),
            &[("user-agent", agent), ("impersonate-user", agent)],
            "",
        );
    }
    ground
        .send(&ground.with_token("\u{9b}2J"), ("GET", &services), &[], "")
        .is(401);

    for words in [
        vec!["get", "workloads"],
        vec!["get", "workloads", "-o", "wide"],
        vec!["get", "workload", "hostile", "-o", "yaml"],
        vec!["get", "workload", "hostile", "-o", "json"],
        vec!["get", "events"],
        vec!["describe", "workload", "hostile"],
        vec!["inventory"],
        vec!["workloads"],
        vec!["why", "hostile"],
        vec!["get", "workload", "\u{1b}[2J"],
        vec!["get", "\u{1b}[2J"],
    ] {
        let words: Vec<&str> = ["--namespace", TENANT].into_iter().chain(words).collect();
        let output = ground.groma(&words);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("it is text");
        // YAML has no escapes outside of quotes; what turns the direction of writing stays as it is.
        let said = match words.contains(&"yaml") || words.contains(&"describe") {
            true => said.replace('\u{202e}', ""),
            false => said,
        };
        assert_eq!(obeyed(&said), None, "{words:?}: {said:?}");
        assert!(
            !said.contains("\n2026-01-01T00:00:00Z ERROR"),
            "{words:?}: {said:?}"
        );
    }
    let bad = ground.folder().join("bad.yaml");
    fs::write(&bad, unnamable_document()).expect("written");
    let output = ground.groma(&[
        "--namespace",
        TENANT,
        "apply",
        "--file",
        &bad.display().to_string(),
    ]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("it is text");
    assert!(
        !output.status.success() && obeyed(&said).is_none(),
        "{said:?}"
    );

    // The server's own log, and each line of the audit log is one event.
    let log = ground.server.log();
    assert_eq!(obeyed(&log), None, "{log:?}");
    let all_begin = |line: &str| line.starts_with("2026") || line.starts_with("20");
    assert!(
        log.lines().all(all_begin) && !log.contains("all is lost"),
        "{log}"
    );
    let audit = fs::read_to_string(ground.folder().join("audit/audit.log")).expect("an audit log");
    for line in audit.lines() {
        assert_eq!(obeyed(line), None, "{line:?}");
        let event: Value = serde_json::from_str(line).expect("a line is an event");
        assert_eq!(event["kind"], "Event", "{line}");
    }
    let verified = ground.groma(&[
        "audit",
        "verify",
        &ground
            .folder()
            .join("audit/audit.log")
            .display()
            .to_string(),
    ]);
    assert!(verified.status.success(), "{verified:?}");
    ground.serves_others();
}

/// An object whose name no server takes.
fn unnamable_document() -> String {
    let mut document = named(HOSTILE);
    document["apiVersion"] = json!("groma.dev/v1alpha1");
    document["kind"] = json!("Workload");
    document.to_string()
}
