//! Putting prefixes into the trie and taking them out. Only the holder of the writer's lock comes here.
//!
//! Each change writes the new nodes first, publishes them with one store to the link above, and only then
//! gives the old ones back.

use std::sync::atomic::{AtomicU32, Ordering};

use super::LpmTrie;
use super::arena::Free;
use super::bits::{BitSlice, Bits};
use super::node::{HEAD, Node, SKIP_MAX, STRIDE, WORDS_MAX};

/// Where a prefix is stored: the depth of its node, and its last bits there.
#[derive(Clone, Copy)]
struct Home {
    depth: u32,
    len: u32,
    bits: u64,
}

impl Home {
    /// Of a prefix of at least one bit.
    fn new(key: &BitSlice<'_>, len: u32) -> Home {
        let depth = (len - 1) / STRIDE * STRIDE;
        Home { depth, len: len - depth, bits: key.get(depth, len - depth) }
    }
}

/// A node on the way down: the link to it, its number, and the bits that chose it in its parent.
struct Step<'a> {
    link: &'a AtomicU32,
    node: u32,
    chosen: u64,
}

impl LpmTrie {
    /// Whether any one change finds room for the nodes it writes.
    pub(super) fn has_room(&self, free: &Free) -> bool {
        let chain = self.bits / (SKIP_MAX + STRIDE) + 1;
        self.arena.has_room(free, 3 * WORDS_MAX + chain * (HEAD + 1))
    }

    /// The word that holds the slot of exactly this prefix.
    pub(super) fn find_exact(&self, key: &[u8], len: u32) -> Option<&AtomicU32> {
        if len == 0 {
            return Some(&self.everything).filter(|slot| slot.load(Ordering::Relaxed) != 0);
        }
        let key = BitSlice(key);
        let home = Home::new(&key, len);
        let node = self.path(&key, home)?.pop()?.node;
        let (index, stored) = self.arena.load(node).slot_at(home.len, home.bits);
        stored.then(|| self.arena.link(node, index))
    }

    /// The nodes down to the home of a prefix, if that node exists.
    fn path(&self, key: &BitSlice<'_>, home: Home) -> Option<Vec<Step<'_>>> {
        let mut steps = Vec::new();
        let (mut link, mut depth, mut chosen) = (&self.root, 0, 0);
        loop {
            let node = link.load(Ordering::Relaxed);
            if node == 0 {
                return None;
            }
            steps.push(Step { link, node, chosen });
            let loaded = self.arena.load(node);
            if depth + loaded.skip > home.depth || key.get(depth, loaded.skip) != loaded.skipped {
                return None;
            }
            depth += loaded.skip;
            if depth == home.depth {
                return Some(steps);
            }
            chosen = key.get(depth, STRIDE);
            let (index, there) = loaded.child_at(chosen);
            if !there {
                return None;
            }
            link = self.arena.link(node, index);
            depth += STRIDE;
        }
    }

    /// Stores a prefix that is not stored yet. There is room (`has_room`).
    pub(super) fn insert(&self, free: &mut Free, key: &[u8], len: u32, slot: u32) {
        if len == 0 {
            self.everything.store(slot, Ordering::Release);
            return;
        }
        let key = BitSlice(key);
        let home = Home::new(&key, len);
        let (mut link, mut depth) = (&self.root, 0);
        loop {
            let at = link.load(Ordering::Relaxed);
            if at == 0 {
                link.store(self.grow(free, &key, depth, home, slot), Ordering::Release);
                return;
            }
            let mut node = self.arena.load(at);
            let words = node.words();
            let shared = shared_bits(&key, depth, home, &node);
            let changed = if shared < node.skip {
                self.branch(free, &key, depth, home, slot, node, shared)
            } else {
                depth += node.skip;
                let here = key.get(depth, STRIDE);
                if depth == home.depth {
                    node.insert_slot(home.len, home.bits, slot);
                } else if let (index, true) = node.child_at(here) {
                    link = self.arena.link(at, index);
                    depth += STRIDE;
                    continue;
                } else {
                    node.insert_child(here, self.grow(free, &key, depth + STRIDE, home, slot));
                }
                self.arena.alloc(free, &node)
            };
            link.store(changed, Ordering::Release);
            self.arena.give(free, at, words);
            return;
        }
    }

    /// New nodes from `depth` down to a prefix's home, where it is stored.
    fn grow(&self, free: &mut Free, key: &BitSlice<'_>, depth: u32, home: Home, slot: u32) -> u32 {
        let skip = (home.depth - depth).min(SKIP_MAX);
        let mut node = Node::empty(skip, key.get(depth, skip));
        if depth + skip == home.depth {
            node.insert_slot(home.len, home.bits, slot);
        } else {
            let child = self.grow(free, key, depth + skip + STRIDE, home, slot);
            node.insert_child(key.get(depth + skip, STRIDE), child);
        }
        self.arena.alloc(free, &node)
    }

    /// A node that branches (or stores) after `shared` of the bits that `old` skips.
    #[expect(clippy::too_many_arguments, reason = "the state of one descent, used here only")]
    fn branch(
        &self,
        free: &mut Free,
        key: &BitSlice<'_>,
        depth: u32,
        home: Home,
        slot: u32,
        mut old: Node,
        shared: u32,
    ) -> u32 {
        let mut upper = Node::empty(shared, key.get(depth, shared));
        let rest = old.skip - shared - STRIDE;
        let chosen = old.skipped >> rest & 0x3f;
        (old.skip, old.skipped) = (rest, old.skipped & ((1 << rest) - 1));
        upper.insert_child(chosen, self.arena.alloc(free, &old));
        let here = depth + shared;
        if home.depth == here {
            upper.insert_slot(home.len, home.bits, slot);
        } else {
            let child = self.grow(free, key, here + STRIDE, home, slot);
            upper.insert_child(key.get(here, STRIDE), child);
        }
        self.arena.alloc(free, &upper)
    }

    /// Takes a prefix out and answers its slot.
    pub(super) fn remove_prefix(&self, free: &mut Free, key: &[u8], len: u32) -> Option<u32> {
        if len == 0 {
            return Some(self.everything.swap(0, Ordering::AcqRel)).filter(|slot| *slot != 0);
        }
        let key = BitSlice(key);
        let home = Home::new(&key, len);
        let mut steps = self.path(&key, home)?;
        let mut step = steps.pop()?;
        let mut node = self.arena.load(step.node);
        let (index, true) = node.slot_at(home.len, home.bits) else { return None };
        let slot = node.links[index as usize];
        let mut given = vec![(step.node, node.words())];
        node.remove_slot(home.len, home.bits);
        // A node with nothing in it goes, and so may its parents.
        while node.len() == 0 {
            let Some(parent) = steps.pop() else { break };
            node = self.arena.load(parent.node);
            given.push((parent.node, node.words()));
            node.remove_child(step.chosen);
            step = parent;
        }
        let changed = if node.len() == 0 { 0 } else { self.joined(free, node, &mut given) };
        step.link.store(changed, Ordering::Release);
        for (node, words) in given {
            self.arena.give(free, node, words);
        }
        Some(slot)
    }

    /// Writes a node; one that only leads to a single child is joined with it, if the bits fit.
    fn joined(&self, free: &mut Free, node: Node, given: &mut Vec<(u32, u32)>) -> u32 {
        if node.slots() == 0 && node.len() == 1 {
            let mut child = self.arena.load(node.links[0]);
            let skip = node.skip + STRIDE + child.skip;
            if skip <= SKIP_MAX {
                given.push((node.links[0], child.words()));
                let chosen = u64::from(node.children.trailing_zeros());
                child.skipped |= (node.skipped << STRIDE | chosen) << child.skip;
                child.skip = skip;
                return self.arena.alloc(free, &child);
            }
        }
        self.arena.alloc(free, &node)
    }
}

/// How many of the bits that a node skips (in whole strides) lead towards a prefix's home.
fn shared_bits(key: &BitSlice<'_>, depth: u32, home: Home, node: &Node) -> u32 {
    let differing = key.get(depth, node.skip) ^ node.skipped;
    let same = if differing == 0 { node.skip } else { differing.leading_zeros() - (64 - node.skip) };
    same.min(home.depth - depth) / STRIDE * STRIDE
}
