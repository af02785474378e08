//! Properties over random telcos, held against rules written down a second time, apart from the engine.

use std::collections::{BTreeMap, BTreeSet};

use api::mco::AssignmentState;
use api::{Ref, Resources};
use proptest::prelude::*;

use super::world::*;
use crate::{Inventory, Need, Request, Requirement, Snapshot, Verdict, decide, holds};

#[derive(Clone, Debug)]
struct Case {
    inventory: Inventory,
    request: Request,
}

fn cases() -> impl Strategy<Value = Case> {
    let site = (1..50i64, prop::collection::vec(0..4i64, 0..3));
    let sites = prop::collection::vec(site, 1..6);
    let links = prop::collection::vec((0..6usize, 0..6usize, 1..20u64), 0..12);
    let need = prop::option::weighted(0.4, 1..40u64);
    let one = (
        1..3000i64,
        0..3u32,
        need.clone(),
        0..6usize,
        need,
        0..4usize,
    );
    let components = prop::collection::vec(one, 1..4);
    (sites, links, components, any::<u32>()).prop_map(|(sites, links, components, seed)| {
        let mut inventory = Inventory::default();
        for (index, (price, hosts)) in sites.iter().enumerate() {
            add_site(&mut inventory, &format!("s{index}"), *price, hosts);
        }
        for (a, b, millis) in links {
            if a != b && a.max(b) < sites.len() {
                add_link(&mut inventory, &format!("s{a}"), &format!("s{b}"), millis);
            }
        }
        let n_components = components.len();
        let components = components.into_iter().enumerate().map(|(index, values)| {
            let (cores, replicas, user_max, user_site, near, to) = values;
            let mut component = component(&format!("c{index}"), cores);
            component.replicas = replicas;
            if let Some(max) = user_max {
                let site = format!("s{}", user_site % sites.len());
                component.user_access = users(&site, Some(max));
            }
            if near.is_some() && to < n_components && to != index {
                component.demands = vec![demand(&format!("c{to}"), near)];
            }
            component
        });
        let mut request = request(components.collect());
        request.policy.tie_break_seed = seed;
        Case { inventory, request }
    })
}

/// All latencies between sites, by trying every way round (Floyd and Warshall).
fn latencies(inventory: &Inventory) -> BTreeMap<(String, String), u64> {
    let names: Vec<String> = inventory
        .sites
        .iter()
        .map(|site| site.metadata.name.clone().unwrap())
        .collect();
    let mut all = BTreeMap::new();
    for name in &names {
        all.insert((name.clone(), name.clone()), 0);
    }
    for link in &inventory.links {
        let (a, b) = (
            link.spec.sites[0].to_string(),
            link.spec.sites[1].to_string(),
        );
        for key in [(a.clone(), b.clone()), (b, a)] {
            let best = all.entry(key).or_insert(u64::MAX);
            *best = (*best).min(link.spec.latency_micros.0);
        }
    }
    for via in &names {
        for a in &names {
            for b in &names {
                let legs = (
                    all.get(&(a.clone(), via.clone())),
                    all.get(&(via.clone(), b.clone())),
                );
                if let (Some(first), Some(second)) = legs {
                    let sum = first + second;
                    let best = all.entry((a.clone(), b.clone())).or_insert(u64::MAX);
                    *best = (*best).min(sum);
                }
            }
        }
    }
    all
}

/// Replicas by component and number, each with its site and host.
type Places = BTreeMap<(usize, u32), (String, Ref<api::Host>)>;

/// The hard rules, written down again.
fn broken(case: &Case, places: &Places) -> Option<String> {
    let latencies = latencies(&case.inventory);
    let far = |a: &str, b: &str, max: Option<api::Micros>| {
        let latency = latencies.get(&(a.to_owned(), b.to_owned())).copied();
        latency.is_none_or(|latency| max.is_some_and(|max| latency > max.0))
    };
    let mut used: BTreeMap<&Ref<api::Host>, Resources> = BTreeMap::new();
    for ((component, _), (site, host)) in places {
        let spec = &case.request.components[*component];
        used.entry(host).or_default().add(&spec.resources);
        if let Some(access) = &spec.user_access
            && far(access.sites[0].name(), site, access.latency_max_micros)
        {
            return Some(format!(
                "{} at {site} is too far from its users",
                spec.workload
            ));
        }
        for demand in &spec.demands {
            for ((other, _), (at, _)) in places {
                let neighbour = case.request.components[*other].workload == demand.to;
                if neighbour && far(site, at, demand.latency_max_micros) {
                    return Some(format!("{} at {site} is too far from {at}", spec.workload));
                }
            }
        }
    }
    let over = used.into_iter().find(|(host, used)| {
        let hosts = &case.inventory.hosts;
        let host = hosts
            .iter()
            .find(|item| item.metadata.name.as_deref() == Some(host.name()));
        host.is_none_or(|host| crate::allocatable(host).lacks(used).is_some())
    });
    over.map(|(host, used)| format!("{host} is over-committed: {used:?}"))
}

fn places(case: &Case, assignments: &[api::mco::Assignment]) -> Places {
    let index = |name| {
        let components = &case.request.components;
        components
            .iter()
            .position(|component| component.workload == name)
            .unwrap()
    };
    assignments
        .iter()
        .filter(|item| item.state == AssignmentState::Active)
        .map(|item| {
            let key = (index(item.workload.clone()), item.replica);
            (key, (item.site.to_string(), item.host.clone()))
        })
        .collect()
}

/// Whether any way of placing all replicas keeps the rules.
fn possible(case: &Case, open: &[(usize, u32)], places: &mut Places) -> bool {
    let Some((slot, rest)) = open.split_first() else {
        return true;
    };
    for host in &case.inventory.hosts {
        let name = Ref::new(host.metadata.name.clone().unwrap());
        places.insert(*slot, (host.spec.site.to_string(), name));
        if broken(case, places).is_none() && possible(case, rest, places) {
            return true;
        }
        places.remove(slot);
    }
    false
}

fn open(case: &Case) -> Vec<(usize, u32)> {
    let components = case.request.components.iter().enumerate();
    components
        .flat_map(|(index, component)| (0..component.replicas).map(move |replica| (index, replica)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_breaks_no_rule_and_a_refusal_is_true(case in cases()) {
        match decide(&Snapshot::new(&case.inventory, None), &case.request) {
            Ok(decision) => {
                let places = places(&case, &decision.assignments);
                prop_assert_eq!(places.len(), open(&case).len());
                prop_assert_eq!(broken(&case, &places), None);
            }
            Err(refusal) => {
                let fits = possible(&case, &open(&case), &mut Places::new());
                prop_assert!(!fits, "refused although it fits: {}", refusal);
            }
        }
    }

    #[test]
    fn every_site_has_exactly_one_verdict(case in cases()) {
        let Ok(decision) = decide(&Snapshot::new(&case.inventory, None), &case.request) else {
            return Ok(());
        };
        let all: BTreeSet<String> =
            case.inventory.sites.iter().map(|site| site.metadata.name.clone().unwrap()).collect();
        for (verdicts, explanation) in decision.verdicts.iter().zip(&decision.explanation) {
            let named: Vec<String> = verdicts.sites.iter().map(|verdict| match verdict {
                Verdict::Chosen(candidate) | Verdict::Possible(candidate) => candidate.site.to_string(),
                Verdict::Rejected { site, .. } => site.to_string(),
            }).collect();
            prop_assert_eq!(named.len(), all.len());
            prop_assert_eq!(&named.into_iter().collect::<BTreeSet<_>>(), &all);
            prop_assert_eq!(explanation.sites_considered as usize, all.len());
            prop_assert!(explanation.runners_up.len() <= 8);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_answer_in_any_order(case in cases()) {
        let first = decide(&Snapshot::new(&case.inventory, None), &case.request);
        let mut shuffled = case.inventory.clone();
        shuffled.sites.reverse();
        shuffled.hosts.reverse();
        shuffled.links.reverse();
        shuffled.pools.reverse();
        let warm = Snapshot::new(&case.inventory, None);
        let second = decide(&Snapshot::new(&shuffled, Some(&warm)), &case.request);
        prop_assert_eq!(first, second);
    }

    #[test]
    fn what_was_decided_is_kept(case in cases()) {
        let mut case = case;
        if let Ok(decision) = decide(&Snapshot::new(&case.inventory, None), &case.request) {
            reserve(&mut case.inventory, &decision.assignments);
            case.request.held = held(&decision.assignments);
            let snapshot = Snapshot::new(&case.inventory, None);
            prop_assert!(holds(&snapshot, &case.request));
            prop_assert_eq!(decide(&snapshot, &case.request).unwrap().assignments, decision.assignments);
        }
    }

    #[test]
    fn a_conflict_cannot_be_met_and_any_smaller_part_of_it_can(case in cases()) {
        let snapshot = Snapshot::new(&case.inventory, None);
        let Err(refusal) = decide(&snapshot, &case.request) else {
            return Ok(());
        };
        let fits = |kept: &[Need]| decide(&snapshot, &only(&case.request, kept)).is_ok();
        prop_assert_eq!(fits(&[]), !refusal.conflict.is_empty(), "{}", refusal);
        prop_assert!(!fits(&refusal.conflict));
        for left_out in 0..refusal.conflict.len() {
            let mut rest = refusal.conflict.clone();
            rest.remove(left_out);
            prop_assert!(fits(&rest), "{} is not needed: {}", refusal.conflict[left_out], refusal);
        }
    }
}

/// The request with these needs and no others.
fn only(request: &Request, kept: &[Need]) -> Request {
    let mut request = request.clone();
    for component in &mut request.components {
        let own = |requirement| {
            let workload = component.workload.clone();
            kept.contains(&Need {
                workload,
                requirement,
            })
        };
        if !own(Requirement::UserLatency)
            && let Some(access) = &mut component.user_access
        {
            access.latency_max_micros = None;
        }
        for index in 0..component.demands.len() {
            let to = component.demands[index].to.clone();
            let workload = component.workload.clone();
            let need = Need {
                workload,
                requirement: Requirement::NeighbourLatency(to),
            };
            if !kept.contains(&need) {
                component.demands[index].latency_max_micros = None;
            }
        }
    }
    request
}
