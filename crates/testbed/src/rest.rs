//! What is left when everything should be gone, and what really runs.

use crate::world::{World, is_ours};

/// Kinds of which an object is there as long as its host or for ever.
const LASTING: &[&str] = &[
    "Host",
    "HostDatapath",
    "Link",
    "NetworkDomain",
    "PlacementPolicy",
    "Provider",
    "ResourcePool",
    "Site",
    "VirtualisationStack",
    "WorkloadRecord",
];

/// Everything that a deployed service consists of and that still exists, objects first.
pub async fn left(world: &World) -> String {
    let mut left = Vec::new();
    for object in world.control_plane.objects("").await {
        let kind = object["kind"].as_str().unwrap_or_default();
        if is_ours(&object) && !LASTING.contains(&kind) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            left.push(format!("{} {name}", kind.to_lowercase()));
        }
    }
    for agent in world.agents() {
        let name = agent.name();
        left.extend(
            agent
                .containers()
                .iter()
                .map(|id| format!("container {id} on {name}")),
        );
    }
    for (host, applied) in world.network.applied() {
        left.extend(
            applied
                .sids
                .iter()
                .map(|sid| format!("segment of {} on {host}", sid.chain)),
        );
        let steering = applied.steering.iter();
        left.extend(steering.map(|one| format!("steering of {} on {host}", one.chain)));
    }
    match left.is_empty() {
        true => "nothing is left\n".into(),
        false => lines(&left),
    }
}

/// The containers that run, by host.
pub fn containers(world: &World) -> String {
    let mut running = Vec::new();
    for agent in world.agents() {
        let containers = agent.containers();
        running.extend(
            containers
                .iter()
                .map(|id| format!("{}: {id}", agent.name())),
        );
    }
    match running.is_empty() {
        true => "no container runs\n".into(),
        false => lines(&running),
    }
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}
