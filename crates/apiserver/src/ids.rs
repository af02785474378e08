//! Uids and generated names: unique, and repeatable from a seed when a test wants that.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// The letters of generated names: those of Kubernetes, which spell no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them follow `generateName`.
const SUFFIX_CHARS: usize = 5;

/// A source of identifiers.
pub(crate) struct Ids {
    seed: [u8; 16],
    drawn: AtomicU64,
}

impl Ids {
    /// Different in every process.
    pub(crate) fn random() -> Self {
        let draw = || RandomState::new().build_hasher().finish().to_le_bytes();
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&draw());
        seed[8..].copy_from_slice(&draw());
        Self {
            seed,
            drawn: AtomicU64::new(0),
        }
    }

    /// The same in every run.
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            seed: bytes,
            drawn: AtomicU64::new(0),
        }
    }

    /// A uid in the form of a random UUID (RFC 9562 §5.4).
    pub(crate) fn uid(&self) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.draw()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = |range: std::ops::Range<usize>| {
            bytes[range]
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        };
        format!(
            "{}-{}-{}-{}-{}",
            hex(0..4),
            hex(4..6),
            hex(6..8),
            hex(8..10),
            hex(10..16)
        )
    }

    /// What follows `generateName`.
    pub(crate) fn suffix(&self) -> String {
        let drawn = self.draw();
        let letters = drawn
            .iter()
            .take(SUFFIX_CHARS)
            .map(|b| LETTERS[usize::from(*b) % LETTERS.len()]);
        letters.map(char::from).collect()
    }

    fn draw(&self) -> [u8; 32] {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        Sha256::new()
            .chain_update(self.seed)
            .chain_update(n.to_le_bytes())
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn uids_are_unique_and_repeatable() {
        let draw = |ids: Ids| (0..1000).map(|_| ids.uid()).collect::<Vec<_>>();
        let uids = draw(Ids::seeded(7));
        assert_eq!(uids, draw(Ids::seeded(7)));
        assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert_ne!(uids, draw(Ids::seeded(8)));
        assert_ne!(draw(Ids::random()), draw(Ids::random()));
        assert_eq!(uids[0].len(), 36);
        assert_eq!(&uids[0][14..15], "4");
    }

    #[test]
    fn suffixes_are_short_names() {
        let suffix = Ids::seeded(1).suffix();
        assert_eq!(suffix.len(), SUFFIX_CHARS);
        crate::names::check_dns_label(&suffix).expect("it may end a name");
    }
}
