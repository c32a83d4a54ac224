//! How long things took, counted by size: a histogram that Prometheus can add up and people can read.

use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the parts, in seconds: 1, 2.5 and 5 of each power of ten from ten microseconds to ten seconds.
pub const BOUNDS: [f64; 19] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Durations by size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Durations {
    /// How many were at most each of [`BOUNDS`] and more than the one before; the last is all that were longer.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All of them together.
    pub sum_seconds: f64,
}

impl Durations {
    /// Counts one.
    pub fn count(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let part = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(part) {
            *count += 1;
        }
        self.sum_seconds += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_is_below_it() {
        let mut durations = Durations::default();
        for micros in [0, 10, 11, 250, 11_000_000] {
            durations.count(Duration::from_micros(micros));
        }
        let counted: Vec<(usize, u64)> =
            durations.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(0, 2), (1, 1), (4, 1), (19, 1)]);
        assert!((durations.sum_seconds - 11.000_271).abs() < 1e-9, "{durations:?}");
        assert!(BOUNDS.is_sorted());
    }
}
