//! Field ownership on objects of one kind, as users meet it.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T00:00:00Z";

fn widgets() -> Resource {
    let text = json!({"type": "string"});
    let port = json!({"type": "object", "properties": {
        "name": text, "protocol": {"type": "string", "default": "TCP"}, "number": {"type": "integer"},
    }});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "colour": text,
        "words": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "protocol"]},
        "order": {"type": "array", "items": text},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
                {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    });
    let definition = serde_json::from_value(definition).expect("a definition");
    Resource::from_crd(&definition).expect("it can be served")
}

/// An object through its writes.
struct Life {
    resource: Resource,
    version: &'static str,
    object: Value,
    managers: Managers,
    known: Known,
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
}

impl Life {
    fn new() -> Self {
        let resource = widgets();
        Self {
            object: blank(&resource, resource.version("v1").expect("served")),
            resource,
            version: "v1",
            managers: Managers::default(),
            known: Known::default(),
        }
    }

    fn version(&self) -> &Version {
        let version = self.resource.version(self.version);
        version.expect("it is served")
    }

    fn writer(&self, name: &str, operation: Operation) -> Writer {
        let version = self.version();
        Writer {
            name: name.to_owned(),
            operation,
            api_version: self.resource.api_version(&version.name),
            subresource: String::new(),
        }
    }

    fn forms(&self) -> Forms<'_> {
        Forms {
            resource: &self.resource,
            version: self.version(),
            known: &self.known,
        }
    }

    fn updates(&mut self, name: &str, spec: Value) {
        let (new, writer) = (widget(spec), self.writer(name, Operation::Update));
        let managers = self.managers.clone();
        let done = updated(self.forms(), &self.object, &new, managers, writer, NOW);
        (self.managers, self.object) = (done.expect("fields can be owned"), new);
    }

    fn tries(&mut self, name: &str, spec: Value, force: bool) -> Result<(), Refused> {
        let apply = Apply {
            writer: self.writer(name, Operation::Apply),
            sent: widget(spec.clone()),
            force,
            now: NOW.to_owned(),
        };
        let managers = self.managers.clone();
        let done = applied(self.forms(), &self.object, &widget(spec), managers, &apply)?;
        (self.object, self.managers) = done;
        Ok(())
    }

    fn applies(&mut self, name: &str, spec: Value) {
        self.tries(name, spec, false).expect("nobody minds");
    }

    fn conflicts(&mut self, name: &str, spec: Value) -> Vec<String> {
        match self.tries(name, spec, false) {
            Err(Refused::Conflicts(all)) => {
                let shown = all
                    .into_iter()
                    .map(|one| format!("{} {}", one.manager, one.path));
                shown.collect()
            }
            other => panic!("conflicts were expected: {other:?}"),
        }
    }

    fn owns(&self, name: &str) -> Vec<String> {
        let own = self
            .managers
            .0
            .iter()
            .filter(|manager| manager.writer.name == name);
        own.flat_map(|manager| manager.fields.paths()).collect()
    }

    #[track_caller]
    fn is(&self, spec: Value) {
        assert_eq!(self.object["spec"], spec);
    }
}

#[test]
fn whoever_changes_a_field_owns_it() {
    let mut life = Life::new();
    life.updates("one", json!({"size": 1, "colour": "red"}));
    assert_eq!(life.owns("one"), [".spec", ".spec.colour", ".spec.size"]);
    life.updates("two", json!({"size": 2, "colour": "red"}));
    assert_eq!(life.owns("one"), [".spec", ".spec.colour"]);
    assert_eq!(life.owns("two"), [".spec.size"]);
    life.updates("two", json!({"size": 2}));
    assert_eq!(life.owns("one"), [".spec"], "what is gone is nobody's");
}

#[test]
fn who_applies_meets_the_owner_unless_he_agrees_or_forces() {
    let mut life = Life::new();
    life.applies("one", json!({"size": 1}));
    life.applies("two", json!({"size": 1, "colour": "red"}));
    assert_eq!(life.owns("one"), [".spec.size"]);
    assert_eq!(life.owns("two"), [".spec.colour", ".spec.size"]);
    let conflicts = life.conflicts("two", json!({"size": 2, "colour": "red"}));
    assert_eq!(conflicts, ["\"one\" .spec.size"]);
    life.is(json!({"size": 1, "colour": "red"}));
    life.tries("two", json!({"size": 2}), true).expect("forced");
    life.is(json!({"size": 2}));
    assert_eq!(life.owns("one"), [""; 0]);
}

#[test]
fn what_an_applier_no_longer_says_goes_unless_another_owns_it() {
    let mut life = Life::new();
    life.applies(
        "one",
        json!({"size": 1, "colour": "red", "any": {"a": 1, "b": {"c": 1}}}),
    );
    life.applies("two", json!({"colour": "red"}));
    life.updates(
        "three",
        json!({"size": 1, "colour": "red", "any": {"a": 1, "b": {"c": 1}, "d": 2}}),
    );
    life.applies("one", json!({"any": {"a": 1}}));
    life.is(json!({"colour": "red", "any": {"a": 1, "d": 2}}));
    assert_eq!(life.owns("one"), [".spec.any.a"]);
}

#[test]
fn items_of_lists_are_owned_by_their_keys_and_keep_their_order() {
    let port = |name: &str, number: u32| json!({"name": name, "number": number});
    let mut life = Life::new();
    life.applies(
        "one",
        json!({"ports": [port("a", 1), port("b", 2)], "words": ["x", "y"]}),
    );
    life.applies("two", json!({"ports": [port("c", 3)], "words": ["z"]}));
    life.is(json!({"ports": [port("a", 1), port("b", 2), port("c", 3)], "words": ["x", "y", "z"]}));
    let expected = [
        ".spec.ports[name=\"c\",protocol=\"TCP\"]",
        ".spec.ports[name=\"c\",protocol=\"TCP\"].name",
        ".spec.ports[name=\"c\",protocol=\"TCP\"].number",
        ".spec.words[=\"z\"]",
    ];
    assert_eq!(life.owns("two"), expected);
    life.applies(
        "one",
        json!({"ports": [port("b", 4), port("d", 5)], "words": ["y"]}),
    );
    life.is(json!({"ports": [port("b", 4), port("c", 3), port("d", 5)], "words": ["y", "z"]}));
    let twice = json!({"ports": [port("a", 1), port("a", 2)]});
    assert!(matches!(
        life.tries("one", twice, false),
        Err(Refused::Invalid(_))
    ));
}

#[test]
fn what_is_atomic_is_owned_as_a_whole() {
    let mut life = Life::new();
    life.applies("one", json!({"order": ["a", "b"], "whole": {"k": "v"}}));
    assert_eq!(life.owns("one"), [".spec.order", ".spec.whole"]);
    let conflicts = life.conflicts("two", json!({"order": ["a"], "whole": {"l": "w"}}));
    assert_eq!(conflicts, ["\"one\" .spec.order", "\"one\" .spec.whole"]);
}

#[test]
fn what_was_there_before_anybody_applied_is_in_the_way_too() {
    let mut life = Life::new();
    life.updates("one", json!({"size": 1}));
    life.managers = Managers::default();
    let conflicts = life.conflicts("two", json!({"size": 2}));
    let expected = "\"before-first-apply\" using example.com/v1 .spec.size";
    assert_eq!(conflicts, [expected]);
}

#[test]
fn who_applies_in_another_version_is_the_same() {
    let mut life = Life::new();
    life.applies("one", json!({"size": 1, "colour": "red"}));
    life.version = "v2";
    life.object["apiVersion"] = "example.com/v2".into();
    life.applies("one", json!({"size": 1}));
    life.is(json!({"size": 1}));
    assert_eq!(life.managers.0.len(), 1);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut life = Life::new();
    let spec = json!({"size": 1, "words": ["a"], "any": {}});
    life.applies("one", spec.clone());
    let (object, managers) = (life.object.clone(), life.managers.clone());
    life.applies("one", spec);
    assert_eq!((life.object, life.managers), (object, managers));
}

#[test]
fn many_updaters_are_merged_into_the_ancient_one() {
    let mut life = Life::new();
    let mut any = json!({});
    for number in 0..14 {
        any[format!("f{number}")] = number.into();
        life.updates(&format!("m{number:02}"), json!({"any": any}));
    }
    assert_eq!(life.managers.0.len(), 10);
    assert_eq!(
        life.owns("ancient-changes").len(),
        7,
        "five fields and what holds them"
    );
}

#[test]
fn an_object_keeps_its_name_when_all_that_was_applied_of_its_metadata_goes() {
    for version in ["v1", "v2"] {
        let mut life = Life::new();
        let mut config = widget(json!({"size": 1}));
        for finalizers in [json!(["example.com/a"]), Value::Null] {
            match finalizers.is_null() {
                // In the other version, too.
                true => life.version = version,
                false => config["metadata"]["finalizers"] = finalizers,
            }
            config["apiVersion"] = life.forms().api_version().into();
            let apply = Apply {
                writer: life.writer("one", Operation::Apply),
                sent: config.clone(),
                force: false,
                now: NOW.to_owned(),
            };
            let managers = life.managers.clone();
            let done = applied(life.forms(), &life.object, &config, managers, &apply);
            (life.object, life.managers) = done.expect("nobody minds");
            config = widget(json!({"size": 1}));
        }
        assert_eq!(life.object["metadata"], json!({"name": "a"}));
    }
}
