//! Walking prefixes in the kernel's order: more specific ones first, then by their bits. Only the holder of
//! the writer's lock comes here.

use std::cmp::Ordering as Order;
use std::sync::atomic::Ordering;

use super::LpmTrie;
use super::bits::{postorder, put};
use super::node::{Node, STRIDE};

/// One walk: the bits that led to where it is, and the prefix it looks for the successor of.
struct Walk<'a> {
    trie: &'a LpmTrie,
    prefix: [u8; 264],
    after: Option<(&'a [u8], u32)>,
}

impl LpmTrie {
    /// The slot of the prefix that follows this one (a stored one), or the first.
    pub(super) fn next_in_order(&self, after: Option<(&[u8], u32)>) -> Option<u32> {
        let mut walk = Walk { trie: self, prefix: [0; 264], after };
        let found = walk.node(self.root.load(Ordering::Relaxed), 0);
        found.or_else(|| {
            // The prefix of no bits contains all others and comes last.
            let last = after.is_none_or(|(_, len)| len != 0);
            Some(self.everything.load(Ordering::Relaxed)).filter(|slot| last && *slot != 0)
        })
    }
}

impl Walk<'_> {
    /// Whether everything below (and at) the first `len` bits has been named already.
    fn passed(&self, len: u32) -> bool {
        self.after.is_some_and(|(bits, end)| postorder(&self.prefix, len, bits, end) != Order::Greater)
    }

    fn node(&mut self, node: u32, depth: u32) -> Option<u32> {
        if node == 0 {
            return None;
        }
        let loaded = self.trie.arena.load(node);
        put(&mut self.prefix, depth, loaded.skip, loaded.skipped);
        let depth = depth + loaded.skip;
        if loaded.skip > 0 && self.passed(depth) {
            return None;
        }
        self.halves(&loaded, depth, 0, 0)
    }

    /// The two halves below the first `len` of a node's bits.
    fn halves(&mut self, node: &Node, depth: u32, len: u32, bits: u64) -> Option<u32> {
        (0..2).find_map(|bit| self.place(node, depth, len + 1, bits << 1 | bit))
    }

    fn place(&mut self, node: &Node, depth: u32, len: u32, bits: u64) -> Option<u32> {
        put(&mut self.prefix, depth, len, bits);
        if self.passed(depth + len) {
            return None;
        }
        let below = if len < STRIDE {
            self.halves(node, depth, len, bits)
        } else {
            let (index, there) = node.child_at(bits);
            if there { self.node(node.links[index as usize], depth + STRIDE) } else { None }
        };
        let (index, stored) = node.slot_at(len, bits);
        below.or_else(|| stored.then(|| node.links[index as usize]))
    }
}
