//! Heaps of armed timers, one for each worker: the earliest on top, those of one instant in the order in which
//! they were armed.
//!
//! Pairing heaps (Fredman, Sedgewick, Sleator, Tarjan, 1986) whose links stand in the timers themselves, so that
//! arming allocates nothing; taking out any timer, not only the top one, costs as much as taking the top.
//! Numbers of timers are counted from 1; 0 is none.

/// What a heap knows of a timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    /// When it is due.
    pub(super) deadline: u64,
    /// How many were armed before it.
    pub(super) order: u64,
    /// Its first child.
    child: u32,
    /// The next child of its parent.
    next: u32,
    /// The child before it, or the parent of the first one; 0 at the top.
    before: u32,
    /// In which heap it is, counted from 1; 0 for none.
    heap: u32,
}

/// The heaps, and the timers that may be in them.
#[derive(Debug)]
pub(super) struct Heaps {
    nodes: Box<[Node]>,
    tops: Box<[u32]>,
}

impl Heaps {
    pub(super) fn new(timers: usize, heaps: usize) -> Self {
        // SAFETY: all of a node is numbers, which may be zero. Memory that comes zeroed costs nothing untouched.
        let nodes = unsafe { Box::<[Node]>::new_zeroed_slice(timers).assume_init() };
        Self { nodes, tops: vec![0; heaps].into_boxed_slice() }
    }

    /// The top of a heap.
    pub(super) fn top(&self, heap: usize) -> Option<(usize, &Node)> {
        let number = self.tops[heap].checked_sub(1)? as usize;
        Some((number, &self.nodes[number]))
    }

    /// In which heap a timer is.
    pub(super) fn heap_of(&self, timer: usize) -> Option<usize> {
        self.nodes[timer].heap.checked_sub(1).map(|heap| heap as usize)
    }

    /// Puts a timer, which is in none, into a heap.
    pub(super) fn put(&mut self, heap: usize, timer: usize, deadline: u64, order: u64) {
        assert!(self.nodes[timer].heap == 0, "a timer is armed once at a time");
        self.nodes[timer] = Node { deadline, order, heap: heap as u32 + 1, ..Node::default() };
        self.tops[heap] = self.meld(self.tops[heap], timer as u32 + 1);
    }

    /// Takes a timer out of the heap it is in; answers which that was.
    pub(super) fn take(&mut self, timer: usize) -> Option<usize> {
        let heap = self.heap_of(timer)?;
        let Node { child, next, before, .. } = self.nodes[timer];
        let below = self.meld_all(child);
        if before == 0 {
            self.tops[heap] = below;
        } else {
            // Out of the list of its parent's children.
            let link = before as usize - 1;
            if self.nodes[link].child == timer as u32 + 1 {
                self.nodes[link].child = next;
            } else {
                self.nodes[link].next = next;
            }
            if next != 0 {
                self.nodes[next as usize - 1].before = before;
            }
            self.tops[heap] = self.meld(self.tops[heap], below);
        }
        self.nodes[timer] = Node::default();
        Some(heap)
    }

    fn is_before(&self, one: u32, two: u32) -> bool {
        let key = |number: u32| {
            let node = &self.nodes[number as usize - 1];
            (node.deadline, node.order)
        };
        key(one) <= key(two)
    }

    /// One heap of two, by their tops.
    fn meld(&mut self, one: u32, two: u32) -> u32 {
        if one == 0 || two == 0 {
            return one | two;
        }
        let (top, under) = if self.is_before(one, two) { (one, two) } else { (two, one) };
        let first = self.nodes[top as usize - 1].child;
        if first != 0 {
            self.nodes[first as usize - 1].before = under;
        }
        let node = &mut self.nodes[under as usize - 1];
        (node.next, node.before) = (first, top);
        self.nodes[top as usize - 1].child = under;
        top
    }

    /// One heap of a list of siblings: in pairs from the first on, and the pairs from the last on.
    fn meld_all(&mut self, first: u32) -> u32 {
        let (mut rest, mut pairs) = (first, 0);
        while rest != 0 {
            let one = self.cut(rest);
            let two = if one.1 == 0 { (0, 0) } else { self.cut(one.1) };
            rest = two.1;
            let pair = self.meld(one.0, two.0);
            // `next` of a top is free: the pairs are kept by it, the last one first.
            self.nodes[pair as usize - 1].next = pairs;
            pairs = pair;
        }
        let mut whole = 0;
        while pairs != 0 {
            let (pair, next) = self.cut(pairs);
            whole = self.meld(whole, pair);
            pairs = next;
        }
        whole
    }

    /// A timer by itself, with its children, and the sibling that stood behind it.
    fn cut(&mut self, number: u32) -> (u32, u32) {
        let node = &mut self.nodes[number as usize - 1];
        node.before = 0;
        (number, std::mem::take(&mut node.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts and takes at random, beside a list that is searched.
    #[test]
    fn the_earliest_is_on_top_whatever_was_taken_out() {
        let mut heaps = Heaps::new(200, 2);
        let mut armed: Vec<(usize, u64, u64, usize)> = Vec::new();
        let mut random = 1u64;
        let mut below = |end: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % end
        };
        for order in 0..20_000 {
            let (timer, heap) = (below(200) as usize, below(2) as usize);
            match heaps.take(timer) {
                Some(from) => {
                    let at = armed.iter().position(|entry| entry.3 == timer).expect("it was armed");
                    assert_eq!(armed.swap_remove(at).0, from);
                }
                None => {
                    let deadline = below(50);
                    heaps.put(heap, timer, deadline, order);
                    armed.push((heap, deadline, order, timer));
                }
            }
            for heap in 0..2 {
                let wanted = armed.iter().filter(|entry| entry.0 == heap).min().map(|entry| entry.3);
                assert_eq!(heaps.top(heap).map(|(timer, _)| timer), wanted);
            }
        }
    }
}
