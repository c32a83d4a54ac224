//! Traces: the way of single packets, stage by stage.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_ebpf::ProgramType;

use crate::generation::{PortNumber, ProgramNumber};
use crate::observe::capture::Place;
use crate::observe::{Filter, Pipe};
use crate::pipeline::Judgement;

/// Steps of one packet that are kept; a longer way is cut, and says so.
pub const STEPS_MAX: usize = 48;
/// Bytes of the packet that are kept with its trace.
const HEADER_MAX: usize = 128;

/// Which stage a program runs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Hook {
    /// The port's XDP chain.
    #[default]
    Xdp,
    /// The port's tc ingress chain.
    Ingress,
    /// The forward stage.
    Forward,
    /// The port's tc egress chain.
    Egress,
    /// The entry of a device or CPU map.
    Map,
}

impl Hook {
    /// The word people use.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Xdp => "xdp",
            Hook::Ingress => "tc ingress",
            Hook::Forward => "forward",
            Hook::Egress => "tc egress",
            Hook::Map => "map entry",
        }
    }
}

/// One thing that happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A program ran.
    Program {
        /// At which stage.
        hook: Hook,
        /// At which port.
        port: PortNumber,
        /// Which one, in its generation.
        program: ProgramNumber,
        /// Of which type, to know what its answer means.
        kind: ProgramType,
        /// What it answered.
        answer: i32,
        /// How long it ran, in clock ticks.
        ticks: u64,
        /// How long the packet is after it.
        len: usize,
    },
    /// It was sent on to the port of this number.
    Redirected {
        /// To which port.
        port: PortNumber,
        /// Into it rather than out of it.
        ingress: bool,
    },
    /// It was given this class.
    Classified {
        /// The classid.
        classid: u32,
    },
}

/// A packet's way.
#[derive(Debug)]
pub struct TraceRecord {
    /// Where it came in.
    pub place: Place,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// The generation that judged it.
    pub generation: u64,
    /// How long it was when it came.
    pub len: usize,
    /// Its first bytes when it came.
    pub header: Vec<u8>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Steps that did not fit.
    pub more: usize,
    /// What it came to.
    pub judgement: Option<Judgement>,
}

impl TraceRecord {
    /// An empty record, its room made.
    pub fn new() -> Self {
        Self {
            place: Place { port: 0, queue: 0, worker: 0 },
            at_ns: 0,
            generation: 0,
            len: 0,
            header: Vec::with_capacity(HEADER_MAX),
            steps: Vec::with_capacity(STEPS_MAX),
            more: 0,
            judgement: None,
        }
    }

    /// Begins anew with a packet that came in.
    pub fn begin(&mut self, place: Place, at_ns: u64, generation: u64, packet: &[u8]) {
        self.place = place;
        self.at_ns = at_ns;
        self.generation = generation;
        self.len = packet.len();
        self.header.clear();
        self.header.extend_from_slice(&packet[..packet.len().min(HEADER_MAX)]);
        self.steps.clear();
        self.more = 0;
        self.judgement = None;
    }

    /// Adds a step, as far as there is room.
    #[inline]
    pub fn push(&mut self, step: Step) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        } else {
            self.more += 1;
        }
    }

    fn copy_from(&mut self, other: &TraceRecord) {
        self.place = other.place;
        self.at_ns = other.at_ns;
        self.generation = other.generation;
        self.len = other.len;
        self.header.clone_from(&other.header);
        self.steps.clone_from(&other.steps);
        self.more = other.more;
        self.judgement = other.judgement;
    }
}

impl Default for TraceRecord {
    fn default() -> Self {
        Self::new()
    }
}

/// A trace under way: the next so many packets of a port, or of all.
#[derive(Debug)]
pub struct Trace {
    port: Option<PortNumber>,
    /// Only packets that it holds for, as they come in.
    filter: Option<Filter>,
    count: u64,
    begun: AtomicU64,
    records: Pipe<TraceRecord>,
}

impl Trace {
    /// Traces the next `count` packets that come in by `port`, or by any.
    pub fn new(port: Option<PortNumber>, count: usize) -> Self {
        let records = Pipe::new(count, TraceRecord::new);
        Self { port, filter: None, count: count as u64, begun: AtomicU64::new(0), records }
    }

    /// Only packets that this holds for, as they come in.
    pub fn matching(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// Whether this packet is one of them; it is counted then, and [`Trace::end`] must follow.
    #[inline]
    pub fn begins(&self, port: PortNumber, packet: &[u8]) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
            && self.begun.load(Ordering::Relaxed) < self.count
            && self.filter.as_ref().is_none_or(|filter| filter.matches(packet))
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.count
    }

    /// Takes a copy of a packet's record.
    pub fn end(&self, record: &TraceRecord) {
        self.records.offer(|kept| kept.copy_from(record));
        if self.records.offered() >= self.count {
            self.records.close();
        }
    }

    /// The records, as they were finished.
    pub fn records(&self) -> &Pipe<TraceRecord> {
        &self.records
    }

    /// How many packets were asked for.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_takes_so_many_packets_of_its_port() {
        let trace = Trace::new(Some(1), 2);
        let mut record = TraceRecord::new();
        let began = [0, 1, 0, 1, 1].map(|port| {
            let begins = trace.begins(port, &[9; 200]);
            if begins {
                record.begin(Place { port, queue: 0, worker: 0 }, 0, 1, &[9; 200]);
                (0..STEPS_MAX + 3).for_each(|_| record.push(Step::Classified { classid: 1 }));
                trace.end(&record);
            }
            begins
        });
        assert_eq!(began, [false, true, false, true, false]);
        assert!(trace.records().is_closed());
        let first = trace.records().take().unwrap();
        assert_eq!((first.len, first.header.len(), first.steps.len(), first.more), (200, 128, STEPS_MAX, 3));
    }
}
