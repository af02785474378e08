//! What a replica costs per hour, exact to a billionth so that small amounts still compare.

use api::{Quantity, Resources};

use crate::snapshot::Prices;

/// Billionths of the currency per hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Money(pub i128);

const BILLIONTHS_IN_THOUSANDTH: i128 = 1_000_000;

impl Money {
    /// What resources cost at these prices; a resource without a price is free.
    pub fn of(resources: &Resources, prices: &Prices) -> Self {
        let costs = resources.0.iter().map(|(name, amount)| {
            let Some(price) = prices.get(name).filter(|price| price.per.as_milli() > 0) else {
                return 0;
            };
            let hourly = price.hourly.as_milli() * BILLIONTHS_IN_THOUSANDTH;
            amount.as_milli() * hourly / price.per.as_milli()
        });
        Self(costs.sum())
    }

    /// The amount in thousandths, rounded up.
    pub fn quantity(self) -> Quantity {
        let up = self.0.div_euclid(BILLIONTHS_IN_THOUSANDTH)
            + i128::from(self.0.rem_euclid(BILLIONTHS_IN_THOUSANDTH) != 0);
        Quantity::milli(i64::try_from(up).unwrap_or(i64::MAX))
    }

    /// As a decimal number: `0.031`.
    pub fn decimal(self) -> String {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let short = text.trim_end_matches('0');
        short.trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Price;

    #[test]
    fn small_amounts_are_not_lost() {
        let price = Price {
            per: Quantity::whole(1 << 30),
            hourly: Quantity::milli(5),
        };
        let prices = Prices::from([("memory".to_owned(), price)]);
        let resources = Resources::from([
            ("memory", Quantity::whole(1 << 28)),
            ("cpu", Quantity::whole(4)),
        ]);
        let money = Money::of(&resources, &prices);
        assert_eq!(money, Money(1_250_000));
        assert_eq!(money.quantity(), Quantity::milli(2));
        assert_eq!(money.decimal(), "0.00125");
        assert_eq!(Money(2_000_000_000).decimal(), "2");
    }
}
