//! What numbers may be.
//!
//! As in Kubernetes, a whole number that 64 bits with a sign do not hold is read as one with a point: it is no integer then.

use serde_json::Number;

use crate::failure::shown_float;
use crate::schema::check::{Checker, Found};
use crate::schema::{Kind, Schema};

impl Checker {
    pub(super) fn number(&self, schema: &Schema, number: &Number, path: &str, found: &mut Found) {
        if schema.kind == Some(Kind::Integer) {
            self.range(schema, number, path, found);
        }
        let limits = &schema.limits;
        let value = number.as_f64().unwrap_or_default();
        let bound = |bound: f64| match number.is_i64() {
            true => format!("{bound:.0}"),
            false => shown_float(bound),
        };
        let mut refuse = |rule: &str, than: f64| {
            let rule = format!("should be {rule} {}", bound(than));
            self.invalid(path, &number.clone().into(), &rule, found);
        };
        if let Some(factor) = limits.multiple_of
            && (value / factor).fract() != 0.0
        {
            refuse("a multiple of", factor);
        }
        match (limits.minimum, limits.exclusive_minimum) {
            (Some(least), false) if value < least => refuse("greater than or equal to", least),
            (Some(least), true) if value <= least => refuse("greater than", least),
            _ => {}
        }
        match (limits.maximum, limits.exclusive_maximum) {
            (Some(most), false) if value > most => refuse("less than or equal to", most),
            (Some(most), true) if value >= most => refuse("less than", most),
            _ => {}
        }
    }

    fn range(&self, schema: &Schema, number: &Number, path: &str, found: &mut Found) {
        let format = schema.limits.format;
        if number.is_i64() && format.is_none_or(|format| format.holds(number)) {
            return;
        }
        let format = match format {
            Some(format) => format!("with format {}", format.name()),
            None => "(default format)".to_owned(),
        };
        let why = format!("Checked value must be of type integer {format} in {path}");
        self.of_no_field(&why, found);
    }
}
