//! A tenant that reaches for what is another's.

use std::thread;

use serde_json::{Value, json};

use crate::ground::{Ground, SECRET, TENANT, VICTIM, Who, named};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const GROMA: &str = "/apis/groma.dev/v1alpha1";

#[test]
fn a_tenant_finds_nothing_out_about_another_by_any_verb() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let secrets = format!("/api/v1/namespaces/{VICTIM}/secrets");
    let service = format!("{GROMA}/namespaces/{VICTIM}/services");
    let collections = [
        secrets.clone(),
        service.clone(),
        "/api/v1/secrets".to_owned(),
        format!("{GROMA}/services"),
        "/api/v1/namespaces".to_owned(),
        format!("/api/v1/namespaces/{VICTIM}/events"),
        "/api/v1/events".to_owned(),
        format!("/apis/events.k8s.io/v1/namespaces/{VICTIM}/events"),
        format!("/api/v1/secrets?fieldSelector=metadata.namespace%3D{TENANT}"),
        format!("/api/v1/secrets?fieldSelector=metadata.namespace%3D{VICTIM}"),
        format!("{secrets}?fieldSelector=metadata.name%3Dtreasure"),
        format!("{secrets}?labelSelector=a%3Db"),
        format!("{secrets}?limit=1"),
        format!("{secrets}?resourceVersion=1&resourceVersionMatch=Exact"),
    ];
    for path in &collections {
        let watch = if path.contains('?') { '&' } else { '?' };
        ground.get(&eve, path).is(403);
        ground.get(&eve, &format!("{path}{watch}watch=1")).is(403);
    }
    // One that is there, and one that is not, are refused by the same words.
    let mut refused = Vec::new();
    for name in ["treasure", "no-such"] {
        let path = format!("{secrets}/{name}");
        let mut told = Vec::new();
        for (method, body) in [
            ("GET", Value::Null),
            ("PUT", named(name)),
            ("PATCH", json!({"data": null})),
            ("DELETE", Value::Null),
        ] {
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            for query in ["", "?dryRun=All"] {
                if (method, query) == ("GET", "?dryRun=All") {
                    continue;
                }
                let answer = ground.ask(&eve, method, &format!("{path}{query}"), &body);
                told.push(answer.is(403).body.replace(name, "NAME"));
            }
        }
        let applied = [("content-type", "application/apply-patch+yaml")];
        let path = format!("{path}?fieldManager=eve&force=true");
        let answer = ground.send(&eve, ("PATCH", &path), &applied, "{}");
        told.push(answer.is(403).body.replace(name, "NAME"));
        refused.push(told);
    }
    assert_eq!(refused[0], refused[1]);
    for (method, path, body) in [
        ("POST", secrets.clone(), named("planted")),
        ("POST", format!("{secrets}?dryRun=All"), named("planted")),
        ("DELETE", secrets, json!({})),
        ("DELETE", format!("/api/v1/namespaces/{VICTIM}"), json!({})),
        (
            "PATCH",
            format!("/api/v1/namespaces/{VICTIM}"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (
            "PUT",
            format!("/api/v1/namespaces/{VICTIM}/finalize"),
            named(VICTIM),
        ),
        ("DELETE", format!("/api/v1/namespaces/{TENANT}"), json!({})),
        ("POST", "/api/v1/namespaces".to_owned(), named("more")),
        (
            "POST",
            format!("/api/v1/namespaces/{VICTIM}/serviceaccounts/default/token"),
            json!({"spec": {}}),
        ),
        (
            "POST",
            "/api/v1/namespaces/kube-system/serviceaccounts/default/token".to_owned(),
            json!({"spec": {}}),
        ),
        (
            "PATCH",
            format!("{service}/web/status"),
            json!({"status": {}}),
        ),
        ("POST", format!("{GROMA}/hosts"), named("mine")),
        ("GET", format!("{GROMA}/hosts/mad-1/proxy/"), json!({})),
        (
            "POST",
            format!("{GROMA}/namespaces/{VICTIM}/instances/web/exec"),
            json!({}),
        ),
        (
            "GET",
            format!("{GROMA}/namespaces/{VICTIM}/instances/web/log"),
            json!({}),
        ),
        ("GET", "/backup".to_owned(), json!({})),
        ("GET", "/metrics".to_owned(), json!({})),
        ("GET", "/configz".to_owned(), json!({})),
        ("GET", "/debug/pprof/".to_owned(), json!({})),
    ] {
        let answer = ground.ask(&eve, method, &path, &body);
        assert_eq!(answer.code, 403, "{method} {path}: {answer:?}");
    }
    ground.never_said(&[SECRET]);
    ground.serves_others();
}

#[test]
fn a_tenant_gives_himself_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let own = format!("{RBAC}/namespaces/{TENANT}");
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let mut role = named("all");
    role["rules"] = all.clone();
    ground
        .ask(&eve, "POST", &format!("{own}/roles"), &role)
        .is(403);
    role["rules"] = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    ground
        .ask(&eve, "POST", &format!("{own}/roles"), &role)
        .is(201);
    let widened = json!({"rules": all});
    ground
        .ask(&eve, "PATCH", &format!("{own}/roles/all"), &widened)
        .is(403);
    for kind in ["clusterroles", "clusterrolebindings"] {
        ground
            .ask(&eve, "POST", &format!("{RBAC}/{kind}"), named("all"))
            .is(403);
    }
    let binding = |role: &str| {
        let mut binding = named(&format!("eve-{}", role.replace(':', "-")));
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        binding["subjects"] = json!([{"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}]);
        ground.ask(&eve, "POST", &format!("{own}/rolebindings"), binding)
    };
    for role in [
        "cluster-admin",
        "groma.dev:operator",
        "system:auth-delegator",
        "no-such",
    ] {
        let answer = binding(role);
        assert!([403, 404].contains(&answer.code), "{role}: {answer:?}");
    }
    binding("view").is(201);

    // In nobody else's name, however it is written.
    let secrets = format!("/api/v1/namespaces/{VICTIM}/secrets");
    let cases: &[&[(&str, &str)]] = &[
        &[
            ("impersonate-user", "groma:admin"),
            ("impersonate-group", "system:masters"),
        ],
        &[("Impersonate-User", "system:admin")],
        &[
            ("IMPERSONATE-USER", "system:server"),
            ("Impersonate-Group", "system:servers"),
            ("x-remote-user", "groma:admin"),
        ],
        &[("impersonate-user", "system:serviceaccount:team-b:default")],
        &[(
            "impersonate-user",
            "system:serviceaccount:kube-system:default",
        )],
        &[
            ("impersonate-user", "system:serviceaccount:team-a:owner"),
            ("impersonate-group", "system:masters"),
        ],
        &[
            ("impersonate-user", "system:serviceaccount:team-a:owner"),
            ("impersonate-user", "groma:admin"),
        ],
        &[
            ("impersonate-user", "x"),
            ("impersonate-extra-scopes", "all"),
        ],
        &[
            ("x-remote-user", "groma:admin"),
            ("x-remote-group", "system:masters"),
        ],
        &[
            ("X-Remote-User", "groma:admin"),
            ("X-Remote-Group", "system:masters"),
            ("X-Remote-Certificate", "x"),
        ],
        &[
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1;by=groma"),
        ],
        &[(
            "x-forwarded-client-cert",
            "Subject=\"CN=groma:admin,O=system:masters\"",
        )],
        &[
            ("x-original-url", "/api/v1/namespaces/team-a/configmaps"),
            ("x-rewrite-url", "/version"),
        ],
        &[("x-http-method-override", "GET"), ("host", "unix")],
    ];
    for fields in cases {
        let answer = ground.send(&eve, ("GET", &secrets), fields, "");
        assert_eq!(answer.code, 403, "{fields:?}: {answer:?}");
    }
    // A group without a user names nobody.
    let groups = [("impersonate-group", "system:masters")];
    ground.send(&eve, ("GET", &secrets), &groups, "").is(400);

    // What others may is asked of who may be told.
    let review = json!({"spec": {"user": "groma:admin", "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": VICTIM}}});
    ground
        .ask(
            &eve,
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &review,
        )
        .is(403);
    let there =
        format!("/apis/authorization.k8s.io/v1/namespaces/{VICTIM}/localsubjectaccessreviews");
    ground.ask(&eve, "POST", &there, &review).is(403);
    let here =
        format!("/apis/authorization.k8s.io/v1/namespaces/{TENANT}/localsubjectaccessreviews");
    let answer = ground.ask(&eve, "POST", &here, &review);
    assert!([400, 422].contains(&answer.code), "{answer:?}");
    let review = json!({"spec": {"token": eve.token}});
    ground
        .ask(
            &eve,
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            &review,
        )
        .is(403);
    ground.never_said(&[SECRET, eve.token.as_deref().expect("a token")]);
    ground.serves_others();
}

#[test]
fn a_tenant_plants_nothing_that_acts_elsewhere() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let own = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let theirs = format!("/api/v1/namespaces/{VICTIM}/secrets/treasure");
    let uid = ground.get(&ground.admin(), &theirs).json()["metadata"]["uid"].clone();
    // An owner of another namespace, one that is not there, and one of no namespace.
    for (kind, name, uid) in [
        ("Secret", "treasure", uid.clone()),
        (
            "Secret",
            "treasure",
            json!("00000000-0000-0000-0000-000000000000"),
        ),
        ("Namespace", VICTIM, uid),
    ] {
        let mut object = named(&format!("owned-{}", kind.to_lowercase()));
        object["metadata"]["generateName"] = json!("owned-");
        object["metadata"]["name"] = Value::Null;
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true, "controller": true}]);
        let answer = ground.ask(&eve, "POST", &own, &object);
        assert!([201, 403, 422].contains(&answer.code), "{answer:?}");
    }
    ground.get(&ground.admin(), &theirs).is(200);
    // The namespace of the path counts, and no other one is written.
    let mut moved = named("moved");
    moved["metadata"]["namespace"] = json!(VICTIM);
    ground.ask(&eve, "POST", &own, &moved).is(400);
    let applied = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{own}/moved?fieldManager=eve");
    let body = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: moved, namespace: {VICTIM}}}}}"
    );
    ground.send(&eve, ("PATCH", &path), &applied, body).is(400);
    ground
        .get(
            &ground.admin(),
            &format!("/api/v1/namespaces/{VICTIM}/configmaps/moved"),
        )
        .is(404);
    // Nothing of the system is set by hand.
    let mut forged = named("forged");
    forged["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000001");
    forged["metadata"]["creationTimestamp"] = json!("1999-01-01T00:00:00Z");
    forged["metadata"]["generation"] = json!(99);
    let made = ground.ask(&eve, "POST", &own, &forged).is(201).json();
    assert_ne!(made["metadata"]["uid"], forged["metadata"]["uid"]);
    assert_ne!(
        made["metadata"]["creationTimestamp"],
        forged["metadata"]["creationTimestamp"]
    );
    // Hooks and policies that see everybody's objects are not his.
    for kind in [
        "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "apiextensions.k8s.io/v1/customresourcedefinitions",
        "apiregistration.k8s.io/v1/apiservices",
    ] {
        ground
            .ask(
                &eve,
                "POST",
                &format!("/apis/{kind}"),
                named("mine.example.com"),
            )
            .is(403);
    }
    ground.serves_others();
}

#[test]
fn many_at_once_get_no_more_than_the_quota_gives() {
    const GIVEN: usize = 5;
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let mut quota = named("few");
    quota["spec"] = json!({"hard": {"count/secrets": GIVEN.to_string()}});
    let quotas = format!("/api/v1/namespaces/{TENANT}/resourcequotas");
    ground.make(&quotas, &quota).is(201);
    let secrets = format!("/api/v1/namespaces/{TENANT}/secrets");
    let make = |who: &Who, n: usize, query: &str| {
        let secret = named(&format!("s-{n}"));
        ground
            .ask(who, "POST", &format!("{secrets}{query}"), secret)
            .code
    };
    let codes: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|n| {
                let (eve, make) = (&eve, &make);
                scope.spawn(move || {
                    make(eve, n, "?dryRun=All");
                    make(eve, n, "")
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|it| it.join().expect("answered"))
            .collect()
    });
    let made = codes.iter().filter(|code| **code == 201).count();
    assert_eq!(made, GIVEN, "{codes:?}");
    assert!(
        codes.iter().all(|code| [201, 403].contains(code)),
        "{codes:?}"
    );
    // It is not his to change.
    for (method, body) in [
        ("DELETE", json!({})),
        ("PATCH", json!({"spec": {"hard": null}})),
    ] {
        ground
            .ask(&eve, method, &format!("{quotas}/few"), body)
            .is(403);
    }
    ground.serves_others();
}
