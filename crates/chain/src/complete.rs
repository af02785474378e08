//! Whether the rest of a way is applied: followed through what the routers that can be seen reported, never through
//! what they were told.
//!
//! Each step must lead to a later place (back: to an earlier one), so following it ends, and a way that still has an
//! older order of functions does not count.

use std::net::Ipv6Addr;

use api::tcm::TrafficMatch;

use crate::course::{Candidate, Course, Next, Return, Segment};
use crate::observed::Observed;

impl Course<'_> {
    /// Whether what is sent forward to a candidate reaches the end, and whether replies from there come back.
    pub fn is_complete(&self, observed: &Observed<'_>, place: usize, one: &Candidate<'_>) -> bool {
        if !one
            .forward
            .as_ref()
            .is_some_and(|segment| applied(observed, segment))
        {
            return false;
        }
        if place + 1 == self.places.len() {
            return self
                .returns
                .iter()
                .all(|reply| self.answers(observed, place, one, reply));
        }
        let matching = self.matches_forward(place);
        match self.sent_to(observed, one, one.sends_forward.as_deref(), &matching) {
            Some((next, one)) if next > place => self.is_complete(observed, next, one),
            _ => false,
        }
    }

    /// Whether what is sent back to a candidate reaches those who are replied to.
    pub fn is_complete_back(
        &self,
        observed: &Observed<'_>,
        place: usize,
        one: &Candidate<'_>,
        reply: &Return<'_>,
    ) -> bool {
        let arrives = one
            .reverse
            .as_ref()
            .is_some_and(|segment| applied(observed, segment));
        arrives && (place == 0 || self.sends_back(observed, place, one, reply))
    }

    /// Whether a tunnel to this next stop leads all the way.
    pub fn leads(
        &self,
        observed: &Observed<'_>,
        next: &Next<'_, '_>,
        reply: Option<&Return<'_>>,
    ) -> bool {
        match (next, reply) {
            (Next::Candidate(place, one), None) => self.is_complete(observed, *place, one),
            (Next::Candidate(place, one), Some(reply)) => {
                self.is_complete_back(observed, *place, one, reply)
            }
            (Next::Entry(entry), _) => applied(observed, &entry.segment),
        }
    }

    /// Whether a candidate has its whole way, in both directions.
    pub fn is_ready(&self, observed: &Observed<'_>, place: usize, one: &Candidate<'_>) -> bool {
        let forward = one.forward.is_none() || self.is_complete(observed, place, one);
        let mut returns = self
            .returns
            .iter()
            .filter(|reply| is_there(observed, reply));
        let back = one.reverse.is_none()
            || returns.all(|reply| self.is_complete_back(observed, place, one, reply));
        forward && back
    }

    /// Whether replies of the end come back; nobody waits for a port of users that is not there itself.
    fn answers(
        &self,
        observed: &Observed<'_>,
        place: usize,
        one: &Candidate<'_>,
        reply: &Return<'_>,
    ) -> bool {
        !is_there(observed, reply) || self.sends_back(observed, place, one, reply)
    }

    fn sends_back(
        &self,
        observed: &Observed<'_>,
        place: usize,
        one: &Candidate<'_>,
        reply: &Return<'_>,
    ) -> bool {
        let matching = matches_back(reply);
        let Some(sid) = sent(observed, one, one.sends_back.as_deref(), &matching) else {
            return false;
        };
        if let Some(entry) = &reply.entry
            && entry.segment.local.sid == sid
        {
            return applied(observed, &entry.segment);
        }
        match self.at(sid) {
            Some((next, one)) if next < place => self.is_complete_back(observed, next, one, reply),
            _ => false,
        }
    }

    fn sent_to(
        &self,
        observed: &Observed<'_>,
        one: &Candidate<'_>,
        interface: Option<&str>,
        matching: &TrafficMatch,
    ) -> Option<(usize, &Candidate<'_>)> {
        self.at(sent(observed, one, interface, matching)?)
    }
}

/// What is matched of what is sent back.
pub(crate) fn matches_back(reply: &Return<'_>) -> TrafficMatch {
    TrafficMatch {
        destination: reply.prefix,
        classifier: Vec::new(),
    }
}

/// Whether a segment is there for new traffic.
pub(crate) fn applied(observed: &Observed<'_>, segment: &Segment<'_>) -> bool {
    observed.is_applied(&segment.local)
}

fn is_there(observed: &Observed<'_>, reply: &Return<'_>) -> bool {
    reply
        .entry
        .as_ref()
        .is_none_or(|entry| applied(observed, &entry.segment))
}

fn sent(
    observed: &Observed<'_>,
    one: &Candidate<'_>,
    interface: Option<&str>,
    matching: &TrafficMatch,
) -> Option<Ipv6Addr> {
    observed.sends(&one.instance.host, interface?, matching)
}
