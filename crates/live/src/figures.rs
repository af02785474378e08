//! What a benchmark found, printed as a table for people and as one JSON line for each figure.

use serde_json::json;

/// One figure over all rounds.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// The value of each round.
    pub ours: Vec<f64>,
    /// The same of the peer; empty where there is none.
    pub peer: Vec<f64>,
}

impl Figure {
    /// One without a peer.
    pub fn alone(name: &str, unit: &'static str, ours: Vec<f64>) -> Self {
        let (name, peer) = (name.to_owned(), Vec::new());
        Self {
            name,
            unit,
            ours,
            peer,
        }
    }
}

/// Prints all figures that have values.
pub fn print(bench: &str, figures: &[Figure]) {
    let all = || figures.iter().filter(|figure| !figure.ours.is_empty());
    println!(
        "{:60} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "figure", "median", "least", "most", "peer", "ratio"
    );
    for figure in all() {
        let median = median(&figure.ours);
        let (least, most) = (
            figure.ours.iter().copied().fold(f64::INFINITY, f64::min),
            figure.ours.iter().copied().fold(0.0, f64::max),
        );
        let (peer, ratio) = match figure.peer.is_empty() {
            true => (String::new(), String::new()),
            false => (shown(self::median(&figure.peer)), ratio(figure)),
        };
        println!(
            "{:60} {:>10} {:>10} {:>10} {peer:>10} {ratio:>7}  {}",
            figure.name,
            shown(median),
            shown(least),
            shown(most),
            figure.unit
        );
    }
    for figure in all() {
        let peer = (!figure.peer.is_empty()).then(|| rounded(median(&figure.peer)));
        let value = rounded(median(&figure.ours));
        println!(
            "{}",
            json!({"bench": bench, "figure": figure.name, "value": value, "unit": figure.unit, "peer": peer})
        );
    }
}

/// The middle one; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How many times the peer's value ours is: the median over the rounds, of which each has both.
fn ratio(figure: &Figure) -> String {
    let each = figure.ours.iter().zip(&figure.peer);
    let ratios: Vec<f64> = each.map(|(ours, peer)| ours / peer).collect();
    format!("{:.2}", median(&ratios))
}

/// Three digits that say something.
fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_rounds() {
        let figure = Figure {
            peer: vec![2.0, 4.0, 1.0],
            ..Figure::alone("a", "s", vec![1.0, 1.0, 1.0])
        };
        assert_eq!(ratio(&figure), "0.50");
        assert_eq!(median(&figure.peer), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
