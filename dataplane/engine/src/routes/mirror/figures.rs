//! What the mirror counts, and how others read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What the mirror counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) changes: AtomicU64,
    pub(super) resyncs: AtomicU64,
    pub(super) overruns: AtomicU64,
    pub(super) comparisons: AtomicU64,
    pub(super) drift: AtomicU64,
    pub(super) drift_total: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) unsupported: AtomicU64,
    pub(super) resolved: AtomicU64,
    pub(super) unresolved: AtomicU64,
    pub(super) refreshed: AtomicU64,
    /// Milliseconds after the start, plus one.
    pub(super) resynced_ms: AtomicU64,
}

/// The same, as of a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Changes that notifications came to.
    pub changes: u64,
    /// Times that the tables were made those of the kernel.
    pub resyncs: u64,
    /// Times that notifications were lost.
    pub overruns: u64,
    /// Comparisons without cause.
    pub comparisons: u64,
    /// Routes that differed at the last of them.
    pub drift: u64,
    /// Routes that differed at any of them.
    pub drift_total: u64,
    /// Messages that were not understood.
    pub unreadable: u64,
    /// Routes that the tables cannot hold.
    pub unsupported: u64,
    /// Neighbours that the kernel was asked for.
    pub resolved: u64,
    /// Neighbours that it could not be asked for.
    pub unresolved: u64,
    /// Neighbours that were kept fresh.
    pub refreshed: u64,
    /// How long ago the tables were last made those of the kernel.
    pub resynced_seconds_ago: Option<f64>,
}

/// Reads what the thread counts.
#[derive(Clone, Debug)]
pub struct Meter {
    pub(super) counts: Arc<Counts>,
    pub(super) start: Instant,
}

impl Meter {
    /// What it counted.
    pub fn figures(&self) -> Figures {
        let Counts { changes, resyncs, overruns, comparisons, drift, drift_total, .. } = &*self.counts;
        let Counts { unreadable, unsupported, resolved, unresolved, refreshed, resynced_ms, .. } =
            &*self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ago = get(resynced_ms)
            .checked_sub(1)
            .map(|at| self.start.elapsed().saturating_sub(Duration::from_millis(at)).as_secs_f64());
        Figures {
            changes: get(changes),
            resyncs: get(resyncs),
            overruns: get(overruns),
            comparisons: get(comparisons),
            drift: get(drift),
            drift_total: get(drift_total),
            unreadable: get(unreadable),
            unsupported: get(unsupported),
            resolved: get(resolved),
            unresolved: get(unresolved),
            refreshed: get(refreshed),
            resynced_seconds_ago: ago,
        }
    }
}
