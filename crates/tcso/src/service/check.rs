//! What a user may have got wrong in a service, all of it at once: names that do not exist, cycles, parts misused.

use std::collections::{BTreeMap, BTreeSet};

use api::tcso::{Component, Connection, ConnectionEnd, ServiceSpec};

/// Every problem of a spec, each naming the field and the value.
pub fn problems(spec: &ServiceSpec) -> Vec<String> {
    let components: BTreeMap<&str, &Component> = spec
        .components
        .iter()
        .map(|component| (component.name.as_str(), component))
        .collect();
    let mut problems = Vec::new();
    for component in &spec.components {
        for needed in component
            .depends_on
            .iter()
            .filter(|needed| !components.contains_key(needed.as_str()))
        {
            problems.push(format!(
                "component {}: dependsOn names `{needed}`, which is no component",
                component.name
            ));
        }
    }
    problems.extend(cycle(&components).map(|path| format!("dependsOn has a cycle: {path}")));
    for connection in &spec.connections {
        problems.extend(wrong_ends(connection, &components));
        problems.extend(wrong_functions(connection, &components));
    }
    problems.extend(shared_functions(spec));
    problems.extend(wrong_prefix(spec));
    problems
}

/// A cycle of `dependsOn` by name: `a → b → a`.
fn cycle(components: &BTreeMap<&str, &Component>) -> Option<String> {
    let mut done = BTreeSet::new();
    for start in components.keys() {
        let mut path = Vec::new();
        if let Some(cycle) = walk(start, components, &mut path, &mut done) {
            return Some(cycle);
        }
    }
    None
}

fn walk<'a>(
    at: &'a str,
    components: &BTreeMap<&'a str, &'a Component>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<String> {
    if let Some(first) = path.iter().position(|name| *name == at) {
        return Some(
            path[first..]
                .iter()
                .chain([&at])
                .copied()
                .collect::<Vec<_>>()
                .join(" → "),
        );
    }
    if !done.contains(at) {
        path.push(at);
        for needed in components
            .get(at)
            .into_iter()
            .flat_map(|component| &component.depends_on)
        {
            if let Some(cycle) = walk(needed, components, path, done) {
                return Some(cycle);
            }
        }
        path.pop();
        done.insert(at);
    }
    None
}

fn wrong_ends(connection: &Connection, components: &BTreeMap<&str, &Component>) -> Vec<String> {
    let name = &connection.name;
    let mut problems = Vec::new();
    match components.get(connection.to.as_str()) {
        None => problems.push(format!(
            "connection {name}: to names `{}`, which is no component",
            connection.to
        )),
        Some(component) if component.function.is_some() => {
            problems.push(format!(
                "connection {name}: to names `{}`, which is a function; put it into through",
                connection.to
            ));
        }
        Some(_) => {}
    }
    match &connection.from {
        ConnectionEnd::Component { name: from } if !components.contains_key(from.as_str()) => {
            problems.push(format!(
                "connection {name}: from names `{from}`, which is no component"
            ));
        }
        ConnectionEnd::Component { name: from } if *from == connection.to => {
            problems.push(format!("connection {name}: from and to are both `{from}`"));
        }
        ConnectionEnd::Users { sites } if sites.is_empty() => {
            problems.push(format!(
                "connection {name}: from.users.sites is empty; name at least one site"
            ));
        }
        ConnectionEnd::Component { .. } | ConnectionEnd::Users { .. } => {}
    }
    problems
}

fn wrong_functions(
    connection: &Connection,
    components: &BTreeMap<&str, &Component>,
) -> Vec<String> {
    let problem = |through: &String| match components.get(through.as_str()) {
        None => Some(format!(
            "connection {}: through names `{through}`, which is no component",
            connection.name
        )),
        Some(component) if component.function.is_none() => Some(format!(
            "connection {}: through names `{through}`, which has no `function`; set function: router on it",
            connection.name
        )),
        Some(_) => None,
    };
    connection.through.iter().filter_map(problem).collect()
}

/// A function serves one chain.
fn shared_functions(spec: &ServiceSpec) -> Vec<String> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for connection in &spec.connections {
        for through in &connection.through {
            users.entry(through).or_default().push(&connection.name);
        }
    }
    let shared = users
        .into_iter()
        .filter(|(_, connections)| connections.len() > 1);
    shared
        .map(|(function, connections)| {
            format!(
                "function {function} is in several connections ({}); a function serves one",
                connections.join(", ")
            )
        })
        .collect()
}

fn wrong_prefix(spec: &ServiceSpec) -> Option<String> {
    let prefix = spec.prefix.filter(|prefix| prefix.length() != 64)?;
    Some(format!(
        "prefix {prefix} is {} bits long; it must be 64",
        prefix.length()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(components: Value, connections: Value, expected: &[&str]) {
        let spec = json!({"components": components, "connections": connections, "domain": "core"});
        let spec: ServiceSpec = serde_json::from_value(spec).expect("a service");
        assert_eq!(problems(&spec), expected);
    }

    fn component(name: &str, depends_on: &[&str]) -> Value {
        let artefact = json!({"form": "container", "image": "layout:web"});
        json!({"name": name, "dependsOn": depends_on, "artefacts": [artefact], "resources": {"cpu": "1"}})
    }

    #[test]
    fn a_sound_service_has_no_problem() {
        let connection = json!({"name": "c", "from": {"component": {"name": "a"}}, "to": "b"});
        check(
            json!([component("a", &["b"]), component("b", &[])]),
            json!([connection]),
            &[],
        );
    }

    #[test]
    fn a_cycle_is_refused_by_name() {
        let components = json!([
            component("a", &["b"]),
            component("b", &["c"]),
            component("c", &["b"])
        ]);
        check(components, json!([]), &["dependsOn has a cycle: b → c → b"]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let connections = json!([
            {"name": "c", "from": {"users": {"sites": []}}, "to": "x", "through": ["a", "y"]},
            {"name": "d", "from": {"component": {"name": "a"}}, "to": "a"}
        ]);
        check(
            json!([component("a", &["z"])]),
            connections,
            &[
                "component a: dependsOn names `z`, which is no component",
                "connection c: to names `x`, which is no component",
                "connection c: from.users.sites is empty; name at least one site",
                "connection c: through names `a`, which has no `function`; set function: router on it",
                "connection c: through names `y`, which is no component",
                "connection d: from and to are both `a`",
            ],
        );
    }
}
