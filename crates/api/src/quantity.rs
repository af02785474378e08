//! Amounts as Kubernetes writes them: `500m`, `2`, `1Gi`, `10G`.
//!
//! One exact type for cpu (cores), memory and storage (bytes), bandwidth (bit/s), counts and money.
//! Internally an integer of thousandths, so that sums and comparisons never round; finer amounts round up, as in Kubernetes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// An exact amount in thousandths of its unit. Sums that are too large stay at the largest amount there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

const SUFFIXES: [(&str, i128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];
/// Most digits on either side of the point. More than any real amount has, and so few that 17 nines of the largest
/// suffix in thousandths still fit an i128.
const DIGITS_MAX: usize = 17;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A whole number of the unit.
    pub const fn whole(amount: i64) -> Self {
        Self(amount as i128 * 1000)
    }

    /// Thousandths of the unit: 1,500 is one and a half cores.
    pub const fn milli(amount: i64) -> Self {
        Self(amount as i128)
    }

    /// The amount in thousandths.
    pub fn as_milli(self) -> i128 {
        self.0
    }

    /// The whole number of units, rounded up.
    pub fn as_whole(self) -> i128 {
        self.0.div_euclid(1000) + i128::from(self.0.rem_euclid(1000) != 0)
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u32> for Quantity {
    type Output = Self;
    fn mul(self, times: u32) -> Self {
        Self(self.0.saturating_mul(i128::from(times)))
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(
                ErrorKind::Invalid,
                format!("`{text}` is not an amount such as 500m, 2 or 1Gi"),
            )
        };
        let (number, unit_milli) = split_unit(text);
        let (sign, digits) = number
            .strip_prefix('-')
            .map_or((1, number), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 {
            return Err(wrong());
        }
        let digits = u32::try_from(fraction.len()).map_err(|_| wrong())?;
        let (whole, fraction) = digits_of(whole)
            .zip(digits_of(fraction))
            .ok_or_else(wrong)?;
        let scale = 10i128.pow(digits);
        let part = (fraction * unit_milli).div_euclid(scale)
            + i128::from((fraction * unit_milli).rem_euclid(scale) != 0);
        Ok(Self(sign * (whole * unit_milli + part)))
    }
}

/// The number that at most [`DIGITS_MAX`] digits stand for; none stand for nothing.
fn digits_of(text: &str) -> Option<i128> {
    let fits = text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "" => Some(0),
        text => fits.then(|| text.parse().ok())?,
    }
}

/// The number and how many thousandths one of its unit is.
fn split_unit(text: &str) -> (&str, i128) {
    if let Some(number) = text.strip_suffix('m') {
        return (number, 1);
    }
    for (suffix, factor) in SUFFIXES {
        if let Some(number) = text.strip_suffix(suffix) {
            return (number, factor * 1000);
        }
    }
    (text, 1000)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 != 0 {
            return write!(f, "{}m", self.0);
        }
        let whole = self.0 / 1000;
        let largest = SUFFIXES
            .iter()
            .filter(|(_, factor)| whole != 0 && whole % factor == 0)
            .max_by_key(|(_, factor)| *factor);
        match largest {
            Some((suffix, factor)) => write!(f, "{}{suffix}", whole / factor),
            None => write!(f, "{whole}"),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Number(i64),
            Text(String),
        }
        match Wire::deserialize(deserializer)? {
            Wire::Number(number) => Ok(Self::whole(number)),
            Wire::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "maximum": 100_000_000_000_000_000_u64,
            "pattern": r"^[0-9]{1,17}(\.[0-9]{1,17})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
            "x-kubernetes-int-or-string": true
        })
    }
}

/// Amounts by resource name: `cpu` in cores, `memory` and `storage` in bytes, any other by its own name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Resources(pub BTreeMap<String, Quantity>);

impl Resources {
    /// The amount of one resource; what is not named is none.
    pub fn get(&self, name: &str) -> Quantity {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The first resource of which `self` has less than `needed`, with both amounts.
    pub fn lacks<'a>(&self, needed: &'a Self) -> Option<(&'a str, Quantity, Quantity)> {
        needed
            .0
            .iter()
            .map(|(name, amount)| (name.as_str(), *amount, self.get(name)))
            .find(|(_, needed, free)| needed > free)
    }

    /// Adds every amount of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += *amount;
        }
    }

    /// Takes every amount of `other` away; an amount may become negative, which shows an over-commitment.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() -= *amount;
        }
    }

    /// Makes every amount at least that of `other`.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    /// What is left when `other` is taken away: nothing of what is over-committed, so it can go over the wire.
    #[must_use]
    pub fn left_after(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.subtract(other);
        for amount in left.0.values_mut() {
            *amount = (*amount).max(Quantity::default());
        }
        left
    }
}

impl<const N: usize> From<[(&str, Quantity); N]> for Resources {
    fn from(amounts: [(&str, Quantity); N]) -> Self {
        Self(
            amounts
                .into_iter()
                .map(|(name, amount)| (name.to_owned(), amount))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, milli: i128, shown: &str) {
        let quantity: Quantity = text.parse().expect(text);
        assert_eq!(quantity.as_milli(), milli, "{text}");
        assert_eq!(quantity.to_string(), shown, "{text}");
        assert_eq!(shown.parse::<Quantity>().expect(shown), quantity);
    }

    #[test]
    fn amounts_are_read_and_shown_as_kubernetes_does() {
        check("500m", 500, "500m");
        check("0.5", 500, "500m");
        check("2", 2_000, "2");
        check("1.5Gi", 1_610_612_736_000, "1536Mi");
        check("10G", 10_000_000_000_000, "10G");
        check("0", 0, "0");
        check("0.0001", 1, "1m");
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let nines = "9".repeat(DIGITS_MAX);
        for text in [format!("{nines}.{nines}Ei"), format!("-{nines}.{nines}E")] {
            let amount: Quantity = text.parse().expect(&text);
            let sum: Quantity = [amount; 3].into_iter().sum();
            assert_eq!(sum, amount * 3, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_by_name() {
        let long = "9".repeat(18);
        let texts = ["", "m", "1 Gi", "one", "1.2.3", &long, &format!("{long}E")];
        for text in texts.into_iter().chain([&*format!("0.{long}E")]) {
            let error = text.parse::<Quantity>().expect_err(text);
            assert!(error.what.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn the_missing_resource_is_named_with_both_amounts() {
        let free = Resources::from([
            ("cpu", Quantity::whole(1)),
            ("memory", Quantity::whole(512)),
        ]);
        let needed = Resources::from([
            ("cpu", Quantity::milli(1500)),
            ("memory", Quantity::whole(1)),
        ]);
        assert_eq!(
            free.lacks(&needed),
            Some(("cpu", Quantity::milli(1500), Quantity::whole(1)))
        );
        assert_eq!(free.lacks(&free.clone()), None);
    }
}
