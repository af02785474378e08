//! The ledger: what is reserved on each host, kept so that two decisions never take the same room.
//!
//! Placements are the truth. The ledger follows them as the watch shows them and adds the decisions of this process
//! that are written but not yet seen. A decision names the revision of the ledger it was taken on; it is refused when
//! any host that it names has moved since. Nothing is stored: at start it is rebuilt from the Placements.
//!
//! A booking stands on the generation of the Placement that it replaces. Since a write names the version that it replaces,
//! at most one booking on a generation can succeed, and once another generation is seen all bookings on the old one are
//! settled. A version alone tells less: a status that is written settles nothing, the booking may still be on its way.
//! A booking that came to nothing is struck out by the workload that booked it, and by nobody else: only its own passes
//! know that no write of it is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use api::mco::{Assignment, AssignmentState, PlacementSpec};
use api::{Host, Placement, Ref, Resources, Result};
use runtime::ObjectRef;

/// What is reserved, and what was decided and is not yet seen.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    revision: u64,
    accounts: BTreeMap<ObjectRef, Account>,
    hosts: BTreeMap<Ref<Host>, Room>,
}

/// What is reserved on a host.
#[derive(Default)]
struct Room {
    reserved: Resources,
    /// The ledger's revision when this changed last.
    revision: u64,
}

/// One Placement: as it was seen last, and what was decided on that.
#[derive(Default)]
struct Account {
    seen: Option<Arc<Placement>>,
    booked: Vec<Booking>,
}

/// A decision, and the workload that is to write it.
#[derive(Clone)]
struct Booking {
    by: ObjectRef,
    spec: PlacementSpec,
}

/// A generation of a Placement, or none while it does not exist.
type Generation = Option<(String, i64)>;

/// A host moved since the decision was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved(pub Ref<Host>);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what is free on host {} has changed", self.0)
    }
}

impl Ledger {
    /// Takes all Placements as the watch shows them now. They are listed under the ledger's lock: an older list may never
    /// be followed after a newer one.
    pub fn follow(&self, list: impl FnOnce() -> Result<Vec<Arc<Placement>>>) -> Result<()> {
        let mut books = self.books();
        let placements = list()?;
        let seen: BTreeMap<ObjectRef, &Arc<Placement>> = placements
            .iter()
            .map(|placement| (ObjectRef::of(&**placement), placement))
            .collect();
        let known: BTreeSet<ObjectRef> = books.accounts.keys().cloned().collect();
        for name in known.iter().chain(seen.keys()) {
            books.see(name, seen.get(name).copied());
        }
        Ok(())
    }

    /// The revision, and what is reserved on each host.
    pub fn reserved(&self) -> (u64, BTreeMap<Ref<Host>, Resources>) {
        let books = self.books();
        let rooms = books.hosts.iter();
        let reserved = rooms.map(|(host, room)| (host.clone(), room.reserved.clone()));
        (books.revision, reserved.collect())
    }

    /// The hosts on which something is reserved.
    pub fn hosts(&self) -> Vec<Ref<Host>> {
        self.books().hosts.keys().cloned().collect()
    }

    /// The Placements that take more on a host than those decided before them have left of its room. That happens when
    /// two processes decided at once, each for itself, or the host has less than it had. What drains is on its way out and
    /// takes nothing.
    pub fn excess(&self, host: &Ref<Host>, room: &Resources) -> BTreeSet<ObjectRef> {
        let books = self.books();
        let reserved = books.hosts.get(host).map(|host| &host.reserved);
        if reserved.is_none_or(|reserved| room.lacks(reserved).is_none()) {
            return BTreeSet::new();
        }
        let taking = |(name, account): (&ObjectRef, &Account)| {
            let seen = account.seen.as_ref()?;
            let takes = active_on(&seen.spec, host)?;
            Some((seen.spec.decided.0, name.clone(), takes))
        };
        let mut taking: Vec<_> = books.accounts.iter().filter_map(taking).collect();
        taking.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let (mut left, mut excess) = (room.clone(), BTreeSet::new());
        for (_, name, takes) in taking {
            match left.lacks(&takes) {
                None => left.subtract(&takes),
                Some(_) => {
                    excess.insert(name);
                }
            }
        }
        excess
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.books().revision
    }

    /// Books a decision that a workload took at a revision and is to replace what was seen of the Placement.
    pub fn book(
        &self,
        name: &ObjectRef,
        by: &ObjectRef,
        spec: &PlacementSpec,
        revision: u64,
    ) -> Result<(), Moved> {
        let mut books = self.books();
        let moved = |host: &&Ref<Host>| {
            let room = books.hosts.get(*host);
            room.is_some_and(|room| room.revision > revision)
        };
        let mut hosts = spec.assignments.iter().map(|assignment| &assignment.host);
        if let Some(host) = hosts.find(moved) {
            return Err(Moved(host.clone()));
        }
        let (by, spec) = (by.clone(), spec.clone());
        books.change(name, |account| account.booked.push(Booking { by, spec }));
        Ok(())
    }

    /// The last decision for a Placement that was booked and is not yet settled.
    pub fn booked(&self, name: &ObjectRef) -> Option<PlacementSpec> {
        let books = self.books();
        let last = books.accounts.get(name)?.booked.last();
        last.map(|booking| booking.spec.clone())
    }

    /// Whether a workload has booked something for a Placement that is not yet settled.
    pub fn has_booked(&self, name: &ObjectRef, by: &ObjectRef) -> bool {
        let books = self.books();
        let account = books.accounts.get(name);
        account.is_some_and(|account| account.booked.iter().any(|booking| booking.by == *by))
    }

    /// Strikes out what a workload booked for a Placement: none of it was or will be written.
    pub fn undo(&self, name: &ObjectRef, by: &ObjectRef) {
        let others = |booking: &Booking| booking.by != *by;
        self.books()
            .change(name, |account| account.booked.retain(others));
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Books {
    /// Takes the newest state of a Placement; a generation that is new settles what was booked on the old one.
    fn see(&mut self, name: &ObjectRef, placement: Option<&Arc<Placement>>) {
        let known = self.accounts.get(name);
        let before = known.and_then(|account| account.seen.as_ref());
        if generation(before) == generation(placement) {
            return;
        }
        self.change(name, |account| {
            account.seen = placement.cloned();
            account.booked.clear();
        });
    }

    /// Changes an account and with it the rooms of the hosts that it names.
    fn change(&mut self, name: &ObjectRef, edit: impl FnOnce(&mut Account)) {
        let mut account = self.accounts.remove(name).unwrap_or_default();
        let before = account.reserved();
        edit(&mut account);
        let after = account.reserved();
        if account.seen.is_some() || !account.booked.is_empty() {
            self.accounts.insert(name.clone(), account);
        }
        let hosts: BTreeSet<&Ref<Host>> = before.keys().chain(after.keys()).collect();
        for host in hosts {
            let (old, new) = (before.get(host), after.get(host));
            if old == new {
                continue;
            }
            self.revision += 1;
            let room = self.hosts.entry(host.clone()).or_default();
            room.revision = self.revision;
            if let Some(old) = old {
                room.reserved.subtract(old);
            }
            if let Some(new) = new {
                room.reserved.add(new);
            }
        }
    }
}

impl Account {
    /// What it may take on each host, whichever of its bookings comes true: of each replica the most.
    fn reserved(&self) -> BTreeMap<Ref<Host>, Resources> {
        let mut most: BTreeMap<(&str, u32, &Ref<Host>), Resources> = BTreeMap::new();
        let seen = self.seen.iter().map(|placement| &placement.spec);
        let booked = self.booked.iter().map(|booking| &booking.spec);
        for Assignment {
            workload,
            replica,
            host,
            reserved,
            ..
        } in seen.chain(booked).flat_map(|spec| &spec.assignments)
        {
            let slot = most.entry((workload.name(), *replica, host)).or_default();
            for (name, amount) in &reserved.0 {
                let most = slot.0.entry(name.clone()).or_default();
                *most = (*most).max(*amount);
            }
        }
        let mut hosts: BTreeMap<Ref<Host>, Resources> = BTreeMap::new();
        for ((_, _, host), reserved) in most {
            hosts.entry(host.clone()).or_default().add(&reserved);
        }
        hosts
    }
}

/// What a decision takes on a host for good; `None` if nothing.
fn active_on(spec: &PlacementSpec, host: &Ref<Host>) -> Option<Resources> {
    let active = spec.assignments.iter();
    let active = active.filter(|it| it.state == AssignmentState::Active && it.host == *host);
    active
        .map(|it| it.reserved.clone())
        .reduce(|mut all, more| {
            all.add(&more);
            all
        })
}

/// What the generation of a Placement is known by; another object of the same name is another one.
fn generation(placement: Option<&Arc<Placement>>) -> Generation {
    let meta = &placement?.metadata;
    Some((meta.uid.clone()?, meta.generation?))
}

#[cfg(test)]
mod tests {
    use api::Quantity;
    use jiff::Timestamp;

    use super::*;
    use crate::tests::world::{TENANT, assignment, placement};

    fn name(name: &str) -> ObjectRef {
        ObjectRef::new::<Placement>(Some(TENANT), name)
    }

    fn spec(assignments: &[(&str, &str, i64)]) -> PlacementSpec {
        placement("x", assignments).spec
    }

    fn stored(name: &str, generation: i64, assignments: &[(&str, &str, i64)]) -> Arc<Placement> {
        let mut placement = placement(name, assignments);
        placement.metadata.generation = Some(generation);
        Arc::new(placement)
    }

    fn follow(ledger: &Ledger, placements: &[Arc<Placement>]) {
        ledger.follow(|| Ok(placements.to_vec())).unwrap();
    }

    /// Books for a workload of the Placement's name.
    fn book(ledger: &Ledger, of: &str, spec: &PlacementSpec, revision: u64) -> Result<(), Moved> {
        ledger.book(&name(of), &workload(of), spec, revision)
    }

    fn workload(name: &str) -> ObjectRef {
        ObjectRef::new::<api::Workload>(Some(TENANT), name)
    }

    fn reserved(ledger: &Ledger, host: &str) -> Quantity {
        let (_, reserved) = ledger.reserved();
        reserved
            .get(&Ref::new(host))
            .map(|all| all.get("cpu"))
            .unwrap_or_default()
    }

    #[test]
    fn a_booking_counts_until_its_write_is_seen_and_then_once() {
        let ledger = Ledger::default();
        book(&ledger, "a", &spec(&[("w", "mad", 2)]), 0).unwrap();
        assert_eq!(reserved(&ledger, "mad"), Quantity::whole(2));
        follow(&ledger, &[]);
        assert!(
            ledger.booked(&name("a")).is_some(),
            "not seen is not refused"
        );
        follow(&ledger, &[stored("a", 5, &[("w", "mad", 2)])]);
        assert_eq!(ledger.booked(&name("a")), None);
        assert_eq!(reserved(&ledger, "mad"), Quantity::whole(2));
        follow(&ledger, &[]);
        assert_eq!(reserved(&ledger, "mad"), Quantity::ZERO);
    }

    #[test]
    fn who_was_decided_last_takes_too_much() {
        let ledger = Ledger::default();
        let decided = |of: &str, second: i64, assignments: &[(&str, &str, i64)]| {
            let mut placement = Placement::clone(&stored(of, 1, assignments));
            placement.spec.decided.0 = Timestamp::from_second(second).unwrap();
            Arc::new(placement)
        };
        let mut leaving = Placement::clone(&decided("d", 1, &[("d", "mad", 4)]));
        leaving.spec.assignments[0].state = AssignmentState::Draining;
        let placements = [
            decided("a", 3, &[("a", "mad", 1)]),
            decided("b", 2, &[("b", "mad", 2), ("b", "bcn", 9)]),
            decided("c", 2, &[("c", "mad", 2)]),
            Arc::new(leaving),
        ];
        follow(&ledger, &placements);
        let excess = |cpu| {
            let room = Resources::from([("cpu", Quantity::whole(cpu))]);
            let excess = ledger.excess(&Ref::new("mad"), &room);
            excess.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(excess(5), [""; 0], "what drains takes nothing");
        assert_eq!(excess(4), ["a"]);
        assert_eq!(excess(3), ["c"], "the others fit");
        assert_eq!(excess(0), ["a", "b", "c"]);
    }

    #[test]
    fn a_decision_on_a_host_that_moved_is_refused() {
        let ledger = Ledger::default();
        let revision = ledger.revision();
        book(&ledger, "a", &spec(&[("w", "mad", 2)]), revision).unwrap();
        let late = book(&ledger, "b", &spec(&[("v", "mad", 2)]), revision);
        assert_eq!(late, Err(Moved(Ref::new("mad"))));
        assert_eq!(
            book(&ledger, "b", &spec(&[("v", "bcn", 2)]), revision),
            Ok(())
        );
        let fresh = ledger.revision();
        assert_eq!(book(&ledger, "c", &spec(&[("u", "mad", 1)]), fresh), Ok(()));
    }

    #[test]
    fn whichever_of_two_bookings_is_written_its_room_is_kept() {
        let ledger = Ledger::default();
        follow(&ledger, &[stored("a", 1, &[("w", "mad", 1)])]);
        let (bcn, bil) = (spec(&[("w", "bcn", 3)]), spec(&[("w", "bil", 2)]));
        book(&ledger, "a", &bcn, ledger.revision()).unwrap();
        book(&ledger, "a", &bil, ledger.revision()).unwrap();
        let all = ["mad", "bcn", "bil"].map(|host| reserved(&ledger, host));
        assert_eq!(all, [1, 3, 2].map(Quantity::whole));
        follow(&ledger, &[stored("a", 2, &[("w", "bcn", 3)])]);
        let all = ["mad", "bcn", "bil"].map(|host| reserved(&ledger, host));
        assert_eq!(all, [0, 3, 0].map(Quantity::whole));
    }

    #[test]
    fn what_is_undone_is_free_again() {
        let ledger = Ledger::default();
        book(&ledger, "a", &spec(&[("w", "mad", 2)]), 0).unwrap();
        ledger.undo(&name("a"), &workload("a"));
        assert_eq!(reserved(&ledger, "mad"), Quantity::ZERO);
        assert_eq!(ledger.booked(&name("a")), None);
        assert_eq!(assignment("w", 0, "mad", 2).host, Ref::new("mad"));
    }

    #[test]
    fn a_version_that_changes_no_spec_settles_no_booking() {
        let ledger = Ledger::default();
        let mut placement = stored("a", 1, &[]);
        follow(&ledger, &[placement.clone()]);
        book(&ledger, "a", &spec(&[("w", "mad", 2)]), 0).unwrap();
        Arc::make_mut(&mut placement).metadata.resource_version = Some("9".into());
        follow(&ledger, &[placement]);
        assert_eq!(reserved(&ledger, "mad"), Quantity::whole(2));
    }

    #[test]
    fn a_workload_strikes_out_only_what_it_booked_itself() {
        let ledger = Ledger::default();
        let (mad, bcn) = (spec(&[("w", "mad", 2)]), spec(&[("w", "bcn", 1)]));
        let both = [("v", &mad), ("w", &bcn)];
        for (by, spec) in both {
            ledger.book(&name("a"), &workload(by), spec, 0).unwrap();
        }
        ledger.undo(&name("a"), &workload("v"));
        let has = |by| ledger.has_booked(&name("a"), &workload(by));
        assert_eq!((has("v"), has("w")), (false, true));
        assert_eq!(reserved(&ledger, "mad"), Quantity::ZERO);
        assert_eq!(reserved(&ledger, "bcn"), Quantity::whole(1));
    }
}
