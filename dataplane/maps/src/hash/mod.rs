//! `BPF_MAP_TYPE_HASH`, `PERCPU_HASH`, `LRU_HASH` and `LRU_PERCPU_HASH`: values by key.
//!
//! ```text
//!   slot:  | reference bit, bucket (LRU only) | key, padded to 8 | value, padded to 8 |
//!   per-CPU kinds keep values apart, each CPU's in a row of its own:
//!          | value of slot 1 | value of slot 2 | …
//! ```
//!
//! As in the kernel's preallocated tables, updating a plain value puts a fresh slot in the old one's place,
//! so readers see the old value or the new one, never a mixture, and a program that holds the old value's
//! address keeps seeing it until the slot is used again. Each CPU keeps one spare slot for that (the kernel's
//! `extra_elems`), so it works in a full table. Follows kernel/bpf/hashtab.c; the order of `next_key` is by
//! bucket and differs from the kernel's, which is random too.

mod lru;
mod table;
mod update;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use weir_ebpf::abi::map_kind::{create_flags, update_flags as flag};
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::{Commit, PAGE};

use self::lru::Pools;
use self::table::{Entries, Table};
use self::update::Source;
use crate::area::Area;
use crate::keys::{Seed, with_key};
use crate::storage::{Done, Kind};
use crate::timer::{Bytes, TimerClock, Timers};
use crate::value::ValueShape;
use crate::{MapError, copy};

/// Bytes before the key in an LRU slot: the reference bit and the bucket's number.
const LRU_HEADER: usize = 8;

#[derive(Debug)]
pub(crate) struct Hash {
    table: Table,
    pools: Pools,
    shape: ValueShape,
    key_size: usize,
    value_offset: usize,
    /// Per-CPU kinds: a row of values for each CPU.
    rows: Option<Area>,
    cpus: usize,
    lru: bool,
    /// A slot for each CPU and one for the control side; 0 while in use.
    spares: Vec<CachePadded<AtomicU32>>,
    evictions: AtomicU64,
    pub(crate) timers: Option<Box<Timers>>,
}

impl Hash {
    pub(crate) fn new(spec: &MapSpec, cpus: usize) -> Result<Hash, MapError> {
        let shape = ValueShape::new(spec);
        let key_size = spec.key_size as usize;
        let lru = matches!(spec.kind, MapKind::LruHash | MapKind::LruPercpuHash);
        let percpu = spec.kind.is_percpu();
        let has = |wanted| spec.flags & wanted != 0;
        let commit = if has(create_flags::NO_PREALLOC) { Commit::Lazily } else { Commit::Now };
        let spares = if percpu { 0 } else { cpus + 1 };
        let own_pools = if lru && has(create_flags::NO_COMMON_LRU) { cpus } else { 1 };
        let pools = Pools::new(spec.max_entries, spares, own_pools)?;
        let key_offset = if lru { LRU_HEADER } else { 0 };
        let value_offset = key_offset + key_size.next_multiple_of(8);
        let inside = if percpu { 0 } else { shape.stride() };
        let area = Area::new(pools.slots() as usize, slot_stride(value_offset + inside), commit)?;
        let seed = Seed::new(has(create_flags::ZERO_SEED))?;
        let rows = match percpu {
            true => {
                let row = (pools.slots() as usize * shape.stride()).next_multiple_of(PAGE);
                Some(Area::new(cpus, row, commit)?)
            }
            false => None,
        };
        let table = Table::new(Entries { area, key_offset }, pools.slots(), seed, commit)?;
        let spares = (0..spares).map(|cpu| CachePadded::new(AtomicU32::new(pools.take(cpu)))).collect();
        let evictions = AtomicU64::new(0);
        // One for each slot, from 0 on.
        let timers = shape.timer.map(|_| Timers::new(pools.slots() as usize, cpus));
        Ok(Hash { table, pools, shape, key_size, value_offset, rows, cpus, lru, spares, evictions, timers })
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// The value of a slot, on a CPU for the per-CPU kinds.
    #[inline]
    fn value(&self, slot: u32, cpu: usize) -> *mut u8 {
        match &self.rows {
            None => self.table.entries.at(slot).wrapping_add(self.value_offset),
            Some(rows) if cpu < self.cpus => {
                rows.at(cpu).wrapping_add((slot as usize - 1) * self.shape.stride())
            }
            Some(_) => std::ptr::null_mut(),
        }
    }

    fn reference(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: slots lie inside the area (their numbers come from `pools`); LRU slots begin with two
        // 4-byte words which are only touched as atomics.
        unsafe { &*self.table.entries.at(slot).cast::<AtomicU32>() }
    }

    fn bucket_of(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: as in `reference`; the second word.
        unsafe { &*self.table.entries.at(slot).cast::<AtomicU32>().add(1) }
    }

    /// Notes that a slot was used (`bpf_lru_node_set_ref`): read first, so that hot lines stay shared.
    #[inline]
    fn mark_used(&self, slot: u32) {
        let reference = self.reference(slot);
        if reference.load(Ordering::Relaxed) == 0 {
            reference.store(1, Ordering::Relaxed);
        }
    }

    /// The value of one CPU by its key, or null.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    pub(crate) unsafe fn lookup_percpu(&self, cpu: usize, key: *const u8) -> *mut u8 {
        if self.rows.is_none() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { self.lookup(cpu, key) }
    }

    fn check_flags(&self, flags: u64) -> Done {
        let lockable = self.rows.is_none() && !self.lru;
        let known = flags & !if lockable { flag::LOCK } else { 0 };
        if known > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        self.shape.check_lock(flags & flag::LOCK != 0)
    }

    /// All CPUs' values of a slot, as bpf(2) gives them.
    unsafe fn copy_out(&self, slot: u32, locked: bool) -> Vec<u8> {
        match self.rows {
            // SAFETY: the caller has the slot's bucket locked, so the slot is in the table.
            None => unsafe { self.shape.load(self.value(slot, 0), self.shape.size, locked) },
            Some(_) => (0..self.cpus)
                // SAFETY: the same, and `cpu < cpus`.
                .flat_map(|cpu| unsafe { self.shape.load(self.value(slot, cpu), self.shape.stride(), false) })
                .collect(),
        }
    }

    fn copy_key(&self, slot: u32) -> Vec<u8> {
        let mut key = vec![0; self.key_size];
        // SAFETY: the slot's key has `key_size` bytes, aligned to 8.
        unsafe { copy::read(key.as_mut_ptr(), self.table.entries.key(slot), self.key_size) };
        key
    }

    /// The number of the timer at this address.
    pub(crate) fn timer_at(&self, addr: usize) -> Option<usize> {
        let start = addr.checked_sub(self.shape.timer?)?;
        let (number, inside) = self.table.entries.area.locate(start, self.shape.size)?;
        (inside == self.value_offset && self.pools.touched(number as u32 + 1)).then_some(number)
    }

    /// Begins the timer at this address.
    pub(crate) fn begin_timer(&self, addr: usize, clock: TimerClock) -> Done {
        let (timers, offset) = self.timers.as_ref().zip(self.shape.timer).ok_or(Errno::EINVAL)?;
        let number = self.timer_at(addr).ok_or(Errno::EINVAL)?;
        timers.begin(number, self.timer_bytes(number as u32 + 1, offset), clock)
    }

    fn timer_bytes(&self, slot: u32, offset: usize) -> Bytes<'_> {
        // SAFETY: the timer lies inside the slot's value, aligned (`create::common`); kinds with timers keep
        // their values in the slots.
        unsafe { Bytes::new(self.value(slot, 0).add(offset)) }
    }

    /// Key and value of the element that a timer is in.
    pub(crate) fn timed_entry(&self, number: usize) -> (*const u8, *mut u8) {
        let slot = number as u32 + 1;
        (self.table.entries.key(slot), self.value(slot, 0))
    }

    /// Cancels the timer of an element that goes (`check_and_free_fields`).
    pub(crate) fn forget_timer(&self, slot: u32) {
        if let (Some(timers), Some(offset)) = (&self.timers, self.shape.timer) {
            timers.forget(slot as usize - 1, self.timer_bytes(slot, offset));
        }
    }

    /// The first key of a bucket after `last` (from its beginning with 0).
    fn key_after(&self, bucket: u32, last: u32) -> Option<Vec<u8>> {
        if !self.table.may_hold(bucket) {
            return None;
        }
        let locked = self.table.lock(bucket);
        let mut slots = locked.slots().skip_while(|slot| last != 0 && *slot != last);
        if last != 0 {
            slots.next();
        }
        slots.next().map(|slot| self.copy_key(slot))
    }
}

/// Slots up to a cache line are rounded to a power of two, so that none straddles two lines.
fn slot_stride(bytes: usize) -> usize {
    if bytes <= 64 { bytes.next_power_of_two().max(16) } else { bytes.next_multiple_of(16) }
}

impl Kind for Hash {
    #[inline]
    unsafe fn lookup(&self, cpu: usize, key: *const u8) -> *mut u8 {
        let slot = with_key!(key, self.key_size, key => self.table.find(&key));
        if slot == 0 {
            return std::ptr::null_mut();
        }
        if self.lru {
            self.mark_used(slot);
        }
        self.value(slot, cpu)
    }

    unsafe fn update(&self, cpu: usize, key: *const u8, value: *const u8, flags: u64) -> Done {
        self.check_flags(flags)?;
        if self.rows.is_some() && cpu >= self.cpus {
            return Err(Errno::EINVAL);
        }
        let source = Source::Program { cpu, value };
        with_key!(key, self.key_size, key => self.put(cpu, &key, source, flags))
    }

    unsafe fn delete(&self, key: *const u8) -> Done {
        with_key!(key, self.key_size, key => self.remove_key(&key, |_| {}))
    }

    fn for_each(&self, cpu: usize, each: &mut dyn FnMut(*const u8, *mut u8) -> bool) -> Result<u64, Errno> {
        let mut visited = 0;
        for bucket in 0..self.table.buckets() {
            let more = self.table.visit(bucket, |slot| {
                visited += 1;
                each(self.table.entries.key(slot), self.value(slot, cpu))
            });
            if !more {
                break;
            }
        }
        Ok(visited)
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        let touched = |slot: usize| self.pools.touched(slot as u32 + 1);
        match &self.rows {
            None => self.table.entries.area.locate(addr, len).is_some_and(|(slot, inside)| {
                inside >= self.value_offset
                    && inside - self.value_offset + len <= self.shape.size
                    && touched(slot)
            }),
            Some(rows) => rows.locate(addr, len).is_some_and(|(_, inside)| {
                let stride = self.shape.stride();
                inside % stride + len <= self.shape.size && touched(inside / stride)
            }),
        }
    }

    fn has_special(&self, addr: usize, len: usize) -> bool {
        let inside = match &self.rows {
            None => self
                .table
                .entries
                .area
                .locate(addr, len)
                .map(|(_, inside)| inside.wrapping_sub(self.value_offset)),
            Some(rows) => rows.locate(addr, len).map(|(_, inside)| inside % self.shape.stride()),
        };
        inside.is_some_and(|offset| self.shape.is_special(offset, offset.saturating_add(len)))
    }

    fn read(&self, key: &[u8], locked: bool) -> Result<Vec<u8>, Errno> {
        with_key!(key.as_ptr(), self.key_size, key => {
            let home = self.table.home(&key);
            let bucket = self.table.lock(home.bucket);
            let place = bucket.find(&key, home).ok_or(Errno::ENOENT)?;
            Ok(self.copy_out(place.slot, locked))
        })
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        self.check_flags(flags)?;
        let source = Source::User { values: value.as_ptr() };
        with_key!(key.as_ptr(), self.key_size, key => self.put(self.cpus, &key, source, flags))
    }

    fn remove(&self, key: &[u8]) -> Done {
        // SAFETY: Control measured the key.
        unsafe { self.delete(key.as_ptr()) }
    }

    fn take(&self, key: &[u8], locked: bool) -> Result<Vec<u8>, Errno> {
        let mut value = Vec::new();
        with_key!(key.as_ptr(), self.key_size, key => {
            self.remove_key(&key, |slot| value = self.copy_out(slot, locked))?;
        });
        Ok(value)
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let found = after.map_or((0, 0), |key| {
            with_key!(key.as_ptr(), self.key_size, key => (self.table.home(&key).bucket, self.table.find(&key)))
        });
        // An unknown key is answered with the first one.
        let (first, last) = if found.1 == 0 { (0, 0) } else { found };
        let here = self.key_after(first, last);
        let mut rest = first + 1..self.table.buckets();
        here.or_else(|| rest.find_map(|bucket| self.key_after(bucket, 0))).ok_or(Errno::ENOENT)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for bucket in (0..self.table.buckets()).filter(|bucket| self.table.may_hold(*bucket)) {
            keys.extend(self.table.lock(bucket).slots().map(|slot| self.copy_key(slot)));
        }
        keys
    }

    /// Whole buckets: a key never leaves its bucket, so none that stays is missed or named twice.
    fn keys_after(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let first = after
            .map_or(0, |key| with_key!(key.as_ptr(), self.key_size, key => self.table.home(&key).bucket + 1));
        let mut keys = Vec::new();
        for bucket in (first..self.table.buckets()).filter(|bucket| self.table.may_hold(*bucket)) {
            if keys.len() >= limit {
                break;
            }
            keys.extend(self.table.lock(bucket).slots().map(|slot| self.copy_key(slot)));
        }
        keys
    }

    fn entries(&self) -> usize {
        self.pools.used() as usize - self.spares.len().min(self.pools.used() as usize)
    }

    fn bytes(&self) -> usize {
        let timers = self.timers.as_ref().map_or(0, |timers| timers.bytes());
        self.table.bytes() + self.pools.bytes() + self.rows.as_ref().map_or(0, Area::bytes) + timers
    }

    fn populate(&self) {
        self.table.populate();
        self.pools.populate();
        if let Some(rows) = &self.rows {
            rows.populate();
        }
    }
}
