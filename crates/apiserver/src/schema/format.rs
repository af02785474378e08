//! The formats of strings and numbers that are checked; others are only remarks, as in Kubernetes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Number, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Int32,
    Int64,
    Uint16,
    Uint32,
    Uint64,
    DateTime,
    Duration,
    Ipv4,
    Ipv6,
    Cidr,
    Uuid,
    Byte,
}

impl Format {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "uint16" => Self::Uint16,
            "uint32" => Self::Uint32,
            "uint64" => Self::Uint64,
            "date-time" => Self::DateTime,
            "duration" => Self::Duration,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "uuid" => Self::Uuid,
            "byte" => Self::Byte,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Uuid => "uuid",
            Self::Byte => "byte",
        }
    }

    /// Whether a value has this format; values of other types have every format.
    pub(super) fn fits(self, value: &Value) -> bool {
        match value {
            Value::Number(number) => self.fits_number(number),
            Value::String(text) => self.fits_text(text),
            _ => true,
        }
    }

    fn fits_number(self, number: &Number) -> bool {
        let (signed, unsigned) = (number.as_i64(), number.as_u64());
        match self {
            Self::Int32 => signed.is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Int64 => signed.is_some(),
            Self::Uint16 => unsigned.is_some_and(|n| u16::try_from(n).is_ok()),
            Self::Uint32 => unsigned.is_some_and(|n| u32::try_from(n).is_ok()),
            Self::Uint64 => unsigned.is_some(),
            _ => true,
        }
    }

    fn fits_text(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 | Self::Uint16 | Self::Uint32 | Self::Uint64 => true,
            Self::DateTime => text.parse::<jiff::Timestamp>().is_ok(),
            Self::Duration => is_duration(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Uuid => is_uuid(text),
            Self::Byte => is_base64(text),
        }
    }
}

/// As Go writes durations: `1h30m`, `-1.5s`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 7] = ["ns", "us", "\u{b5}s", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let parts = !rest.is_empty();
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - unit.len()];
        let Some(known) = UNITS.iter().find(|known| unit.starts_with(**known)) else {
            return false;
        };
        if number.parse::<f64>().is_err() {
            return false;
        }
        rest = &unit[known.len()..];
    }
    parts
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && groups
            .iter()
            .all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_checked() {
        let cases = [
            ("int32", json!(2_147_483_647), json!(2_147_483_648_i64)),
            (
                "int64",
                json!(9_223_372_036_854_775_807_i64),
                json!(9_223_372_036_854_775_808_u64),
            ),
            ("uint16", json!(65_535), json!(65_536)),
            ("uint32", json!(4_294_967_295_u32), json!(4_294_967_296_i64)),
            ("uint64", json!(u64::MAX), json!(-1)),
            (
                "date-time",
                json!("2026-11-21T10:00:00Z"),
                json!("yesterday"),
            ),
            ("duration", json!("1h30m0.5s"), json!("1 hour")),
            ("ipv4", json!("192.0.2.1"), json!("192.0.2")),
            ("ipv6", json!("2001:db8::1"), json!("192.0.2.1")),
            ("cidr", json!("2001:db8::/32"), json!("192.0.2.0/33")),
            (
                "uuid",
                json!("12345678-1234-1234-1234-123456789abc"),
                json!("1234"),
            ),
            ("byte", json!("aGk="), json!("a==")),
        ];
        for (name, good, bad) in cases {
            let format = Format::parse(name).expect(name);
            assert_eq!(format.name(), name);
            assert!(format.fits(&good), "{name} {good}");
            assert!(!format.fits(&bad), "{name} {bad}");
        }
    }
}
