//! The exact counts between two generations.
//!
//! A worker that enters another generation first writes down what it has counted so far, between two turns, when
//! it has nothing in its hands. Added up over all workers this is what the generations before have judged: no
//! more, no less, although the workers went over at different moments and nobody stopped.
//!
//! A worker at rest does not go over; it wrote its counts down when it lay down, and they have not moved since.

use std::sync::{Mutex, PoisonError};

use weir_sys::clock;

use crate::counters::Totals;

/// What one worker has written down.
#[derive(Debug, Default)]
pub struct Cut(Mutex<Moments>);

#[derive(Debug, Default)]
struct Moments {
    /// The number ([`crate::swap::Swap::version`]) it entered last, and its counts at that moment.
    entered: u64,
    entered_ns: u64,
    at_entry: Totals,
    /// Its counts when it lay down last.
    at_rest: Totals,
}

impl Cut {
    /// The worker enters generation number `version` with these counts. Entering it again, after a rest, changes
    /// nothing.
    pub fn enter(&self, version: u64, totals: impl FnOnce() -> Totals) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.entered != version {
            moments.entered = version;
            moments.entered_ns = clock::now_ns(clock::Clock::Monotonic);
            moments.at_entry = totals();
        }
    }

    /// The worker lies down with these counts.
    pub fn rest(&self, totals: Totals) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at_rest = totals;
    }

    /// When the worker entered `version`, by the monotonic clock; `None` when it was at rest.
    pub fn entered_ns(&self, version: u64) -> Option<u64> {
        let moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (moments.entered == version).then_some(moments.entered_ns)
    }

    /// The worker's counts when it left everything before `version`: for the publisher of that number, when the
    /// worker is no longer behind it and before there is a later one.
    pub fn before(&self, version: u64) -> Totals {
        let moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.entered == version { moments.at_entry.clone() } else { moments.at_rest.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(packets: u64) -> Totals {
        let mut totals = Totals::default();
        totals.received.packets = packets;
        totals
    }

    #[test]
    fn counts_are_of_the_moment_of_entry_whatever_comes_after() {
        let cut = Cut::default();
        cut.enter(2, || totals(10));
        cut.rest(totals(15));
        cut.enter(2, || unreachable!("entered already"));
        assert_eq!(cut.before(2), totals(10));
        assert_eq!(cut.before(3), totals(15), "at rest since before 3 was published");
        cut.enter(3, || totals(15));
        cut.rest(totals(40));
        assert_eq!(cut.before(3), totals(15));
    }
}
