//! How many connections each address has, so that one client cannot take them all.
//!
//! Addresses of IPv6 count by the network that one site is given. Whoever is on this machine is not counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one address at a time; further ones are closed at once.
pub const ADDRESS_CONNECTIONS_MAX: usize = 4_096;
/// Bits of an IPv6 address that tell sites apart (RFC 6177).
const SITE_BITS: u32 = 64;

/// Who is there.
#[derive(Clone, Default)]
pub(super) struct Addresses(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A connection that counts while it lives.
pub(super) struct Guest {
    addresses: Addresses,
    address: Option<IpAddr>,
}

impl Addresses {
    /// `None` if there are too many from there.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Option<Guest> {
        let address = address.filter(|it| !it.is_loopback()).map(site);
        if let Some(address) = address {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let there = all.entry(address).or_default();
            if *there >= ADDRESS_CONNECTIONS_MAX {
                return None;
            }
            *there += 1;
        }
        let addresses = self.clone();
        Some(Guest { addresses, address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut all = self
            .addresses
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get_mut(&address) {
            *there -= 1;
            if *there == 0 {
                all.remove(&address);
            }
        }
    }
}

fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => {
            let mask = u128::MAX << (128 - SITE_BITS);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = Addresses::default();
        let enter = |address: &str| addresses.enter(Some(address.parse().unwrap()));
        let mut guests: Vec<_> = (0..ADDRESS_CONNECTIONS_MAX)
            .map(|_| enter("192.0.2.1").expect("below the limit"))
            .collect();
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some() && enter("127.0.0.1").is_some());
        assert!(addresses.enter(None).is_some());
        guests.pop();
        assert!(enter("192.0.2.1").is_some());
        drop(guests);
        assert!(addresses.0.lock().unwrap().is_empty());
    }

    #[test]
    fn addresses_of_one_site_are_one() {
        let cases = [
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8:0:1::ffff", "2001:db8:0:1::"),
            ("192.0.2.1", "192.0.2.1"),
        ];
        for (address, expected) in cases {
            assert_eq!(site(address.parse().unwrap()).to_string(), expected);
        }
    }
}
