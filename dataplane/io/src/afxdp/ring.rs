//! One side of a ring: the positions it owns, and what it last saw of the other side's.
//!
//! ```text
//!   producer: reserve (is there room?) → write entries → publish (release)      consumer position: acquire
//!   consumer: waiting (is there any?)  → read entries  → give back (release)    producer position: acquire
//! ```
//!
//! The position of the other side is read only when what was last seen of it does not suffice, as its line
//! bounces between two cores. Nothing that the other side writes is believed beyond its range: a position that
//! cannot be counts as nothing there.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use weir_packet::prefetch;
use weir_sys::xdp::{RING_NEED_WAKEUP, RingArea, SharedDescriptor};

/// A packet in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Where it begins in the umem.
    pub address: u64,
    /// Its bytes.
    pub len: u32,
    /// `XDP_PKT_CONTD` and such.
    pub options: u32,
}

/// What rings carry: read from and written to shared memory as atomics.
pub trait Entry: Copy {
    /// What it is in shared memory.
    type Shared;
    /// All entries of a ring.
    fn entries(area: &RingArea) -> &[Self::Shared];
    /// Reads one.
    fn load(shared: &Self::Shared) -> Self;
    /// Writes one.
    fn store(self, shared: &Self::Shared);
}

impl Entry for u64 {
    type Shared = AtomicU64;

    #[inline]
    fn entries(area: &RingArea) -> &[AtomicU64] {
        area.addresses()
    }

    #[inline]
    fn load(shared: &AtomicU64) -> u64 {
        shared.load(Relaxed)
    }

    #[inline]
    fn store(self, shared: &AtomicU64) {
        shared.store(self, Relaxed);
    }
}

impl Entry for Descriptor {
    type Shared = SharedDescriptor;

    #[inline]
    fn entries(area: &RingArea) -> &[SharedDescriptor] {
        area.descriptors()
    }

    #[inline]
    fn load(shared: &SharedDescriptor) -> Descriptor {
        Descriptor {
            address: shared.address.load(Relaxed),
            len: shared.len.load(Relaxed),
            options: shared.options.load(Relaxed),
        }
    }

    #[inline]
    fn store(self, shared: &SharedDescriptor) {
        shared.address.store(self.address, Relaxed);
        shared.len.store(self.len, Relaxed);
        shared.options.store(self.options, Relaxed);
    }
}

/// The writing side: of the fill and transmit rings, or of the others for who plays the kernel.
#[derive(Debug)]
pub struct Producer {
    area: Arc<RingArea>,
    /// Entries written, those not published included.
    next: u32,
    /// What was last seen of the consumer.
    seen: u32,
}

impl Producer {
    /// The only writer of this ring from now on.
    pub fn new(area: Arc<RingArea>) -> Producer {
        let (next, seen) = (area.producer().load(Relaxed), area.consumer().load(Acquire));
        Producer { area, next, seen }
    }

    /// How many entries can be written now, at least `wanted` if there is room for them at all.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let size = self.area.entries();
        let mut room = size.saturating_sub(self.next.wrapping_sub(self.seen));
        if room < wanted {
            self.seen = self.area.consumer().load(Acquire);
            room = size.saturating_sub(self.next.wrapping_sub(self.seen));
        }
        room
    }

    /// Writes the next entry, for which [`Producer::room`] found room; the other side does not see it yet.
    #[inline]
    pub fn write<E: Entry>(&mut self, entry: E) {
        let entries = E::entries(&self.area);
        if let Some(shared) = entries.get((self.next & (self.area.entries() - 1)) as usize) {
            entry.store(shared);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Shows the other side all that was written.
    #[inline]
    pub fn publish(&mut self) {
        self.area.producer().store(self.next, Release);
    }

    /// Whether the other side has not taken all that was published.
    #[inline]
    pub fn is_waiting(&mut self) -> bool {
        if self.seen != self.next {
            self.seen = self.area.consumer().load(Acquire);
        }
        self.seen != self.next
    }

    /// Where the other side is, as of now: for who wants to know whether it moved.
    pub fn taken(&self) -> u32 {
        self.area.consumer().load(Acquire)
    }

    /// How many entries could be written now, without changing anything.
    pub fn room_now(&self) -> u32 {
        self.area.entries().saturating_sub(self.next.wrapping_sub(self.taken()))
    }

    /// Whether the kernel waits to be woken. Ordered after the last publishing, so that it cannot fall asleep on
    /// what it has not seen without this saying so.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        fence(SeqCst);
        self.area.flags().load(Relaxed) & RING_NEED_WAKEUP != 0
    }

    /// The shared memory.
    pub fn area(&self) -> &Arc<RingArea> {
        &self.area
    }
}

/// The reading side: of the receive and completion rings, or of the others for who plays the kernel.
#[derive(Debug)]
pub struct Consumer {
    area: Arc<RingArea>,
    /// Entries read, those not given back included.
    next: u32,
    /// What was last seen of the producer.
    seen: u32,
}

impl Consumer {
    /// The only reader of this ring from now on.
    pub fn new(area: Arc<RingArea>) -> Consumer {
        let (next, seen) = (area.consumer().load(Relaxed), area.producer().load(Acquire));
        Consumer { area, next, seen }
    }

    /// How many entries can be read now, looking again if fewer than `wanted` were seen. More than the ring has
    /// cannot be: that is nothing.
    #[inline]
    pub fn waiting(&mut self, wanted: u32) -> u32 {
        let mut waiting = self.seen.wrapping_sub(self.next);
        if waiting < wanted {
            self.seen = self.area.producer().load(Acquire);
            waiting = self.seen.wrapping_sub(self.next);
        }
        if waiting > self.area.entries() {
            self.seen = self.next;
            return 0;
        }
        waiting
    }

    /// Has the cache fetch the next entries, all lines at once, to be read soon.
    #[inline]
    pub fn fetch<E: Entry>(&self, count: u32) {
        const LINE: usize = 64;
        let entries = E::entries(&self.area);
        for at in (0..count).step_by((LINE / size_of::<E::Shared>()).max(1)) {
            entries
                .get((self.next.wrapping_add(at) & (self.area.entries() - 1)) as usize)
                .map(prefetch::read);
        }
    }

    /// Reads the next entry, of those that [`Consumer::waiting`] found.
    #[inline]
    pub fn read<E: Entry>(&mut self) -> Option<E> {
        let entries = E::entries(&self.area);
        let shared = entries.get((self.next & (self.area.entries() - 1)) as usize)?;
        let entry = E::load(shared);
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Lets the other side write over all that was read.
    #[inline]
    pub fn give_back(&mut self) {
        self.area.consumer().store(self.next, Release);
    }

    /// Whether something is there, without changing anything.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.seen != self.next || self.area.producer().load(Relaxed) != self.next
    }

    /// The shared memory.
    pub fn area(&self) -> &Arc<RingArea> {
        &self.area
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use weir_sys::xdp::Entry as Kind;

    fn ring(kind: Kind, entries: u32) -> (Producer, Consumer) {
        let area = Arc::new(RingArea::memory(kind, entries).unwrap());
        (Producer::new(Arc::clone(&area)), Consumer::new(area))
    }

    /// A ring whose positions are about to wrap.
    fn late_ring(entries: u32) -> (Producer, Consumer) {
        let area = Arc::new(RingArea::memory(Kind::Address, entries).unwrap());
        area.producer().store(u32::MAX - 2, Relaxed);
        area.consumer().store(u32::MAX - 2, Relaxed);
        (Producer::new(Arc::clone(&area)), Consumer::new(area))
    }

    #[test]
    fn nothing_is_seen_before_it_is_published_nor_overwritten_before_it_is_given_back() {
        let (mut producer, mut consumer) = ring(Kind::Descriptor, 2);
        assert_eq!(producer.room(2), 2);
        producer.write(Descriptor { address: 1, len: 2, options: 3 });
        assert_eq!((consumer.waiting(1), consumer.is_waiting()), (0, false));
        producer.publish();
        assert_eq!((consumer.waiting(1), producer.is_waiting()), (1, true));
        assert_eq!(consumer.read(), Some(Descriptor { address: 1, len: 2, options: 3 }));
        producer.write(Descriptor::default());
        producer.publish();
        assert_eq!(producer.room(1), 0);
        consumer.give_back();
        assert_eq!(producer.room(1), 1);
    }

    #[test]
    fn a_position_that_cannot_be_is_nothing() {
        let (mut producer, mut consumer) = ring(Kind::Address, 4);
        consumer.area().producer().store(5, Relaxed);
        assert_eq!(consumer.waiting(1), 0);
        consumer.area().producer().store(u32::MAX, Relaxed);
        assert_eq!(consumer.waiting(1), 0);
        producer.area().consumer().store(9, Relaxed);
        assert_eq!(producer.room(5), 0);
    }

    #[test]
    fn two_threads_pass_every_entry_once_and_in_order_across_the_wrap() {
        let (mut producer, mut consumer) = late_ring(64);
        const ALL: u64 = 300_000;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < ALL {
                    let room = u64::from(producer.room(16)).min(ALL - next).min(16);
                    (next..next + room).for_each(|entry| producer.write(entry));
                    producer.publish();
                    next += room;
                    if room == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < ALL {
                let waiting = consumer.waiting(1);
                for _ in 0..waiting {
                    assert_eq!(consumer.read::<u64>(), Some(expected));
                    expected += 1;
                }
                consumer.give_back();
                if waiting == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }

    proptest! {
        /// Any order of writing, publishing, reading and giving back is that of a queue.
        #[test]
        fn a_ring_is_a_queue(steps in prop::collection::vec((0..4_u8, 1..6_u32), 1..200)) {
            let (mut producer, mut consumer) = late_ring(8);
            let (mut hidden, mut shown, mut read) = (VecDeque::new(), VecDeque::new(), 0_u32);
            let mut next = 0_u64;
            for (step, count) in steps {
                match step {
                    0 => {
                        let free = 8 - (hidden.len() + shown.len()) as u32 - read;
                        let room = producer.room(count);
                        prop_assert!(room <= free && room >= count.min(free));
                        for _ in 0..room.min(count) {
                            producer.write(next);
                            hidden.push_back(next);
                            next += 1;
                        }
                    }
                    1 => {
                        producer.publish();
                        shown.append(&mut hidden);
                    }
                    2 => {
                        let waiting = consumer.waiting(count);
                        prop_assert!(waiting as usize <= shown.len());
                        prop_assert!(waiting as usize >= shown.len().min(count as usize));
                        for _ in 0..waiting.min(count) {
                            prop_assert_eq!(consumer.read::<u64>(), shown.pop_front());
                            read += 1;
                        }
                    }
                    _ => {
                        consumer.give_back();
                        read = 0;
                    }
                }
            }
        }
    }
}
