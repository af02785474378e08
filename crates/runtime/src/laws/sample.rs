//! Which faults are tried: all of them, or some that a seed picks.

#![allow(
    clippy::disallowed_methods,
    reason = "the sample is chosen by the environment of the test"
)]

use std::env;
use std::path::PathBuf;

/// How many faults a proof tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// So many, picked by the seed in `GROMA_SEED`, or by 1.
    Seeded(usize),
    /// All.
    All,
}

/// The cluster on which lives are lived in real time, instead of in memory: the kubeconfig in `GROMA_LAWS_ON`.
pub(super) fn cluster() -> Option<PathBuf> {
    env::var_os("GROMA_LAWS_ON").map(PathBuf::from)
}

/// The seed in `GROMA_SEED`, or 1.
pub(super) fn seed() -> u64 {
    let given = env::var("GROMA_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// The seed and the items that it picks, in their order.
pub(super) fn pick<T: Clone>(sample: Sample, all: &[T]) -> (u64, Vec<T>) {
    let seed = seed();
    let wants_all = env::var("GROMA_LAWS").is_ok_and(|value| value == "all");
    match sample {
        Sample::Seeded(n) if !wants_all && n < all.len() => (seed, some(seed, n, all)),
        _ => (seed, all.to_vec()),
    }
}

fn some<T: Clone>(seed: u64, n: usize, all: &[T]) -> Vec<T> {
    let mut state = seed;
    let mut left = n;
    let mut picked = Vec::with_capacity(n);
    // Selection sampling (Knuth, TAOCP 2, 3.4.2 S): each item with the odds that still fill the sample.
    for (at, item) in all.iter().enumerate() {
        if below(&mut state, all.len() - at) < left {
            picked.push(item.clone());
            left -= 1;
        }
    }
    picked
}

/// A number below `n`.
pub(super) fn below(state: &mut u64, n: usize) -> usize {
    let n = u64::try_from(n).expect("a length fits in 64 bits");
    usize::try_from(next(state) % n).expect("it is smaller than a length")
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_size_and_depends_on_the_seed_alone() {
        let all: Vec<usize> = (0..1000).collect();
        assert_eq!(some(7, 50, &all).len(), 50);
        assert_eq!(some(7, 50, &all), some(7, 50, &all));
        assert_ne!(some(7, 50, &all), some(8, 50, &all));
    }
}
