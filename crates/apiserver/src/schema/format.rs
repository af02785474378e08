//! The formats of strings and numbers that are checked; others are only remarks, as in Kubernetes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Number;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Int32,
    Int64,
    DateTime,
    Duration,
    Ipv4,
    Ipv6,
    Cidr,
    Uuid,
    Byte,
}

impl Format {
    /// The format of a schema, if it is one for its type.
    pub(super) fn parse(props: &JSONSchemaProps) -> Option<Self> {
        let name = props.format.as_deref()?;
        Some(match (props.type_.as_deref(), name) {
            (Some("integer"), "int32") => Self::Int32,
            (Some("integer"), "int64") => Self::Int64,
            (Some("string"), "date-time") => Self::DateTime,
            (Some("string"), "duration") => Self::Duration,
            (Some("string"), "ipv4") => Self::Ipv4,
            (Some("string"), "ipv6") => Self::Ipv6,
            (Some("string"), "cidr") => Self::Cidr,
            (Some("string"), "uuid") => Self::Uuid,
            (Some("string"), "byte") => Self::Byte,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Uuid => "uuid",
            Self::Byte => "byte",
        }
    }

    /// Whether a number is in its range; formats of texts have none.
    pub(super) fn holds(self, number: &Number) -> bool {
        let n = number.as_i64();
        match self {
            Self::Int32 => n.is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Int64 => n.is_some(),
            _ => true,
        }
    }

    /// Whether a text has this format; formats of numbers have nothing to say.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 => true,
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
    use super::*;

    fn parsed(kind: &str, name: &str) -> Option<Format> {
        Format::parse(&JSONSchemaProps {
            type_: Some(kind.to_owned()),
            format: Some(name.to_owned()),
            ..JSONSchemaProps::default()
        })
    }

    #[test]
    fn formats_are_checked() {
        let cases = [
            ("date-time", "2026-11-21T10:00:00Z", "yesterday"),
            ("duration", "1h30m0.5s", "1 hour"),
            ("ipv4", "192.0.2.1", "192.0.2"),
            ("ipv6", "2001:db8::1", "192.0.2.1"),
            ("cidr", "2001:db8::/32", "192.0.2.0/33"),
            ("uuid", "12345678-1234-1234-1234-123456789abc", "1234"),
            ("byte", "aGk=", "a=="),
        ];
        for (name, good, bad) in cases {
            let format = parsed("string", name).expect(name);
            assert_eq!(format.name(), name);
            assert!(format.fits(good), "{name} {good}");
            assert!(!format.fits(bad), "{name} {bad}");
        }
        let format = parsed("integer", "int32").expect("a format");
        assert!(format.holds(&2_147_483_647.into()));
        assert!(!format.holds(&2_147_483_648_i64.into()));
    }

    #[test]
    fn a_format_of_another_type_and_one_that_kubernetes_does_not_know_are_remarks() {
        for (kind, name) in [
            ("integer", "uint16"),
            ("integer", "ipv6"),
            ("string", "int32"),
            ("object", "byte"),
        ] {
            assert_eq!(parsed(kind, name), None, "{kind} {name}");
        }
    }
}
