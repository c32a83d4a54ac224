//! `BPF_MAP_TYPE_RINGBUF`: records from many producers to one consumer, in the order they were reserved.
//!
//! ```text
//!   head page: positions and lock      ring (mapped twice): | len, flags | page | record, padded to 8 | …
//! ```
//!
//! A record's header is the kernel's: 31st bit busy, 30th discarded, the rest its length; then the number of
//! pages back to the head, by which submit finds the ring from the record alone. Follows
//! kernel/bpf/ringbuf.c, except that nobody is woken: the consumer polls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use weir_ebpf::abi::Errno;
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::{Mapping, PAGE};

use crate::storage::{Done, Kind};
use crate::{MapError, spin};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: u64 = 8;
/// `RINGBUF_MAX_RECORD_SZ`.
const RECORD_MAX: u64 = u32::MAX as u64 / 4;
/// `BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP`.
const WAKEUP_FLAGS: u64 = 3;

/// What stands in the head page. Zeroed memory is a ring that nothing has passed through, once `mask` is set.
struct Head {
    consumer: CachePadded<AtomicU64>,
    producer: CachePadded<AtomicU64>,
    /// The oldest record that is still busy is not before this.
    pending: AtomicU64,
    lock: AtomicU32,
    mask: AtomicU64,
}

const _: () = assert!(size_of::<Head>() <= PAGE);

/// A ring buffer.
#[derive(Debug)]
pub struct Ringbuf {
    memory: Mapping,
    /// Held by whoever consumes: records go to one consumer.
    consuming: Mutex<()>,
}

/// What `bpf_ringbuf_query` can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Bytes that are not yet consumed.
    AvailableData,
    /// Bytes of the ring.
    Size,
    /// Where the consumer is.
    ConsumerPosition,
    /// Where the producers are.
    ProducerPosition,
}

impl Query {
    /// By the helper's flags.
    pub fn new(flags: u64) -> Option<Query> {
        [Query::AvailableData, Query::Size, Query::ConsumerPosition, Query::ProducerPosition]
            .get(usize::try_from(flags).ok()?)
            .copied()
    }
}

/// Bytes of the ring that a record takes, by its header.
fn span(header: u32) -> u64 {
    (u64::from(header & !(BUSY | DISCARDED)) + HEADER).next_multiple_of(8)
}

impl Ringbuf {
    pub(crate) fn new(spec: &MapSpec) -> Result<Ringbuf, MapError> {
        let len = spec.max_entries as usize;
        let memory = Mapping::ring(len).map_err(|_| MapError::Memory { bytes: len })?;
        let ring = Ringbuf { memory, consuming: Mutex::new(()) };
        ring.head().mask.store(len as u64 - 1, Ordering::Relaxed);
        Ok(ring)
    }

    fn head(&self) -> &Head {
        // SAFETY: the head page is plain zeroed memory of this mapping, page-aligned and large enough
        // (asserted above); all of `Head` is atomics, for which zeros are valid; it lives as long as self.
        unsafe { &*self.memory.base().cast::<Head>() }
    }

    fn data(&self) -> *mut u8 {
        self.memory.base().wrapping_add(PAGE)
    }

    fn header(&self, position: u64) -> &AtomicU32 {
        let offset = (position & self.head().mask.load(Ordering::Relaxed)) as usize;
        // SAFETY: the offset is below the ring's length, positions are multiples of 8, and the header's
        // first word is only touched as an atomic.
        unsafe { &*self.data().add(offset).cast::<AtomicU32>() }
    }

    /// A record of `size` bytes to write into and then submit or discard; null when there is no room.
    pub fn reserve(&self, size: u64, flags: u64) -> *mut u8 {
        if flags != 0 || size > RECORD_MAX {
            return std::ptr::null_mut();
        }
        let head = self.head();
        let mask = head.mask.load(Ordering::Relaxed);
        let len = (size + HEADER).next_multiple_of(8);
        if len > mask + 1 {
            return std::ptr::null_mut();
        }
        let consumer = head.consumer.load(Ordering::Acquire);
        let lock = std::ptr::from_ref(&head.lock).cast_mut().cast();
        // SAFETY: the word is a lock, alive with self.
        unsafe { spin::lock(lock) };
        let producer = head.producer.load(Ordering::Relaxed);
        let pending = self.skip_finished(head.pending.load(Ordering::Relaxed), producer);
        head.pending.store(pending, Ordering::Relaxed);
        let end = producer + len;
        let fits = end - consumer <= mask && end - pending <= mask;
        if fits {
            let offset = (producer & mask) as usize;
            self.header(producer).store(size as u32 | BUSY, Ordering::Relaxed);
            let pages = (PAGE + offset) / PAGE;
            // SAFETY: the second word of the header, inside the ring, and ours until the record is submitted.
            unsafe { self.data().add(offset + 4).cast::<u32>().write(pages as u32) };
            // Release: the consumer that sees the new position sees the busy header.
            head.producer.store(end, Ordering::Release);
        }
        // SAFETY: locked above.
        unsafe { spin::unlock(lock) };
        match fits {
            true => self.data().wrapping_add((producer & mask) as usize + HEADER as usize),
            false => std::ptr::null_mut(),
        }
    }

    /// Moves over records that are no longer busy.
    fn skip_finished(&self, mut pending: u64, producer: u64) -> u64 {
        while pending < producer {
            let header = self.header(pending).load(Ordering::Relaxed);
            if header & BUSY != 0 {
                break;
            }
            pending += span(header);
        }
        pending
    }

    /// Whether `addr..addr + len` lies inside one record that was reserved and is not finished.
    fn is_reserved(&self, addr: usize, len: usize) -> bool {
        let (head, data) = (self.head(), self.data() as usize);
        let mask = head.mask.load(Ordering::Relaxed);
        let producer = head.producer.load(Ordering::Acquire);
        let mut at = head.consumer.load(Ordering::Acquire);
        while at < producer {
            let header = self.header(at).load(Ordering::Acquire);
            let record = data + (at & mask) as usize + HEADER as usize;
            let room = (header & !(BUSY | DISCARDED)) as usize;
            let inside = addr.checked_sub(record).and_then(|from| from.checked_add(len));
            if header & BUSY != 0 && inside.is_some_and(|end| end <= room) {
                return true;
            }
            at += span(header);
        }
        false
    }

    /// Hands a reserved record to the consumer, or with `discard` has it skipped. The ring is found from the
    /// record.
    ///
    /// # Safety
    /// `record` is what [`reserve`](Ringbuf::reserve) of some living ring answered, and was neither submitted
    /// nor discarded since.
    pub unsafe fn finish(record: *mut u8, discard: bool) {
        // SAFETY: a record has its header of 8 bytes before it, whose first word is an atomic.
        let header = unsafe { &*record.sub(HEADER as usize).cast::<AtomicU32>() };
        let discarded = if discard { DISCARDED } else { 0 };
        let len = header.load(Ordering::Relaxed) & !BUSY;
        // Release: who sees the record finished sees its bytes.
        header.store(len | discarded, Ordering::Release);
    }

    /// Copies a record in (`bpf_ringbuf_output`).
    pub fn output(&self, record: &[u8], flags: u64) -> Done {
        if flags & !WAKEUP_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        let place = self.reserve(record.len() as u64, 0);
        if place.is_null() {
            return Err(Errno::EAGAIN);
        }
        // SAFETY: the record has as many bytes and is ours until it is finished; finished here, once.
        unsafe {
            place.copy_from_nonoverlapping(record.as_ptr(), record.len());
            Ringbuf::finish(place, false);
        }
        Ok(())
    }

    /// Answers `bpf_ringbuf_query`.
    pub fn query(&self, what: Query) -> u64 {
        let head = self.head();
        let consumer = head.consumer.load(Ordering::Acquire);
        let producer = head.producer.load(Ordering::Acquire);
        match what {
            Query::AvailableData => producer.saturating_sub(consumer),
            Query::Size => head.mask.load(Ordering::Relaxed) + 1,
            Query::ConsumerPosition => consumer,
            Query::ProducerPosition => producer,
        }
    }

    /// Hands finished records to `each` in order, until it says false, one is still busy, or none is left.
    /// Answers how many were handed over. One consumer works at a time; others wait.
    pub fn consume(&self, mut each: impl FnMut(&[u8]) -> bool) -> usize {
        let _alone = self.consuming.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let head = self.head();
        let mut count = 0;
        loop {
            let consumer = head.consumer.load(Ordering::Relaxed);
            let producer = head.producer.load(Ordering::Acquire);
            if consumer >= producer {
                return count;
            }
            let header = self.header(consumer).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return count;
            }
            // A header that says more than was reserved can only come from a program that was never verified;
            // what follows it cannot be told apart any more, and is given up.
            let end = (consumer + span(header)).min(producer);
            let whole = consumer + span(header) <= producer;
            let mut more = true;
            if whole && header & DISCARDED == 0 {
                let offset = (consumer & head.mask.load(Ordering::Relaxed)) as usize + HEADER as usize;
                // SAFETY: the record lies inside the doubled ring: it begins below the ring's length and ends
                // before `producer`, which `reserve` keeps within one length of `consumer`. It is finished,
                // and its bytes are not reused before `consumer` moves.
                let record = unsafe { std::slice::from_raw_parts(self.data().add(offset), header as usize) };
                count += 1;
                more = each(record);
            }
            // Release: producers that see the room also see that we have read the record.
            head.consumer.store(end, Ordering::Release);
            if !more {
                return count;
            }
        }
    }
}

impl Kind for Ringbuf {
    unsafe fn update(&self, _cpu: usize, _key: *const u8, _value: *const u8, _flags: u64) -> Done {
        Err(Errno::ENOTSUPP)
    }

    unsafe fn delete(&self, _key: *const u8) -> Done {
        Err(Errno::ENOTSUPP)
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        self.is_reserved(addr, len)
    }

    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn write(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Done {
        Err(Errno::ENOTSUPP)
    }

    fn remove(&self, _key: &[u8]) -> Done {
        Err(Errno::ENOTSUPP)
    }

    fn next_key(&self, _after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Bytes waiting for the consumer.
    fn entries(&self) -> usize {
        self.query(Query::AvailableData) as usize
    }

    fn bytes(&self) -> usize {
        PAGE + (self.memory.len() - PAGE) / 2
    }
}
