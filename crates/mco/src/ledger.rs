//! The ledger: what is reserved on each host, kept so that two decisions never take the same room.
//!
//! Placements are the truth. The ledger follows them as the watch shows them and adds the decisions of this process
//! that are written but not yet seen. A decision names the revision of the ledger it was taken on; it is refused when
//! any host that it names has moved since. Nothing is stored: at start it is rebuilt from the Placements.
//!
//! A booking stands on the version of the Placement that it replaces. Since a write names that version too, at most one
//! booking on a version can succeed, and once another version is seen all bookings on the old one are settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use api::mco::{Assignment, PlacementSpec};
use api::{Host, Placement, Ref, Resources};
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
    booked: Vec<PlacementSpec>,
}

/// A version of a Placement, or none while it does not exist.
type Version = Option<(String, String)>;

/// A host moved since the decision was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved(pub Ref<Host>);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what is free on host {} has changed", self.0)
    }
}

impl Ledger {
    /// Takes all Placements as the watch shows them now.
    pub fn follow(&self, placements: &[Arc<Placement>]) {
        let mut books = self.books();
        let seen: BTreeMap<ObjectRef, &Arc<Placement>> = placements
            .iter()
            .map(|placement| (ObjectRef::of(&**placement), placement))
            .collect();
        let known: BTreeSet<ObjectRef> = books.accounts.keys().cloned().collect();
        for name in known.iter().chain(seen.keys()) {
            books.see(name, seen.get(name).copied());
        }
    }

    /// The revision, and what is reserved on each host.
    pub fn reserved(&self) -> (u64, BTreeMap<Ref<Host>, Resources>) {
        let books = self.books();
        let rooms = books.hosts.iter();
        let reserved = rooms.map(|(host, room)| (host.clone(), room.reserved.clone()));
        (books.revision, reserved.collect())
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.books().revision
    }

    /// Books a decision that was taken at a revision and is to replace what was seen of the Placement.
    pub fn book(&self, name: &ObjectRef, spec: &PlacementSpec, revision: u64) -> Result<(), Moved> {
        let mut books = self.books();
        let moved = |host: &&Ref<Host>| {
            let room = books.hosts.get(*host);
            room.is_some_and(|room| room.revision > revision)
        };
        let mut hosts = spec.assignments.iter().map(|assignment| &assignment.host);
        if let Some(host) = hosts.find(moved) {
            return Err(Moved(host.clone()));
        }
        books.change(name, |account| account.booked.push(spec.clone()));
        Ok(())
    }

    /// The last decision for a Placement that was booked and is not yet settled.
    pub fn booked(&self, name: &ObjectRef) -> Option<PlacementSpec> {
        let books = self.books();
        books.accounts.get(name)?.booked.last().cloned()
    }

    /// Strikes out the bookings of a Placement: none of them was or will be written.
    pub fn undo(&self, name: &ObjectRef) {
        self.books().change(name, |account| account.booked.clear());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Books {
    /// Takes the newest state of a Placement; a version that is new settles what was booked on the old one.
    fn see(&mut self, name: &ObjectRef, placement: Option<&Arc<Placement>>) {
        let known = self.accounts.get(name);
        let before = known.and_then(|account| account.seen.as_ref());
        if version(before) == version(placement) {
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
        for Assignment {
            workload,
            replica,
            host,
            reserved,
            ..
        } in seen.chain(&self.booked).flat_map(|spec| &spec.assignments)
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

/// What the version of a Placement is known by; another object of the same name is another version.
fn version(placement: Option<&Arc<Placement>>) -> Version {
    let meta = &placement?.metadata;
    Some((meta.uid.clone()?, meta.resource_version.clone()?))
}

#[cfg(test)]
mod tests {
    use api::Quantity;

    use super::*;
    use crate::tests::world::{TENANT, assignment, placement};

    fn name(name: &str) -> ObjectRef {
        ObjectRef::new::<Placement>(Some(TENANT), name)
    }

    fn spec(assignments: &[(&str, &str, i64)]) -> PlacementSpec {
        placement("x", assignments).spec
    }

    fn stored(name: &str, version: &str, assignments: &[(&str, &str, i64)]) -> Arc<Placement> {
        let mut placement = placement(name, assignments);
        placement.metadata.resource_version = Some(version.into());
        Arc::new(placement)
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
        ledger
            .book(&name("a"), &spec(&[("w", "mad", 2)]), 0)
            .unwrap();
        assert_eq!(reserved(&ledger, "mad"), Quantity::whole(2));
        ledger.follow(&[]);
        assert!(
            ledger.booked(&name("a")).is_some(),
            "not seen is not refused"
        );
        ledger.follow(&[stored("a", "5", &[("w", "mad", 2)])]);
        assert_eq!(ledger.booked(&name("a")), None);
        assert_eq!(reserved(&ledger, "mad"), Quantity::whole(2));
        ledger.follow(&[]);
        assert_eq!(reserved(&ledger, "mad"), Quantity::ZERO);
    }

    #[test]
    fn a_decision_on_a_host_that_moved_is_refused() {
        let ledger = Ledger::default();
        let revision = ledger.revision();
        ledger
            .book(&name("a"), &spec(&[("w", "mad", 2)]), revision)
            .unwrap();
        let late = ledger.book(&name("b"), &spec(&[("v", "mad", 2)]), revision);
        assert_eq!(late, Err(Moved(Ref::new("mad"))));
        assert_eq!(
            ledger.book(&name("b"), &spec(&[("v", "bcn", 2)]), revision),
            Ok(())
        );
        let fresh = ledger.revision();
        assert_eq!(
            ledger.book(&name("c"), &spec(&[("u", "mad", 1)]), fresh),
            Ok(())
        );
    }

    #[test]
    fn whichever_of_two_bookings_is_written_its_room_is_kept() {
        let ledger = Ledger::default();
        ledger.follow(&[stored("a", "1", &[("w", "mad", 1)])]);
        let (bcn, bil) = (spec(&[("w", "bcn", 3)]), spec(&[("w", "bil", 2)]));
        ledger.book(&name("a"), &bcn, ledger.revision()).unwrap();
        ledger.book(&name("a"), &bil, ledger.revision()).unwrap();
        let all = ["mad", "bcn", "bil"].map(|host| reserved(&ledger, host));
        assert_eq!(all, [1, 3, 2].map(Quantity::whole));
        ledger.follow(&[stored("a", "2", &[("w", "bcn", 3)])]);
        let all = ["mad", "bcn", "bil"].map(|host| reserved(&ledger, host));
        assert_eq!(all, [0, 3, 0].map(Quantity::whole));
    }

    #[test]
    fn what_is_undone_is_free_again() {
        let ledger = Ledger::default();
        ledger
            .book(&name("a"), &spec(&[("w", "mad", 2)]), 0)
            .unwrap();
        ledger.undo(&name("a"));
        assert_eq!(reserved(&ledger, "mad"), Quantity::ZERO);
        assert_eq!(ledger.booked(&name("a")), None);
        assert_eq!(assignment("w", 0, "mad", 2).host, Ref::new("mad"));
    }
}
