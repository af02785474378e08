//! Rules in CEL: what they are refused for in a definition, and what comes of them in objects.
//!
//! On purpose otherwise: what a compiler says about an expression is said in words of our own, and what a definition may
//! cost is estimated lower.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::pair::{Pair, Step};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    })
}

fn step<'a>(method: &'a str, path: &'a str, body: &Value) -> Step<'a> {
    Step {
        method,
        path,
        content_type: "application/json",
        body: body.to_string().into_bytes(),
    }
}

/// A schema with a rule.
fn ruled(mut schema: Value, rule: &str) -> Value {
    schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
    schema
}

/// What of a refusal does not depend on its words.
fn causes((code, said): &(u16, Value)) -> (u16, String, BTreeSet<(String, String)>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = said["details"]["causes"].as_array().into_iter().flatten();
    let all = all.map(|cause| (text(&cause["reason"]), text(&cause["field"])));
    (*code, text(&said["reason"]), all.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_refused_alike() {
    let Some(pair) = Pair::new(&[]).await else {
        return;
    };
    let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
    let object = |of: Value| json!({"type": "object", "properties": of});
    let list = |of: &Value| json!({"type": "array", "items": of});
    let bad = [
        ruled(int.clone(), "self ="),
        ruled(int.clone(), "other > 1"),
        ruled(object(json!({"a": int})), "self.z == 1"),
        ruled(
            object(json!({"a": list(&object(json!({"b": int})))})),
            "self.a.all(x, x.c > 1)",
        ),
        ruled(
            object(json!({"a": object(json!({"b": int}))})),
            "has(self.a.c)",
        ),
        ruled(list(&int), "self.all(x, self.all(y, x == y))"),
        list(&ruled(list(&text), "self.all(s, s == 'string constant')")),
        ruled(
            object(json!({"a": {"type": "object", "additionalProperties": text}})),
            "self.a.all(x, self.a.all(y, self.a.all(z, x == y)))",
        ),
        ruled(int.clone(), "Thing{a: 1}.a == self"),
    ];
    for schema in &bad {
        let step = step("POST", DEFINITIONS, &definition(schema));
        let [real, ours] = pair.answers(&step).await;
        assert!(real.0 >= 400, "{schema} {real:?}");
        assert_eq!(causes(&real), causes(&ours), "{schema}\n{real:?}\n{ours:?}");
    }
}

/// Fields whose values are not what JSON says, and names that are written in another way.
fn parts() -> Value {
    let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
    let format =
        |format: &str, rule: &str| ruled(json!({"type": "string", "format": format}), rule);
    let item = json!({"type": "object", "required": ["name"], "properties": {
        "name": text, "size": ruled(int.clone(), "self >= oldSelf")}});
    json!({"type": "object",
        "properties": {
            "time": format("date-time", "self > timestamp('2026-01-01T00:00:00Z')"),
            "span": format("duration", "self <= duration('1h')"),
            "bytes": format("byte", "size(self) == 2"),
            "plain": ruled(text.clone(), "self.size() < 5 && self.matches('^[a-z]+$')"),
            "real": ruled(json!({"type": "number"}), "self < 1.5"),
            "either": ruled(json!({"x-kubernetes-int-or-string": true}), "type(self) == int ? self < 3 : self == 'x'"),
            "map": ruled(json!({"type": "object", "maxProperties": 9, "additionalProperties": int}), "self.all(k, k.startsWith('a') && self[k] > 0)"),
            "set": ruled(json!({"type": "array", "maxItems": 9, "items": text, "x-kubernetes-list-type": "set"}), "!('z' in self)"),
            "list": {"type": "array", "maxItems": 9, "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "first": {"type": "integer", "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true, "message": "begins with one"}]},
            "a_b": text, "a-b": text, "a.b": text, "__c": text, "for": text,
            "many": {"type": "array", "maxItems": 725, "items": int},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.a_b) || self.a_b == 'x'", "message": "a_b"},
            {"rule": "!has(self.a__dash__b) || self.a__dash__b == 'x'", "messageExpression": "'it is ' + self.a__dash__b"},
            {"rule": "!has(self.a__dot__b) || self.a__dot__b == 'x'", "reason": "FieldValueForbidden", "fieldPath": ".plain"},
            {"rule": "!has(self.__underscores__c) || self.__underscores__c == 'x'", "reason": "FieldValueRequired"},
            {"rule": "!has(self.__for__) || self.__for__ == 'x'", "reason": "FieldValueDuplicate"},
            {"rule": "!has(self.map) || self.map.exists(k, self.map[k] == 1) || self.map['b'] == 2"},
            {"rule": "!has(self.many) || self.many.all(x, self.many.all(y, x == y))"},
        ],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_judged_alike() {
    let Some(pair) = Pair::new(&[definition(&parts())]).await else {
        return;
    };
    let specs = [
        json!({"time": "2026-11-21T10:00:00Z", "span": "30m", "bytes": "aGk=", "plain": "abc", "real": 1, "either": 2}),
        json!({"time": "2025-11-21T10:00:00Z"}),
        json!({"span": "90m"}),
        json!({"bytes": "aGlo"}),
        json!({"plain": "ABC"}),
        json!({"real": 2}),
        json!({"either": 4}),
        json!({"either": "y"}),
        json!({"either": "x"}),
        json!({"map": {"a": 1, "ab": 2}}),
        json!({"map": {"b": 1}}),
        json!({"map": {"a": 3}}),
        json!({"set": ["a", "z"]}),
        json!({"first": 2}),
        json!({"a_b": "y"}),
        json!({"a-b": "y"}),
        json!({"a.b": "y"}),
        json!({"__c": "y"}),
        json!({"for": "y"}),
        json!({"a_b": "x", "a-b": "x", "a.b": "x", "__c": "x", "for": "x"}),
        json!({"many": vec![20; 50]}),
        json!({"many": vec![20; 725]}),
    ];
    for (n, spec) in specs.iter().enumerate() {
        let name = format!("thing-{n}");
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec});
        pair.compare(&step("POST", THINGS, &thing)).await;
    }
    let first = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "changes"},
        "spec": {"first": 1, "list": [{"name": "a", "size": 2}, {"name": "b", "size": 2}]}});
    pair.compare(&step("POST", THINGS, &first)).await;
    let path = format!("{THINGS}/changes");
    for spec in [
        json!({"first": 7, "list": [{"name": "b", "size": 3}, {"name": "a", "size": 2}]}),
        json!({"list": [{"name": "b", "size": 1}, {"name": "c", "size": 1}]}),
        json!({"list": null}),
    ] {
        let mut patch = step("PATCH", &path, &json!({"spec": spec}));
        patch.content_type = "application/merge-patch+json";
        pair.compare(&patch).await;
    }
    pair.finish();
}
