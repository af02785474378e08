//! Judges what clients of a server were told: whether nothing acknowledged was lost, and whether there is one order of
//! all that happened that agrees with what everybody saw and when (linearizability).
//!
//! The order is given: every write has a revision. What is left to find is a moment for each answer. A write has one; a
//! read may be at any moment at which what it saw was there. Answers that ended before another request began come before
//! it, so each takes the earliest moment that is left to it, and only if there is none is the history wrong.

use std::collections::{BTreeMap, HashMap};

/// One state of one object, as watches told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision of the write.
    pub revision: u64,
    /// The object.
    pub key: String,
    /// Its uid.
    pub uid: String,
    /// What it says since then; `None` if it is gone.
    pub value: Option<String>,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was sent, in microseconds.
    pub sent: u64,
    /// When it was answered; `None` if it never was.
    pub answered: Option<u64>,
    /// The object.
    pub key: String,
    /// What it wanted to write, if anything.
    pub wanted: Option<String>,
    /// What was answered.
    pub answer: Answer,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It says nothing of what is there, or it never came.
    Nothing,
    /// Nothing was written.
    Refused,
    /// The object says what was wanted, as of that revision.
    Written(u64),
    /// The object with that uid is gone.
    Removed(String),
    /// The object is of that revision; `None` if there was none.
    Found(Option<u64>),
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Reads.
    pub reads: usize,
    /// Writes that were not answered and happened.
    pub unanswered: usize,
}

/// What is wrong with a history of all versions and what clients were told.
///
/// # Errors
/// With the first contradiction.
pub fn judge(versions: &[Version], told: &[Told]) -> Result<Judged, String> {
    let versions = Versions::of(versions)?;
    let mut judged = Judged::default();
    let mut moments = Vec::new();
    for told in told {
        if let Some(moment) = versions.moment(told, &mut judged)? {
            moments.push((told, moment));
        }
    }
    versions.explained(told)?;
    in_one_order(&versions, moments).map(|()| judged)
}

/// All versions of all objects.
struct Versions<'a> {
    by_key: HashMap<&'a str, BTreeMap<u64, &'a Version>>,
    by_value: HashMap<&'a str, &'a Version>,
    removals: HashMap<&'a str, &'a Version>,
}

/// When an answer may have been true.
enum Moment<'a> {
    /// At that revision.
    At(u64),
    /// While the object was of that revision, or while there was none.
    While(&'a str, Option<u64>),
}

impl<'a> Versions<'a> {
    fn of(versions: &'a [Version]) -> Result<Self, String> {
        let mut this = Self {
            by_key: HashMap::new(),
            by_value: HashMap::new(),
            removals: HashMap::new(),
        };
        let mut last = 0;
        for version in versions {
            if version.revision <= last {
                return Err(format!("{version:?} was told of after revision {last}"));
            }
            last = version.revision;
            let of_key = this.by_key.entry(&version.key).or_default();
            of_key.insert(version.revision, version);
            let twice = match &version.value {
                Some(value) => this.by_value.insert(value, version),
                None => this.removals.insert(&version.uid, version),
            };
            if let Some(first) = twice {
                return Err(format!("{first:?} happened again as {version:?}"));
            }
        }
        Ok(this)
    }

    /// When the answer may have been true; `None` if it says nothing.
    fn moment(&self, told: &'a Told, judged: &mut Judged) -> Result<Option<Moment<'a>>, String> {
        match &told.answer {
            Answer::Written(revision) => {
                judged.acknowledged += 1;
                let there = self.by_key.get(told.key.as_str());
                let version = there.and_then(|there| there.get(revision));
                match version.is_some_and(|version| version.value == told.wanted) {
                    true => Ok(Some(Moment::At(*revision))),
                    false => Err(format!("{told:?} was acknowledged and lost")),
                }
            }
            Answer::Removed(uid) => {
                judged.acknowledged += 1;
                let version = self.removals.get(uid.as_str());
                let version = version.ok_or_else(|| format!("{told:?} was acknowledged and lost"));
                version.map(|version| Some(Moment::At(version.revision)))
            }
            Answer::Found(revision) => {
                judged.reads += 1;
                Ok(Some(Moment::While(&told.key, *revision)))
            }
            Answer::Refused => {
                let wanted = told.wanted.as_deref();
                match wanted.is_some_and(|wanted| self.by_value.contains_key(wanted)) {
                    true => Err(format!("{told:?} was refused and happened")),
                    false => Ok(None),
                }
            }
            Answer::Nothing => {
                let wanted = told.wanted.as_deref().filter(|_| told.answered.is_none());
                let version = wanted.and_then(|wanted| self.by_value.get(wanted));
                judged.unanswered += usize::from(version.is_some());
                Ok(version.map(|version| Moment::At(version.revision)))
            }
        }
    }

    /// Whether somebody wanted every value that there ever was.
    fn explained(&self, told: &[Told]) -> Result<(), String> {
        let mut unknown = self.by_value.clone();
        for wanted in told.iter().filter_map(|told| told.wanted.as_deref()) {
            unknown.remove(wanted);
        }
        match unknown.values().next() {
            Some(version) => Err(format!("nobody wrote {version:?}")),
            None => Ok(()),
        }
    }

    /// The earliest revision from `from` on at which that was true.
    fn earliest(&self, moment: &Moment<'_>, from: u64) -> Option<u64> {
        let (key, found) = match *moment {
            Moment::At(revision) => return (revision >= from).then_some(revision),
            Moment::While(key, found) => (key, found),
        };
        let nothing = BTreeMap::new();
        let versions = self.by_key.get(key).unwrap_or(&nothing);
        let Some(revision) = found else {
            let before = versions.range(..=from).next_back();
            if before.is_none_or(|(_, version)| version.value.is_none()) {
                return Some(from);
            }
            let removed = versions.range(from..).find(|(_, it)| it.value.is_none());
            return removed.map(|(revision, _)| *revision);
        };
        let version = versions.get(&revision)?;
        version.value.as_ref()?;
        let next = versions.range(revision + 1..).next();
        let ends = next.map_or(u64::MAX, |(next, _)| *next);
        let earliest = revision.max(from);
        (earliest < ends).then_some(earliest)
    }
}

/// Finds a moment for each answer that is not before that of any answer that had ended when it was asked.
fn in_one_order(versions: &Versions<'_>, moments: Vec<(&Told, Moment<'_>)>) -> Result<(), String> {
    let mut asked = moments;
    asked.sort_by_key(|(told, _)| told.sent);
    // By when they ended, what has ended, and when it was.
    let mut ended: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    let mut from = 0;
    for (n, (told, moment)) in asked.iter().enumerate() {
        let later = ended.split_off(&(told.sent, 0));
        from = ended.into_values().fold(from, u64::max);
        ended = later;
        let at = versions.earliest(moment, from);
        let at = at.ok_or_else(|| {
            format!(
                "{told:?} says what was not so any more at revision {from}, which had been seen"
            )
        })?;
        if let Some(answered) = told.answered {
            ended.insert((answered, n), at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(revision: u64, value: Option<&str>) -> Version {
        Version {
            revision,
            key: "a".to_owned(),
            uid: format!("uid-{}", revision / 10),
            value: value.map(str::to_owned),
        }
    }

    fn told(sent: u64, answered: u64, wanted: &str, answer: Answer) -> Told {
        Told {
            sent,
            answered: (answered > 0).then_some(answered),
            key: "a".to_owned(),
            wanted: (!wanted.is_empty()).then(|| wanted.to_owned()),
            answer,
        }
    }

    /// Created as x, changed to y, gone, created as z.
    fn versions() -> Vec<Version> {
        vec![
            version(10, Some("x")),
            version(11, Some("y")),
            version(12, None),
            version(20, Some("z")),
        ]
    }

    fn writes() -> Vec<Told> {
        vec![
            told(1, 2, "x", Answer::Written(10)),
            told(3, 9, "y", Answer::Written(11)),
            told(10, 11, "", Answer::Removed("uid-1".to_owned())),
            told(12, 0, "z", Answer::Nothing),
        ]
    }

    fn check(more: Vec<Told>, expected: &str) {
        let told: Vec<Told> = writes().into_iter().chain(more).collect();
        let found = judge(&versions(), &told).err().unwrap_or_default();
        assert!(found.contains(expected), "{expected:?}: {found:?}");
        assert_eq!(expected.is_empty(), found.is_empty(), "{found}");
    }

    #[test]
    fn what_can_be_put_in_one_order_is_right() {
        let right = [
            told(0, 1, "", Answer::Found(None)),
            // While y is written, either is right, and in this order.
            told(4, 5, "", Answer::Found(Some(10))),
            told(6, 7, "", Answer::Found(Some(11))),
            told(12, 13, "", Answer::Found(None)),
            // What was never answered may happen late.
            told(50, 51, "", Answer::Found(None)),
            told(52, 53, "", Answer::Found(Some(20))),
            told(60, 0, "never", Answer::Nothing),
        ];
        check(right.to_vec(), "");
        let judged = judge(&versions(), &writes());
        let expected = Judged {
            acknowledged: 3,
            reads: 0,
            unanswered: 1,
        };
        assert_eq!(judged, Ok(expected));
    }

    #[test]
    fn what_cannot_is_wrong() {
        let old = told(10, 11, "", Answer::Found(Some(10)));
        check(vec![old], "says what was not so any more");
        let new = told(4, 5, "", Answer::Found(Some(11)));
        let old = told(6, 7, "", Answer::Found(Some(10)));
        check(vec![new, old], "says what was not so any more");
        let gone = told(10, 12, "", Answer::Found(None));
        let back = told(13, 14, "", Answer::Found(Some(11)));
        check(vec![gone, back], "says what was not so any more");
        let unseen = told(4, 5, "", Answer::Found(None));
        check(vec![unseen], "");
        let seen = told(5, 6, "", Answer::Found(Some(10)));
        let unseen = told(7, 8, "", Answer::Found(None));
        let later = told(9, 10, "", Answer::Found(Some(11)));
        check(vec![seen, unseen, later], "says what was not so any more");
    }

    #[test]
    fn what_was_lost_or_made_up_is_wrong() {
        let lost = told(30, 31, "w", Answer::Written(30));
        check(vec![lost], "was acknowledged and lost");
        let other = told(30, 31, "w", Answer::Written(11));
        check(vec![other], "was acknowledged and lost");
        let still_there = told(30, 31, "", Answer::Removed("uid-2".to_owned()));
        check(vec![still_there], "was acknowledged and lost");
        let refused = told(12, 13, "z", Answer::Refused);
        check(vec![refused], "was refused and happened");
        let mut told = writes();
        told.pop();
        let found = judge(&versions(), &told).expect_err("z came from nowhere");
        assert!(found.contains("nobody wrote"), "{found}");
        let mut versions = versions();
        versions.swap(1, 2);
        let found = judge(&versions, &writes()).expect_err("the order is wrong");
        assert!(found.contains("was told of after revision 12"), "{found}");
        versions.push(version(30, Some("x")));
        versions.swap(1, 2);
        let found = judge(&versions, &writes()).expect_err("x happened twice");
        assert!(found.contains("happened again"), "{found}");
    }
}
