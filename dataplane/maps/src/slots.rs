//! Numbers of free slots: a lock-free stack over those given back, and a mark below which all were given
//! out once. Slot numbers begin at 1; 0 means none.
//!
//! ```text
//!   top: | tag (32 bits) | slot (32 bits) |     links[slot] = the slot below it
//! ```
//!
//! The tag changes with every push, so that a compare-and-swap cannot mistake a slot which left and came
//! back for one that stayed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;

#[derive(Debug)]
pub(crate) struct Slots {
    top: AtomicU64,
    fresh: AtomicU32,
    used: AtomicU32,
    total: u32,
    links: Area,
}

impl Slots {
    pub(crate) fn new(total: u32) -> Result<Slots, MapError> {
        // One link for each slot and one for slot 0; two links share a stride of 8 bytes.
        let links = Area::new(total as usize / 2 + 1, 8, Commit::Lazily)?;
        Ok(Slots { top: AtomicU64::new(0), fresh: AtomicU32::new(0), used: AtomicU32::new(0), total, links })
    }

    fn link(&self, slot: u32) -> &AtomicU32 {
        assert!(slot <= self.total);
        // SAFETY: `links` has room for `total + 1` words of 4 bytes (see `new`), all atomics, alive with self.
        unsafe { &*self.links.base().cast::<AtomicU32>().add(slot as usize) }
    }

    /// A slot that nobody else has, or 0 when all are taken.
    pub(crate) fn take(&self) -> u32 {
        let mut top = self.top.load(Ordering::Acquire);
        loop {
            let slot = top as u32;
            if slot == 0 {
                return self.take_fresh();
            }
            // The slot may be taken by another worker meanwhile; then the link is stale and the swap fails,
            // since the push that would bring the slot back changes the tag.
            let below = self.link(slot).load(Ordering::Relaxed);
            let next = top & !0xffff_ffff | u64::from(below);
            // Acquire: what the last owner did with the slot happened before what we will do with it.
            match self.top.compare_exchange_weak(top, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    self.used.fetch_add(1, Ordering::Relaxed);
                    return slot;
                }
                Err(now) => top = now,
            }
        }
    }

    fn take_fresh(&self) -> u32 {
        let claim = |fresh: u32| (fresh < self.total).then_some(fresh + 1);
        match self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
            Ok(before) => {
                self.used.fetch_add(1, Ordering::Relaxed);
                before + 1
            }
            Err(_) => 0,
        }
    }

    /// Gives a slot back.
    pub(crate) fn give(&self, slot: u32) {
        assert!(slot != 0 && slot <= self.total, "slot {slot} of {}", self.total);
        self.used.fetch_sub(1, Ordering::Relaxed);
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            self.link(slot).store(top as u32, Ordering::Relaxed);
            let next = (top >> 32).wrapping_add(1) << 32 | u64::from(slot);
            // Release: pairs with the acquire in `take`.
            match self.top.compare_exchange_weak(top, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Slots given out and not given back.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Slots that were ever given out: those with a number up to this.
    pub(crate) fn touched(&self) -> u32 {
        self.fresh.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    pub(crate) fn populate(&self) {
        self.links.populate();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.links.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_comes_once_and_comes_back() {
        let slots = Slots::new(5).unwrap();
        let mut all: Vec<u32> = (0..5).map(|_| slots.take()).collect();
        assert_eq!(slots.take(), 0);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5]);
        slots.give(3);
        slots.give(1);
        assert_eq!((slots.take(), slots.take(), slots.take()), (1, 3, 0));
        assert_eq!(slots.used(), 5);
    }

    #[test]
    fn no_slot_is_lost_or_doubled_among_threads() {
        let slots = Slots::new(64).unwrap();
        let owners: Vec<AtomicU32> = (0..=64).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        let mine: Vec<u32> =
                            (0..round % 7).map(|_| slots.take()).filter(|s| *s != 0).collect();
                        for &slot in &mine {
                            assert_eq!(owners[slot as usize].swap(1, Ordering::SeqCst), 0);
                        }
                        for slot in mine {
                            owners[slot as usize].store(0, Ordering::SeqCst);
                            slots.give(slot);
                        }
                    }
                });
            }
        });
        assert_eq!(slots.used(), 0);
        assert_eq!((0..64).filter(|_| slots.take() != 0).count(), 64);
    }
}
