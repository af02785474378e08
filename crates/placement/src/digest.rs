//! Digests of inputs, the same in every process.

use api::short_hash;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A SHA-256 over a value's JSON.
pub(crate) struct Digest;

impl Digest {
    pub fn of(value: &impl Serialize) -> String {
        let mut hasher = Sha256::new();
        serde_json::to_writer(&mut hasher, value).expect("inputs have string keys");
        format!("sha256:{:x}", hasher.finalize())
    }
}

/// A number that stands for a name.
pub(crate) fn name_hash(name: &str) -> u64 {
    short_hash(&[name])
}

/// Mixes a seed into a name's number (the finaliser of SplitMix64): another seed gives another order.
pub(crate) fn mix(tie: u64, seed: u32) -> u64 {
    let mut z = tie ^ u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
