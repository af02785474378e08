//! The sites as a graph: the least latency between two of them over links that are wide enough.
//!
//! Rows are computed when first asked for and kept, so that a decision pays only for the sites that it looks from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};

use api::{Micros, Quantity};
use serde::Serialize;

/// So many rows are kept; then all are dropped and computed again when asked for.
const ROWS_MAX: usize = 8192;

/// The links between sites; a site is its position in the snapshot.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    edges: Vec<Vec<Edge>>,
    rows: Mutex<BTreeMap<(usize, Quantity), Arc<Row>>>,
}

/// The latency to every site from one, over links of at least some bandwidth; none where no such path is.
pub(crate) type Row = Vec<Option<Micros>>;

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Edge {
    pub to: usize,
    pub latency: Micros,
    pub bandwidth: Quantity,
}

impl Topology {
    pub fn new(edges: Vec<Vec<Edge>>) -> Self {
        Self {
            edges,
            rows: Mutex::default(),
        }
    }

    /// Whether it has the same links.
    pub fn has(&self, edges: &[Vec<Edge>]) -> bool {
        self.edges == edges
    }

    /// The least latency over links of at least this bandwidth.
    pub fn latency(&self, from: usize, to: usize, bandwidth: Quantity) -> Option<Micros> {
        if from == to {
            return Some(Micros(0));
        }
        self.row(from, bandwidth)[to]
    }

    /// The widest path's bandwidth; none if there is no path.
    pub fn widest(&self, from: usize, to: usize) -> Option<Quantity> {
        let mut widths: Vec<Quantity> = self
            .edges
            .iter()
            .flatten()
            .map(|edge| edge.bandwidth)
            .collect();
        widths.sort_unstable();
        widths.dedup();
        let reached =
            widths.partition_point(|width| shortest(&self.edges, from, *width)[to].is_some());
        reached.checked_sub(1).map(|last| widths[last])
    }

    fn row(&self, from: usize, bandwidth: Quantity) -> Arc<Row> {
        let mut rows = self.rows.lock().expect("nothing panics under this lock");
        if let Some(row) = rows.get(&(from, bandwidth)) {
            return row.clone();
        }
        if rows.len() >= ROWS_MAX {
            rows.clear();
        }
        let row = Arc::new(shortest(&self.edges, from, bandwidth));
        rows.insert((from, bandwidth), row.clone());
        row
    }
}

/// Dijkstra's algorithm over the links that are wide enough.
fn shortest(edges: &[Vec<Edge>], from: usize, bandwidth: Quantity) -> Row {
    let mut row: Row = vec![None; edges.len()];
    let mut queue = BinaryHeap::from([Reverse((Micros(0), from))]);
    while let Some(Reverse((latency, at))) = queue.pop() {
        if row[at].is_some() {
            continue;
        }
        row[at] = Some(latency);
        for edge in edges[at].iter().filter(|edge| edge.bandwidth >= bandwidth) {
            if row[edge.to].is_none() {
                let through = Micros(latency.0.saturating_add(edge.latency.0));
                queue.push(Reverse((through, edge.to)));
            }
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triangle() -> Topology {
        let edge = |to, latency, gigabits| Edge {
            to,
            latency: Micros(latency),
            bandwidth: Quantity::whole(gigabits),
        };
        Topology::new(vec![
            vec![edge(1, 1, 1), edge(2, 10, 10)],
            vec![edge(0, 1, 1), edge(2, 1, 10)],
            vec![edge(0, 10, 10), edge(1, 1, 10)],
            vec![],
        ])
    }

    #[test]
    fn the_path_is_the_shortest_that_is_wide_enough() {
        let topology = triangle();
        assert_eq!(topology.latency(0, 2, Quantity::ZERO), Some(Micros(2)));
        assert_eq!(topology.latency(0, 2, Quantity::whole(5)), Some(Micros(10)));
        assert_eq!(topology.latency(0, 1, Quantity::whole(5)), Some(Micros(11)));
        assert_eq!(topology.latency(0, 2, Quantity::whole(11)), None);
        assert_eq!(topology.latency(0, 3, Quantity::ZERO), None);
        assert_eq!(
            topology.latency(3, 3, Quantity::whole(99)),
            Some(Micros(0)),
            "within a site"
        );
    }

    #[test]
    fn the_widest_path_is_found() {
        assert_eq!(triangle().widest(0, 1), Some(Quantity::whole(10)));
        assert_eq!(triangle().widest(0, 3), None);
    }

    #[test]
    fn kept_rows_are_limited() {
        let topology = triangle();
        for bandwidth in 0..i64::try_from(ROWS_MAX).unwrap() + 2 {
            topology.latency(0, 1, Quantity::whole(bandwidth));
        }
        assert!(topology.rows.lock().unwrap().len() <= ROWS_MAX);
    }
}
