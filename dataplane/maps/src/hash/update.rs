//! Changing a hash table: finding a slot for what comes, filling it, publishing it, and giving back what went.
//!
//! The order matters and is the same everywhere: write the slot, publish it under the bucket's lock, drop the
//! lock (which raises the bucket's version if a slot left), and only then give the old slot back.

use std::sync::atomic::Ordering;

use weir_ebpf::abi::Errno;
use weir_ebpf::abi::map_kind::update_flags as flag;

use super::Hash;
use super::table::Place;
use crate::copy;
use crate::keys::Key;
use crate::spin::Backoff;
use crate::storage::Done;

/// Where new contents come from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A program on this CPU: its value; other CPUs' begin at zero.
    Program { cpu: usize, value: *const u8 },
    /// User space: the values of all CPUs, one after another.
    User { values: *const u8 },
}

impl Source {
    fn of(self, cpu: usize, map: &Hash) -> *const u8 {
        match self {
            Source::Program { value, .. } => value,
            Source::User { values } => values.wrapping_add(cpu * map.shape.stride()),
        }
    }
}

impl Hash {
    /// A slot for a new key of an LRU kind. It fails only where all slots are in the hands of workers that
    /// have not put them into the table yet, and stay there.
    fn new_slot(&self, cpu: usize) -> Result<u32, Errno> {
        let mut waited = Backoff::default();
        for _ in 0..10_000 {
            match self.pools.take(cpu) {
                0 => {}
                slot => return Ok(slot),
            }
            if let Some(slot) = self.evict(cpu) {
                return Ok(slot);
            }
            waited.wait();
        }
        Err(Errno::ENOMEM)
    }

    /// Takes a slot out that was not used lately: a clock goes round the slots, giving those with a
    /// reference bit a second chance.
    fn evict(&self, cpu: usize) -> Option<u32> {
        let victim = self.pools.candidates(cpu).find(|&slot| {
            let reference = self.reference(slot);
            if reference.load(Ordering::Relaxed) != 0 {
                reference.store(0, Ordering::Relaxed);
                return false;
            }
            self.take_out(slot)
        })?;
        self.forget_timer(victim);
        self.evictions.fetch_add(1, Ordering::Relaxed);
        Some(victim)
    }

    /// Takes a slot out if it is in the table. Its bucket is read without a lock, so the slot may be free,
    /// spare or about to move: then it is not found there and nothing happens.
    fn take_out(&self, slot: u32) -> bool {
        let bucket = self.bucket_of(slot).load(Ordering::Relaxed);
        if bucket >= self.table.buckets() {
            return false;
        }
        let mut locked = self.table.lock(bucket);
        match locked.find_slot(slot) {
            Some(place) => {
                locked.remove(&place);
                true
            }
            None => false,
        }
    }

    /// Puts a value under a key, making room first where the kind makes room.
    ///
    /// # Safety
    /// `source` has a value of this map's size for every CPU it speaks of.
    pub(super) unsafe fn put<K: Key>(&self, cpu: usize, key: &K, source: Source, flags: u64) -> Done {
        let mut ready = 0;
        let result = loop {
            if self.lru && ready == 0 {
                // SAFETY: the caller's promise.
                ready = unsafe { self.ready_slot(cpu, key, source)? };
            }
            // SAFETY: the caller's promise.
            match unsafe { self.try_put(cpu, key, source, flags, &mut ready) } {
                // An LRU key that was there vanished meanwhile, and no slot is free: make room and repeat.
                Err(Errno::E2BIG) if self.lru => {}
                done => break done,
            }
        };
        if ready != 0 {
            self.pools.give(ready);
        }
        result
    }

    /// A slot for an update of an LRU table, taken before the bucket is locked since evicting locks another;
    /// or 0 when none is needed. As in `htab_lru_map_update_elem` the value is written at once, and seen by a
    /// program that holds the slot's last value even if the update then fails. Unlike there, nobody is evicted
    /// for a key that is present: the CPU's spare serves it.
    unsafe fn ready_slot<K: Key>(&self, cpu: usize, key: &K, source: Source) -> Result<u32, Errno> {
        let present = self.table.find(key) != 0;
        if self.rows.is_some() {
            return if present { Ok(0) } else { self.new_slot(cpu) };
        }
        let slot = if present { self.pools.take(cpu) } else { self.new_slot(cpu)? };
        if slot != 0 {
            // SAFETY: the slot is this call's alone; the caller's promise.
            unsafe { self.shape.store(self.value(slot, 0), source.of(0, self), false) };
        }
        Ok(slot)
    }

    /// One attempt under the bucket's lock; uses the slot in `ready` if there is one.
    unsafe fn try_put<K: Key>(
        &self,
        cpu: usize,
        key: &K,
        source: Source,
        flags: u64,
        ready: &mut u32,
    ) -> Done {
        let home = self.table.home(key);
        let mut bucket = self.table.lock(home.bucket);
        let old = bucket.find(key, home);
        let locked = flags & flag::LOCK != 0;
        match (old, flags & !flag::LOCK) {
            (Some(_), flag::NOEXIST) => Err(Errno::EEXIST),
            (None, flag::EXIST) => Err(Errno::ENOENT),
            (Some(place), _) if self.rows.is_some() || locked => {
                // SAFETY: the slot is in the table and the bucket is locked; the caller's promise.
                unsafe { self.overwrite(&place, source, locked) };
                Ok(())
            }
            (Some(place), _) => {
                let slot = match std::mem::take(ready) {
                    0 => self.take_spare(cpu),
                    slot => slot,
                };
                // SAFETY: `slot` is this call's alone; the caller's promise.
                unsafe { self.fill(slot, key, home.bucket, source, true) };
                bucket.replace(&place, slot);
                // The old slot goes back only now that the version is raised.
                drop(bucket);
                self.forget_timer(place.slot);
                self.put_spare(cpu, place.slot);
                Ok(())
            }
            (None, _) => {
                let slot = match std::mem::take(ready) {
                    0 => self.pools.take(cpu),
                    slot => slot,
                };
                if slot == 0 {
                    return Err(Errno::E2BIG);
                }
                // SAFETY: as above.
                unsafe { self.fill(slot, key, home.bucket, source, false) };
                bucket.insert(home, slot);
                Ok(())
            }
        }
    }

    fn take_spare(&self, cpu: usize) -> u32 {
        let spare = &self.spares[cpu.min(self.spares.len() - 1)];
        let mut waited = Backoff::default();
        loop {
            match spare.swap(0, Ordering::Acquire) {
                0 => waited.wait(),
                slot => return slot,
            }
        }
    }

    /// Keeps a slot as the CPU's spare, if it has none, or gives it back.
    fn put_spare(&self, cpu: usize, slot: u32) {
        let spare = &self.spares[cpu.min(self.spares.len() - 1)];
        if spare.compare_exchange(0, slot, Ordering::Release, Ordering::Relaxed).is_err() {
            self.pools.give(slot);
        }
    }

    /// Writes key and value into a slot of the caller's own.
    unsafe fn fill<K: Key>(&self, slot: u32, key: &K, bucket: u32, source: Source, used: bool) {
        self.table.claim();
        if self.lru {
            self.reference(slot).store(u32::from(used), Ordering::Relaxed);
            self.bucket_of(slot).store(bucket, Ordering::Relaxed);
        }
        // SAFETY: the slot has room for the key's words and the value; the caller has it alone. Stale
        // readers are dealt with by `claim` (keys) and by the promise about values at the top.
        unsafe {
            key.put_at(self.table.entries.key(slot));
            if self.rows.is_none() {
                // Someone who still held the value's address may have begun one since the slot was given back.
                self.forget_timer(slot);
                self.shape.reset_fields(self.value(slot, 0));
                self.shape.store(self.value(slot, 0), source.of(0, self), false);
                return;
            }
            for cpu in 0..self.cpus {
                match source {
                    Source::Program { cpu: own, .. } if own != cpu => {
                        copy::zero(self.value(slot, cpu), self.shape.stride());
                    }
                    Source::Program { .. } | Source::User { .. } => {
                        self.shape.store(self.value(slot, cpu), source.of(cpu, self), false);
                    }
                }
            }
        }
    }

    /// Writes a value where it is.
    unsafe fn overwrite(&self, place: &Place<'_>, source: Source, locked: bool) {
        if self.lru {
            self.mark_used(place.slot);
        }
        let cpus = match source {
            Source::Program { cpu, .. } => cpu..cpu + 1,
            Source::User { .. } if self.rows.is_some() => 0..self.cpus,
            Source::User { .. } => 0..1,
        };
        for cpu in cpus {
            // SAFETY: `put` and `write` checked the CPU; the slot is in the table.
            unsafe { self.shape.store(self.value(place.slot, cpu), source.of(cpu, self), locked) };
        }
    }

    pub(super) unsafe fn remove_key<K: Key>(&self, key: &K, mut before: impl FnMut(u32)) -> Done {
        let home = self.table.home(key);
        let mut bucket = self.table.lock(home.bucket);
        let place = bucket.find(key, home).ok_or(Errno::ENOENT)?;
        before(place.slot);
        bucket.remove(&place);
        drop(bucket);
        self.forget_timer(place.slot);
        self.pools.give(place.slot);
        Ok(())
    }
}
