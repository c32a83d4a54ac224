//! `BPF_MAP_TYPE_LPM_TRIE`: the longest stored prefix of a key.
//!
//! A key is a length in bits (4 bytes, native order) and that many bits, most significant first. The kernel
//! walks one bit at a time; here a node covers six (see `node`), so a route of 24 bits takes four steps.
//! Lookups take no lock (see `arena`); updates take one for the whole map, as in kernel/bpf/lpm_trie.c.

mod arena;
mod bits;
mod change;
mod node;
mod order;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use weir_ebpf::abi::Errno;
use weir_ebpf::abi::map_kind::update_flags as flag;
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use self::arena::{Arena, Free};
use self::bits::{BitSlice, Bits, Bits64, Bits128};
use self::node::STRIDE;
use crate::area::Area;
use crate::slots::Slots;
use crate::storage::{Done, Kind};
use crate::value::ValueShape;
use crate::{MapError, copy};

#[derive(Debug)]
pub(crate) struct LpmTrie {
    /// Slots: key padded to 8, value. Numbers begin at 1.
    area: Area,
    slots: Slots,
    shape: ValueShape,
    key_size: usize,
    value_offset: usize,
    bits: u32,
    max_entries: u32,
    arena: Arena,
    /// The slot of the prefix of length 0.
    everything: AtomicU32,
    root: AtomicU32,
    popcnt: bool,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    free: Free,
    entries: u32,
    /// Slots on their way to being free, oldest first.
    resting: VecDeque<u32>,
}

/// Slots rest for so many changes before they are used again. The kernel waits for a grace period, longer
/// than any run: a program that holds a value while it changes a few routes sees it unchanged.
const REST: usize = 64;

impl LpmTrie {
    pub(crate) fn new(spec: &MapSpec) -> Result<LpmTrie, MapError> {
        let shape = ValueShape::new(spec);
        let key_size = spec.key_size as usize;
        let bits = 8 * (spec.key_size - 4);
        let value_offset = key_size.next_multiple_of(8);
        // More slots than entries: a value is replaced by publishing another slot, and old ones rest.
        let more = REST as u32 + 1;
        let total = spec.max_entries.checked_add(more).ok_or(MapError::Memory { bytes: usize::MAX })?;
        // A prefix adds at most two nodes and, where it is long and lonely, one for every 60 bits.
        let words = u64::from(spec.max_entries) * (24 + 6 * u64::from(bits / 60)) + 8192;
        Ok(LpmTrie {
            area: Area::new(total as usize, value_offset + shape.stride(), Commit::Lazily)?.huge(),
            slots: Slots::new(total)?,
            shape,
            key_size,
            value_offset,
            bits,
            max_entries: spec.max_entries,
            arena: Arena::new(words)?,
            everything: AtomicU32::new(0),
            root: AtomicU32::new(0),
            popcnt: has_popcnt(),
            writer: Mutex::new(Writer {
                free: Free::new(),
                entries: 0,
                resting: VecDeque::with_capacity(REST + 1),
            }),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    #[inline]
    fn slot(&self, slot: u32) -> *mut u8 {
        self.area.at(slot as usize - 1)
    }

    fn value(&self, slot: u32) -> *mut u8 {
        self.slot(slot).wrapping_add(self.value_offset)
    }

    fn copy_key(&self, slot: u32) -> Vec<u8> {
        let mut key = vec![0; self.key_size];
        // SAFETY: a slot begins with `key_size` bytes of key, aligned to 8.
        unsafe { copy::read(key.as_mut_ptr(), self.slot(slot), self.key_size) };
        key
    }

    /// The slot of the longest stored prefix of the first `len` of these bits, or 0.
    #[inline]
    fn find(&self, bits: &impl Bits, len: u32) -> u32 {
        loop {
            let version = self.arena.version();
            #[cfg(target_arch = "x86_64")]
            let slot = if self.popcnt {
                // SAFETY: the processor has the instruction (asked in `new`).
                unsafe { self.walk_popcnt(bits, len) }
            } else {
                self.walk(bits, len)
            };
            #[cfg(not(target_arch = "x86_64"))]
            let slot = self.walk(bits, len);
            if self.arena.unchanged(version) {
                return slot;
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt")]
    fn walk_popcnt(&self, bits: &impl Bits, len: u32) -> u32 {
        self.walk(bits, len)
    }

    #[inline(always)]
    fn walk(&self, bits: &impl Bits, len: u32) -> u32 {
        let mut best = None;
        let mut node = self.root.load(Ordering::Acquire);
        let mut depth = 0;
        while self.arena.holds(node) {
            let head = self.arena.word(node, 0);
            let skip = (head & 0x3f) as u32;
            if skip != 0 {
                if depth + skip > len || bits.get(depth, skip) != head >> (64 - skip) {
                    break;
                }
                depth += skip;
            }
            let here = bits.get(depth, STRIDE);
            let room = (len - depth).min(STRIDE);
            let (short, full) = (self.arena.word(node, 2), self.arena.word(node, 3));
            if let Some(index) = node::best(short, full, here, room) {
                best = Some((node, index));
            }
            let children = self.arena.word(node, 1);
            if room < STRIDE || children >> here & 1 == 0 {
                break;
            }
            let index = short.count_ones() + full.count_ones() + node::below(children, here as u32);
            node = self.arena.link(node, index).load(Ordering::Acquire);
            depth += STRIDE;
        }
        match best {
            Some((node, index)) => self.arena.link(node, index).load(Ordering::Acquire),
            None => self.everything.load(Ordering::Acquire),
        }
    }

    /// The slot that a lookup of this key finds, or 0.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    #[inline]
    unsafe fn find_key(&self, key: *const u8) -> u32 {
        // SAFETY: the caller's promise; keys have at least 5 bytes.
        let (len, data) = unsafe { (key.cast::<u32>().read_unaligned(), key.add(4)) };
        if len > self.bits {
            return 0;
        }
        // SAFETY: `key_size - 4` bytes are readable from `data` on, which each arm's condition states.
        unsafe {
            match self.key_size - 4 {
                4 => self.find(&Bits64::of_4(data), len),
                16 => self.find(&Bits128::of_16(data), len),
                size => {
                    let bytes = std::slice::from_raw_parts(data, size);
                    match size {
                        ..=8 => self.find(&Bits64::new(bytes), len),
                        9..=16 => self.find(&Bits128::new(bytes), len),
                        _ => self.find(&BitSlice(bytes), len),
                    }
                }
            }
        }
    }

    /// Length and bits of a key, if the length is possible.
    fn split<'a>(&self, key: &'a [u8]) -> Result<(u32, &'a [u8]), Errno> {
        let (len, data) = key.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        let len = u32::from_ne_bytes(*len);
        if len > self.bits { Err(Errno::EINVAL) } else { Ok((len, data)) }
    }

    fn put(&self, key: &[u8], value: *const u8, flags: u64) -> Done {
        if flags > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        let (len, data) = self.split(key)?;
        let mut writer = self.writer();
        let old = self.find_exact(data, len);
        match (old, flags) {
            (Some(_), flag::NOEXIST) => return Err(Errno::EEXIST),
            (None, flag::EXIST) => return Err(Errno::ENOENT),
            (None, _) if writer.entries == self.max_entries => return Err(Errno::ENOSPC),
            (None, _) if !self.has_room(&writer.free) => return Err(Errno::ENOMEM),
            _ => {}
        }
        let slot = self.slots.take();
        if slot == 0 {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: the slot is ours; key and value have been measured, or are promised by `update`'s caller.
        unsafe {
            copy::write(self.slot(slot), key.as_ptr(), self.key_size);
            self.shape.reset_fields(self.value(slot));
            self.shape.store(self.value(slot), value, false);
        }
        match old {
            Some(place) => self.rest(&mut writer, place.swap(slot, Ordering::AcqRel)),
            None => {
                self.insert(&mut writer.free, data, len, slot);
                writer.entries += 1;
            }
        }
        Ok(())
    }

    fn take_out(&self, key: &[u8]) -> Done {
        let (len, data) = self.split(key)?;
        let mut writer = self.writer();
        if !self.has_room(&writer.free) {
            return Err(Errno::ENOMEM);
        }
        let slot = self.remove_prefix(&mut writer.free, data, len).ok_or(Errno::ENOENT)?;
        writer.entries -= 1;
        self.rest(&mut writer, slot);
        Ok(())
    }

    /// Lays a slot aside, and gives the one back that has rested longest.
    fn rest(&self, writer: &mut Writer, slot: u32) {
        writer.resting.push_back(slot);
        if writer.resting.len() > REST {
            writer.resting.pop_front().into_iter().for_each(|slot| self.slots.give(slot));
        }
    }
}

fn has_popcnt() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("popcnt");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Kind for LpmTrie {
    #[inline]
    unsafe fn lookup(&self, _cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller's promise.
        match unsafe { self.find_key(key) } {
            0 => std::ptr::null_mut(),
            slot => self.value(slot),
        }
    }

    unsafe fn update(&self, _cpu: usize, key: *const u8, value: *const u8, flags: u64) -> Done {
        // SAFETY: the caller owes `key_size` readable bytes.
        let key = unsafe { std::slice::from_raw_parts(key, self.key_size) };
        self.put(key, value, flags)
    }

    unsafe fn delete(&self, key: *const u8) -> Done {
        // SAFETY: the caller owes `key_size` readable bytes.
        self.take_out(unsafe { std::slice::from_raw_parts(key, self.key_size) })
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        self.area.locate(addr, len).is_some_and(|(slot, inside)| {
            inside >= self.value_offset
                && inside - self.value_offset + len <= self.shape.size
                && slot < self.slots.touched() as usize
        })
    }

    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        // With the writer kept out, the slot found is not given to another prefix while it is copied.
        let _writer = self.writer();
        // SAFETY: Control measured the key; a slot found is in the map.
        unsafe {
            match self.find_key(key.as_ptr()) {
                0 => Err(Errno::ENOENT),
                slot => Ok(self.shape.load(self.value(slot), self.shape.size, false)),
            }
        }
    }

    fn read_exact(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        let (len, data) = self.split(key)?;
        let _writer = self.writer();
        let slot = self.find_exact(data, len).ok_or(Errno::ENOENT)?.load(Ordering::Relaxed);
        // SAFETY: the slot is in the trie and, with the writer kept out, stays there while it is copied.
        Ok(unsafe { self.shape.load(self.value(slot), self.shape.size, false) })
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        self.put(key, value.as_ptr(), flags)
    }

    fn remove(&self, key: &[u8]) -> Done {
        self.take_out(key)
    }

    /// All at once, so that routes which come and go meanwhile cannot send the walk back to the beginning.
    fn keys(&self) -> Vec<Vec<u8>> {
        let _writer = self.writer();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let after = keys.last().and_then(|key| self.split(key).ok());
            let next = self.next_in_order(after.map(|(len, data)| (data, len)));
            match next.map(|slot| self.copy_key(slot)) {
                Some(key) => keys.push(key),
                None => return keys,
            }
        }
    }

    /// The order is that of prefixes, so one that is gone still has its place. Writers wait for one page.
    fn keys_after(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let _writer = self.writer();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        while keys.len() < limit {
            let last = keys.last().map(Vec::as_slice).or(after);
            let last = last.and_then(|key| self.split(key).ok());
            match self.next_in_order(last.map(|(len, data)| (data, len))) {
                Some(slot) => keys.push(self.copy_key(slot)),
                None => break,
            }
        }
        keys
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let _writer = self.writer();
        let known = after.and_then(|key| self.split(key).ok()).filter(|(len, data)| {
            // An unknown key is answered with the first one.
            self.find_exact(data, *len).is_some()
        });
        let next = self.next_in_order(known.map(|(len, data)| (data, len)));
        next.map(|slot| self.copy_key(slot)).ok_or(Errno::ENOENT)
    }

    fn entries(&self) -> usize {
        self.writer().entries as usize
    }

    fn bytes(&self) -> usize {
        self.area.bytes() + self.slots.bytes() + self.arena.bytes()
    }
}
