//! One packet's way through the stages, from the port it came by to the lane it leaves in.
//!
//! ```text
//! xdp chain ─┬ DROP / ABORTED ─ drop(reason)
//!            ├ TX ─ same port      REDIRECT ─ port
//!            └ PASS ─ tc ingress chain ─┬ SHOT ─ drop(reason)
//!                                       ├ REDIRECT ─ port
//!                                       └ OK ─ forward: program | cross-connect | host
//!                                               └ tc egress chain ─ class ─ port
//! ```
//!
//! As in the kernel, what XDP sends (`XDP_TX`, `XDP_REDIRECT`) leaves at once, past tc and classes.
//! A tc redirect leaves by the egress chain of the port it names, or enters that port's ingress.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::{Errno, TcAction, XdpAction};
use weir_maps::Target;
use weir_sys::clock;
use weir_vm::env::{FibAddresses, FibAnswer, FibFlags, FibGateway, FibHop, FibQuery};
use weir_vm::{Context, Redirect, Run};

use crate::chain::{self, Runner, TcOutcome, XdpOutcome};
use crate::counters::ProgramCounters;
use crate::generation::{Filter, Forward, Generation, PortNumber, ProgramNumber};
use crate::observe::{Hook, Place, Step, TraceRecord};
use crate::reason::Reason;

/// How often one packet may be redirected from tc (`XMIT_RECURSION_LIMIT`, include/linux/netdevice.h).
pub const REDIRECTS_MAX: u32 = 8;
/// One run in so many is timed: reading the clock costs as much as a small program.
pub const TIMED_EVERY: u32 = 64;

/// Where a judged packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Out of a port, in this class (an index into [`Generation::classes`], or none when XDP sent it).
    Port {
        /// Which port.
        port: PortNumber,
        /// Which class.
        class: Option<usize>,
    },
    /// To the host.
    Host,
    /// Kept by a program or an action.
    Consumed,
    /// Dropped.
    Drop(Reason),
}

/// A packet's lane, and what was said on the way, for captures and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Where it goes.
    pub lane: Lane,
    /// What the XDP chain came to; `None` when it has no program.
    pub xdp: Option<XdpOutcome>,
    /// What the last tc chain came to; `None` when none was asked.
    pub tc: Option<TcAction>,
    /// The class that was chosen; 0 without.
    pub classid: u32,
}

impl Judgement {
    /// What every packet that comes in by `port` comes to, when no program stands between it and the port that it is
    /// wired to: then there is nothing to ask, and no byte of it is read.
    pub fn of_wire(generation: &Generation, port: PortNumber) -> Option<Judgement> {
        let plan = &generation.ports[port];
        let Forward::Connect(to) = plan.forward else { return None };
        let bare = plan.xdp.is_empty() && plan.ingress.is_empty() && generation.ports[to].egress.is_empty();
        let class = Some(generation.class_for(0, 0));
        bare.then_some(Judgement { lane: Lane::Port { port: to, class }, xdp: None, tc: None, classid: 0 })
    }
}

/// Where a redirect leads.
struct Exit {
    port: PortNumber,
    /// Into the port instead of out of it.
    ingress: bool,
    /// The map entry's own program.
    program: Option<u32>,
}

/// Judges packets by one generation, for one worker, for one batch.
pub struct Judge<'g> {
    generation: &'g Generation,
    worker: usize,
    run: Run<'g>,
    /// Counts runs, to time one in [`TIMED_EVERY`].
    sample: &'g mut u32,
    /// The record of a packet whose way somebody asked for, while there is one.
    trace: Option<&'g mut TraceRecord>,
    tracing: bool,
    /// The stage and the port that programs run at now, for that record.
    stage: (Hook, PortNumber),
}

/// Runs programs and counts them.
impl Runner for Judge<'_> {
    #[inline]
    fn run(&mut self, program: ProgramNumber, context: &mut Context<'_>) -> i32 {
        let slot = &self.generation.programs[program];
        let counters = &slot.counters[self.worker];
        counters.judged.count(context.len());
        if self.tracing {
            return self.run_traced(program, context);
        }
        *self.sample = self.sample.wrapping_add(1);
        let answer = if self.sample.is_multiple_of(TIMED_EVERY) {
            let start = clock::ticks();
            let answer = slot.loaded.run(&mut self.run, context) as i32;
            counters.times.count(clock::ticks().wrapping_sub(start));
            answer
        } else {
            slot.loaded.run(&mut self.run, context) as i32
        };
        counters.answers[ProgramCounters::slot(answer)].add(1);
        answer
    }
}

impl<'g> Judge<'g> {
    /// For this worker's next batch. `sample` belongs to the worker and lives on.
    pub fn new(generation: &'g Generation, worker: usize, run: Run<'g>, sample: &'g mut u32) -> Self {
        Self { generation, worker, run, sample, trace: None, tracing: false, stage: (Hook::Xdp, 0) }
    }

    /// Gives a record to write the ways of packets into.
    pub fn with_record(mut self, record: &'g mut TraceRecord) -> Self {
        self.trace = Some(record);
        self
    }

    /// Writes down the way of the packet that is judged next.
    pub fn begin_trace(&mut self, place: Place, packet: &[u8]) {
        let Some(record) = &mut self.trace else { return };
        record.begin(place, clock::now_ns(clock::Clock::Real), self.generation.number, packet);
        self.tracing = true;
    }

    /// The way of the packet that was judged last, if it was to be written down.
    pub fn end_trace(&mut self, judgement: &Judgement) -> Option<&TraceRecord> {
        if !std::mem::take(&mut self.tracing) {
            return None;
        }
        let record = self.trace.as_deref_mut()?;
        record.judgement = Some(*judgement);
        Some(record)
    }

    /// Runs a program for a packet whose way is written down: every run is timed.
    #[cold]
    #[inline(never)]
    fn run_traced(&mut self, program: ProgramNumber, context: &mut Context<'_>) -> i32 {
        let slot = &self.generation.programs[program];
        let start = clock::ticks();
        let answer = slot.loaded.run(&mut self.run, context) as i32;
        let ticks = clock::ticks().wrapping_sub(start);
        slot.counters[self.worker].answers[ProgramCounters::slot(answer)].add(1);
        let (hook, port) = self.stage;
        let kind = slot.loaded.verified().program().kind;
        self.step(Step::Program { hook, port, program, kind, answer, ticks, len: context.len() });
        answer
    }

    #[inline]
    fn step(&mut self, step: Step) {
        if self.tracing
            && let Some(record) = &mut self.trace
        {
            record.push(step);
        }
    }

    /// Judges a packet that came in by `port`; the context has it, and knows its port and queue.
    #[inline]
    pub fn judge(&mut self, port: PortNumber, context: &mut Context<'_>) -> Judgement {
        let mut judgement = Judgement { lane: Lane::Host, xdp: None, tc: None, classid: 0 };
        let chain = &self.generation.ports[port].xdp;
        if !chain.is_empty() {
            self.stage = (Hook::Xdp, port);
            let outcome = chain::xdp(chain, self, context);
            judgement.xdp = Some(outcome);
            if let Some(lane) = self.after_xdp(port, outcome, context) {
                judgement.lane = lane;
                return judgement;
            }
        }
        self.ingress(port, context, &mut judgement, 0);
        judgement
    }

    /// Judges a copy that a program made for `port` (`bpf_clone_redirect`): out of it, or into it.
    pub fn copy(&mut self, port: PortNumber, ingress: bool, context: &mut Context<'_>) -> Judgement {
        let mut judgement = Judgement { lane: Lane::Host, xdp: None, tc: None, classid: 0 };
        if ingress {
            self.ingress(port, context, &mut judgement, 1);
        } else {
            self.egress(port, context, &mut judgement, 1);
        }
        judgement
    }

    /// Where an XDP verdict leads; `None` goes on to tc.
    #[inline]
    fn after_xdp(
        &mut self,
        port: PortNumber,
        outcome: XdpOutcome,
        context: &mut Context<'_>,
    ) -> Option<Lane> {
        Some(match outcome {
            XdpOutcome::Verdict(XdpAction::Pass) => return None,
            XdpOutcome::Verdict(XdpAction::Drop) => Lane::Drop(Reason::XdpDrop),
            XdpOutcome::Verdict(XdpAction::Aborted) => Lane::Drop(Reason::XdpAborted),
            XdpOutcome::Verdict(XdpAction::Tx) => Lane::Port { port, class: None },
            XdpOutcome::Verdict(XdpAction::Redirect) => return self.after_xdp_redirect(context),
            XdpOutcome::Invalid => Lane::Drop(Reason::XdpInvalid),
        })
    }

    /// Where `XDP_REDIRECT` leads; `None` goes on to tc.
    fn after_xdp_redirect(&mut self, context: &mut Context<'_>) -> Option<Lane> {
        if let Some(Redirect::Map { target: Target::Worker { program, .. }, .. }) = self.run.redirect() {
            // The kernel hands the packet to the stack on another CPU. Here it stays with its worker, so
            // that its flow keeps its order, and goes on to tc as it would there.
            return program.and_then(|program| self.after_map_program(program, context));
        }
        Some(match self.redirect_port(context) {
            Ok(Exit { port, program, .. }) => {
                context.egress_ifindex = self.generation.ports[port].ifindex;
                let refused = program.and_then(|program| self.after_map_program(program, context));
                refused.unwrap_or(Lane::Port { port, class: None })
            }
            Err(reason) => Lane::Drop(reason),
        })
    }

    /// Runs the program of a device or CPU map's entry: all but `XDP_PASS` drops the packet.
    fn after_map_program(&mut self, program: u32, context: &mut Context<'_>) -> Option<Lane> {
        let program = program as usize;
        if program >= self.generation.programs.len() {
            return Some(Lane::Drop(Reason::RedirectNoPort));
        }
        self.stage.0 = Hook::Map;
        match XdpAction::new(self.run(program, context) as u32) {
            Some(XdpAction::Pass) => None,
            Some(XdpAction::Aborted | XdpAction::Drop | XdpAction::Tx | XdpAction::Redirect) | None => {
                Some(Lane::Drop(Reason::MapProgramDrop))
            }
        }
    }

    /// The port that the last program redirected to.
    fn redirect_port(&mut self, context: &mut Context<'_>) -> Result<Exit, Reason> {
        let (ifindex, ingress, program) = match self.run.redirect() {
            None => return Err(Reason::RedirectUnset),
            Some(Redirect::Port { ifindex, ingress }) => (ifindex, ingress, None),
            Some(Redirect::Peer { ifindex }) => (ifindex, true, None),
            Some(Redirect::Neighbour { ifindex, hop }) => {
                self.fill_link_header(ifindex, hop, context)?;
                (ifindex, false, None)
            }
            Some(Redirect::Broadcast { .. }) => return Err(Reason::RedirectBroadcast),
            Some(Redirect::Map { target, .. }) => match target {
                Target::Port { ifindex, program } => (ifindex, false, program),
                Target::Worker { .. } | Target::Socket { .. } => return Err(Reason::RedirectNoPort),
            },
        };
        let port = self.generation.port_by_ifindex(ifindex).ok_or(Reason::RedirectNoPort)?;
        self.step(Step::Redirected { port, ingress });
        Ok(Exit { port, ingress, program })
    }

    /// Fills the link header in with the neighbour's address and the port's own
    /// (`bpf_redirect_neigh`); without a next hop the packet's destination is the neighbour.
    fn fill_link_header(
        &mut self,
        ifindex: u32,
        hop: Option<FibGateway>,
        context: &mut Context<'_>,
    ) -> Result<(), Reason> {
        let hop = hop.or_else(|| destination(context)).ok_or(Reason::NoNeighbour)?;
        let addresses = match hop {
            FibGateway::V4(address) => FibAddresses::V4 { source: [0; 4], destination: address },
            FibGateway::V6(address) => FibAddresses::V6 { source: [0; 16], destination: address },
        };
        let query = FibQuery {
            addresses,
            l4_protocol: 0,
            source_port: 0,
            destination_port: 0,
            total_len: 0,
            tos: 0,
            ifindex,
            flags: FibFlags::DIRECT | FibFlags::OUTPUT,
            mark: 0,
            table: 0,
        };
        let FibAnswer::Forward(FibHop { neighbour: Some(neighbour), mac, .. }) =
            self.run.env().fib_lookup(&query)
        else {
            return Err(Reason::NoNeighbour);
        };
        let header = context.packet_mut().get_mut(..12).ok_or(Reason::NoNeighbour)?;
        header[..6].copy_from_slice(&neighbour);
        header[6..].copy_from_slice(&mac);
        Ok(())
    }

    /// The tc ingress chain, and what follows.
    fn ingress(&mut self, port: PortNumber, context: &mut Context<'_>, judgement: &mut Judgement, hops: u32) {
        let plan = &self.generation.ports[port];
        context.enter_tc(true);
        context.ifindex = plan.ifindex;
        if !plan.ingress.is_empty() {
            self.stage = (Hook::Ingress, port);
            if !self.tc_lets_on(&plan.ingress, Reason::TcIngressShot, context, judgement, hops) {
                return;
            }
            context.tc_index = judgement.classid & 0xffff;
        }
        self.forward(port, context, judgement, hops);
    }

    /// Asks a tc chain (`tc_run`, net/core/dev.c). Answers whether the packet goes on; if not, its lane is set.
    fn tc_lets_on(
        &mut self,
        filters: &[Filter],
        shot: Reason,
        context: &mut Context<'_>,
        judgement: &mut Judgement,
        hops: u32,
    ) -> bool {
        let Ok(outcome) = self.tc(filters, context) else {
            judgement.lane = Lane::Drop(Reason::NoRoomForTag);
            return false;
        };
        judgement.tc = Some(outcome.action);
        if outcome.classid != 0 {
            judgement.classid = outcome.classid;
            self.step(Step::Classified { classid: outcome.classid });
        }
        match outcome.action {
            TcAction::Ok | TcAction::Unspec | TcAction::Pipe | TcAction::Reclassify | TcAction::Repeat => {
                return true;
            }
            TcAction::Shot if outcome.looped => judgement.lane = Lane::Drop(Reason::ReclassifyLoop),
            TcAction::Shot => judgement.lane = Lane::Drop(shot),
            TcAction::Stolen | TcAction::Queued | TcAction::Trap => judgement.lane = Lane::Consumed,
            TcAction::Redirect => self.redirect(context, judgement, hops),
        }
        false
    }

    /// Runs a tc chain. Its programs see the outermost VLAN tag beside the packet, as the kernel's receive
    /// path puts it; afterwards the tag is in the packet again, whoever put it there.
    fn tc(&mut self, filters: &[Filter], context: &mut Context<'_>) -> Result<TcOutcome, Errno> {
        context.untag();
        let outcome = chain::tc(filters, self, context);
        context.retag().map(|()| outcome)
    }

    /// Does what a redirect from tc asked for.
    fn redirect(&mut self, context: &mut Context<'_>, judgement: &mut Judgement, hops: u32) {
        if hops >= REDIRECTS_MAX {
            return judgement.lane = Lane::Drop(Reason::RedirectLoop);
        }
        match self.redirect_port(context) {
            Ok(Exit { port, ingress: true, .. }) => {
                context.ingress_ifindex = self.generation.ports[port].ifindex;
                self.ingress(port, context, judgement, hops + 1);
            }
            Ok(Exit { port, ingress: false, .. }) => self.egress(port, context, judgement, hops + 1),
            Err(reason) => judgement.lane = Lane::Drop(reason),
        }
    }

    /// What the ingress chains accepted goes to the host, to a wired port, or where a program says.
    fn forward(&mut self, port: PortNumber, context: &mut Context<'_>, judgement: &mut Judgement, hops: u32) {
        let program = match self.generation.ports[port].forward {
            Forward::Host => return judgement.lane = Lane::Host,
            Forward::Connect(to) => return self.egress(to, context, judgement, hops),
            Forward::Program(program) => program,
        };
        let kind = self.generation.programs[program].loaded.verified().program().kind;
        self.stage = (Hook::Forward, port);
        let answer = self.run(program, context);
        if context.retag().is_err() {
            return judgement.lane = Lane::Drop(Reason::NoRoomForTag);
        }
        match kind {
            ProgramType::Xdp => match XdpAction::new(answer as u32) {
                Some(XdpAction::Pass) => judgement.lane = Lane::Host,
                Some(XdpAction::Drop) => judgement.lane = Lane::Drop(Reason::ForwardDrop),
                Some(XdpAction::Tx) => self.egress(port, context, judgement, hops),
                Some(XdpAction::Redirect) => self.redirect(context, judgement, hops),
                Some(XdpAction::Aborted) | None => judgement.lane = Lane::Drop(Reason::ForwardAborted),
            },
            _ => match TcAction::new(answer) {
                Some(TcAction::Redirect) => self.redirect(context, judgement, hops),
                Some(TcAction::Shot) => judgement.lane = Lane::Drop(Reason::ForwardDrop),
                Some(TcAction::Stolen | TcAction::Queued | TcAction::Trap) => judgement.lane = Lane::Consumed,
                Some(
                    TcAction::Ok
                    | TcAction::Unspec
                    | TcAction::Pipe
                    | TcAction::Reclassify
                    | TcAction::Repeat,
                )
                | None => judgement.lane = Lane::Host,
            },
        }
    }

    /// The tc egress chain of a port, the class, and out.
    fn egress(&mut self, port: PortNumber, context: &mut Context<'_>, judgement: &mut Judgement, hops: u32) {
        let plan = &self.generation.ports[port];
        if !plan.egress.is_empty() {
            context.enter_tc(false);
            context.ifindex = plan.ifindex;
            self.stage = (Hook::Egress, port);
            if !self.tc_lets_on(&plan.egress, Reason::TcEgressShot, context, judgement, hops) {
                return;
            }
        }
        let class = self.generation.class_for(judgement.classid, context.priority);
        judgement.lane = Lane::Port { port, class: Some(class) };
    }
}

/// Where an IP packet goes, by its header behind the Ethernet header.
fn destination(context: &Context<'_>) -> Option<FibGateway> {
    let packet = context.packet();
    match packet.get(12..14)? {
        [0x08, 0x00] => Some(FibGateway::V4(*packet.get(30..)?.first_chunk()?)),
        [0x86, 0xdd] => Some(FibGateway::V6(*packet.get(38..)?.first_chunk()?)),
        _ => None,
    }
}
