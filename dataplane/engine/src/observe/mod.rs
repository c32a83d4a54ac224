//! Watching traffic while it flows: captures, traces of single packets, and what programs say.
//!
//! Everything here is asked for by somebody and costs nothing when nobody asks: a worker looks at one
//! flag a turn. What it does give is copied into buffers that were made beforehand; when a reader is too
//! slow, its own copy is lost and counted, and no packet waits.

mod capture;
mod filter;
mod journal;
mod pipe;
mod show;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use weir_ebpf::abi::Errno;
use weir_packet::Frame;

use crate::env::TraceLine;
use crate::generation::PortNumber;
use crate::pipeline::Judgement;
use crate::reason::Reason;

pub use capture::{Capture, CaptureFilter, Captured, Fate, Place, Point};
pub use filter::{Filter, FilterError};
pub use journal::{Entry, Journal};
pub use pipe::{Pipe, Taken};
pub use show::{Stage, fate, verdicts};
pub use trace::{Hook, STEPS_MAX, Step, Trace, TraceRecord};

/// How many watchers of one kind there may be at a time: each costs every packet a look.
pub const WATCHERS_MAX: usize = u16::BITS as usize;
/// Most bytes of a program's own record (`bpf_perf_event_output`) that are kept; the kernel's is 64 KiB.
pub const RECORD_MAX: usize = 16 * 1024;

/// Lines of `bpf_trace_printk` that are kept.
const LINES_MAX: usize = 8192;

/// A record of a program, by `bpf_perf_event_output`.
#[derive(Debug, Default)]
pub struct PerfRecord {
    /// The worker it ran on.
    pub worker: usize,
    /// When, nanoseconds since boot.
    pub at_ns: u64,
    /// The index of the perf event array.
    pub slot: u32,
    /// The record's bytes.
    pub bytes: Vec<u8>,
}

/// A reader of one perf event array.
#[derive(Debug)]
pub struct PerfReader {
    /// The number of the map (`Map::id`).
    pub map: u32,
    /// Its records.
    pub records: Pipe<PerfRecord>,
}

/// All who watch at the moment.
#[derive(Clone, Debug, Default)]
pub struct Watchers {
    /// Captures of packets.
    pub captures: Vec<Arc<Capture>>,
    /// Traces of single packets.
    pub traces: Vec<Arc<Trace>>,
    /// Readers of perf event arrays.
    pub perf: Vec<Arc<PerfReader>>,
}

impl Watchers {
    /// A packet comes in: captures see it, and it is told which traces want its way, as a bit for each.
    pub(crate) fn enter(&self, place: Place, frame: &Frame) -> u16 {
        self.captures.iter().for_each(|capture| capture.enter(place, frame));
        let begun =
            self.traces.iter().enumerate().filter(|(_, trace)| trace.begins(place.port, frame.bytes()));
        begun.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// Whether anybody wants packets that are dropped after their last stage, at this port.
    pub(crate) fn want_lost(&self, port: PortNumber) -> bool {
        self.captures.iter().any(|capture| capture.wants_lost(port))
    }

    /// A packet is dropped after its last stage: the host's lane or a port did not take it.
    pub(crate) fn lost(&self, place: Place, packet: &[u8], reason: Reason) {
        self.captures.iter().for_each(|capture| capture.lost(place, packet, reason));
    }

    /// A packet leaves its last stage; `record` is its way, for the traces that wanted it.
    pub(crate) fn leave(
        &self,
        place: Place,
        frame: &Frame,
        judgement: &Judgement,
        traced: u16,
        record: Option<&TraceRecord>,
    ) {
        self.captures.iter().for_each(|capture| capture.leave(place, frame, judgement));
        let Some(record) = record else { return };
        let wanted = self.traces.iter().enumerate().filter(|(at, _)| traced & 1 << at != 0);
        wanted.for_each(|(_, trace)| trace.end(record));
    }
}

/// There are [`WATCHERS_MAX`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {WATCHERS_MAX} watchers of this kind already: end one of them first")]
pub struct TooMany;

/// Who watches, as workers see it and as others change it.
#[derive(Debug)]
pub struct Observers {
    /// The last lines of `bpf_trace_printk`.
    pub lines: Journal<TraceLine>,
    any: AtomicBool,
    now: ArcSwap<Watchers>,
    changing: Mutex<()>,
}

impl Observers {
    /// Nobody watches.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            lines: Journal::new(LINES_MAX),
            any: AtomicBool::new(false),
            now: ArcSwap::default(),
            changing: Mutex::new(()),
        })
    }

    /// Those who watch, when there is anybody: once a turn.
    #[inline]
    pub fn watchers(&self) -> Option<Arc<Watchers>> {
        self.any.load(Ordering::Acquire).then(|| self.now.load_full())
    }

    /// Adds a capture.
    pub fn capture(&self, capture: Capture) -> Result<Arc<Capture>, TooMany> {
        let capture = Arc::new(capture);
        self.change(|watchers| add(&mut watchers.captures, &capture))?;
        Ok(capture)
    }

    /// Adds a trace.
    pub fn trace(&self, trace: Trace) -> Result<Arc<Trace>, TooMany> {
        let trace = Arc::new(trace);
        self.change(|watchers| add(&mut watchers.traces, &trace))?;
        Ok(trace)
    }

    /// Adds a reader of a perf event array, with room for so many records.
    pub fn perf(&self, map: u32, depth: usize) -> Result<Arc<PerfReader>, TooMany> {
        let empty = || PerfRecord { bytes: Vec::with_capacity(RECORD_MAX), ..PerfRecord::default() };
        let reader = Arc::new(PerfReader { map, records: Pipe::new(depth, empty) });
        self.change(|watchers| add(&mut watchers.perf, &reader))?;
        Ok(reader)
    }

    /// Ends a capture; workers may still add to it until the end of their turn.
    pub fn end_capture(&self, capture: &Arc<Capture>) {
        self.change(|watchers| remove(&mut watchers.captures, capture));
    }

    /// Ends a trace.
    pub fn end_trace(&self, trace: &Arc<Trace>) {
        self.change(|watchers| remove(&mut watchers.traces, trace));
    }

    /// Ends a reader.
    pub fn end_perf(&self, reader: &Arc<PerfReader>) {
        self.change(|watchers| remove(&mut watchers.perf, reader));
    }

    /// A worker's program wrote a record: every reader of the map gets a copy.
    ///
    /// # Errors
    /// `ENOENT` when nobody reads the map, `E2BIG` for a record longer than [`RECORD_MAX`], `ENOSPC` when
    /// every reader is too far behind: what the kernel answers.
    pub fn perf_event(&self, map: u32, record: &PerfSaid<'_>) -> Result<(), Errno> {
        let Some(watchers) = self.watchers() else { return Err(Errno::ENOENT) };
        if record.bytes.len() > RECORD_MAX {
            return Err(Errno::E2BIG);
        }
        let mut answer = Err(Errno::ENOENT);
        for reader in watchers.perf.iter().filter(|reader| reader.map == map) {
            let kept = reader.records.offer(|kept| {
                kept.worker = record.worker;
                kept.at_ns = record.at_ns;
                kept.slot = record.slot;
                kept.bytes.clear();
                kept.bytes.extend_from_slice(record.bytes);
            });
            answer = match (answer, kept) {
                (Ok(()), _) | (_, true) => Ok(()),
                (Err(_), false) => Err(Errno::ENOSPC),
            };
        }
        answer
    }

    fn change<T>(&self, change: impl FnOnce(&mut Watchers) -> T) -> T {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watchers = Watchers::clone(&self.now.load());
        let answer = change(&mut watchers);
        let any = !watchers.captures.is_empty() || !watchers.traces.is_empty() || !watchers.perf.is_empty();
        self.now.store(Arc::new(watchers));
        self.any.store(any, Ordering::Release);
        answer
    }
}

/// What a program wrote, before it is copied.
#[derive(Clone, Copy, Debug)]
pub struct PerfSaid<'r> {
    /// The worker it runs on.
    pub worker: usize,
    /// When, nanoseconds since boot.
    pub at_ns: u64,
    /// The index it chose.
    pub slot: u32,
    /// The record.
    pub bytes: &'r [u8],
}

fn add<T>(list: &mut Vec<Arc<T>>, one: &Arc<T>) -> Result<(), TooMany> {
    if list.len() == WATCHERS_MAX {
        return Err(TooMany);
    }
    list.push(Arc::clone(one));
    Ok(())
}

fn remove<T>(list: &mut Vec<Arc<T>>, one: &Arc<T>) {
    list.retain(|other| !Arc::ptr_eq(other, one));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reaches_those_who_read_its_map_and_no_others() {
        let observers = Observers::new();
        let said = PerfSaid { worker: 1, at_ns: 5, slot: 1, bytes: b"hello" };
        assert_eq!(observers.perf_event(7, &said), Err(Errno::ENOENT));
        let (seven, eight) = (observers.perf(7, 2).unwrap(), observers.perf(8, 2).unwrap());
        assert_eq!(observers.perf_event(7, &said), Ok(()));
        assert_eq!(observers.perf_event(7, &said), Ok(()));
        assert_eq!(observers.perf_event(7, &said), Err(Errno::ENOSPC), "two fit");
        assert_eq!(seven.records.take().unwrap().bytes, b"hello");
        assert!(eight.records.take().is_none());
        assert_eq!((seven.records.lost(), eight.records.lost()), (1, 0));
        observers.end_perf(&seven);
        assert_eq!(observers.perf_event(7, &said), Err(Errno::ENOENT));
        observers.end_perf(&eight);
        assert!(observers.watchers().is_none(), "nobody is left, and workers need not look");
    }

    #[test]
    fn there_is_an_end_to_watchers() {
        let observers = Observers::new();
        (0..WATCHERS_MAX as u32).for_each(|map| drop(observers.perf(map, 1).unwrap()));
        assert_eq!(observers.perf(99, 1).unwrap_err(), TooMany);
    }
}
