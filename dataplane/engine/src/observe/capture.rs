//! Captures: copies of packets with what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_packet::Frame;
use weir_sys::clock::{self, Clock};

use crate::generation::PortNumber;
use crate::observe::{Filter, Pipe};
use crate::pipeline::{Judgement, Lane};
use crate::reason::Reason;

/// What became of a packet, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the verdict's name is all there is to say")]
pub enum Fate {
    Pass,
    Drop,
    Aborted,
    Tx,
    Redirect,
    /// Kept by a program or action.
    Consumed,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Fate; 6] =
        [Fate::Pass, Fate::Drop, Fate::Aborted, Fate::Tx, Fate::Redirect, Fate::Consumed];

    /// The fate of a packet that came in by `from`.
    pub fn of(from: PortNumber, judgement: &Judgement) -> Fate {
        match judgement.lane {
            Lane::Host => Fate::Pass,
            Lane::Consumed => Fate::Consumed,
            Lane::Port { port, .. } if port == from => Fate::Tx,
            Lane::Port { .. } => Fate::Redirect,
            Lane::Drop(Reason::XdpAborted | Reason::ForwardAborted) => Fate::Aborted,
            Lane::Drop(_) => Fate::Drop,
        }
    }

    /// The word people use.
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Pass => "pass",
            Fate::Drop => "drop",
            Fate::Aborted => "aborted",
            Fate::Tx => "tx",
            Fate::Redirect => "redirect",
            Fate::Consumed => "consumed",
        }
    }

    /// The fate with this name.
    pub fn named(name: &str) -> Option<Fate> {
        Fate::ALL.into_iter().find(|fate| fate.name() == name)
    }
}

/// Where on its way a packet is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// As it came in.
    Entry,
    /// As it leaves its last stage, its fate known; and once more when it is dropped behind that stage.
    Exit,
}

/// Which packets, where, and how much of them.
#[derive(Clone, Debug)]
pub struct CaptureFilter {
    /// Packets that came in by this port; `None`: by any.
    pub port: Option<PortNumber>,
    /// Copy packets as they come in. Their fate is not known then, so the two lists below must be empty.
    pub entry: bool,
    /// Copy packets as they leave their last stage.
    pub exit: bool,
    /// Only packets of these fates; empty: of all.
    pub fates: Vec<Fate>,
    /// Only packets dropped for these reasons; empty: for all, and those not dropped.
    pub reasons: Vec<Reason>,
    /// Only packets that this holds for, as they are where they are copied.
    pub packets: Option<Filter>,
    /// Most bytes of each packet to keep.
    pub snap: usize,
    /// End after so many packets.
    pub count: Option<u64>,
}

impl Default for CaptureFilter {
    /// Every packet of every port at its exit, whole.
    fn default() -> Self {
        Self {
            port: None,
            entry: false,
            exit: true,
            fates: Vec::new(),
            reasons: Vec::new(),
            packets: None,
            snap: usize::from(u16::MAX),
            count: None,
        }
    }
}

impl CaptureFilter {
    fn wants(&self, from: PortNumber, judgement: &Judgement) -> bool {
        let fate = || self.fates.is_empty() || self.fates.contains(&Fate::of(from, judgement));
        let reason = || match judgement.lane {
            _ if self.reasons.is_empty() => true,
            Lane::Drop(reason) => self.reasons.contains(&reason),
            Lane::Port { .. } | Lane::Host | Lane::Consumed => false,
        };
        self.exit && self.from(from) && fate() && reason()
    }

    fn from(&self, from: PortNumber) -> bool {
        self.port.is_none_or(|port| port == from)
    }

    fn holds(&self, packet: &[u8]) -> bool {
        self.packets.as_ref().is_none_or(|filter| filter.matches(packet))
    }
}

/// A copied packet.
#[derive(Debug)]
pub struct Captured {
    /// The port it came in by.
    pub port: PortNumber,
    /// The queue it came in by.
    pub queue: u32,
    /// The worker that had it.
    pub worker: usize,
    /// When it was copied, nanoseconds since 1970.
    pub at_ns: u64,
    /// Where on its way.
    pub point: Point,
    /// What became of it; `None` at its entry.
    pub judgement: Option<Judgement>,
    /// How long it was.
    pub wire_len: usize,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    filter: CaptureFilter,
    packets: Pipe<Captured>,
    seen: AtomicU64,
}

impl Capture {
    /// A capture with room for `depth` packets between workers and reader. Buffers are made here: up to
    /// `depth` times the shorter of `filter.snap` and the longest frame, `frame_max`.
    pub fn new(filter: CaptureFilter, depth: usize, frame_max: usize) -> Self {
        let capacity = filter.snap.min(frame_max);
        let packets = Pipe::new(depth, || Captured {
            port: 0,
            queue: 0,
            worker: 0,
            at_ns: 0,
            point: Point::Exit,
            judgement: None,
            wire_len: 0,
            bytes: Vec::with_capacity(capacity),
        });
        Self { filter, packets, seen: AtomicU64::new(0) }
    }

    /// The packets, in the order in which workers gave them.
    pub fn packets(&self) -> &Pipe<Captured> {
        &self.packets
    }

    /// A packet comes in.
    #[inline]
    pub fn enter(&self, place: Place, frame: &Frame) {
        if self.filter.entry && self.filter.from(place.port) && self.filter.holds(frame.bytes()) {
            self.keep(place, frame.bytes(), Point::Entry, None);
        }
    }

    /// A packet leaves its last stage.
    #[inline]
    pub fn leave(&self, place: Place, frame: &Frame, judgement: &Judgement) {
        if self.filter.wants(place.port, judgement) && self.filter.holds(frame.bytes()) {
            self.keep(place, frame.bytes(), Point::Exit, Some(*judgement));
        }
    }

    /// Whether it may want packets that are dropped after their last stage.
    pub(crate) fn wants_lost(&self, port: PortNumber) -> bool {
        let CaptureFilter { exit, fates, .. } = &self.filter;
        *exit && self.filter.from(port) && (fates.is_empty() || fates.contains(&Fate::Drop))
    }

    /// A packet is dropped after its last stage.
    pub(crate) fn lost(&self, place: Place, packet: &[u8], reason: Reason) {
        let judgement = Judgement { lane: Lane::Drop(reason), xdp: None, tc: None, classid: 0 };
        if self.filter.wants(place.port, &judgement) && self.filter.holds(packet) {
            self.keep(place, packet, Point::Exit, Some(judgement));
        }
    }

    fn keep(&self, place: Place, packet: &[u8], point: Point, judgement: Option<Judgement>) {
        if let Some(count) = self.filter.count {
            let before = self.seen.fetch_add(1, Ordering::Relaxed);
            if before + 1 >= count {
                self.packets.close();
            }
            if before >= count {
                return;
            }
        }
        self.packets.offer(|kept| {
            kept.port = place.port;
            kept.queue = place.queue;
            kept.worker = place.worker;
            kept.at_ns = clock::now_ns(Clock::Real);
            kept.point = point;
            kept.judgement = judgement;
            kept.wire_len = packet.len();
            kept.bytes.clear();
            // Within the capacity made beforehand, so nothing is allocated.
            let most = packet.len().min(kept.bytes.capacity()).min(self.filter.snap);
            kept.bytes.extend_from_slice(&packet[..most]);
        });
    }
}

/// Where a packet came in, and who has it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The port it came in by.
    pub port: PortNumber,
    /// The queue of it.
    pub queue: u32,
    /// The worker.
    pub worker: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_packet::{ChunkSize, Umem};

    const PLACE: Place = Place { port: 1, queue: 0, worker: 0 };

    fn judged(lane: Lane) -> Judgement {
        Judgement { lane, xdp: None, tc: None, classid: 0 }
    }

    /// The fates of what is kept of one packet of each kind.
    fn kept(filter: CaptureFilter) -> Vec<Option<Fate>> {
        let mut pool = Umem::new(1, ChunkSize::Half).unwrap().pool(1).unwrap();
        let mut frame = pool.take().unwrap();
        frame.fill(&[7; 100]).unwrap();
        let capture = Capture::new(filter, 16, 1792);
        for lane in [
            Lane::Host,
            Lane::Port { port: 1, class: None },
            Lane::Port { port: 2, class: None },
            Lane::Drop(Reason::XdpDrop),
            Lane::Drop(Reason::XdpAborted),
        ] {
            capture.enter(PLACE, &frame);
            capture.leave(PLACE, &frame, &judged(lane));
        }
        pool.put(frame);
        let taken = std::iter::from_fn(|| {
            let packet = capture.packets().take()?;
            Some(packet.judgement.map(|judgement| Fate::of(packet.port, &judgement)))
        });
        taken.collect()
    }

    #[test]
    fn a_filter_is_by_port_fate_and_reason() {
        use Fate::{Aborted, Drop, Pass, Redirect, Tx};
        let all = CaptureFilter::default();
        let known = [Pass, Tx, Redirect, Drop, Aborted].map(Some);
        assert_eq!(kept(all.clone()), known);
        assert_eq!(kept(CaptureFilter { port: Some(0), ..all.clone() }), []);
        assert_eq!(kept(CaptureFilter { fates: vec![Drop, Tx], ..all.clone() }), [Some(Tx), Some(Drop)]);
        assert_eq!(kept(CaptureFilter { reasons: vec![Reason::XdpAborted], ..all.clone() }), [Some(Aborted)]);
        assert_eq!(kept(CaptureFilter { entry: true, exit: false, ..all.clone() }), [None; 5]);
        assert_eq!(kept(CaptureFilter { count: Some(2), ..all }), known[..2]);
    }

    #[test]
    fn packets_are_cut_at_the_snap_length() {
        let mut pool = Umem::new(1, ChunkSize::Half).unwrap().pool(1).unwrap();
        let mut frame = pool.take().unwrap();
        frame.fill(&[7; 100]).unwrap();
        let capture = Capture::new(CaptureFilter { snap: 14, ..CaptureFilter::default() }, 1, 1792);
        capture.leave(PLACE, &frame, &judged(Lane::Host));
        pool.put(frame);
        let packet = capture.packets().take().unwrap();
        assert_eq!((packet.wire_len, packet.bytes.as_slice()), (100, &[7; 14][..]));
    }
}
