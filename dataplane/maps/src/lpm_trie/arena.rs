//! Memory of nodes: words, handed out in runs of exact length and used again by length.
//!
//! Readers walk without a lock, so a node that was replaced may still be read. It may even be written over:
//! before a run is used again, the arena's version is raised, and a reader that sees another version at its
//! end than at its beginning walks again. What a reader meets in between is checked to be inside the arena,
//! so the worst is a wrong answer that is thrown away.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use weir_sys::mapping::Commit;

use super::node::{HEAD, Node, WORDS_MAX};
use crate::MapError;
use crate::area::Area;

#[derive(Debug)]
pub(crate) struct Arena {
    words: Area,
    count: u32,
    version: AtomicU64,
}

/// What only the writer touches.
#[derive(Debug)]
pub(crate) struct Free {
    /// The first word never used.
    fresh: u32,
    /// Runs to be used again, by length.
    runs: Vec<Vec<u32>>,
}

impl Free {
    pub(crate) fn new() -> Free {
        // Word 0 stands for no node.
        Free { fresh: 1, runs: vec![Vec::new(); WORDS_MAX as usize + 1] }
    }
}

impl Arena {
    pub(crate) fn new(words: u64) -> Result<Arena, MapError> {
        let count = words.min(u64::from(u32::MAX - WORDS_MAX)) as u32;
        // A reader that was led astray may begin at any word and read a whole node from there.
        let words = Area::new((count + WORDS_MAX) as usize, 8, Commit::Lazily)?.huge();
        Ok(Arena { words, count, version: AtomicU64::new(0) })
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether nothing was written over since the version was read. The fence pairs with that in `alloc`.
    pub(crate) fn unchanged(&self, version: u64) -> bool {
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// Whether a number can be a node's.
    #[inline]
    pub(crate) fn holds(&self, node: u32) -> bool {
        node != 0 && node < self.count
    }

    #[inline]
    pub(crate) fn word(&self, node: u32, index: u32) -> u64 {
        debug_assert!(self.holds(node) && index < HEAD);
        // SAFETY: callers pass nodes that `holds` approved and `index < HEAD`; the area is `WORDS_MAX` words
        // longer than `count`, zeroed, only touched as atomics, and lives with self.
        unsafe {
            (*self.words.base().cast::<AtomicU64>().add((node + index) as usize)).load(Ordering::Relaxed)
        }
    }

    /// A slot or child of a node.
    #[inline]
    pub(crate) fn link(&self, node: u32, index: u32) -> &AtomicU32 {
        debug_assert!(self.holds(node) && index < 190);
        let first = 2 * (node as usize + HEAD as usize);
        // SAFETY: as in `word`; popcounts bound `index` by 190, which is 95 words.
        unsafe { &*self.words.base().cast::<AtomicU32>().add(first + index as usize) }
    }

    pub(crate) fn load(&self, node: u32) -> Node {
        let head = self.word(node, 0);
        let skip = (head & 0xff) as u32;
        let skipped = if skip == 0 { 0 } else { head >> (64 - skip) };
        let mut loaded = Node::empty(skip, skipped);
        (loaded.children, loaded.short, loaded.full) =
            (self.word(node, 1), self.word(node, 2), self.word(node, 3));
        for index in 0..loaded.len() {
            loaded.links[index as usize] = self.link(node, index).load(Ordering::Relaxed);
        }
        loaded
    }

    /// Whether there is room for whatever one change may need.
    pub(crate) fn has_room(&self, free: &Free, words: u32) -> bool {
        self.count - free.fresh > words
    }

    /// Writes a node to a place of its own. The caller publishes it with a release store.
    pub(crate) fn alloc(&self, free: &mut Free, node: &Node) -> u32 {
        let words = node.words();
        let at = match free.runs[words as usize].pop() {
            Some(run) => {
                // Readers may be in this run still. The version goes up before anything is written: whoever
                // reads a word written below sees (by the two fences) the new version at its end.
                self.version.fetch_add(1, Ordering::Relaxed);
                fence(Ordering::Release);
                run
            }
            None => {
                let at = free.fresh;
                free.fresh += words;
                assert!(free.fresh <= self.count, "has_room was asked before this change began");
                at
            }
        };
        let skipped = if node.skip == 0 { 0 } else { node.skipped << (64 - node.skip) };
        let head = [skipped | u64::from(node.skip), node.children, node.short, node.full];
        for (index, word) in head.into_iter().enumerate() {
            self.words.u64_at(at as usize + index).store(word, Ordering::Relaxed);
        }
        for index in 0..node.len() {
            self.link(at, index).store(node.links[index as usize], Ordering::Relaxed);
        }
        at
    }

    /// Gives a node's run back, after nothing published leads to it any more.
    pub(crate) fn give(&self, free: &mut Free, node: u32, words: u32) {
        free.runs[words as usize].push(node);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.bytes()
    }
}
