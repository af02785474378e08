//! The steps from what a router has to what it should have.

use std::collections::BTreeSet;

use api::tcm::{Attachment, HostDatapathSpec, LocalSid, SidTarget, Steering};

use super::{RouterState, RouterStep};

/// The steps from what a router has to what it should have, in an order that never leaves a hole: what is new comes
/// before what leads to it, what is old goes after nothing leads to it. Empty if all is as it should be.
///
/// What stands on an interface that does not exist is left for later, see [`missing`].
pub fn difference(wanted: &HostDatapathSpec, state: &RouterState) -> Vec<RouterStep> {
    let mut steps = additions(wanted, state);
    steps.extend(removals(wanted, state));
    if !state.leftovers.is_empty() {
        steps.push(RouterStep::RemoveLeftovers);
    }
    steps
}

/// Attachments that cannot be set up yet, because their interfaces do not exist.
pub fn missing<'a>(
    wanted: &'a HostDatapathSpec,
    state: &'a RouterState,
) -> impl Iterator<Item = &'a Attachment> {
    let attachments = wanted.attachments.iter();
    attachments.filter(|attachment| !state.interfaces.contains(&attachment.interface))
}

fn additions(wanted: &HostDatapathSpec, state: &RouterState) -> Vec<RouterStep> {
    let have = &state.applied;
    let exists = |interface: &String| state.interfaces.contains(interface);
    let mut steps = Vec::new();
    for one in &wanted.attachments {
        if !have.attachments.contains(one) && exists(&one.interface) {
            steps.push(RouterStep::EnsureAttachment(one.clone()));
        }
    }
    for one in &wanted.user_ports {
        if !have.user_ports.contains(one) && exists(&one.interface) {
            steps.push(RouterStep::EnsureUserPort(one.clone()));
        }
    }
    for one in &wanted.sids {
        if !have.sids.contains(one) && exists(target(one)) {
            steps.push(RouterStep::EnsureSid(one.clone()));
        }
    }
    for one in &wanted.steering {
        if !have.steering.contains(one) && exists(&one.interface) {
            steps.push(RouterStep::EnsureSteering(one.clone()));
        }
    }
    steps
}

fn removals(wanted: &HostDatapathSpec, state: &RouterState) -> Vec<RouterStep> {
    let have = &state.applied;
    let slots: BTreeSet<_> = wanted.steering.iter().map(slot).collect();
    let sids: BTreeSet<_> = wanted.sids.iter().map(|one| one.sid).collect();
    let ports: BTreeSet<_> = wanted.user_ports.iter().map(|one| &one.interface).collect();
    let attachments: BTreeSet<_> = wanted
        .attachments
        .iter()
        .map(|one| &one.interface)
        .collect();
    let mut steps = Vec::new();
    for one in have
        .steering
        .iter()
        .filter(|one| !slots.contains(&slot(one)))
    {
        steps.push(RouterStep::RemoveSteering {
            interface: one.interface.clone(),
            matching: one.matching.clone(),
        });
    }
    for one in have.sids.iter().filter(|one| !sids.contains(&one.sid)) {
        steps.push(RouterStep::RemoveSid(one.sid));
    }
    for one in &have.user_ports {
        if !ports.contains(&one.interface) {
            steps.push(RouterStep::RemoveUserPort(one.interface.clone()));
        }
    }
    for one in &have.attachments {
        if !attachments.contains(&one.interface) {
            steps.push(RouterStep::RemoveAttachment(one.interface.clone()));
        }
    }
    steps
}

/// What identifies steering: there is one way for each.
fn slot(steering: &Steering) -> (&String, &api::tcm::TrafficMatch) {
    (&steering.interface, &steering.matching)
}

fn target(sid: &LocalSid) -> &String {
    let (SidTarget::Attachment { interface } | SidTarget::UserPort { interface }) = &sid.target;
    interface
}

#[cfg(test)]
mod tests {
    use api::tcm::{AppliedDatapath, Direction, TrafficMatch, UserPort};

    use super::*;

    const SID: &str = "fd00:a::5:1";

    fn wanted(segment: &str) -> HostDatapathSpec {
        HostDatapathSpec {
            locator: "fd00:a::/48".parse().unwrap(),
            mtu: 1500,
            attachments: vec![Attachment {
                interface: "g1".into(),
                of: "a/fw-0/left".into(),
            }],
            user_ports: vec![UserPort {
                interface: "users0".into(),
                prefix: "2001:db8::/64".parse().unwrap(),
            }],
            sids: vec![LocalSid {
                sid: SID.parse().unwrap(),
                target: SidTarget::Attachment {
                    interface: "g1".into(),
                },
                chain: "a/web".into(),
                direction: Direction::Forward,
            }],
            steering: vec![Steering {
                interface: "users0".into(),
                matching: TrafficMatch {
                    destination: "fd00:beef::1/128".parse().unwrap(),
                    classifier: Vec::new(),
                },
                segments: vec![segment.parse().unwrap()],
                chain: "a/web".into(),
                direction: Direction::Forward,
            }],
        }
    }

    fn empty() -> HostDatapathSpec {
        HostDatapathSpec {
            attachments: Vec::new(),
            user_ports: Vec::new(),
            sids: Vec::new(),
            steering: Vec::new(),
            ..wanted(SID)
        }
    }

    fn having(spec: &HostDatapathSpec, interfaces: &[&str]) -> RouterState {
        RouterState {
            applied: AppliedDatapath {
                attachments: spec.attachments.clone(),
                user_ports: spec.user_ports.clone(),
                sids: spec.sids.clone(),
                steering: spec.steering.clone(),
            },
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            leftovers: Vec::new(),
        }
    }

    fn check(wanted: &HostDatapathSpec, state: &RouterState, expected: &[&str]) {
        let steps: Vec<_> = difference(wanted, state)
            .iter()
            .map(RouterStep::to_string)
            .collect();
        assert_eq!(steps, expected);
    }

    const BOTH: &[&str] = &["g1", "users0"];

    #[test]
    fn what_is_new_comes_before_what_leads_to_it_and_what_is_old_goes_after() {
        check(
            &wanted(SID),
            &having(&empty(), BOTH),
            &[
                "+ attachment g1 of a/fw-0/left",
                "+ user port users0 2001:db8::/64",
                "~ sid fd00:a::5:1 of a/web",
                "~ steer users0 to fd00:beef::1/128 by fd00:a::5:1",
            ],
        );
        check(
            &empty(),
            &having(&wanted(SID), BOTH),
            &[
                "- steer users0 to fd00:beef::1/128",
                "- sid fd00:a::5:1",
                "- user port users0",
                "- attachment g1",
            ],
        );
        check(&wanted(SID), &having(&wanted(SID), BOTH), &[]);
    }

    #[test]
    fn another_next_hop_is_one_replacement() {
        check(
            &wanted("fd00:b::5:2"),
            &having(&wanted(SID), BOTH),
            &["~ steer users0 to fd00:beef::1/128 by fd00:b::5:2"],
        );
    }

    #[test]
    fn what_stands_on_an_interface_that_does_not_exist_waits() {
        let (wanted, state) = (wanted(SID), having(&empty(), &["users0"]));
        check(
            &wanted,
            &state,
            &[
                "+ user port users0 2001:db8::/64",
                "~ steer users0 to fd00:beef::1/128 by fd00:a::5:1",
            ],
        );
        assert_eq!(missing(&wanted, &state).count(), 1);
        assert_eq!(missing(&wanted, &having(&wanted, BOTH)).count(), 0);
    }

    #[test]
    fn leftovers_go_last() {
        let mut state = having(&wanted(SID), BOTH);
        state.leftovers.push("route fd00:a::9".into());
        check(&wanted(SID), &state, &["- leftovers"]);
    }
}
