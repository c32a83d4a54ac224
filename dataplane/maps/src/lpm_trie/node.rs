//! Nodes of the trie: six bits each, compressed to what is there.
//!
//! ```text
//!   word 0   bits that lead here and are not branched on (up to 54), their number in the low byte
//!   word 1   which of the 64 continuations have a child
//!   word 2   which prefixes of 1 to 5 of the six bits are stored: place (1 << len) - 2 + bits
//!   word 3   which prefixes of all six bits are stored
//!   then     slots of the stored prefixes (shorter ones first), then the children, 4 bytes each
//! ```
//!
//! A stored prefix of length `L` is in the node of depth `6 * ((L - 1) / 6)`, so a route of 24 bits is found
//! in the fourth node at the latest, without a node of its own. This is a tree bitmap (Eatherton, Varghese,
//! Dittia 2004) with path compression. Nodes are never changed but for single slots and links, which are
//! words; any other change writes a new node and swaps the link to it.

/// Bits that a node branches on.
pub(crate) const STRIDE: u32 = 6;
/// Most bits that a node can skip: a multiple of the stride that leaves room for their number.
pub(crate) const SKIP_MAX: u32 = 54;
/// Words before the slots and children.
pub(crate) const HEAD: u32 = 4;
/// Words of the largest node: 126 slots and 64 children.
pub(crate) const WORDS_MAX: u32 = HEAD + 95;

/// Which places of word 2 are prefixes of six given bits.
const ANCESTORS: [u64; 64] = {
    let mut table = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        let mut len = 1;
        while len < STRIDE {
            table[bits] |= 1 << short_place(len, (bits as u64) >> (STRIDE - len));
            len += 1;
        }
        bits += 1;
    }
    table
};

/// The place in word 2 of a prefix of `len` (1 to 5) bits.
pub(crate) const fn short_place(len: u32, bits: u64) -> u32 {
    (1 << len) - 2 + bits as u32
}

/// The longest stored prefix of `bits` with at most `room` (up to 6) bits, as an index among the slots.
#[inline(always)]
pub(crate) fn best(short: u64, full: u64, bits: u64, room: u32) -> Option<u32> {
    if room >= STRIDE && full >> bits & 1 != 0 {
        return Some(short.count_ones() + below(full, bits as u32));
    }
    // Places of prefixes no longer than `room` are the lowest 2, 6, 14, 30, 62.
    let allowed = (1u64 << ((2 << room.min(5)) - 2)) - 1;
    let found = short & ANCESTORS[bits as usize] & allowed;
    (found != 0).then(|| below(short, 63 - found.leading_zeros()))
}

/// Ones below a bit.
#[inline(always)]
pub(crate) fn below(map: u64, bit: u32) -> u32 {
    (map & ((1 << bit) - 1)).count_ones()
}

/// A node taken apart, for changing.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) skip: u32,
    pub(crate) skipped: u64,
    pub(crate) children: u64,
    pub(crate) short: u64,
    pub(crate) full: u64,
    /// Slots, then children.
    pub(crate) links: [u32; 190],
}

impl Node {
    pub(crate) fn empty(skip: u32, skipped: u64) -> Node {
        Node { skip, skipped, children: 0, short: 0, full: 0, links: [0; 190] }
    }

    pub(crate) fn slots(&self) -> u32 {
        self.short.count_ones() + self.full.count_ones()
    }

    pub(crate) fn len(&self) -> u32 {
        self.slots() + self.children.count_ones()
    }

    pub(crate) fn words(&self) -> u32 {
        HEAD + self.len().div_ceil(2)
    }

    /// Where among the links a stored prefix is or would be, and whether it is.
    pub(crate) fn slot_at(&self, len: u32, bits: u64) -> (u32, bool) {
        if len == STRIDE {
            let index = self.short.count_ones() + below(self.full, bits as u32);
            return (index, self.full >> bits & 1 != 0);
        }
        let place = short_place(len, bits);
        (below(self.short, place), self.short >> place & 1 != 0)
    }

    /// The same for a child.
    pub(crate) fn child_at(&self, bits: u64) -> (u32, bool) {
        (self.slots() + below(self.children, bits as u32), self.children >> bits & 1 != 0)
    }

    fn open(&mut self, index: u32, link: u32) {
        let (index, len) = (index as usize, self.len() as usize);
        self.links.copy_within(index..len, index + 1);
        self.links[index] = link;
    }

    fn close(&mut self, index: u32) {
        let (index, len) = (index as usize, self.len() as usize);
        self.links.copy_within(index + 1..len, index);
    }

    fn flip(&mut self, len: u32, bits: u64) {
        match len {
            STRIDE => self.full ^= 1 << bits,
            _ => self.short ^= 1 << short_place(len, bits),
        }
    }

    /// Stores a prefix that is not stored yet.
    pub(crate) fn insert_slot(&mut self, len: u32, bits: u64, slot: u32) {
        self.open(self.slot_at(len, bits).0, slot);
        self.flip(len, bits);
    }

    /// Takes a stored prefix out.
    pub(crate) fn remove_slot(&mut self, len: u32, bits: u64) {
        self.close(self.slot_at(len, bits).0);
        self.flip(len, bits);
    }

    pub(crate) fn insert_child(&mut self, bits: u64, child: u32) {
        self.open(self.child_at(bits).0, child);
        self.children |= 1 << bits;
    }

    pub(crate) fn remove_child(&mut self, bits: u64) {
        self.close(self.child_at(bits).0);
        self.children &= !(1 << bits);
    }
}
