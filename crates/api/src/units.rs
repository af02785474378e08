//! Units that are types in Rust and plain integers or strings on the wire.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// A network time in microseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

/// A time in seconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl From<Micros> for Duration {
    fn from(time: Micros) -> Self {
        Self::from_micros(time.0)
    }
}

impl From<Seconds> for Duration {
    fn from(time: Seconds) -> Self {
        Self::from_secs(time.0.into())
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{} ms", self.0 / 1000)
        } else {
            write!(f, "{} µs", self.0)
        }
    }
}

/// A degree of latitude or longitude, exact to a millionth; `"40.4168"` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Degrees {
    /// Millionths of a degree.
    pub micro: i32,
}

impl FromStr for Degrees {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(
                ErrorKind::Invalid,
                format!("`{text}` is not a degree such as \"40.4168\" between -180 and 180"),
            )
        };
        let degrees: f64 = text.parse().map_err(|_| wrong())?;
        if !(-180.0..=180.0).contains(&degrees) {
            return Err(wrong());
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 180 million fits an i32"
        )]
        let micro = (degrees * 1e6).round() as i32;
        Ok(Self { micro })
    }
}

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.micro) / 1e6)
    }
}

/// An IPv6 prefix (RFC 4291 §2.3): `fd00:1::/48`; bits beyond the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix {
    address: Ipv6Addr,
    length: u8,
}

impl Ipv6Prefix {
    /// The prefix of `length` bits (at most 128) that holds `address`.
    pub fn new(address: Ipv6Addr, length: u8) -> Self {
        let length = length.min(128);
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self {
            address: Ipv6Addr::from_bits(address.to_bits() & mask),
            length,
        }
    }

    /// The prefix of one address.
    pub fn host(address: Ipv6Addr) -> Self {
        Self::new(address, 128)
    }

    /// The first address.
    pub fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// The number of fixed bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether an address lies inside.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        Self::new(address, self.length).address == self.address
    }

    /// The address inside whose last 64 bits are `low`; the prefix must be at most 64 bits long to keep all of them.
    pub fn with_low_bits(&self, low: u64) -> Ipv6Addr {
        let free = 128 - u32::from(self.length);
        let mask = if free >= 64 {
            u64::MAX
        } else {
            (1u64 << free) - 1
        };
        Ipv6Addr::from_bits(self.address.to_bits() | u128::from(low & mask))
    }
}

impl FromStr for Ipv6Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(
                ErrorKind::Invalid,
                format!("`{text}` is not an IPv6 prefix such as fd00:1::/48"),
            )
        };
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let length: u8 = length
            .parse()
            .ok()
            .filter(|length| *length <= 128)
            .ok_or_else(wrong)?;
        Ok(Self::new(address.parse().map_err(|_| wrong())?, length))
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Gives a type the wire form of its text.
macro_rules! text_on_the_wire {
    ($type:ident, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_on_the_wire!(Degrees, {
    "type": "string",
    "pattern": r"^-?(180(\.0{1,6})?|(1[0-7][0-9]|[1-9]?[0-9])(\.[0-9]{1,6})?)$"
});
// A CIDR of Kubernetes may be IPv4, too; a colon tells.
text_on_the_wire!(Ipv6Prefix, {
    "type": "string",
    "format": "cidr",
    "pattern": r"^[0-9a-fA-F]*:[0-9a-fA-F:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$"
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_lose_the_bits_beyond_their_length() {
        let prefix: Ipv6Prefix = "fd00:1:2:3::1/48".parse().expect("a prefix");
        assert_eq!(prefix.to_string(), "fd00:1:2::/48");
        assert!(prefix.contains("fd00:1:2:ffff::9".parse().expect("an address")));
        assert!(!prefix.contains("fd00:1:3::9".parse().expect("an address")));
        assert_eq!(
            prefix.with_low_bits(0x1_0000_0002).to_string(),
            "fd00:1:2::1:0:2"
        );
    }

    #[test]
    fn wrong_prefixes_and_degrees_are_refused_by_value() {
        for text in ["fd00::", "fd00::/129", "x/48"] {
            assert!(
                text.parse::<Ipv6Prefix>()
                    .expect_err(text)
                    .what
                    .contains(text)
            );
        }
        assert!(
            "181"
                .parse::<Degrees>()
                .expect_err("too far")
                .what
                .contains("`181`")
        );
        assert_eq!(
            "40.4168".parse::<Degrees>().expect("a degree").micro,
            40_416_800
        );
    }
}
