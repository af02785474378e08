//! The Linux capabilities that a container may keep, and nothing beyond.

use api::{Error, ErrorKind};
use rustix::thread::CapabilitySet;

/// What may be asked for. `CAP_MKNOD`, `CAP_SYS_ADMIN` and whatever else leads out of a container are not here.
const ALLOWED: [(&str, CapabilitySet); 8] = [
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("CAP_CHOWN", CapabilitySet::CHOWN),
    ("CAP_SETUID", CapabilitySet::SETUID),
    ("CAP_SETGID", CapabilitySet::SETGID),
    ("CAP_KILL", CapabilitySet::KILL),
    ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
];

/// The set of these names; one that is not allowed is refused by name.
pub(crate) fn set(names: &[String]) -> Result<CapabilitySet, Error> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let allowed = ALLOWED.iter().find(|(known, _)| known == name);
        let (_, capability) = allowed.ok_or_else(|| {
            let known: Vec<&str> = ALLOWED.iter().map(|(known, _)| *known).collect();
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "execution.capabilities: {name} is not allowed; allowed are {}",
                    known.join(", ")
                ),
            )
        })?;
        set |= *capability;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_can_be_kept() {
        let kept = set(&["CAP_KILL".into(), "CAP_CHOWN".into()]).expect("both are allowed");
        assert_eq!(kept, CapabilitySet::KILL | CapabilitySet::CHOWN);
        for name in ["CAP_SYS_ADMIN", "CAP_MKNOD", "cap_kill", "ALL"] {
            let error = set(&[name.into()]).expect_err(name);
            assert!(error.what.contains(name), "{error}");
        }
    }
}
