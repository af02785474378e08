//! What every router keeps, tried on one: the simulated one always, the real one where the machine allows it.

use std::net::Ipv6Addr;

use api::tcm::{
    AppliedDatapath, Attachment, Classifier, Direction, HostDatapathSpec, LocalSid, SidTarget,
    Steering, TrafficMatch, UserPort,
};
use api::wdm::Protocol;
use api::{ErrorKind, Ipv6Prefix};

use super::{Router, RouterState, RouterStep, difference};

/// A plan is applied after so many rounds of reading and mending, or never.
const ROUNDS_MAX: usize = 4;

/// A router without anything, and the hand that gives it interfaces.
pub trait Ground {
    /// The router.
    type Router: Router;
    /// The router; always the same one.
    fn router(&self) -> &Self::Router;
    /// Lets an interface appear in the router, as an instance or a port of users does.
    fn add_interface(&self, name: &str) -> impl Future<Output = ()>;
    /// Lets it disappear.
    fn remove_interface(&self, name: &str) -> impl Future<Output = ()>;
}

const LEFT: &str = "gc0ntract1eft";
const RIGHT: &str = "gc0ntractr1ght";
const USERS: &str = "gc0ntractusers";
const ABSENT: &str = "gc0ntractnone";

/// Tries all that a router promises.
///
/// # Panics
///
/// If it does not keep a promise.
pub async fn check(ground: &impl Ground) {
    let router = ground.router();
    assert_eq!(
        read(router).await.applied,
        AppliedDatapath::default(),
        "it is empty at first"
    );
    for interface in [LEFT, RIGHT, USERS] {
        ground.add_interface(interface).await;
    }
    let wanted = wanted("fd00:b::5:1");
    settle(router, &wanted).await;
    repeats(router, &wanted).await;
    replaces_in_place(router, &wanted).await;
    names_what_is_absent(router, &wanted).await;
    mends_what_an_interface_took_along(ground, &wanted).await;
    programs_again_what_was_removed_under_the_same_spec(router, &wanted).await;
    clears_by_a_spec_that_says_nothing(router).await;
}

/// A datapath that was deleted may come back as it was.
async fn programs_again_what_was_removed_under_the_same_spec(
    router: &impl Router,
    wanted: &HostDatapathSpec,
) {
    for step in &difference(&nothing(), &read(router).await) {
        apply(router, wanted, step).await;
    }
    settle(router, wanted).await;
}

/// A router whose datapath is gone is cleared by a spec in which everything is zero.
async fn clears_by_a_spec_that_says_nothing(router: &impl Router) {
    let spec = HostDatapathSpec {
        locator: Ipv6Prefix::new(Ipv6Addr::UNSPECIFIED, 0),
        mtu: 0,
        ..nothing()
    };
    settle(router, &spec).await;
}

/// Applies what is missing until nothing is, and expects exactly what is wanted to be read back.
async fn settle(router: &impl Router, wanted: &HostDatapathSpec) {
    for _ in 0..ROUNDS_MAX {
        let steps = difference(wanted, &read(router).await);
        if steps.is_empty() {
            let have = sorted(read(router).await.applied);
            assert_eq!(have, sorted(all_of(wanted)), "what is applied is read back");
            return;
        }
        for step in &steps {
            apply(router, wanted, step).await;
        }
    }
    let rest = difference(wanted, &read(router).await);
    panic!("the plan is never applied; left are {rest:?}");
}

/// Every step may be repeated.
async fn repeats(router: &impl Router, wanted: &HostDatapathSpec) {
    let mut empty = read(router).await;
    empty.applied = AppliedDatapath::default();
    for step in &difference(wanted, &empty) {
        apply(router, wanted, step).await;
    }
    settle(router, wanted).await;
}

/// Another next hop takes the place of the one before.
async fn replaces_in_place(router: &impl Router, wanted: &HostDatapathSpec) {
    let mut moved = wanted.clone();
    for steering in &mut moved.steering {
        steering.segments = vec!["fd00:c::5:2".parse().expect("an address")];
    }
    let steps = difference(&moved, &read(router).await);
    let replacements = |step: &RouterStep| matches!(step, RouterStep::EnsureSteering(_));
    assert!(
        steps.iter().all(replacements),
        "only replacements: {steps:?}"
    );
    for step in &steps {
        apply(router, &moved, step).await;
    }
    assert_eq!(
        sorted(read(router).await.applied),
        sorted(all_of(&moved)),
        "it is replaced at once"
    );
    settle(router, wanted).await;
}

async fn names_what_is_absent(router: &impl Router, wanted: &HostDatapathSpec) {
    let step = RouterStep::EnsureAttachment(Attachment {
        interface: ABSENT.into(),
        of: "a/none/left".into(),
    });
    let refused = router
        .apply(wanted, &step)
        .await
        .expect_err("the interface does not exist");
    assert_eq!(refused.kind, ErrorKind::NotFound, "{refused}");
    settle(router, wanted).await;
}

/// What stood on an interface that is gone is not listed any more, and comes again with it.
async fn mends_what_an_interface_took_along(ground: &impl Ground, wanted: &HostDatapathSpec) {
    let router = ground.router();
    ground.remove_interface(LEFT).await;
    let state = read(router).await;
    let listed = state
        .applied
        .attachments
        .iter()
        .any(|one| one.interface == LEFT);
    assert!(
        !listed && !state.interfaces.contains(&LEFT.to_owned()),
        "{state:?}"
    );
    ground.add_interface(LEFT).await;
    settle(router, wanted).await;
}

async fn read(router: &impl Router) -> RouterState {
    router.read().await.expect("a router can be read")
}

async fn apply(router: &impl Router, wanted: &HostDatapathSpec, step: &RouterStep) {
    let done = router.apply(wanted, step).await;
    done.unwrap_or_else(|error| panic!("{step}: {}", api::chain(&error)));
}

/// Two sides of a function and a port of users.
fn wanted(next: &str) -> HostDatapathSpec {
    let attachment = |interface: &str, of: &str| Attachment {
        interface: interface.into(),
        of: format!("a/fw-0/{of}"),
    };
    let sid = |sid: &str, target, direction| LocalSid {
        sid: sid.parse().expect("an address"),
        target,
        chain: "a/web".into(),
        direction,
    };
    let side = |interface: &str| SidTarget::Attachment {
        interface: interface.into(),
    };
    let users = SidTarget::UserPort {
        interface: USERS.into(),
    };
    let steering = |interface: &str, destination: &str, direction| Steering {
        interface: interface.into(),
        matching: TrafficMatch {
            destination: destination.parse().expect("a prefix"),
            classifier: Vec::new(),
        },
        segments: vec![next.parse().expect("an address")],
        chain: "a/web".into(),
        direction,
    };
    let mut classified = steering(USERS, "fd00:beef::1/128", Direction::Forward);
    classified.matching.classifier = vec![Classifier {
        protocol: Protocol::Tcp,
        port: 80,
    }];
    HostDatapathSpec {
        attachments: vec![attachment(LEFT, "left"), attachment(RIGHT, "right")],
        user_ports: vec![UserPort {
            interface: USERS.into(),
            prefix: "2001:db8::/64".parse().expect("a prefix"),
        }],
        sids: vec![
            sid("fd00:a::5:1", side(LEFT), Direction::Forward),
            sid("fd00:a::5:2", side(RIGHT), Direction::Reverse),
            sid("fd00:a::5:3", users, Direction::Reverse),
        ],
        steering: vec![
            steering(RIGHT, "fd00:beef::1/128", Direction::Forward),
            steering(LEFT, "2001:db8::/64", Direction::Reverse),
            classified,
        ],
        ..nothing()
    }
}

fn nothing() -> HostDatapathSpec {
    HostDatapathSpec {
        locator: "fd00:a::/48".parse().expect("a prefix"),
        mtu: 1500,
        attachments: Vec::new(),
        user_ports: Vec::new(),
        sids: Vec::new(),
        steering: Vec::new(),
    }
}

fn all_of(spec: &HostDatapathSpec) -> AppliedDatapath {
    AppliedDatapath {
        attachments: spec.attachments.clone(),
        user_ports: spec.user_ports.clone(),
        sids: spec.sids.clone(),
        steering: spec.steering.clone(),
    }
}

fn sorted(mut applied: AppliedDatapath) -> AppliedDatapath {
    applied.attachments.sort();
    applied.user_ports.sort();
    applied.sids.sort();
    applied.steering.sort();
    applied
}
