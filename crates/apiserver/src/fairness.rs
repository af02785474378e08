//! Who is served next: priority levels with seats of their own, and in each fair turns among flows.
//!
//! Follows API Priority and Fairness of Kubernetes. A request belongs to a level by its author's groups ([`Class`]); a level
//! has a share of all seats, and whoever finds none free waits in one of its queues ([`level`]). A flow, which is a user or
//! a user in a namespace, has a few queues dealt by shuffle sharding, so that one that floods fills its own and leaves others'
//! alone. Watches give their seat back once they have begun; what goes through doors takes none. Levels lend no seats to each
//! other, and the configuration is fixed.

mod level;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub(crate) use self::level::Seat;
use self::level::{Level, Shape};
use crate::access::Identity;
use crate::failure::Failure;
use crate::metrics::Flows;
use crate::request::{Request, Verb};
use crate::server::Server;

/// Requests that may be worked on at a time, over all levels: as many as kube-apiserver's two limits make together.
pub(crate) const SEATS: u32 = 600;
/// Seats that one list can take.
const LIST_SEATS_MAX: u32 = 10;
/// Of the seats of its level, the part that one list can take, in percent.
const LIST_SEATS_PERCENT: u32 = 15;
/// Objects that a list reads per seat.
const OBJECTS_PER_SEAT: usize = 100;
/// Queues that a flow is dealt.
const HAND: usize = 6;
/// Requests that may wait in one queue.
pub(crate) const QUEUE_REQUESTS_MAX: usize = 50;

/// The group of those for whom there is always room.
const MASTERS: &str = "system:masters";
/// The groups of controllers in namespaces of the system.
const CONTROLLERS: [&str; 2] = [
    "system:serviceaccounts:groma-system",
    "system:serviceaccounts:kube-system",
];

/// Which level a request belongs to; the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    /// Administrators, and the controllers in this process: never wait.
    Exempt,
    /// Agents of hosts.
    Hosts,
    /// Controllers of the system, by namespace that they work on.
    Controllers,
    /// All other service accounts.
    ServiceAccounts,
    /// Everyone else who is known.
    Default,
    /// Who is not known.
    CatchAll,
}

impl Class {
    const ALL: [Self; 6] = [
        Self::Exempt,
        Self::Hosts,
        Self::Controllers,
        Self::ServiceAccounts,
        Self::Default,
        Self::CatchAll,
    ];

    fn of<'g>(groups: impl Iterator<Item = &'g str>) -> Self {
        groups
            .map(Self::of_group)
            .min_by_key(|class| *class as u8)
            .unwrap_or(Self::CatchAll)
    }

    fn of_group(group: &str) -> Self {
        match group {
            MASTERS => Self::Exempt,
            "system:hosts" => Self::Hosts,
            group if CONTROLLERS.contains(&group) => Self::Controllers,
            "system:serviceaccounts" => Self::ServiceAccounts,
            "system:authenticated" => Self::Default,
            _ => Self::CatchAll,
        }
    }

    /// The names of the level and of what leads there; the shares of the seats; the number of queues.
    fn shape(self) -> Shape {
        let (level, schema, shares, queues) = match self {
            Self::Exempt => ("exempt", "exempt", 0, 0),
            Self::Hosts => ("hosts", "system-hosts", 40, 512),
            Self::Controllers => ("workload-high", "system-service-accounts", 40, 128),
            Self::ServiceAccounts => ("workload-low", "service-accounts", 100, 128),
            Self::Default => ("global-default", "global-default", 20, 128),
            // As in Kubernetes, nobody waits here.
            Self::CatchAll => ("catch-all", "catch-all", 5, 0),
        };
        Shape {
            level,
            schema,
            shares,
            queues,
        }
    }
}

/// All levels of a server.
pub(crate) struct Fairness([Arc<Level>; 6]);

impl Fairness {
    pub(crate) fn new(flows: &Flows) -> Self {
        let shapes = Class::ALL.map(Class::shape);
        let shares = shapes.iter().map(|shape| shape.shares).sum();
        let level = |shape: &Shape| {
            let seats = (SEATS * shape.shares).div_ceil(shares);
            flows.limit(shape.level, seats);
            Arc::new(Level::new(shape, seats, flows))
        };
        Self(shapes.each_ref().map(level))
    }

    /// Waits for the request's turn. `None` for those who need no seat.
    ///
    /// # Errors
    /// When too many wait already, or it waits too long.
    pub(crate) async fn seat(
        &self,
        server: &Server,
        identity: &Identity,
        request: Option<&Request>,
    ) -> Result<Option<Seat>, Failure> {
        let class = Class::of(identity.groups.iter().map(String::as_str));
        let level = &self.0[class as usize];
        if class == Class::Exempt {
            level.let_pass();
            return Ok(None);
        }
        let width = request.map_or(1, |request| width(server, request, level.seats()));
        let namespace = request.map_or("", |request| request.namespace.as_str());
        let flow = flow(class, &identity.name, namespace);
        level
            .seat(flow, width)
            .await
            .map(Some)
            .map_err(|_| Failure::too_many_requests("Too many requests, please try again later."))
    }
}

fn flow(class: Class, user: &str, namespace: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    class.hash(&mut hasher);
    user.hash(&mut hasher);
    if class == Class::Controllers {
        namespace.hash(&mut hasher);
    }
    hasher.finish()
}

/// How many seats a request takes: as many as the objects that it reads deserve.
fn width(server: &Server, request: &Request, seats: u32) -> u32 {
    let query = &request.query;
    let from_the_start = matches!(query.resource_version.as_str(), "" | "0");
    let reads_all = match request.verb {
        Verb::List => true,
        Verb::Watch => query.initial_events.unwrap_or(from_the_start),
        _ => false,
    };
    if !reads_all {
        return 1;
    }
    let there = server.state().objects.len(&request.resource.home);
    let read = match query.limit {
        0 => there,
        limit => there.min(limit),
    };
    width_of(read, seats)
}

fn width_of(objects: usize, seats: u32) -> u32 {
    let max = LIST_SEATS_MAX.min(seats * LIST_SEATS_PERCENT / 100).max(1);
    let wanted = objects.div_ceil(OBJECTS_PER_SEAT);
    u32::try_from(wanted).unwrap_or(max).clamp(1, max)
}
