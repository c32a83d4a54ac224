//! Who may use which slots, and whom an LRU table evicts.
//!
//! Slots are divided into pools: one for all, or with `BPF_F_NO_COMMON_LRU` one for each CPU. A pool that is
//! empty is swept by a clock hand: [`Pools::candidates`] names slots in turn, and the table passes over those
//! used since the hand came by last. That approximates the kernel's active and inactive lists
//! (kernel/bpf/bpf_lru_list.c) without a list, hence without a lock: what was looked up lately stays, what
//! was not goes in the order in which it came.

use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

use crate::MapError;
use crate::slots::Slots;

#[derive(Debug)]
pub(crate) struct Pools {
    pools: Vec<CachePadded<Pool>>,
    /// Slots of each pool.
    each: u32,
}

#[derive(Debug)]
struct Pool {
    slots: Slots,
    hand: AtomicU32,
}

impl Pools {
    /// Pools for `entries` entries and `spares` more slots (one for each CPU, in that CPU's pool).
    pub(crate) fn new(entries: u32, spares: usize, pools: usize) -> Result<Pools, MapError> {
        let each = u64::from(entries).div_ceil(pools as u64) + spares.div_ceil(pools) as u64;
        let total = each * pools as u64;
        let Ok(each) = u32::try_from(each) else { return Err(MapError::Memory { bytes: total as usize }) };
        if u32::try_from(total).is_err() {
            return Err(MapError::Memory { bytes: total as usize });
        }
        let pool = |_| Ok(CachePadded::new(Pool { slots: Slots::new(each)?, hand: AtomicU32::new(0) }));
        let pools = (0..pools).map(pool).collect::<Result<_, MapError>>()?;
        Ok(Pools { pools, each })
    }

    /// Slots of all pools together.
    pub(crate) fn slots(&self) -> u32 {
        self.each * self.pools.len() as u32
    }

    fn of_cpu(&self, cpu: usize) -> usize {
        cpu % self.pools.len()
    }

    fn locate(&self, slot: u32) -> (usize, u32) {
        (((slot - 1) / self.each) as usize, (slot - 1) % self.each + 1)
    }

    /// A free slot of the CPU's pool, or 0.
    pub(crate) fn take(&self, cpu: usize) -> u32 {
        let pool = self.of_cpu(cpu);
        match self.pools[pool].slots.take() {
            0 => 0,
            slot => pool as u32 * self.each + slot,
        }
    }

    /// Gives a slot back to the pool it is from.
    pub(crate) fn give(&self, slot: u32) {
        let (pool, slot) = self.locate(slot);
        self.pools[pool].slots.give(slot);
    }

    /// Slots to consider for eviction, the CPU's own pool first: each slot twice, so that even if all were
    /// used lately the second round finds one; then once more for good measure against other evictors.
    pub(crate) fn candidates(&self, cpu: usize) -> impl Iterator<Item = u32> {
        let own = self.of_cpu(cpu);
        let order = (0..self.pools.len()).map(move |n| (own + n) % self.pools.len());
        order.flat_map(move |number| {
            let pool = &self.pools[number];
            let touched = pool.slots.touched().max(1);
            (0..u64::from(touched) * 3).map(move |_| {
                let at = pool.hand.fetch_add(1, Ordering::Relaxed) % touched;
                number as u32 * self.each + at + 1
            })
        })
    }

    /// Whether a slot was ever given out.
    pub(crate) fn touched(&self, slot: u32) -> bool {
        let (pool, slot) = self.locate(slot);
        self.pools.get(pool).is_some_and(|pool| slot <= pool.slots.touched())
    }

    /// Slots given out and not given back.
    pub(crate) fn used(&self) -> u32 {
        self.pools.iter().map(|pool| pool.slots.used()).sum()
    }

    pub(crate) fn populate(&self) {
        self.pools.iter().for_each(|pool| pool.slots.populate());
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pools.iter().map(|pool| pool.slots.bytes()).sum()
    }
}
