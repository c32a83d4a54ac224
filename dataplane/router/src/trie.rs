//! Longest prefix match: a multibit trie whose leaves are pushed down, 16 bits first, then 8 at a time.
//!
//! ```text
//!   key  |<---- 16 ---->|<- 8 ->|<- 8 ->| ...
//!   root [65,536 slots] → chunk [256] → chunk [256] → ...
//!   slot = 0: no route | value + 1 | CHILD + where the chunk begins
//! ```
//!
//! A slot holds the value of the longest prefix that covers it, so a lookup only goes down and never
//! back: at most two steps below the root for IPv4. DIR-24-8 saves one of them for 64 MiB of
//! table; here the root is 256 KiB and stays in the second-level cache, a table of few routes is
//! small enough to be cloned for each generation, and a change touches the slots it covers.
//!
//! The lengths of what slots hold stand in an array apart, which only changes read.

use std::collections::HashMap;
use std::hash::Hash;

/// A key of a trie: an address as a number, first bit highest.
pub trait Key: Copy + Eq + Hash + std::fmt::Debug {
    /// Bits of the address.
    const BITS: u32;

    /// `count` bits, at most 16, of which the first is number `from`.
    fn bits(self, from: u32, count: u32) -> usize;

    /// The key with all but its first `len` bits cleared.
    fn prefix(self, len: u32) -> Self;
}

macro_rules! keys {
    ($( $number:ty ),+) => { $(
        impl Key for $number {
            const BITS: u32 = <$number>::BITS;

            fn bits(self, from: u32, count: u32) -> usize {
                (self >> (Self::BITS - from - count)) as usize & ((1 << count) - 1)
            }

            fn prefix(self, len: u32) -> Self {
                self & <$number>::MAX.checked_shl(Self::BITS - len).unwrap_or(0)
            }
        }
    )+ };
}

keys!(u32, u128);

/// The slot leads to a chunk.
const CHILD: u32 = 1 << 31;
const ROOT_BITS: u32 = 16;
const CHUNK_BITS: u32 = 8;
const ROOT_SLOTS: usize = 1 << ROOT_BITS;
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;

/// A map from prefixes to numbers below 2^31 - 1, with lookup by longest match.
#[derive(Clone, Debug)]
pub struct Trie<K> {
    /// The root's slots, then those of each chunk. All that a lookup reads.
    slots: Vec<u32>,

    // Below: only for changes.
    /// For each slot, the length of the prefix whose value it holds.
    lens: Vec<u8>,
    /// For each chunk, how many prefixes end in it or below.
    uses: Vec<u32>,
    /// Chunks not in use, by the number of their first slot.
    free: Vec<u32>,
    /// What was inserted.
    prefixes: HashMap<(K, u8), u32, foldhash::fast::RandomState>,
    /// How many prefixes there are of each length.
    len_counts: Vec<u32>,
}

/// A table on the way down: where its slots begin, and the key's bits that lead to it and into it.
#[derive(Clone, Copy)]
struct Level {
    base: usize,
    above: u32,
    width: u32,
}

impl Level {
    const ROOT: Self = Self { base: 0, above: 0, width: ROOT_BITS };

    fn below(self, base: usize) -> Self {
        Self { base, above: self.above + self.width, width: CHUNK_BITS }
    }

    fn slot<K: Key>(self, key: K) -> usize {
        self.base + key.bits(self.above, self.width)
    }
}

impl<K: Key> Default for Trie<K> {
    fn default() -> Self {
        Self {
            slots: vec![0; ROOT_SLOTS],
            lens: vec![0; ROOT_SLOTS],
            uses: Vec::new(),
            free: Vec::new(),
            prefixes: HashMap::default(),
            len_counts: vec![0; K::BITS as usize + 1],
        }
    }
}

impl<K: Key> Trie<K> {
    /// The value of the longest prefix that covers the key.
    #[inline]
    pub fn lookup(&self, key: K) -> Option<u32> {
        let mut slot = self.slots[key.bits(0, ROOT_BITS)];
        let mut above = ROOT_BITS;
        while slot & CHILD != 0 {
            slot = self.slots[(slot & !CHILD) as usize + key.bits(above, CHUNK_BITS)];
            above += CHUNK_BITS;
        }
        slot.checked_sub(1)
    }

    /// The values of all prefixes that cover the key, longest first. Slow: for odd questions.
    pub fn covering(&self, key: K) -> impl Iterator<Item = u32> {
        (0..=K::BITS).rev().filter_map(move |len| self.get(key.prefix(len), len))
    }

    /// The value of exactly this prefix.
    pub fn get(&self, key: K, len: u32) -> Option<u32> {
        if self.len_counts[len as usize] == 0 {
            return None;
        }
        self.prefixes.get(&(key, len as u8)).copied()
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Bytes that lookups may read.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u32>()
    }

    /// Sets the value of the first `len` bits of the key, and returns the one that was there.
    ///
    /// # Panics
    /// When `len` exceeds the key, or the value is 2^31 - 1 or more.
    pub fn insert(&mut self, key: K, len: u32, value: u32) -> Option<u32> {
        assert!(len <= K::BITS && value < CHILD - 1);
        let key = key.prefix(len);
        let old = self.prefixes.insert((key, len as u8), value);
        if old.is_none() {
            self.len_counts[len as usize] += 1;
        }
        let mut level = Level::ROOT;
        while len > level.above + level.width {
            let child = self.child(level.slot(key));
            if old.is_none() {
                self.uses[chunk_number(child)] += 1;
            }
            level = level.below(child);
        }
        for slot in covered(level, key, len) {
            self.paint(slot, &|held| held <= len as u8, value + 1, len as u8);
        }
        old
    }

    /// Takes the first `len` bits of the key out, and returns their value.
    pub fn remove(&mut self, key: K, len: u32) -> Option<u32> {
        let key = key.prefix(len);
        let old = self.prefixes.remove(&(key, len as u8))?;
        self.len_counts[len as usize] -= 1;
        let (under, under_len) = self.next_shorter(key, len);
        let mut way = vec![Level::ROOT];
        while let Some(&level) = way.last()
            && len > level.above + level.width
        {
            way.push(level.below((self.slots[level.slot(key)] & !CHILD) as usize));
        }
        for slot in covered(way[way.len() - 1], key, len) {
            self.paint(slot, &|held| held == len as u8, under, under_len);
        }
        for pair in way.windows(2).rev() {
            self.release(pair[0].slot(key), pair[1].base);
        }
        Some(old)
    }

    /// The slot of the longest prefix that is shorter than this one and covers it.
    fn next_shorter(&self, key: K, len: u32) -> (u32, u8) {
        let held = |len: u32| self.get(key.prefix(len), len).map(|value| (value + 1, len as u8));
        (0..len).rev().find_map(held).unwrap_or((0, 0))
    }

    /// The chunk below a slot, made if there is none: it begins as the slot was.
    fn child(&mut self, slot: usize) -> usize {
        let (held, len) = (self.slots[slot], self.lens[slot]);
        if held & CHILD != 0 {
            return (held & !CHILD) as usize;
        }
        let base = match self.free.pop() {
            Some(base) => base as usize,
            None => {
                let base = self.slots.len();
                assert!(base < CHILD as usize, "a trie holds eight million chunks at most");
                self.slots.resize(base + CHUNK_SLOTS, 0);
                self.lens.resize(base + CHUNK_SLOTS, 0);
                self.uses.push(0);
                base
            }
        };
        self.slots[base..base + CHUNK_SLOTS].fill(held);
        self.lens[base..base + CHUNK_SLOTS].fill(len);
        self.slots[slot] = CHILD | base as u32;
        base
    }

    /// One prefix fewer needs the chunk below a slot; when none does, all its slots are alike and
    /// the slot takes their place.
    fn release(&mut self, slot: usize, base: usize) {
        let uses = &mut self.uses[chunk_number(base)];
        *uses -= 1;
        if *uses == 0 {
            self.slots[slot] = self.slots[base];
            self.lens[slot] = self.lens[base];
            self.free.push(base as u32);
        }
    }

    /// Sets a slot, or all slots below it, where `replaces` says so of the length they hold.
    fn paint(&mut self, slot: usize, replaces: &impl Fn(u8) -> bool, value: u32, len: u8) {
        if self.slots[slot] & CHILD != 0 {
            let base = (self.slots[slot] & !CHILD) as usize;
            for below in base..base + CHUNK_SLOTS {
                self.paint(below, replaces, value, len);
            }
        } else if replaces(self.lens[slot]) {
            self.slots[slot] = value;
            self.lens[slot] = len;
        }
    }
}

fn chunk_number(base: usize) -> usize {
    (base - ROOT_SLOTS) / CHUNK_SLOTS
}

/// The slots of a table that the first `len` bits of the key cover; they end in this table.
fn covered<K: Key>(level: Level, key: K, len: u32) -> std::ops::Range<usize> {
    let first = level.slot(key);
    first..first + (1 << (level.above + level.width - len))
}

#[cfg(test)]
mod tests {
    use super::Trie;

    #[test]
    fn a_longer_prefix_wins_and_leaves_as_it_came() {
        let mut trie = Trie::<u32>::default();
        let empty = trie.bytes();
        trie.insert(0, 0, 1);
        trie.insert(0x0a00_0000, 8, 2);
        trie.insert(0x0a01_0203, 32, 3);
        assert_eq!(trie.lookup(0x0b00_0000), Some(1));
        assert_eq!(trie.lookup(0x0a01_0202), Some(2));
        assert_eq!(trie.lookup(0x0a01_0203), Some(3));
        assert_eq!(trie.covering(0x0a01_0203).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(trie.remove(0x0a01_0203, 32), Some(3));
        assert_eq!(trie.lookup(0x0a01_0203), Some(2));
        assert_eq!(trie.remove(0x0a01_0203, 32), None);
        trie.insert(0xffff_ffff, 32, 4);
        assert_eq!(trie.bytes(), empty + 2 * 256 * 4, "chunks are used again");
    }
}
