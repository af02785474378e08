//! A chain with all that may take part in it: the places in order, the instances that may stand at each, and which one
//! is chosen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use api::Ipv6Prefix;
use api::tcm::{
    ChainEnd, Classifier, Direction, FailPolicy, LocalSid, SidTarget, TrafficMatch, UserPort,
};
use api::tcrr::DatapathCapability;
use api::wdm::{InterfaceRole, Serving};

use crate::observed::Observed;
use crate::sid;
use crate::world::{Chain, Host, Instance, Key, World};

/// A chain that is served.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    pub key: &'a Key,
    pub chain: &'a Chain,
    /// The service address that it leads to.
    pub destination: Ipv6Prefix,
    /// Where replies go; one for each port of users, or one for the workload that starts it.
    pub returns: Vec<Return<'a>>,
    /// The places in order: the start (without candidates where users start it), the functions, the end.
    pub places: Vec<Place<'a>>,
    /// Which candidate a segment belongs to: its place, and its number there.
    points: BTreeMap<Ipv6Addr, (usize, usize)>,
}

/// Where replies go.
#[derive(Clone, Debug)]
pub(crate) struct Return<'a> {
    pub prefix: Ipv6Prefix,
    /// The port of users, if users start the chain.
    pub entry: Option<Entry<'a>>,
}

/// A port of users at which a chain starts.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub host: &'a Host,
    pub port: &'a UserPort,
    pub segment: Segment<'a>,
}

/// A segment and the host where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub host: &'a str,
    pub local: LocalSid,
}

/// One place of a chain.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub workload: &'a str,
    pub candidates: Vec<Candidate<'a>>,
    /// The number of the candidate that traffic is sent to, if any can serve.
    pub chosen: Option<usize>,
}

/// An instance that may stand at a place.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub key: &'a Key,
    pub instance: &'a Instance,
    /// Where traffic of a direction arrives; not at the start (forward) and not at the end (back).
    pub forward: Option<Segment<'a>>,
    pub reverse: Option<Segment<'a>>,
    /// The interface at which it sends on forward; not at the end.
    pub sends_forward: Option<String>,
    /// The interface at which it sends back; not at the start.
    pub sends_back: Option<String>,
    /// What its host's kernel lacks to take part.
    pub lacks: Option<&'static str>,
}

/// Where the next tunnel leads.
#[derive(Debug)]
pub(crate) enum Next<'c, 'a> {
    Candidate(usize, &'c Candidate<'a>),
    Entry(&'c Entry<'a>),
}

/// How well an instance can serve, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    Draining,
    Active,
}

impl<'a> Course<'a> {
    /// Looks up who may take part; nobody is chosen yet.
    pub fn new(world: &'a World, key: &'a Key, chain: &'a Chain, network: Ipv6Prefix) -> Self {
        let address = |workload: &str| {
            Ipv6Prefix::host(api::service_address(network, &key.namespace, workload))
        };
        let finder = Finder { world, key };
        let to = chain.spec.to.name();
        let (returns, start) = match &chain.spec.from {
            ChainEnd::Users { .. } => (finder.entries(chain), Place::empty()),
            ChainEnd::Workload { name } => {
                let reply = Return {
                    prefix: address(name.name()),
                    entry: None,
                };
                (
                    vec![reply],
                    finder.start(chain, name.name(), address(name.name())),
                )
            }
        };
        let mut places = vec![start];
        let functions = chain.spec.functions.iter();
        places.extend(functions.map(|function| finder.function(function.name())));
        places.push(finder.end(to, address(to)));
        Self {
            key,
            chain,
            destination: address(to),
            returns,
            points: points(&places),
            places,
        }
    }

    /// All segments of the chain.
    pub fn segments(&self) -> impl Iterator<Item = &Segment<'a>> {
        let entries = self.returns.iter().filter_map(|reply| reply.entry.as_ref());
        let candidates = self.places.iter().flat_map(|place| &place.candidates);
        let sides = candidates.flat_map(|one| one.forward.iter().chain(&one.reverse));
        entries.map(|entry| &entry.segment).chain(sides)
    }

    /// The candidate that a segment belongs to, and its place.
    pub fn at(&self, sid: Ipv6Addr) -> Option<(usize, &Candidate<'a>)> {
        let (place, number) = *self.points.get(&sid)?;
        Some((place, &self.places[place].candidates[number]))
    }

    /// What is matched of what is sent forward from a place: only the start tells traffic apart.
    pub fn matches_forward(&self, place: usize) -> TrafficMatch {
        let classifier = if place == 0 {
            self.chain.spec.classifier.clone()
        } else {
            Vec::<Classifier>::new()
        };
        TrafficMatch {
            destination: self.destination,
            classifier,
        }
    }

    /// Whether users start the chain.
    pub fn starts_with_users(&self) -> bool {
        matches!(self.chain.spec.from, ChainEnd::Users { .. })
    }

    /// Where traffic goes forward from a place; none while what comes next is missing and must not be passed around.
    pub fn next(&self, place: usize) -> Option<Next<'_, 'a>> {
        (place + 1..self.places.len())
            .map(|next| (next, self.chosen(next)))
            .find(|(next, chosen)| chosen.is_some() || !self.may_bypass(*next))
            .and_then(|(next, chosen)| Some(Next::Candidate(next, chosen?)))
    }

    /// Where replies go back from a place.
    pub fn next_back<'c>(&'c self, place: usize, reply: &'c Return<'a>) -> Option<Next<'c, 'a>> {
        let found = (0..place)
            .rev()
            .map(|next| (next, self.chosen(next)))
            .find(|(next, chosen)| chosen.is_some() || !self.may_bypass(*next))?;
        match (found, &reply.entry) {
            ((_, Some(chosen)), _) => Some(Next::Candidate(found.0, chosen)),
            ((0, None), Some(entry)) => Some(Next::Entry(entry)),
            _ => None,
        }
    }

    /// The candidate of a place that traffic is sent to.
    pub fn chosen(&self, place: usize) -> Option<&Candidate<'a>> {
        let place = &self.places[place];
        place.chosen.map(|number| &place.candidates[number])
    }

    /// Whether a place is a function that may be passed around.
    pub fn may_bypass(&self, place: usize) -> bool {
        let function = place > 0 && place + 1 < self.places.len();
        function && self.chain.spec.fail_policy == FailPolicy::Bypass
    }

    /// Chooses one instance for each place: the best, then the one that is steered to already, then one that has its
    /// whole way, then the first by name. Every host that sees the same chooses the same.
    pub fn choose(&mut self, observed: &Observed<'_>) {
        for place in 0..self.places.len() {
            let candidates = self.places[place].candidates.iter().enumerate();
            let fit = candidates.filter_map(|(number, one)| Some((number, one, one.quality()?)));
            self.places[place].chosen = fit
                .max_by_key(|(number, one, quality)| {
                    let told = one.n_told(observed);
                    let ready = self.is_ready(observed, place, one);
                    (*quality, told, ready, Reverse(*number))
                })
                .map(|(number, ..)| number);
        }
    }
}

impl<'a> Place<'a> {
    fn empty() -> Self {
        Self {
            workload: "",
            candidates: Vec::new(),
            chosen: None,
        }
    }
}

impl Candidate<'_> {
    /// How well it can serve; none if it cannot.
    fn quality(&self) -> Option<Quality> {
        let fit = self.instance.available && self.lacks.is_none();
        fit.then_some(match self.instance.serving {
            Serving::Active => Quality::Active,
            Serving::Draining => Quality::Draining,
        })
    }

    /// How often routers were told to send to it. The start is sent to by replies only.
    fn n_told(&self, observed: &Observed<'_>) -> usize {
        let segment = self.forward.as_ref().or(self.reverse.as_ref());
        segment.map_or(0, |segment| observed.n_told(segment.local.sid))
    }
}

/// What a kernel lacks to end and to start tunnels.
pub(crate) fn lacks(host: &Host) -> Option<&'static str> {
    let needs = [
        (DatapathCapability::EndDt6, "End.DT6"),
        (DatapathCapability::HEncaps, "H.Encaps"),
    ];
    let missing = needs.into_iter().find(|(needed, _)| !host.can(*needed));
    missing.map(|(_, name)| name)
}

/// What a kernel lacks to tell traffic apart where a chain starts.
pub(crate) fn lacks_at_start(host: &Host, chain: &Chain) -> Option<&'static str> {
    let classifies = !chain.spec.classifier.is_empty();
    let unable = classifies && !host.can(DatapathCapability::Nftables);
    lacks(host).or_else(|| unable.then_some("nftables"))
}

/// Finds who may take part in one chain.
#[derive(Clone, Copy)]
struct Finder<'a> {
    world: &'a World,
    key: &'a Key,
}

impl<'a> Finder<'a> {
    fn entries(self, chain: &Chain) -> Vec<Return<'a>> {
        let ChainEnd::Users { sites } = &chain.spec.from else {
            return Vec::new();
        };
        let at_sites = |host: &Host| sites.iter().any(|site| site.name() == host.site);
        let hosts = self.world.hosts.iter();
        let hosts =
            hosts.filter(|(_, host)| at_sites(host) && lacks_at_start(host, chain).is_none());
        hosts
            .flat_map(|(name, host)| host.user_ports.iter().map(move |port| (name, host, port)))
            .map(|(name, host, port)| Return {
                prefix: port.prefix,
                entry: Some(Entry {
                    host,
                    port,
                    segment: self.port_segment(name, host, port),
                }),
            })
            .collect()
    }

    fn start(self, chain: &Chain, workload: &'a str, address: Ipv6Prefix) -> Place<'a> {
        self.place(workload, |found| {
            let end = found.end(address)?;
            Some(Candidate {
                reverse: Some(found.segment("end", &end, Direction::Reverse)),
                sends_forward: Some(end),
                lacks: lacks_at_start(found.host, chain),
                ..found.candidate()
            })
        })
    }

    fn function(self, workload: &'a str) -> Place<'a> {
        self.place(workload, |found| {
            let left = found.instance.interface(found.key, InterfaceRole::Left)?;
            let right = found.instance.interface(found.key, InterfaceRole::Right)?;
            Some(Candidate {
                forward: Some(found.segment("left", &left, Direction::Forward)),
                reverse: Some(found.segment("right", &right, Direction::Reverse)),
                sends_forward: Some(right),
                sends_back: Some(left),
                ..found.candidate()
            })
        })
    }

    fn end(self, workload: &'a str, address: Ipv6Prefix) -> Place<'a> {
        self.place(workload, |found| {
            let end = found.end(address)?;
            Some(Candidate {
                forward: Some(found.segment("end", &end, Direction::Forward)),
                sends_back: Some(end),
                ..found.candidate()
            })
        })
    }

    fn place(
        self,
        workload: &'a str,
        candidate: impl Fn(Found<'a>) -> Option<Candidate<'a>>,
    ) -> Place<'a> {
        let instances = self.world.instances.iter().filter(|(key, instance)| {
            key.namespace == self.key.namespace && instance.workload == workload
        });
        let found = instances.filter_map(|(key, instance)| {
            let host = self.world.hosts.get(&instance.host)?;
            Some(Found {
                chain: self.key,
                key,
                instance,
                host,
            })
        });
        Place {
            workload,
            candidates: found.filter_map(candidate).collect(),
            chosen: None,
        }
    }

    fn port_segment(self, name: &'a str, host: &Host, port: &UserPort) -> Segment<'a> {
        let interface = port.interface.clone();
        Segment {
            host: name,
            local: LocalSid {
                sid: sid::of_port(host.locator, self.key, &interface),
                target: SidTarget::UserPort { interface },
                chain: self.key.to_string(),
                direction: Direction::Reverse,
            },
        }
    }
}

/// An instance of the right workload on a host that is known.
#[derive(Clone, Copy)]
struct Found<'a> {
    chain: &'a Key,
    key: &'a Key,
    instance: &'a Instance,
    host: &'a Host,
}

impl<'a> Found<'a> {
    fn candidate(self) -> Candidate<'a> {
        Candidate {
            key: self.key,
            instance: self.instance,
            forward: None,
            reverse: None,
            sends_forward: None,
            sends_back: None,
            lacks: lacks(self.host),
        }
    }

    /// The interface of an end, if it carries the service address.
    fn end(self, address: Ipv6Prefix) -> Option<String> {
        let mut interfaces = self.instance.interfaces.iter();
        let carries = interfaces.any(|interface| {
            interface.role == InterfaceRole::End && interface.address == Some(address.address())
        });
        carries
            .then(|| self.instance.interface(self.key, InterfaceRole::End))
            .flatten()
    }

    fn segment(self, side: &str, interface: &str, direction: Direction) -> Segment<'a> {
        let target = SidTarget::Attachment {
            interface: interface.to_owned(),
        };
        Segment {
            host: &self.instance.host,
            local: LocalSid {
                sid: sid::of_instance(self.host.locator, self.chain, &self.key.name, side),
                target,
                chain: self.chain.to_string(),
                direction,
            },
        }
    }
}

fn points(places: &[Place<'_>]) -> BTreeMap<Ipv6Addr, (usize, usize)> {
    let mut points = BTreeMap::new();
    for (place, at) in places.iter().enumerate() {
        for (number, candidate) in at.candidates.iter().enumerate() {
            for segment in candidate.forward.iter().chain(&candidate.reverse) {
                points.insert(segment.local.sid, (place, number));
            }
        }
    }
    points
}
