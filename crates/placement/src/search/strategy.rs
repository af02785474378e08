//! Greedy from several starts, then moving single replicas; if that finds nothing, a bounded depth-first search.

use api::Resources;
use api::mco::Demand;
use api::{Micros, Quantity};

use crate::money::Money;
use crate::request::{Component, Request};
use crate::screen::{Screen, may_stay};
use crate::search::state::State;
use crate::snapshot::Snapshot;

/// So many orders of placing the components are tried.
const ORDERS_MAX: usize = 8;
/// So often all replicas are tried elsewhere.
const ROUNDS_MAX: usize = 4;
/// So many places are tried before the search gives up on a group that greed does not fit in.
const TRIES_MAX: usize = 20_000;

/// A group against a snapshot.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub snapshot: &'a Snapshot,
    pub request: &'a Request,
    pub screens: Vec<Screen>,
    /// The least that one replica of each component costs anywhere it fits.
    pub cheapest: Vec<Money>,
    /// For each component its neighbours, whichever of the two states the need.
    pub neighbours: Vec<Vec<Neighbour>>,
    pub slots: Vec<Slot>,
    /// So many places are tried.
    pub tries: usize,
}

/// A component that another one talks to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub component: usize,
    pub latency_max: Option<Micros>,
    pub bandwidth: Quantity,
}

/// One replica to place.
#[derive(Debug)]
pub(crate) struct Slot {
    pub component: usize,
    pub replica: u32,
    /// What this replica reserves already, and where: its place and those that it is leaving.
    pub own: Vec<(usize, Resources)>,
    /// Where it stays if it may, with the artefact.
    pub held: Option<(usize, usize)>,
}

impl<'a> Problem<'a> {
    /// A group for which as many places are tried as for any.
    pub fn new(snapshot: &'a Snapshot, request: &'a Request) -> Self {
        Self::limited(snapshot, request, TRIES_MAX)
    }

    /// A group for which no more than so many places are tried.
    pub fn limited(snapshot: &'a Snapshot, request: &'a Request, tries: usize) -> Self {
        let components = &request.components;
        let screens: Vec<Screen> = components
            .iter()
            .map(|component| Screen::new(snapshot, request, component))
            .collect();
        Self {
            snapshot,
            request,
            cheapest: screens.iter().map(cheapest).collect(),
            screens,
            neighbours: neighbours(components),
            slots: slots(snapshot, request),
            tries,
        }
    }

    pub fn component(&self, slot: usize) -> &Component {
        &self.request.components[self.slots[slot].component]
    }

    /// The replicas of a component.
    pub fn slots_of(&self, component: usize) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(move |slot| self.slots[*slot].component == component)
    }
}

fn cheapest(screen: &Screen) -> Money {
    let fitting = screen.sites.iter().zip(&screen.costs);
    fitting
        .filter(|(fit, _)| fit.is_ok())
        .map(|(_, cost)| *cost)
        .min()
        .unwrap_or_default()
}

fn neighbours(components: &[Component]) -> Vec<Vec<Neighbour>> {
    let mut neighbours = vec![Vec::new(); components.len()];
    for (from, component) in components.iter().enumerate() {
        for demand in &component.demands {
            let known = components
                .iter()
                .position(|other| other.workload == demand.to);
            let Some(to) = known.filter(|to| *to != from) else {
                continue;
            };
            neighbours[from].push(neighbour(to, demand));
            neighbours[to].push(neighbour(from, demand));
        }
    }
    neighbours
}

fn neighbour(component: usize, demand: &Demand) -> Neighbour {
    Neighbour {
        component,
        latency_max: demand.latency_max_micros,
        bandwidth: demand.bandwidth.unwrap_or_default(),
    }
}

fn slots(snapshot: &Snapshot, request: &Request) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (index, component) in request.components.iter().enumerate() {
        for replica in 0..component.replicas {
            let own = request.held.iter().map(|held| &held.assignment);
            let own = own
                .filter(|own| own.workload == component.workload && own.replica == replica)
                .filter_map(|own| Some((snapshot.host(&own.host)?, own.reserved.clone())))
                .collect();
            let active = request.active(&component.workload, replica);
            let held = active.filter(|held| !held.lost).and_then(|held| {
                let host = snapshot.host(&held.assignment.host)?;
                let artefact = may_stay(snapshot, request, component, host).ok()?;
                Some((host, artefact))
            });
            slots.push(Slot {
                component: index,
                replica,
                own,
                held,
            });
        }
    }
    slots
}

/// Places all replicas, or as many as it can: then the second value is a replica that found no place.
pub(crate) fn solve<'a>(problem: &'a Problem<'a>) -> (State<'a>, Option<usize>) {
    let mut blocked: Option<(State<'a>, usize)> = None;
    let mut tries = problem.tries;
    for stay in [Stay::WherePossible, Stay::WhereUnseen] {
        let start = settled(problem, stay);
        let mut best: Option<State<'a>> = None;
        for order in orders(problem) {
            match greedy(&start, &order) {
                Ok(mut state) => {
                    improve(&mut state, &start);
                    if best
                        .as_ref()
                        .is_none_or(|best| state.worth() > best.worth())
                    {
                        best = Some(state);
                    }
                }
                Err((state, slot)) if blocked.is_none() => blocked = Some((state, slot)),
                Err(_) => {}
            }
        }
        if let Some(state) = best.or_else(|| exhaustive(&start, &mut tries)) {
            return (state, None);
        }
        if problem.slots.iter().all(|slot| slot.held.is_none()) {
            break;
        }
    }
    let (state, slot) = blocked.expect("without a full state some order was blocked");
    (state, Some(slot))
}

/// The state in which every replica stays where it is, if all may.
pub(crate) fn stay<'a>(problem: &'a Problem<'a>) -> Option<State<'a>> {
    let state = settled(problem, Stay::WherePossible);
    let all = (0..problem.slots.len()).all(|slot| state.place(slot).is_some());
    all.then_some(state)
}

/// Which replicas keep the place that they have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// All that may.
    WherePossible,
    /// Those on hosts that cannot be seen: they move only by rule, never to make room.
    WhereUnseen,
}

/// The state with every replica that stays.
fn settled<'a>(problem: &'a Problem<'a>, stay: Stay) -> State<'a> {
    let mut state = State::new(problem);
    for (index, slot) in problem.slots.iter().enumerate() {
        let Some((host, artefact)) = slot.held else {
            continue;
        };
        let unseen = !problem.snapshot.hosts[host].ready;
        if (stay == Stay::WherePossible || unseen) && state.fits(index, host).is_ok() {
            state.take(index, host, artefact);
        }
    }
    state
}

/// Orders in which components are placed: the one with the fewest sites first, then each of the others in turn.
fn orders(problem: &Problem<'_>) -> Vec<Vec<usize>> {
    let n_components = problem.request.components.len();
    let n_sites = |component: &usize| {
        let screen: &Screen = &problem.screens[*component];
        screen.sites.iter().filter(|fit| fit.is_ok()).count()
    };
    let mut scarce: Vec<usize> = (0..n_components).collect();
    scarce.sort_by_key(n_sites);
    (0..n_components.clamp(1, ORDERS_MAX))
        .map(|first| {
            let mut order = scarce.clone();
            if first < order.len() {
                order[..=first].rotate_right(1);
            }
            order
        })
        .collect()
}

/// Gives each replica the best place that is left; the first that finds none ends it.
fn greedy<'a>(start: &State<'a>, order: &[usize]) -> Result<State<'a>, (State<'a>, usize)> {
    let mut state = start.clone();
    let mut blocked = None;
    for component in order {
        for slot in state.problem().slots_of(*component) {
            if state.place(slot).is_some() {
                continue;
            }
            match state.best(slot) {
                Some(offer) => state.take(slot, offer.host, offer.artefact),
                None => blocked = blocked.or(Some(slot)),
            }
        }
    }
    match blocked {
        None => Ok(state),
        Some(slot) => Err((state, slot)),
    }
}

/// Moves single replicas that did not stay while the whole gets better.
fn improve<'a>(state: &mut State<'a>, start: &State<'a>) {
    for _ in 0..ROUNDS_MAX {
        let mut moved = false;
        for slot in 0..state.problem().slots.len() {
            if start.place(slot).is_none() {
                moved |= relocate(state, slot);
            }
        }
        if !moved {
            return;
        }
    }
}

/// Tries a replica at every site and leaves it where the group is best off.
fn relocate(state: &mut State<'_>, slot: usize) -> bool {
    let Some((host, artefact)) = state.place(slot) else {
        return false;
    };
    let mut best = (state.worth_around(slot), host, artefact);
    state.leave(slot);
    for site in 0..state.problem().snapshot.sites.len() {
        let Ok(offer) = state.offer(slot, site) else {
            continue;
        };
        state.take(slot, offer.host, offer.artefact);
        let worth = state.worth_around(slot);
        if worth > best.0 {
            best = (worth, offer.host, offer.artefact);
        }
        state.leave(slot);
    }
    state.take(slot, best.1, best.2);
    best.1 != host
}

/// Looks through all places, best first, until everything fits or the tries are used up.
fn exhaustive<'a>(start: &State<'a>, tries: &mut usize) -> Option<State<'a>> {
    let open: Vec<usize> = (0..start.problem().slots.len())
        .filter(|slot| start.place(*slot).is_none())
        .collect();
    let mut state = start.clone();
    // What has no place though everything else is still free will never have one, however the others are placed.
    let hopeless = open.iter().any(|slot| start.best(*slot).is_none());
    (!hopeless && descend(&mut state, &open, tries)).then_some(state)
}

fn descend(state: &mut State<'_>, open: &[usize], tries: &mut usize) -> bool {
    let Some((slot, rest)) = open.split_first() else {
        return true;
    };
    for offer in state.offers(*slot) {
        if *tries == 0 {
            return false;
        }
        *tries -= 1;
        state.take(*slot, offer.host, offer.artefact);
        if descend(state, rest, tries) {
            return true;
        }
        state.leave(*slot);
    }
    false
}

#[cfg(test)]
mod tests {
    use api::Quantity;

    use super::*;
    use crate::snapshot::Inventory;
    use crate::tests::world::{add_site, component, request};

    /// How many places are tried in vain for ten replicas of one core each, but for one that takes more, on nine hosts.
    fn tried(cores_of_one: i64) -> usize {
        let mut inventory = Inventory::default();
        add_site(&mut inventory, "here", 1, &[1; 9]);
        let names = (0..10).map(|index| format!("c{index}"));
        let mut components: Vec<Component> = names.map(|name| component(&name, 1000)).collect();
        components[9].resources = Resources::from([("cpu", Quantity::whole(cores_of_one))]);
        let (snapshot, request) = (Snapshot::new(&inventory, None), request(components));
        let problem = Problem::new(&snapshot, &request);
        let mut tries = problem.tries;
        assert!(exhaustive(&State::new(&problem), &mut tries).is_none());
        TRIES_MAX - tries
    }

    #[test]
    fn only_so_many_places_are_tried() {
        assert_eq!(tried(1), TRIES_MAX);
    }

    #[test]
    fn nothing_is_tried_for_a_group_of_which_one_never_fits() {
        assert_eq!(tried(2), 0);
    }
}
