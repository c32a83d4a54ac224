//! The host lane: what becomes of packets that the pipeline gives to the host.
//!
//! ```text
//!  Lane::Host ─┬ for this machine, or not IP ── what is behind the port: its TAP device ── the kernel
//!              ├ has a way after all ───────────┐
//!              ├ to be cut ── fragments ────────┤
//!              ├ next hop's address unknown ── held until it is known ──┤   leaves by the egress chain
//!              └ no way ── dropped, named ── ICMP error, back by its port ┘
//! ```
//!
//! With the router off, the kernel gets everything. With it on, packets in transit are weir's to forward: the fast
//! path is a program, which may pass on what it does not understand, and here the whole question is asked
//! again ([`weir_router::exception`]). Frames with a VLAN tag are of the kernel's own interfaces and go to it.
//!
//! A worker has one. It gives frames in while it judges ([`Host::take`]), lets them be decided about when it is done
//! ([`Host::work`]), and fetches what leaves ([`Host::leaving`]), which it sends through the port's egress chain.

mod hold;
mod way;

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use weir_io::Port;
use weir_packet::{BATCH, Batch, Frame, Pool};
use weir_router::icmp::{self, Problem};
use weir_router::{Bucket, Exception, exception};

use crate::config;
use crate::counters::PortCounters;
use crate::exhale::{Watched, send};
use crate::generation::{Generation, PortNumber};
use crate::observe::{Place, Watchers};
use crate::reason::Reason;
use crate::routes::Routes;
use hold::Hold;
use way::{ETHERNET, Link};

pub use hold::{HELD_MAX, HELD_PER_NEIGHBOUR, PATIENCE_NS, Wanted};

/// Errors sent at once after a rest, for each worker.
const ICMP_BURST: u32 = 20;
/// Frames between two calls of [`Host::work`]: a batch and its copies, several times.
const ARRIVALS: usize = 256;
/// Between two readings of the TAP devices.
const DRAIN_EVERY_NS: u64 = 50_000_000;

/// Where neighbours that are wanted are told, for whoever may ask the kernel. What does not fit is told again.
pub type Wants = Arc<ArrayQueue<Wanted>>;

/// How the lane is to work.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether packets in transit are weir's.
    pub router: bool,
    /// Which errors are sent, and how many.
    pub icmp: config::Icmp,
    /// Where wanted neighbours are told.
    pub wants: Wants,
}

impl Setup {
    /// As a configuration says.
    pub fn of(router: &config::Router, wants: Wants) -> Self {
        Self { router: router.enabled, icmp: router.icmp, wants }
    }
}

/// What is behind a port, for packets that are for this machine.
pub enum Behind {
    /// The kernel, by a TAP device.
    Kernel(Box<dyn Port>),
    /// Nobody, although there is a network before it: they are dropped, by name.
    Nobody,
    /// Nobody, and there is no network before it either (a capture, a wire in memory): to have passed is their end.
    End,
}

impl std::fmt::Debug for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Behind::Kernel(tap) => write!(f, "Kernel({})", tap.name()),
            Behind::Nobody => f.write_str("Nobody"),
            Behind::End => f.write_str("End"),
        }
    }
}

/// What the lane is worked with: the worker's own things, for one batch.
pub struct Tools<'w> {
    /// The routes of this turn.
    pub routes: &'w Routes,
    /// The generation of this turn.
    pub generation: &'w Generation,
    /// Frames.
    pub pool: &'w mut Pool,
    /// The worker's counters, by port.
    pub counters: &'w [CachePadded<PortCounters>],
    /// The time, by a clock that does not go back.
    pub now_ns: u64,
    /// Those who watch this turn.
    pub watchers: Option<&'w Watchers>,
    /// The worker.
    pub worker: usize,
}

impl<'w> Tools<'w> {
    /// Who watches what is dropped of a port's packets.
    fn watched(&self, port: PortNumber) -> Watched<'w> {
        self.watchers.map(|watchers| (watchers, Place { port, queue: 0, worker: self.worker }))
    }
}

/// A frame that leaves by a port, with the link header that it needs.
#[derive(Debug)]
pub struct Leaving {
    /// The port that it came in by, or that weir made it for.
    pub from: PortNumber,
    /// The port that it leaves by.
    pub to: PortNumber,
    /// The frame.
    pub frame: Frame,
}

/// The host lane of one worker.
pub struct Host {
    setup: Setup,
    errors: Bucket,
    behind: Vec<Behind>,
    /// When the TAP devices were last read.
    drained_ns: u64,
    arrived: VecDeque<(PortNumber, Frame)>,
    leaving: VecDeque<Leaving>,
    hold: Hold,
    batch: Batch,
    /// An answer before it is in a frame.
    scratch: Box<[u8; ETHERNET + icmp::ANSWER_MAX]>,
}

impl Host {
    /// A lane with what is behind each port, in their order.
    pub fn new(setup: Setup, behind: Vec<Behind>) -> Self {
        let errors = Bucket::new(setup.icmp.rate, setup.icmp.rate.min(ICMP_BURST));
        Self {
            setup,
            errors,
            behind,
            drained_ns: 0,
            arrived: VecDeque::with_capacity(ARRIVALS),
            leaving: VecDeque::with_capacity(ARRIVALS),
            hold: Hold::default(),
            batch: Batch::new(),
            scratch: Box::new([0; ETHERNET + icmp::ANSWER_MAX]),
        }
    }

    /// Whether there is anything to decide about a packet that came in by a port. If not, it has passed.
    #[inline]
    pub fn cares(&self, from: PortNumber) -> bool {
        self.setup.router || !matches!(self.behind.get(from), Some(Behind::End))
    }

    /// Takes a frame that came in by a port, to be decided about at the next [`Host::work`].
    #[inline]
    pub fn take(&mut self, from: PortNumber, frame: Frame) {
        self.arrived.push_back((from, frame));
    }

    /// Whether there is something for [`Host::work`] to do now.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.arrived.is_empty() && self.hold.is_empty()
    }

    /// Whether packets wait for neighbours: a worker that sleeps should look again within milliseconds.
    pub fn is_waiting(&self) -> bool {
        !self.hold.is_empty()
    }

    /// How many frames it has.
    pub fn held(&self) -> usize {
        self.hold.frames() + self.arrived.len() + self.leaving.len() + self.batch.len()
    }

    /// Decides about everything that was taken, and about what waited long enough.
    pub fn work(&mut self, tools: &mut Tools<'_>) {
        while let Some((from, frame)) = self.arrived.pop_front() {
            self.decide(from, frame, tools);
        }
        while let Some((from, frame)) = self.hold.release(tools.routes, tools.now_ns) {
            uncount(&tools.counters[from]);
            self.decide(from, frame, tools);
        }
        while let Some((from, frame)) = self.hold.give_up(tools.routes, tools.now_ns) {
            uncount(&tools.counters[from]);
            self.answer(from, &frame, Problem::NoNeighbour, tools);
            drop_frame(from, frame, Reason::NeighbourFailed, tools);
        }
    }

    /// Whether there are frames to send.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The next frame to send through a port's egress chain.
    #[inline]
    pub fn leaving(&mut self) -> Option<Leaving> {
        self.leaving.pop_front()
    }

    fn decide(&mut self, from: PortNumber, mut frame: Frame, tools: &mut Tools<'_>) {
        let Some(port) = tools.generation.ports.get(from) else {
            return drop_frame(from, frame, Reason::RedirectNoPort, tools);
        };
        let link = Link::of(frame.bytes());
        let is_ours = link.is_some_and(|link| link.is_ours(port.mac));
        if !self.setup.router || !is_ours {
            return self.pass(from, frame, tools);
        }
        let packet = frame.bytes_mut().get_mut(ETHERNET..).unwrap_or_default();
        match exception(tools.routes.tables(), packet, port.ifindex) {
            Exception::Deliver => self.pass(from, frame, tools),
            Exception::Forward { hop, neighbour } => match tools.generation.port_by_ifindex(hop.ifindex) {
                Some(to) => {
                    way::set_link(&mut frame, neighbour, hop.mac);
                    self.leaving.push_back(Leaving { from, to, frame });
                }
                None => drop_frame(from, frame, Reason::RedirectNoPort, tools),
            },
            Exception::Cut { hop, neighbour } => match tools.generation.port_by_ifindex(hop.ifindex) {
                Some(to) => {
                    way::set_link(&mut frame, neighbour, hop.mac);
                    self.cut(from, to, frame, hop.mtu as usize, tools);
                }
                None => drop_frame(from, frame, Reason::RedirectNoPort, tools),
            },
            Exception::Resolve { port, address } => {
                let wanted = Wanted { ifindex: port, address };
                match self.hold.keep(wanted, from, frame, tools.now_ns) {
                    Ok(ask) => {
                        tools.counters[from].held.add(1);
                        if ask {
                            let _ = self.setup.wants.push(wanted);
                        }
                    }
                    Err(frame) => drop_frame(from, frame, Reason::HeldTooMany, tools),
                }
            }
            Exception::Answer(refusal, problem) => {
                self.answer(from, &frame, problem, tools);
                drop_frame(from, frame, Reason::from(refusal), tools);
            }
            Exception::Drop(refusal) => drop_frame(from, frame, Reason::from(refusal), tools),
        }
    }

    /// Gives a frame to the kernel.
    fn pass(&mut self, from: PortNumber, frame: Frame, tools: &mut Tools<'_>) {
        let (len, counters) = (frame.len(), &tools.counters[from]);
        let tap = match self.behind.get_mut(from) {
            Some(Behind::Kernel(tap)) => tap,
            Some(Behind::End) => {
                counters.passed.count(len);
                return tools.pool.put(frame);
            }
            Some(Behind::Nobody) | None => return drop_frame(from, frame, Reason::HostNone, tools),
        };
        if let Err(frame) = self.batch.push(frame) {
            return drop_frame(from, frame, Reason::HostRefused, tools);
        }
        let watched = tools.watched(from);
        match send(&mut **tap, tools.pool, &mut self.batch, watched, |_| Reason::HostRefused).sent {
            0 => counters.drop(Reason::HostRefused),
            _ => counters.passed.count(len),
        }
    }

    /// Empties the TAP devices now and then. The kernel has the devices themselves to send by; what it sends here
    /// all the same (a new interface greets its routers) would lie in the queue for ever.
    pub fn drain(&mut self, tools: &mut Tools<'_>) {
        if tools.now_ns.saturating_sub(self.drained_ns) < DRAIN_EVERY_NS {
            return;
        }
        self.drained_ns = tools.now_ns;
        let Self { behind, batch, .. } = self;
        for (port, behind) in behind.iter_mut().enumerate() {
            let Behind::Kernel(tap) = behind else { continue };
            let received = tap.receive(tools.pool, batch, BATCH);
            let counters = &tools.counters[port];
            counters.originated.packets.add(received.lost as u64);
            counters.dropped[Reason::FromHost as usize].add(received.lost as u64);
            for frame in batch.drain() {
                counters.originated.count(frame.len());
                drop_frame(port, frame, Reason::FromHost, tools);
            }
        }
    }

    /// Makes an error about a packet, if there is to be one, that leaves by the port the packet came in by.
    fn answer(&mut self, from: PortNumber, about: &Frame, problem: Problem, tools: &mut Tools<'_>) {
        let icmp = &self.setup.icmp;
        let wanted = match problem {
            Problem::HopsSpent => icmp.ttl_exceeded,
            Problem::TooBig { .. } => icmp.pmtu,
            Problem::NoRoute
            | Problem::Unreachable
            | Problem::NoNeighbour
            | Problem::Prohibited
            | Problem::BeyondScope => icmp.unreachable,
        };
        let (Some(port), Some(link)) = (tools.generation.ports.get(from), Link::of(about.bytes())) else {
            return;
        };
        if !wanted || !link.has_sender() {
            return;
        }
        let (header, packet) = self.scratch.split_at_mut(ETHERNET);
        let quoted = about.bytes().get(ETHERNET..).unwrap_or_default();
        let tables = tools.routes.tables();
        let made = icmp::answer(tables, port.ifindex, quoted, link.is_to_many(), problem, packet);
        // The bucket is asked last: what must not be answered does not use up what may be.
        let Ok(len) = made else { return };
        if !self.errors.take(tools.now_ns) {
            return;
        }
        link.write_reply(port.mac, header);
        let Some(mut frame) = tools.pool.take() else { return };
        let all = self.scratch.get(..ETHERNET + len).unwrap_or_default();
        if frame.fill(all).is_err() {
            return tools.pool.put(frame);
        }
        tools.counters[from].originated.count(frame.len());
        self.leaving.push_back(Leaving { from, to: from, frame });
    }

    /// Cuts a packet into fragments, of which the first stays in its frame.
    fn cut(&mut self, from: PortNumber, to: PortNumber, frame: Frame, mtu: usize, tools: &mut Tools<'_>) {
        let before = self.leaving.len();
        match way::cut(frame, mtu, tools.pool, |frame| self.leaving.push_back(Leaving { from, to, frame })) {
            Ok(()) => {
                for made in self.leaving.iter().skip(before + 1) {
                    tools.counters[from].originated.count(made.frame.len());
                }
            }
            Err((frame, refusal)) => drop_frame(from, frame, Reason::from(refusal), tools),
        }
    }

    /// Puts something else behind a port.
    pub fn replace(&mut self, port: PortNumber, behind: Behind, pool: &mut Pool) {
        if let Some(place) = self.behind.get_mut(port) {
            if let Behind::Kernel(old) = place {
                old.close(pool);
            }
            *place = behind;
        }
    }

    /// Drops what was taken and not decided about.
    pub fn give_up(&mut self, reason: Reason, tools: &mut Tools<'_>) {
        while let Some((from, frame)) = self.arrived.pop_front() {
            drop_frame(from, frame, reason, tools);
        }
    }

    /// Gives every frame back, each dropped by name. Answers how many the TAP devices had.
    pub fn close(&mut self, pool: &mut Pool, counters: &[CachePadded<PortCounters>]) -> usize {
        while let Some((from, frame)) = self.hold.take_any() {
            uncount(&counters[from]);
            counters[from].drop(Reason::HeldAtEnd);
            pool.put(frame);
        }
        let rest = self.leaving.drain(..).map(|leaving| (leaving.from, leaving.frame));
        for (from, frame) in self.arrived.drain(..).chain(rest) {
            counters[from].drop(Reason::HeldAtEnd);
            pool.put(frame);
        }
        pool.put_all(&mut self.batch);
        let taps = self.behind.iter_mut().map(|behind| match behind {
            Behind::Kernel(tap) => tap.close(pool),
            Behind::Nobody | Behind::End => 0,
        });
        taps.sum()
    }
}

/// A frame no longer waits.
fn uncount(counters: &PortCounters) {
    counters.held.add(1u64.wrapping_neg());
}

fn drop_frame(from: PortNumber, frame: Frame, reason: Reason, tools: &mut Tools<'_>) {
    tools.counters[from].drop(reason);
    if let Some((watchers, place)) = tools.watched(from) {
        watchers.lost(place, frame.bytes(), reason);
    }
    tools.pool.put(frame);
}
