//! Counters of one worker: written by it alone, read by anyone at any time.
//!
//! A counter is an atomic that its one writer advances without a locked instruction; readers see each
//! counter whole, and a set of them as of slightly different moments. After a worker has stopped the
//! sums are exact, and then [`Totals::balance`] must be zero: nothing is lost without a name.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::reason::{Reason, Stage};

/// A number that only its owner advances.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, by the one writer.
    #[inline]
    pub fn add(&self, amount: u64) {
        // A load and a store, not a read-modify-write: there is one writer.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes, without preamble and checksum.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet.
    #[inline]
    pub fn count(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }

    /// Both numbers now.
    pub fn get(&self) -> TrafficTotal {
        TrafficTotal { packets: self.packets.get(), bytes: self.bytes.get() }
    }
}

/// One of something for each [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByReason<T>([T; Reason::ALL.len()]);

impl<T: Default> Default for ByReason<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> std::ops::Deref for ByReason<T> {
    type Target = [T; Reason::ALL.len()];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> std::ops::DerefMut for ByReason<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What one worker counted at one port.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Came in.
    pub received: Traffic,
    /// Went out.
    pub transmitted: Traffic,
    /// Went to the host.
    pub passed: Traffic,
    /// Kept by a program or action (`TC_ACT_STOLEN` and the like).
    pub consumed: Traffic,
    /// Copies that programs made (`bpf_clone_redirect`), which come on top of what was received.
    pub cloned: Traffic,
    /// Made by weir itself or given to it by the host, to be sent: on top of what was received.
    pub originated: Traffic,
    /// Packets that came in here and left by a port, this one or another. Where they left they are `transmitted`,
    /// or dropped at the transmit stage.
    pub forwarded: Counter,
    /// Packets that were counted as transmitted, by this worker when the port took them or by another when it handed
    /// them over, and were not sent after all: they are dropped here, with a reason.
    pub returned: Counter,
    /// Packets that wait for a neighbour's answer now: goes up and down.
    pub held: Counter,
    /// Dropped, by [`Reason`].
    pub dropped: ByReason<Counter>,
}

impl PortCounters {
    /// Counts a drop.
    #[inline]
    pub fn drop(&self, reason: Reason) {
        self.dropped[reason as usize].add(1);
    }

    /// Adds everything up into totals.
    pub fn add_to(&self, totals: &mut Totals) {
        totals.received += self.received.get();
        totals.transmitted += self.transmitted.get();
        totals.passed += self.passed.get();
        totals.consumed += self.consumed.get();
        totals.cloned += self.cloned.get();
        totals.originated += self.originated.get();
        totals.forwarded += self.forwarded.get();
        totals.returned += self.returned.get();
        totals.held = totals.held.wrapping_add(self.held.get());
        for (total, counter) in totals.dropped.iter_mut().zip(self.dropped.iter()) {
            *total += counter.get();
        }
    }
}

/// How many different answers are counted by number: `XDP_ABORTED` to `TC_ACT_TRAP` are below.
pub const ANSWERS: usize = 10;

/// What one worker counted of one program.
#[derive(Debug, Default)]
pub struct ProgramCounters {
    /// Packets it was asked about, and their bytes.
    pub judged: Traffic,
    /// Its answers: by number, negative ones first (`-1` at 0), then 0, 1, …; the last takes the rest.
    pub answers: [Counter; ANSWERS],
    /// How long the timed runs took, in clock ticks (`weir_sys::clock::ticks`).
    pub times: Times,
}

impl ProgramCounters {
    /// Where the answers of a program are counted.
    #[inline]
    pub fn slot(answer: i32) -> usize {
        ((i64::from(answer) + 1).clamp(0, ANSWERS as i64 - 1)) as usize
    }
}

/// Parts of each power of two that times are told apart by.
const TIME_PARTS: u64 = 8;

/// A histogram of times: a worker that loses its core for a while shifts a mean, not a median.
#[derive(Debug)]
pub struct Times([Counter; 64 * TIME_PARTS as usize]);

impl Default for Times {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Times {
    /// Counts one time.
    #[inline]
    pub fn count(&self, ticks: u64) {
        self.0[Self::slot(ticks)].add(1);
    }

    /// Times below 8 stand alone; above, each power of two has eight parts.
    fn slot(ticks: u64) -> usize {
        if ticks < TIME_PARTS {
            return ticks as usize;
        }
        let power = u64::from(ticks.ilog2()) - 2;
        (power * TIME_PARTS + (ticks >> (power - 1)) % TIME_PARTS) as usize
    }

    /// The middle of the times that are counted at a place.
    fn middle(slot: usize) -> f64 {
        let (power, part) = (slot as u64 / TIME_PARTS, slot as u64 % TIME_PARTS);
        if power == 0 {
            return part as f64;
        }
        ((TIME_PARTS + part) as f64 + 0.5) * 2f64.powi(power as i32 - 1)
    }
}

/// The time below which `share` (0 to 1) of the times of all workers lie, in ticks; `None` without any.
pub fn quantile<'t>(times: impl Iterator<Item = &'t Times> + Clone, share: f64) -> Option<f64> {
    let sums = (0..64 * TIME_PARTS as usize).map(|slot| times.clone().map(|times| times.0[slot].get()).sum());
    let sums: Vec<u64> = sums.collect();
    let wanted = (sums.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
    let mut below = 0;
    let found = sums.iter().position(|count| {
        below += count;
        below >= wanted
    });
    found.map(Times::middle)
}

/// The mean of the times of all workers, in ticks, as far as a histogram tells; `None` without any.
pub fn mean<'t>(times: impl Iterator<Item = &'t Times>) -> Option<f64> {
    let (mut count, mut sum) = (0, 0.0);
    for (slot, counter) in times.flat_map(|times| times.0.iter().enumerate()) {
        count += counter.get();
        sum += Times::middle(slot) * counter.get() as f64;
    }
    (count > 0).then(|| sum / count as f64)
}

/// Two sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TrafficTotal {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign<&Totals> for Totals {
    fn add_assign(&mut self, other: &Totals) {
        self.received += other.received;
        self.transmitted += other.transmitted;
        self.passed += other.passed;
        self.consumed += other.consumed;
        self.cloned += other.cloned;
        self.originated += other.originated;
        self.forwarded = self.forwarded.wrapping_add(other.forwarded);
        self.returned = self.returned.wrapping_add(other.returned);
        self.held = self.held.wrapping_add(other.held);
        for (total, more) in self.dropped.iter_mut().zip(other.dropped.iter()) {
            *total = total.wrapping_add(*more);
        }
    }
}

impl std::ops::AddAssign for TrafficTotal {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// Sums over workers, and perhaps over ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Came in.
    pub received: TrafficTotal,
    /// Went out.
    pub transmitted: TrafficTotal,
    /// Went to the host.
    pub passed: TrafficTotal,
    /// Kept by a program or action.
    pub consumed: TrafficTotal,
    /// Copies made.
    pub cloned: TrafficTotal,
    /// Made by weir itself, or given to it by the host.
    pub originated: TrafficTotal,
    /// Came in here and left by a port.
    pub forwarded: u64,
    /// Counted as transmitted, and then not sent.
    pub returned: u64,
    /// Waiting for a neighbour.
    pub held: u64,
    /// Dropped, by [`Reason`].
    pub dropped: ByReason<u64>,
}

impl Totals {
    /// All drops together.
    pub fn dropped_packets(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, part| sum.wrapping_add(*part))
    }

    /// Packets that ports took to be sent.
    pub fn sent(&self) -> u64 {
        self.transmitted.packets - self.returned.min(self.transmitted.packets)
    }

    /// Packets that came in, were made or copied, less those that went somewhere or wait. Zero when all workers
    /// have come to a batch edge; anything else is a packet lost or counted twice.
    pub fn balance(&self) -> i64 {
        let came = [self.received.packets, self.cloned.packets, self.originated.packets, self.returned];
        let went = [self.transmitted.packets, self.passed.packets, self.consumed.packets, self.held];
        // Differences of sums may be below zero in single parts, so all of this goes round.
        let sum = |parts: &[u64]| parts.iter().fold(0u64, |sum, part| sum.wrapping_add(*part));
        sum(&came).wrapping_sub(sum(&went)).wrapping_sub(sum(&*self.dropped)) as i64
    }

    /// The same for what came in by one port, when these are its totals: what left by any port counts as gone.
    pub fn port_balance(&self) -> i64 {
        let came = self.received.packets + self.cloned.packets + self.originated.packets;
        let dropped: u64 = Reason::ALL
            .iter()
            .filter(|reason| reason.stage() != Stage::Transmit)
            .map(|reason| self.dropped[*reason as usize])
            .sum();
        let went = self.forwarded + self.passed.packets + self.consumed.packets + dropped;
        (came as i64).wrapping_sub(went as i64).wrapping_sub(self.held as i64)
    }

    /// What was counted since an earlier moment.
    pub fn since(&self, earlier: &Totals) -> Totals {
        let traffic = |now: TrafficTotal, then: TrafficTotal| TrafficTotal {
            packets: now.packets.wrapping_sub(then.packets),
            bytes: now.bytes.wrapping_sub(then.bytes),
        };
        Totals {
            received: traffic(self.received, earlier.received),
            transmitted: traffic(self.transmitted, earlier.transmitted),
            passed: traffic(self.passed, earlier.passed),
            consumed: traffic(self.consumed, earlier.consumed),
            cloned: traffic(self.cloned, earlier.cloned),
            originated: traffic(self.originated, earlier.originated),
            forwarded: self.forwarded.wrapping_sub(earlier.forwarded),
            returned: self.returned.wrapping_sub(earlier.returned),
            // A number of packets, not a sum: what is new waits, what was waiting and went makes it negative.
            held: self.held.wrapping_sub(earlier.held),
            dropped: ByReason(std::array::from_fn(|at| self.dropped[at].wrapping_sub(earlier.dropped[at]))),
        }
    }

    /// The reasons that occurred, most frequent first.
    pub fn drops(&self) -> Vec<(Reason, u64)> {
        let mut drops: Vec<_> = Reason::ALL
            .iter()
            .map(|&reason| (reason, self.dropped[reason as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_their_places() {
        assert_eq!([-7, -1, 0, 2, 8, 9, 1 << 20].map(ProgramCounters::slot), [0, 0, 1, 3, 9, 9, 9]);
    }

    #[test]
    fn a_time_is_told_to_an_eighth() {
        for ticks in (0..5000).chain((12..50).map(|power| (1u64 << power) + 12345)) {
            let middle = Times::middle(Times::slot(ticks));
            assert!((middle - ticks as f64).abs() <= ticks as f64 / 8.0, "{ticks} counts as {middle}");
        }
        let times = Times::default();
        assert_eq!(quantile([&times].into_iter(), 0.5), None);
        (0..99).for_each(|_| times.count(100));
        times.count(1_000_000);
        assert_eq!(quantile([&times].into_iter(), 0.5), Some(100.0));
    }

    #[test]
    fn a_lost_packet_unbalances() {
        let counters = PortCounters::default();
        counters.received.count(60);
        counters.received.count(60);
        counters.transmitted.count(60);
        let mut totals = Totals::default();
        counters.add_to(&mut totals);
        assert_eq!(totals.balance(), 1);
        counters.drop(Reason::XdpDrop);
        let mut totals = Totals::default();
        counters.add_to(&mut totals);
        assert_eq!((totals.balance(), totals.drops()), (0, vec![(Reason::XdpDrop, 1)]));
    }
}
