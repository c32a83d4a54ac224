//! What others may read of a worker while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use super::Turn;
use crate::counters::{Counter, PortCounters, Totals};
use crate::cut::Cut;
use crate::mailbox::Windows;

/// A worker's counters, which others may read: one set for each port, in the order of the ports.
pub type WorkerCounters = Arc<[CachePadded<PortCounters>]>;

/// How a worker is getting on, for others to read.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Turns so far.
    pub turns: Counter,
    /// Turns in which nothing came.
    pub idle_turns: Counter,
    /// Times it slept.
    pub sleeps: Counter,
    /// Clock ticks spent in turns in which something came.
    pub busy_ticks: Counter,
    /// Turns by the packets they had: 1, 2, up to 4, 8, 16, 32, 64, more.
    pub batches: [Counter; 8],
    /// Frames free in its pool after the last turn.
    pub free: AtomicUsize,
}

impl Pulse {
    pub(super) fn count(&self, turn: &Turn, ticks: u64, free: usize) {
        self.turns.add(1);
        self.free.store(free, Ordering::Relaxed);
        match turn.received {
            0 => self.idle_turns.add(1),
            received => {
                self.batches[(received.next_power_of_two().ilog2() as usize).min(7)].add(1);
                self.busy_ticks.add(ticks);
            }
        }
    }
}

/// What others may read of a worker.
#[derive(Debug)]
pub struct Shared {
    /// Packets, by port.
    pub counters: WorkerCounters,
    /// Its counts at the last change of generation.
    pub cut: Cut,
    /// How it is getting on.
    pub pulse: CachePadded<Pulse>,
    /// Its ports.
    pub windows: Windows,
}

impl Shared {
    /// All counters of the worker now; exact between two turns.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counters.iter().for_each(|port| port.add_to(&mut totals));
        totals
    }
}
