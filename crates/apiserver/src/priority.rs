//! Which of the versions of a group is the best: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then all other names by the alphabet.
//!
//! The rule of `k8s.io/apimachinery/pkg/version`; clients take the first version that discovery lists.

use std::cmp::Reverse;

/// The order of a version: the best one first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority<'a> {
    /// How stable it is, and its numbers.
    Known(Stability, Reverse<u64>, Reverse<u64>),
    /// A name that says nothing.
    Other(&'a str),
}

/// How far clients may rely on a version.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stability {
    Stable,
    Beta,
    Alpha,
}

impl<'a> Priority<'a> {
    /// That of a version of this name.
    pub(crate) fn of(name: &'a str) -> Self {
        known(name).unwrap_or(Self::Other(name))
    }
}

fn known(name: &str) -> Option<Priority<'_>> {
    let rest = name.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (major, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let (stability, minor) = match rest {
        "" => (Stability::Stable, 0),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (Stability::Beta, number(minor)?),
            (None, Some(minor)) => (Stability::Alpha, number(minor)?),
            (None, None) => return None,
        },
    };
    Some(Priority::Known(
        stability,
        Reverse(number(major)?),
        Reverse(minor),
    ))
}

/// A number that is not zero and is written in one way.
fn number(text: &str) -> Option<u64> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first_and_names_last() {
        let best_first = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
            "v01",
            "v1gamma1",
        ];
        let mut mixed = best_first;
        mixed.reverse();
        mixed.sort_by(|one, other| Priority::of(one).cmp(&Priority::of(other)));
        assert_eq!(mixed, best_first);
    }
}
