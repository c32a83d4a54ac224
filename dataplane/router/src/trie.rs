//! Longest prefix match: a multibit trie whose leaves are pushed down, 16 bits first, then 8 at a time.
//!
//! ```text
//!   key  |<---- 16 ---->|<- 8 ->|<- 8 ->| ...
//!   root [65,536 slots] → chunk [256] → chunk [256] → ...
//!   slot = 0: no route | value + 1 | CHILD + where the chunk begins | LEAF + number of a leaf
//! ```
//!
//! A slot holds the value of the longest prefix that covers it, so a lookup only goes down and never
//! back: at most two steps below the root for IPv4. Where a single longer prefix lies below a slot,
//! the slot leads to a leaf, which has that prefix for comparison and the value for all else;
//! a chunk is made for the second one, and stays until its last prefix leaves. Without leaves, 100,000 IPv6 prefixes took 280 MiB in chains of
//! chunks with one prefix each (2026-11-21).
//!
//! DIR-24-8 saves IPv4 a step for 64 MiB of table; here the root is 256 KiB and stays in the
//! second-level cache, a table of few routes is small enough to be cloned for each
//! generation, and a change touches only the slots it covers.
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
/// The slot leads to a leaf.
const LEAF: u32 = 1 << 30;
const ROOT_BITS: u32 = 16;
const CHUNK_BITS: u32 = 8;
const ROOT_SLOTS: usize = 1 << ROOT_BITS;
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;

/// What a slot holds, of the prefix of this length.
#[derive(Clone, Copy, Debug)]
struct Held {
    slot: u32,
    len: u8,
}

/// A prefix that is alone below its slot.
#[derive(Clone, Copy, Debug)]
struct Leaf<K> {
    key: K,
    /// What keys below the prefix find.
    inside: Held,
    /// What all others find.
    outside: Held,
}

/// A map from prefixes to numbers below 2^30 - 1, with lookup by longest match.
#[derive(Clone, Debug)]
pub struct Trie<K> {
    /// The root's slots, then those of each chunk. All that a lookup reads.
    slots: Vec<u32>,
    leaves: Vec<Leaf<K>>,

    // Below: only for changes.
    /// For each slot, the length of the prefix whose value it holds.
    lens: Vec<u8>,
    /// For each chunk, how many prefixes end in it or below.
    uses: Vec<u32>,
    /// Chunks not in use, by the number of their first slot.
    free: Vec<u32>,
    /// Leaves not in use.
    free_leaves: Vec<u32>,
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
        Self { base, above: self.end(), width: CHUNK_BITS }
    }

    /// How many bits of a key lead through this table.
    fn end(self) -> u32 {
        self.above + self.width
    }

    fn slot<K: Key>(self, key: K) -> usize {
        self.base + key.bits(self.above, self.width)
    }
}

impl<K: Key> Default for Trie<K> {
    fn default() -> Self {
        Self {
            slots: vec![0; ROOT_SLOTS],
            leaves: Vec::new(),
            lens: vec![0; ROOT_SLOTS],
            uses: Vec::new(),
            free: Vec::new(),
            free_leaves: Vec::new(),
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
        if slot & LEAF != 0 {
            let leaf = &self.leaves[(slot & !LEAF) as usize];
            let below = key.prefix(leaf.inside.len.into()) == leaf.key;
            slot = if below { leaf.inside.slot } else { leaf.outside.slot };
        }
        slot.checked_sub(1)
    }

    /// Lengths and values of all prefixes that cover the key, longest first. Slow: for odd questions.
    pub fn covering(&self, key: K) -> impl Iterator<Item = (u32, u32)> {
        (0..=K::BITS).rev().filter_map(move |len| Some((len, self.get(key.prefix(len), len)?)))
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
        self.slots.len() * size_of::<u32>() + self.leaves.len() * size_of::<Leaf<K>>()
    }

    /// Sets the value of the first `len` bits of the key, and returns the one that was there.
    ///
    /// # Panics
    /// When `len` exceeds the key, or the value is 2^30 - 1 or more.
    pub fn insert(&mut self, key: K, len: u32, value: u32) -> Option<u32> {
        assert!(len <= K::BITS && value < LEAF - 1);
        let key = key.prefix(len);
        let old = self.prefixes.insert((key, len as u8), value);
        if old.is_none() {
            self.len_counts[len as usize] += 1;
        }
        self.place(key, Held { slot: value + 1, len: len as u8 }, old.is_none());
        old
    }

    /// Puts a prefix where lookups find it. A fresh one is counted by the chunks on its way.
    fn place(&mut self, key: K, held: Held, fresh: bool) {
        let len = held.len.into();
        let mut level = Level::ROOT;
        while len > level.end() {
            let slot = level.slot(key);
            if self.slots[slot] & (CHILD | LEAF) == 0 {
                let outside = self.held(slot);
                self.slots[slot] = LEAF | self.add_leaf(Leaf { key, inside: held, outside });
                return;
            }
            if self.slots[slot] & LEAF != 0 {
                let number = self.slots[slot] & !LEAF;
                let leaf = &mut self.leaves[number as usize];
                if leaf.key == key && leaf.inside.len == held.len {
                    leaf.inside = held;
                    return;
                }
                self.split(level, number);
            }
            let child = (self.slots[slot] & !CHILD) as usize;
            self.uses[chunk_number(child)] += u32::from(fresh);
            level = level.below(child);
        }
        for slot in covered(level, key, len) {
            self.paint(slot, &|under| under <= held.len, held);
        }
    }

    /// Makes a chunk in a leaf's place, with the leaf's prefix in it.
    fn split(&mut self, level: Level, number: u32) {
        let leaf = self.leaves[number as usize];
        let slot = level.slot(leaf.key);
        let child = self.add_chunk(leaf.outside);
        self.slots[slot] = CHILD | child as u32;
        self.uses[chunk_number(child)] = 1;
        let below = level.below(child);
        if u32::from(leaf.inside.len) > below.end() {
            self.slots[below.slot(leaf.key)] = LEAF | number;
            return;
        }
        self.free_leaves.push(number);
        for slot in covered(below, leaf.key, leaf.inside.len.into()) {
            self.hold(slot, leaf.inside);
        }
    }

    /// Takes the first `len` bits of the key out, and returns their value.
    pub fn remove(&mut self, key: K, len: u32) -> Option<u32> {
        let key = key.prefix(len);
        let old = self.prefixes.remove(&(key, len as u8))?;
        self.len_counts[len as usize] -= 1;
        let under = self.next_shorter(key, len);
        let mut way = vec![Level::ROOT];
        let mut level = Level::ROOT;
        while len > level.end() && self.slots[level.slot(key)] & LEAF == 0 {
            level = level.below((self.slots[level.slot(key)] & !CHILD) as usize);
            way.push(level);
        }
        if len > level.end() {
            let number = self.slots[level.slot(key)] & !LEAF;
            self.hold(level.slot(key), self.leaves[number as usize].outside);
            self.free_leaves.push(number);
        } else {
            for slot in covered(level, key, len) {
                self.paint(slot, &|held| u32::from(held) == len, under);
            }
        }
        for pair in way.windows(2).rev() {
            self.release(pair[0].slot(key), pair[1].base);
        }
        Some(old)
    }

    /// What slots of the longest prefix hold that is shorter than this one and covers it.
    fn next_shorter(&self, key: K, len: u32) -> Held {
        let held =
            |len: u32| self.get(key.prefix(len), len).map(|value| Held { slot: value + 1, len: len as u8 });
        (0..len).rev().find_map(held).unwrap_or(Held { slot: 0, len: 0 })
    }

    fn held(&self, slot: usize) -> Held {
        Held { slot: self.slots[slot], len: self.lens[slot] }
    }

    fn hold(&mut self, slot: usize, held: Held) {
        self.slots[slot] = held.slot;
        self.lens[slot] = held.len;
    }

    fn add_leaf(&mut self, leaf: Leaf<K>) -> u32 {
        if let Some(number) = self.free_leaves.pop() {
            self.leaves[number as usize] = leaf;
            return number;
        }
        self.leaves.push(leaf);
        self.leaves.len() as u32 - 1
    }

    /// A chunk whose slots all hold the same; answers where it begins.
    fn add_chunk(&mut self, held: Held) -> usize {
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
        self.slots[base..base + CHUNK_SLOTS].fill(held.slot);
        self.lens[base..base + CHUNK_SLOTS].fill(held.len);
        base
    }

    /// One prefix fewer needs the chunk below a slot; when none does, all its slots are alike and
    /// the slot takes their place.
    fn release(&mut self, slot: usize, base: usize) {
        let uses = &mut self.uses[chunk_number(base)];
        *uses -= 1;
        if *uses == 0 {
            self.hold(slot, self.held(base));
            self.free.push(base as u32);
        }
    }

    /// Sets a slot, or all that is below it, where `replaces` says so of the length held there.
    fn paint(&mut self, slot: usize, replaces: &impl Fn(u8) -> bool, held: Held) {
        let way = self.slots[slot];
        if way & CHILD != 0 {
            let base = (way & !CHILD) as usize;
            for below in base..base + CHUNK_SLOTS {
                self.paint(below, replaces, held);
            }
        } else if way & LEAF != 0 {
            let outside = &mut self.leaves[(way & !LEAF) as usize].outside;
            if replaces(outside.len) {
                *outside = held;
            }
        } else if replaces(self.lens[slot]) {
            self.hold(slot, held);
        }
    }
}

fn chunk_number(base: usize) -> usize {
    (base - ROOT_SLOTS) / CHUNK_SLOTS
}

/// The slots of a table that the first `len` bits of the key cover; they end in this table.
fn covered<K: Key>(level: Level, key: K, len: u32) -> std::ops::Range<usize> {
    let first = level.slot(key);
    first..first + (1 << (level.end() - len))
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
        assert_eq!(trie.covering(0x0a01_0203).collect::<Vec<_>>(), [(32, 3), (8, 2), (0, 1)]);
        assert_eq!(trie.remove(0x0a01_0203, 32), Some(3));
        assert_eq!(trie.lookup(0x0a01_0203), Some(2));
        assert_eq!(trie.remove(0x0a01_0203, 32), None);
        let leaf = trie.bytes() - empty;
        trie.insert(0xffff_ffff, 32, 4);
        assert_eq!(trie.bytes(), empty + leaf, "a leaf is used again");
        trie.insert(0xffff_0000, 24, 5);
        trie.insert(0xffff_fffe, 31, 6);
        assert_eq!(
            [0xffff_ffff, 0xffff_fffe, 0xffff_00ff, 0xffff_0100].map(|key| trie.lookup(key)),
            [4, 6, 5, 1].map(Some)
        );
    }
}
