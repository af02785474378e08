//! Which rule decides, and which policies are refused.

use super::*;

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

fn level(rules: &str, uri: &str) -> &'static str {
    let policy = Policy::parse(&format!("{HEAD}rules:\n{rules}")).expect("a policy");
    let (head, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
    let identity = Identity::host("mad-1");
    policy.decide(&identity, &About::of(&head)).level.name()
}

#[test]
fn the_first_rule_that_fits_decides() {
    let pods = "/api/v1/namespaces/lab/pods/web/log";
    let cases = [
        ("- {level: Metadata}", "/healthz", "Metadata"),
        (
            "- {level: None, verbs: [get]}\n- {level: Request}",
            pods,
            "None",
        ),
        (
            "- {level: None, users: [eve]}\n- {level: Request}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, users: ['system:host:mad-1']}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, userGroups: ['system:hosts']}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, userGroups: ['system:masters']}",
            pods,
            "None",
        ),
        (
            "- {level: Request, resources: [{group: ''}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{group: apps}]}",
            pods,
            "None",
        ),
        (
            "- {level: Request, resources: [{group: '*'}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{resources: [pods]}]}",
            pods,
            "None",
        ),
        (
            "- {level: Request, resources: [{resources: [pods/log]}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{resources: ['*/log']}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{resources: ['pods/*']}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{resources: ['*']}]}",
            pods,
            "Request",
        ),
        (
            "- {level: Request, resources: [{resources: ['*'], resourceNames: [db]}]}",
            pods,
            "None",
        ),
        (
            "- {level: Request, resources: [{resources: ['*'], resourceNames: [web]}]}",
            pods,
            "Request",
        ),
        ("- {level: Request, namespaces: [lab]}", pods, "Request"),
        ("- {level: Request, namespaces: ['']}", pods, "None"),
        (
            "- {level: Request, namespaces: ['']}",
            "/api/v1/nodes/a",
            "Request",
        ),
        ("- {level: Request, namespaces: ['']}", "/healthz", "None"),
        ("- {level: Request, nonResourceURLs: ['*']}", pods, "None"),
        (
            "- {level: Request, nonResourceURLs: ['/health*']}",
            "/healthz",
            "Request",
        ),
        (
            "- {level: Request, nonResourceURLs: ['/health']}",
            "/healthz",
            "None",
        ),
        (
            "- {level: RequestResponse, verbs: [list]}",
            "/api/v1/pods",
            "RequestResponse",
        ),
    ];
    for (rules, uri, expected) in cases {
        assert_eq!(level(rules, uri), expected, "{rules} {uri}");
    }
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    let cases = [
        ("", "rules: Required value: at least one rule"),
        (
            "rules: [{}]",
            "rules[0].level: Required value: one of None, Metadata, Request, RequestResponse",
        ),
        (
            "rules: [{level: All}]",
            r#"rules[0].level: Unsupported value: "All": supported values: "None", "Metadata""#,
        ),
        ("rules: [{level: None, user: [a]}]", "unknown field"),
        ("rules: [{level: None, users: a}]", "users"),
        (
            "rules: [{level: None}]\nomitStages: [Started]",
            r#"omitStages[0]: Invalid value: "Started": allowed stages are RequestReceived,ResponseStarted,"#,
        ),
        (
            "rules: [{level: None, nonResourceURLs: [healthz]}]",
            r#"rules[0].nonResourceURLs[0]: Invalid value: "healthz": non-resource URL rules must begin with a '/'"#,
        ),
        (
            "rules: [{level: None, nonResourceURLs: ['/a*b']}]",
            "wildcards '*' must be the final character",
        ),
        (
            "rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [b]}]",
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        (
            "rules: [{level: None, resources: [{group: apps/v1}]}]",
            r#"rules[0].resources[0].group: Invalid value: "apps/v1""#,
        ),
        (
            "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
            "using resourceNames requires at least one resource",
        ),
    ];
    for (text, expected) in cases {
        let error = Policy::parse(&format!("{HEAD}{text}")).expect_err(text);
        let told = api::chain(&error);
        assert!(told.contains(expected), "{text}: {told}");
    }
    let error = Policy::parse("apiVersion: v1\nkind: Policy\nrules: [{level: None}]");
    let told = error.expect_err("another version").to_string();
    assert!(
        told.contains(r#"supported values: "audit.k8s.io/v1""#),
        "{told}"
    );
}

#[test]
fn stages_and_managed_fields_are_omitted_as_told() {
    let text = "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
        - {level: Metadata, verbs: [get], omitStages: [Panic], omitManagedFields: false}\n- {level: Metadata}";
    let policy = Policy::parse(&format!("{HEAD}{text}")).expect("a policy");
    let identity = Identity::admin("a");
    let decide = |uri: &str| {
        let (head, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        policy.decide(&identity, &About::of(&head))
    };
    let get = decide("/api/v1/nodes/a");
    let recorded = Stage::ALL.map(|stage| get.records(stage));
    assert_eq!(recorded, [false, true, true, false]);
    assert!(!get.omits_managed_fields && decide("/api/v1/nodes").omits_managed_fields);
}
