//! Where every frame is: one worker's account, and how accounts add up.
//!
//! A worker answers between two turns, each at a moment of its own. What moved between workers, or between a worker
//! and home, in the meantime would be missed or counted twice; so a worker says what it holds and also how much it
//! ever took and gave away, and the sum is exact although nobody stood still:
//!
//! ```text
//!  home    = chunks − Σ (taken home − brought home), as of each worker's moment
//!  handoff = Σ handed over by senders − Σ received by owners, as of theirs
//! ```
//!
//! The moments may lie any time apart. So a worker that does not answer in time costs no exactness: what it said last
//! is as true as ever, only older. A dead one is another matter: its frames went with it.

use std::sync::{Mutex, PoisonError};

use weir_io::gauges::Held;
use weir_packet::Pool;

use crate::counters::Totals;
use crate::live::stats::Ledger;

/// What one worker holds, and what it took and gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Free in its pool.
    pub free: usize,
    /// Free for copies.
    pub spare: usize,
    /// In its batches, which are empty between turns.
    pub batch: usize,
    /// In its ports.
    pub ports: Held,
    /// Waiting for neighbours.
    pub held: usize,
    /// Taken from home, less brought there.
    pub from_home: i64,
    /// Handed to other workers.
    pub handed: u64,
    /// Received from other workers.
    pub received: u64,
}

/// What a worker says of one moment between two of its turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Where its frames are.
    pub account: Account,
    /// What it has counted, by port. Exact, as no packet is in its hands.
    pub ports: Vec<Totals>,
}

impl Ledger {
    /// Adds accounts up, one of each worker; without all of them nothing can be said of the rest.
    pub fn sum(total: usize, workers: usize, accounts: &[Account]) -> Ledger {
        let mut ledger = Ledger { total, home: total as i64, ..Ledger::default() };
        for account in accounts {
            ledger.free += account.free;
            ledger.spare += account.spare;
            ledger.batch += account.batch;
            ledger.held += account.held;
            ledger.fill += account.ports.fill;
            ledger.rx += account.ports.rx;
            ledger.tx += account.ports.tx;
            ledger.completion += account.ports.completion;
            ledger.device += account.ports.device;
            ledger.home -= account.from_home;
            ledger.handoff += account.handed as i64 - account.received as i64;
        }
        if accounts.len() == workers {
            let found: i64 = ledger.places().iter().map(|(_, frames)| frames).sum();
            ledger.unaccounted = Some(total as i64 - found);
        }
        ledger
    }
}

/// What a worker said last: it writes it down between two turns, and others read it whenever they like.
#[derive(Debug, Default)]
pub struct Said(Mutex<Option<Statement>>);

impl Said {
    /// By the worker, or by who makes it.
    pub fn say(&self, statement: Statement) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(statement);
    }

    /// A copy; `None` when it has never said anything.
    pub fn last(&self) -> Option<Statement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Turns to let pass after the home list had nothing to give.
const PATIENCE: u32 = 256;

/// Evens a pool out by the home list, and remembers how much it has taken from there.
#[derive(Debug, Default)]
pub struct Leveller {
    wanted: usize,
    from_home: i64,
    patience: u32,
}

impl Leveller {
    /// For a pool that is to have about `wanted` frames, and has `taken` from home.
    pub fn new(wanted: usize, taken: usize) -> Self {
        Self { wanted, from_home: taken as i64, patience: 0 }
    }

    /// Brings the pool back to what is wanted when it has strayed far. Rare: each time moves many frames, and
    /// when there are none at home, it is long until the next time.
    #[inline]
    pub fn level(&mut self, pool: &mut Pool) {
        let free = pool.free();
        if free < self.wanted / 2 || free > self.wanted * 2 {
            self.move_frames(pool);
        }
    }

    #[cold]
    fn move_frames(&mut self, pool: &mut Pool) {
        self.patience = self.patience.saturating_sub(1);
        if self.patience > 0 {
            return;
        }
        let before = pool.free();
        let after = pool.level(self.wanted);
        self.from_home += after as i64 - before as i64;
        if after < self.wanted / 2 {
            self.patience = PATIENCE;
        }
    }

    /// Taken from home so far, less brought there.
    pub fn from_home(&self) -> i64 {
        self.from_home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_different_moments_add_up() {
        // Worker 0 answered, then handed 5 frames over; worker 1 had received them when it answered, and brought
        // 20 home.
        let first = Account { free: 100, spare: 64, from_home: 164, ..Account::default() };
        let second = Account { free: 85, spare: 64, received: 5, from_home: 144, ..Account::default() };
        let ledger = Ledger::sum(400, 2, &[first, second]);
        assert_eq!((ledger.home, ledger.handoff, ledger.unaccounted), (92, -5, Some(0)), "{ledger:?}");
        let leaky = Account { free: 84, ..second };
        assert_eq!(Ledger::sum(400, 2, &[first, leaky]).unaccounted, Some(1));
        assert_eq!(Ledger::sum(400, 2, &[first]).unaccounted, None);
    }
}
