//! The rest of what people type: each verb of kubectl that asks the API does what it says.

use std::collections::BTreeSet;

use crate::place::{Place, each, rows};
use crate::widget::widget;

#[test]
fn diff_shows_what_apply_would_change() {
    each(|place| {
        place.apply(&widget("gear", "{size: 3, colour: red}"));
        let same = place.file("same.yaml", &widget("gear", "{size: 3, colour: red}"));
        assert_eq!(place.ok(&format!("diff -f {same}")), "");
        let other = place.file("other.yaml", &widget("gear", "{size: 4}"));
        for how in ["", "--server-side --force-conflicts"] {
            let said = place.run(&format!("diff {how} -f {other}"));
            assert!(!said.success, "a difference is an exit code");
            assert!(
                said.stdout.contains("-  size: 3\n+  size: 4\n"),
                "{}{}",
                said.stdout,
                said.stderr
            );
        }
        assert_eq!(place.ok("get widget gear -o jsonpath={.spec.size}"), "3");
    });
}

#[test]
fn what_was_applied_last_can_be_seen_and_pruned() {
    each(|place| {
        let labelled = |name: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{app: shop}}}}\n"
            )
        };
        place.apply(&format!("{}---\n{}", labelled("a"), labelled("b")));
        let last = place.ok("apply view-last-applied configmap/a");
        assert!(last.contains("app: shop"), "{last}");
        let less = place.file("less.yaml", &labelled("a"));
        let said = place.ok(&format!(
            "apply --prune -l app=shop --prune-allowlist=core/v1/ConfigMap -f {less}"
        ));
        assert_eq!(said, "configmap/a unchanged\nconfigmap/b pruned\n");
        place.ok(&format!("replace --force -f {less}"));
        assert_eq!(
            place.ok("get configmap -l app=shop -o name"),
            "configmap/a\n"
        );
    });
}

/// A document of each kind that can be deleted, by the name under which kubectl lists the kind.
const EACH_KIND: [(&str, &str); 21] = [
    (
        "configmaps",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    ),
    (
        "events",
        "apiVersion: v1\nkind: Event\nmetadata: {name: a}\ntype: Normal\nreason: R\nmessage: m\n\
         involvedObject: {apiVersion: v1, kind: ConfigMap, name: a, namespace: default}\n",
    ),
    (
        "limitranges",
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: a}\n\
         spec: {limits: [{type: widgets.test.groma.dev, max: {cpu: 4}}]}\n",
    ),
    (
        "resourcequotas",
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: a}\n\
         spec: {hard: {count/widgets.test.groma.dev: 5}}\n",
    ),
    // A key of P-256 asks to be alice of the team.
    (
        "certificatesigningrequests.certificates.k8s.io",
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: a}\n\
         spec:\n  signerName: kubernetes.io/kube-apiserver-client\n  usages: [client auth]\n  request: \
         LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIYU1JR0JBZ0VBTUI4eERUQUxCZ05WQkFvTUJIUmxZVzB4RGpB\
         TUJnTlZCQU1NQldGc2FXTmxNRmt3RXdZSApLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFZTlVY2lMTXdOOHhPWU0rQXRCTldM\
         SGdWb0lNY0pZVGhIUEk2CjBDOG5SdVIwbG96dWxOejM3UzQxcjFFY0tBVHZVVXl5SUFYMkpRdWg1TDk2SFlEallLQUFNQW9HQ0Nx\
         R1NNNDkKQkFNQ0EwZ0FNRVVDSUZtcjFKS2IwK1lrV0lYRWFyR1g4VjlBU2hWendPUWNucWxxc0xNUlA1dXRBaUVBbEk4WAprVEpO\
         RjlnQVZyNEl6anU3V3ZTV0Q4bzlHTkF6bFBFcWZMMWRGSVk9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=\n",
    ),
    (
        "namespaces",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
    ),
    (
        "secrets",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
    ),
    (
        "serviceaccounts",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n",
    ),
    (
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
         metadata: {name: a}\n",
    ),
    (
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n\
         metadata: {name: a}\nspec:\n  validations: [{expression: 'true'}]\n  matchConstraints:\n    \
         resourceRules:\n    - {apiGroups: [example.org], apiVersions: [v1], operations: [CREATE], \
         resources: [things]}\n",
    ),
    (
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n\
         metadata: {name: a}\nspec: {policyName: a, validationActions: [Deny]}\n",
    ),
    (
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
         metadata: {name: a}\n",
    ),
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {name: things.example.org}\nspec:\n  group: example.org\n  scope: Cluster\n  \
         names: {plural: things, kind: Thing}\n  versions:\n  - {name: v1, served: true, storage: true, \
         schema: {openAPIV3Schema: {type: object}}}\n",
    ),
    (
        "events.events.k8s.io",
        "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: b}\ntype: Normal\nreason: R\n\
         action: A\neventTime: \"2024-01-01T00:00:00.000000Z\"\nreportingController: c\n\
         reportingInstance: i\nregarding: {apiVersion: v1, kind: ConfigMap, name: a, namespace: default}\n",
    ),
    (
        "leases.coordination.k8s.io",
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: a}\n",
    ),
    (
        "networkpolicies.networking.k8s.io",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n\
         spec: {podSelector: {}}\n",
    ),
    (
        "clusterrolebindings.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: a}\n",
    ),
    (
        "clusterroles.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules: []\n",
    ),
    (
        "rolebindings.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}\n",
    ),
    (
        "roles.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules: []\n",
    ),
    (
        "widgets.test.groma.dev",
        "apiVersion: test.groma.dev/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 1}\n",
    ),
];

#[test]
fn every_kind_is_created_and_deleted() {
    each(|place| {
        let said = place.ok("api-resources --verbs=create,delete -o name");
        let served: BTreeSet<&str> = said.lines().collect();
        let tried: BTreeSet<&str> = EACH_KIND.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(served, tried, "this test has a document of each kind");
        let all: Vec<&str> = EACH_KIND.iter().map(|(_, document)| *document).collect();
        let file = place.file("all.yaml", &all.join("---\n"));
        let lines = |said: String| said.lines().count();
        assert_eq!(lines(place.ok(&format!("create -f {file}"))), all.len());
        assert_eq!(
            lines(place.ok(&format!("get -f {file} -o name"))),
            all.len()
        );
        place.ok(&format!("describe -f {file}"));
        let said = place.ok(&format!("delete -f {file} --timeout=30s"));
        assert_eq!(lines(said), all.len());
        let left = place.ok(&format!("get -f {file} -o name --ignore-not-found"));
        assert_eq!(left, "");
    });
}

#[test]
fn objects_are_deleted_by_selector() {
    each(|place| {
        for (name, tier) in [("a", "edge"), ("b", "core"), ("c", "core")] {
            place.apply(&widget(name, "{size: 1}"));
            place.ok(&format!("label widget {name} tier={tier}"));
        }
        let said = place.ok("delete widgets -l tier=core --dry-run=server");
        assert_eq!(said.lines().count(), 2, "{said}");
        place.ok("delete widgets -l tier=core");
        place.ok("delete widgets --field-selector metadata.name=none");
        assert_eq!(place.names("widgets"), ["widget.test.groma.dev/a"]);
        place.ok("delete widget a --cascade=foreground");
        assert!(place.names("widgets").is_empty());
        assert_eq!(place.ok("delete widget a --ignore-not-found"), "");
    });
}

#[test]
fn raw_paths_and_versions_are_answered() {
    each(|place| {
        assert_eq!(place.ok("get --raw /readyz"), "ok");
        // It complains of its own version, which our build does not set.
        let version = place.run("version -o json").stdout;
        assert!(version.contains("\"serverVersion\""), "{version}");
        let kinds = place.ok("api-resources --namespaced=false --api-group=test.groma.dev -o name");
        assert_eq!(kinds, "");
        let wide = place.ok("api-resources -o wide --api-group=test.groma.dev");
        assert!(
            rows(&wide)[1].contains(&"delete,deletecollection,get,list,patch,create,update,watch"),
            "{wide}"
        );
    });
}

impl Place {
    /// What there is of a kind.
    fn names(&self, kind: &str) -> Vec<String> {
        let said = self.ok(&format!("get {kind} -o name"));
        said.lines().map(str::to_owned).collect()
    }
}
#[test]
fn create_makes_built_in_kinds_from_arguments() {
    each(|place| {
        place.ok("create namespace tenant");
        place.ok("create serviceaccount robot -n tenant");
        place.ok("create role reader --verb=get,list --resource=configmaps -n tenant");
        place.ok("create rolebinding reads --role=reader --serviceaccount=tenant:robot -n tenant");
        place.ok("create clusterrole all --verb=* --resource=widgets.test.groma.dev");
        place.ok("create clusterrolebinding everyone --clusterrole=all --group=people");
        let subject = place.ok("get rolebinding reads -n tenant -o jsonpath={.subjects[0].name}");
        assert_eq!(subject, "robot");
        let table = place.ok("get rolebindings -n tenant -o wide");
        assert!(table.contains("Role/reader"), "{table}");
    });
}

#[test]
fn users_are_told_who_they_are_and_what_they_may() {
    each(|place| {
        assert_eq!(
            place.ok("auth can-i create widgets.test.groma.dev"),
            "yes\n"
        );
        assert_eq!(place.ok("auth can-i get /readyz"), "yes\n");
        let who = place.ok("auth whoami -o jsonpath={.status.userInfo.username}");
        assert_eq!(who, "admin");
    });
}
