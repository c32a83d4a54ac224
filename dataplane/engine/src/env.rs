//! What helpers see of the world from inside a worker: clocks, randomness, ports, routes, sinks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use weir_ebpf::abi::Errno;
use weir_maps::Map;
use weir_packet::{FlowHash, Frame, Pool};
use weir_sys::clock;
use weir_vm::env::{FibAnswer, FibQuery, PortInfo};
use weir_vm::{Clock, Env};

use crate::observe::{Observers, PerfSaid};
use crate::routes::Routes;
use crate::swap::Reader;

/// Copies that may wait at most, in one batch.
const CLONES_MAX: usize = 64;

/// A line of `bpf_trace_printk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Which worker's program said it.
    pub worker: usize,
    /// When, nanoseconds since boot.
    pub at_ns: u64,
    /// The line, without a newline.
    pub text: String,
}

/// A copy of a packet that a program sent somewhere.
#[derive(Debug)]
pub struct Clone {
    /// The number of the port it goes to.
    pub ifindex: u32,
    /// Into that port instead of out of it.
    pub ingress: bool,
    /// The copy.
    pub frame: Frame,
}

/// The world of one worker.
#[derive(Debug)]
pub struct WorkerEnv {
    worker: usize,
    random: u64,
    flows: FlowHash,
    routes: Reader<Routes>,
    /// Frames for copies; the worker fills it up from its own pool between batches.
    pub(crate) spare: Pool,
    /// Copies that wait for the end of the batch.
    pub(crate) clones: VecDeque<Clone>,
    traces: Option<SyncSender<TraceLine>>,
    observers: Option<Arc<Observers>>,
    /// Lines that nobody was fast enough to read.
    pub traces_lost: u64,
}

impl WorkerEnv {
    /// A world for this worker; `spare` may be empty.
    pub fn new(
        worker: usize,
        seed: u64,
        routes: Reader<Routes>,
        spare: Pool,
        traces: Option<SyncSender<TraceLine>>,
    ) -> Self {
        let clones = VecDeque::with_capacity(CLONES_MAX);
        // xorshift stands still at zero.
        Self {
            worker,
            random: seed | 1,
            flows: FlowHash::new([seed, 0]),
            routes,
            spare,
            clones,
            traces,
            observers: None,
            traces_lost: 0,
        }
    }

    /// Lets these read what programs write by `bpf_perf_event_output`.
    pub(crate) fn watched_by(&mut self, observers: &Arc<Observers>) {
        self.observers = Some(Arc::clone(observers));
    }

    /// Takes the current routes: between batches, so that all packets of a turn are sent by the same.
    #[inline]
    pub fn edge(&mut self) {
        self.routes.edge();
    }

    /// The routes of this turn.
    #[inline]
    pub fn routes(&mut self) -> &Routes {
        self.routes.now()
    }

    /// Says that no routes are used until the next turn.
    pub fn rest(&mut self) {
        self.routes.rest();
    }

    /// Makes sure that there are frames for copies, as far as `pool` has some to give.
    pub(crate) fn replenish(&mut self, pool: &mut Pool) {
        while self.spare.free() < CLONES_MAX {
            let Some(frame) = pool.take() else { return };
            self.spare.put(frame);
        }
    }
}

impl Env for WorkerEnv {
    fn now_ns(&mut self, clock: Clock) -> u64 {
        clock.system_ns()
    }

    /// xorshift64* (Vigna, 2016): for sampling and spreading, as the kernel's is; not for secrets.
    fn random_u32(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Tracing allocates and is for debugging; a program that traces every packet is slow in the kernel too.
    fn trace(&mut self, line: &[u8]) {
        let Some(traces) = &self.traces else { return };
        let line = TraceLine {
            worker: self.worker,
            at_ns: clock::now_ns(clock::Clock::Monotonic),
            text: String::from_utf8_lossy(line).into_owned(),
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = traces.try_send(line) {
            self.traces_lost += 1;
        }
    }

    fn perf_event(&mut self, map: &Map, slot: u32, record: &[u8]) -> Result<(), Errno> {
        // Where nobody has opened a reader, as in a replay, the kernel answers ENOENT too.
        let observers = self.observers.as_ref().ok_or(Errno::ENOENT)?;
        let at_ns = clock::now_ns(clock::Clock::Monotonic);
        observers.perf_event(map.id(), &PerfSaid { worker: self.worker, at_ns, slot, bytes: record })
    }

    fn wake(&mut self) {}

    fn flow_hash(&mut self, packet: &[u8]) -> u32 {
        self.flows.hash(packet)
    }

    fn port(&mut self, ifindex: u32) -> Option<PortInfo> {
        self.routes().port(ifindex)
    }

    fn fib_lookup(&mut self, query: &FibQuery) -> FibAnswer {
        self.routes().lookup(query)
    }

    fn clone_redirect(&mut self, ifindex: u32, ingress: bool, packet: &[u8]) -> Result<(), Errno> {
        if self.routes().port(ifindex).is_none() {
            return Err(Errno::EINVAL);
        }
        if self.clones.len() == CLONES_MAX {
            return Err(Errno::ENOBUFS);
        }
        let mut frame = self.spare.take().ok_or(Errno::ENOMEM)?;
        if frame.fill(packet).is_err() {
            self.spare.put(frame);
            return Err(Errno::ENOMEM);
        }
        self.clones.push_back(Clone { ifindex, ingress, frame });
        Ok(())
    }
}
