//! The index of a hash table: buckets of one cache line each, holding slot numbers.
//!
//! ```text
//!   bytes  0        4           16        20                                64
//!          | version | 11 tags + 1 | next | 11 slot numbers (0: empty place) |
//! ```
//!
//! A tag is a byte of the key's hash, never 0; a lookup compares eleven of them at once and touches a slot
//! only where the tag agrees. A bucket that overflows continues in another of the same shape.
//!
//! # Readers take no lock
//!
//! A reader notes the version of the key's bucket, searches, and looks at the version again. If it is the
//! same, all slots it saw belonged to this bucket the whole time, so the keys it compared were whole, and
//! a key that was there was not missed. Otherwise it searches again. Writers change the version only when
//! they take a slot out, so inserts disturb nobody, and some writer has finished whenever a reader repeats.
//!
//! Why the second look suffices: a slot that left a bucket is given back (or kept as a spare) only after the
//! version was raised. Whoever takes it next raises a release fence before writing the new key
//! ([`Table::claim`]). If a reader saw any word of that key, its acquire fence pairs with that fence, so it
//! also sees the raised version.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;
use crate::keys::{Key, Seed};
use crate::slots::Slots;
use crate::spin::Backoff;

/// Places of a bucket.
const PLACES: usize = 11;
/// Entries of an average bucket in a full table: one bucket in a hundred then overflows.
const LOAD: usize = 6;
const LOCKED: u32 = 1;

#[repr(C, align(64))]
struct Bucket {
    /// Bit 0: some writer is at work. The rest counts slots taken out.
    version: AtomicU32,
    tags_low: AtomicU32,
    tags_high: AtomicU64,
    /// The bucket it continues in, counted from 1; 0 for none.
    next: AtomicU32,
    slots: [AtomicU32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    fn set_tag(&self, place: usize, tag: u8) {
        // Only the writer that has the lock comes here, so load and store need not be one step.
        if place < 4 {
            let shift = 8 * place;
            let tags = self.tags_low.load(Ordering::Relaxed) & !(0xff << shift) | u32::from(tag) << shift;
            self.tags_low.store(tags, Ordering::Release);
        } else {
            let shift = 8 * (place - 4);
            let tags = self.tags_high.load(Ordering::Relaxed) & !(0xff << shift) | u64::from(tag) << shift;
            self.tags_high.store(tags, Ordering::Release);
        }
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.load(Ordering::Relaxed) == 0)
    }

    /// The place and slot of a key among the places whose tag agrees.
    ///
    /// # Safety
    /// Every slot number in a bucket is a slot of `entries`, whose key has as many words as `key`.
    #[inline]
    unsafe fn search<K: Key>(&self, key: &K, tag: u8, entries: &Entries) -> Option<(usize, u32)> {
        // Acquire on tags and slot numbers: the key was written before they were published.
        let low = matches(u64::from(self.tags_low.load(Ordering::Acquire)), tag) & 0xffff_ffff;
        let high = matches(self.tags_high.load(Ordering::Acquire), tag);
        for (mut found, first) in [(low, 0), (high, 4)] {
            while found != 0 {
                let place = first + found.trailing_zeros() as usize / 8;
                found &= found - 1;
                let Some(slot) = self.slots.get(place).map(|slot| slot.load(Ordering::Acquire)) else {
                    break;
                };
                // SAFETY: the slot is one of `entries` by the caller's promise.
                if slot != 0 && unsafe { key.is_at(entries.key(slot)) } {
                    return Some((place, slot));
                }
            }
        }
        None
    }
}

/// High bits of the bytes of `tags` that equal `tag`; now and then also of one above such a byte, which the
/// comparison of keys sorts out.
#[inline]
fn matches(tags: u64, tag: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let differs = tags ^ (u64::from(tag) * ONES);
    differs.wrapping_sub(ONES) & !differs & (ONES << 7)
}

/// Where keys are: slot `n` is stride `n - 1`, its key at a fixed offset.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) area: Area,
    pub(crate) key_offset: usize,
}

impl Entries {
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> *mut u8 {
        self.area.at(slot as usize - 1)
    }

    #[inline]
    pub(crate) fn key(&self, slot: u32) -> *mut u8 {
        self.at(slot).wrapping_add(self.key_offset)
    }
}

/// The index and the keys it leads to.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) entries: Entries,
    buckets: Area,
    count: usize,
    overflow: Area,
    overflow_free: Slots,
    seed: Seed,
}

/// A key's bucket and tag.
#[derive(Clone, Copy)]
pub(crate) struct Home {
    pub(crate) bucket: u32,
    tag: u8,
}

impl Table {
    pub(crate) fn new(entries: Entries, slots: u32, seed: Seed, commit: Commit) -> Result<Table, MapError> {
        let count = (slots as usize).div_ceil(LOAD);
        Ok(Table {
            entries,
            buckets: Area::new(count, 64, commit)?,
            count,
            // Enough even if every key fell into the same bucket; untouched, it costs nothing.
            overflow: Area::new(slots as usize, 64, Commit::Lazily)?,
            overflow_free: Slots::new(slots)?,
            seed,
        })
    }

    #[inline]
    fn bucket(&self, index: u32) -> &Bucket {
        assert!((index as usize) < self.count);
        // SAFETY: the index is in range; strides are 64 bytes, page-aligned at the base, zeroed (a valid
        // empty bucket), only touched as buckets, and alive with self.
        unsafe { &*self.buckets.at(index as usize).cast::<Bucket>() }
    }

    fn next(&self, bucket: &Bucket) -> Option<&Bucket> {
        let number = bucket.next.load(Ordering::Acquire) as usize;
        if number == 0 || number > self.overflow_free.total() as usize {
            return None;
        }
        // SAFETY: as in `bucket`; numbers run from 1 to `total`, checked on the line above.
        Some(unsafe { &*self.overflow.at(number - 1).cast::<Bucket>() })
    }

    fn chain<'a>(&'a self, first: &'a Bucket) -> impl Iterator<Item = &'a Bucket> {
        std::iter::successors(Some(first), |bucket| self.next(bucket))
    }

    #[inline]
    pub(crate) fn home<K: Key>(&self, key: &K) -> Home {
        let hash = key.hash(self.seed);
        let bucket = (((hash >> 32) * self.count as u64) >> 32) as u32;
        Home { bucket, tag: (hash as u8).max(1) }
    }

    /// Whether a bucket is worth locking to walk it.
    pub(crate) fn may_hold(&self, index: u32) -> bool {
        let bucket = self.bucket(index);
        bucket.next.load(Ordering::Relaxed) != 0 || !bucket.is_empty()
    }

    pub(crate) fn buckets(&self) -> u32 {
        self.count as u32
    }

    /// The slot of a key, or 0. Takes no lock.
    #[inline]
    pub(crate) fn find<K: Key>(&self, key: &K) -> u32 {
        let home = self.home(key);
        let first = self.bucket(home.bucket);
        loop {
            let before = first.version.load(Ordering::Acquire);
            let mut bucket = first;
            let slot = loop {
                // SAFETY: buckets hold only slots of `entries` (they come from `Locked::insert`).
                if let Some((_, slot)) = unsafe { bucket.search(key, home.tag, &self.entries) } {
                    break slot;
                }
                match self.next(bucket) {
                    Some(next) => bucket = next,
                    None => break 0,
                }
            };
            fence(Ordering::Acquire);
            if (before ^ first.version.load(Ordering::Relaxed)) & !LOCKED == 0 {
                return slot;
            }
        }
    }

    /// Keeps other writers out of a bucket.
    pub(crate) fn lock(&self, index: u32) -> Locked<'_> {
        let bucket = self.bucket(index);
        let mut waited = Backoff::default();
        loop {
            let version = bucket.version.load(Ordering::Relaxed);
            let free = version & LOCKED == 0;
            let take = || {
                let locked = version | LOCKED;
                bucket.version.compare_exchange_weak(version, locked, Ordering::Acquire, Ordering::Relaxed)
            };
            if free && take().is_ok() {
                return Locked { table: self, first: bucket, version, removed: false, emptied: 0 };
            }
            waited.wait();
        }
    }

    /// Announces that the caller writes a new key into a slot it has taken; see the text at the top.
    pub(crate) fn claim(&self) {
        fence(Ordering::Release);
    }

    /// Visits slot numbers of a bucket without a lock; stops when told to.
    pub(crate) fn visit(&self, index: u32, mut each: impl FnMut(u32) -> bool) -> bool {
        for bucket in self.chain(self.bucket(index)) {
            for place in &bucket.slots {
                let slot = place.load(Ordering::Acquire);
                if slot != 0 && !each(slot) {
                    return false;
                }
            }
        }
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.area.bytes() + self.buckets.bytes()
    }

    pub(crate) fn populate(&self) {
        self.entries.area.populate();
        self.buckets.populate();
    }
}

/// Where a key is in its bucket.
pub(crate) struct Place<'a> {
    bucket: &'a Bucket,
    place: usize,
    pub(crate) slot: u32,
}

/// A bucket that only the holder changes; given free when dropped.
pub(crate) struct Locked<'a> {
    table: &'a Table,
    first: &'a Bucket,
    version: u32,
    removed: bool,
    /// An overflow bucket that was unhooked, to be given back after the version is raised.
    emptied: u32,
}

impl<'a> Locked<'a> {
    pub(crate) fn find<K: Key>(&self, key: &K, home: Home) -> Option<Place<'a>> {
        self.table.chain(self.first).find_map(|bucket| {
            // SAFETY: as in `Table::find`.
            let (place, slot) = unsafe { bucket.search(key, home.tag, &self.table.entries) }?;
            Some(Place { bucket, place, slot })
        })
    }

    /// The place of a slot, if it is in this bucket.
    pub(crate) fn find_slot(&self, slot: u32) -> Option<Place<'a>> {
        self.table.chain(self.first).find_map(|bucket| {
            let place = bucket.slots.iter().position(|held| held.load(Ordering::Relaxed) == slot)?;
            Some(Place { bucket, place, slot })
        })
    }

    /// Every slot in the bucket, in the order in which they are visited.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        let places = self.table.chain(self.first).flat_map(|bucket| bucket.slots.iter());
        places.map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| *slot != 0)
    }

    /// Publishes a slot whose key and value have been written.
    pub(crate) fn insert(&mut self, home: Home, slot: u32) {
        let (bucket, place) = self.empty_place();
        // Release, both: who sees the number or the tag sees the key and value written before.
        bucket.slots[place].store(slot, Ordering::Release);
        bucket.set_tag(place, home.tag);
    }

    fn empty_place(&self) -> (&'a Bucket, usize) {
        let mut last = self.first;
        for bucket in self.table.chain(self.first) {
            if let Some(place) = bucket.slots.iter().position(|slot| slot.load(Ordering::Relaxed) == 0) {
                return (bucket, place);
            }
            last = bucket;
        }
        let number = self.table.overflow_free.take();
        assert!(number != 0, "there are as many overflow buckets as slots, and none of them is empty");
        // An overflow bucket is all zeros when it is given back (see `remove`), and when it is fresh.
        last.next.store(number, Ordering::Release);
        let bucket = self.table.next(last).expect("the number was taken from the allocator");
        (bucket, 0)
    }

    /// Puts another slot, with the same key, in place of this one; readers find the one or the other.
    pub(crate) fn replace(&mut self, place: &Place<'_>, slot: u32) {
        place.bucket.slots[place.place].store(slot, Ordering::Release);
        self.removed = true;
    }

    /// Takes a slot out. The caller gives it back after this lock is dropped, not before.
    pub(crate) fn remove(&mut self, place: &Place<'a>) {
        place.bucket.set_tag(place.place, 0);
        place.bucket.slots[place.place].store(0, Ordering::Release);
        self.removed = true;
        if !std::ptr::eq(place.bucket, self.first) && place.bucket.is_empty() {
            self.unhook(place.bucket);
        }
    }

    fn unhook(&mut self, empty: &Bucket) {
        let before = self
            .table
            .chain(self.first)
            .find(|bucket| self.table.next(bucket).is_some_and(|next| std::ptr::eq(next, empty)));
        let Some(before) = before else { return };
        self.emptied = before.next.load(Ordering::Relaxed);
        before.next.store(empty.next.load(Ordering::Relaxed), Ordering::Release);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let version = if self.removed { self.version.wrapping_add(2) } else { self.version };
        self.first.version.store(version, Ordering::Release);
        if self.emptied != 0 {
            let number = self.emptied as usize;
            // SAFETY: the number was read from a bucket of this table, so it is in range (see `Table::next`).
            let bucket = unsafe { &*self.table.overflow.at(number - 1).cast::<Bucket>() };
            // A reader that is still here sees the raised version afterwards; see `Table::claim` for the fence.
            fence(Ordering::Release);
            bucket.next.store(0, Ordering::Relaxed);
            self.table.overflow_free.give(self.emptied);
        }
    }
}
