//! A worker: one thread on one core that receives, judges and sends, batch after batch.
//!
//! A turn is three paragraphs: inhale (receive a batch from each port), judge (each frame through the
//! pipeline into its lane), exhale (send what each port got). Nothing in it allocates, locks, logs or
//! makes a system call; a port may, once a batch. What is for the host goes by another way ([`crate::host`]), whose
//! packets are few.

mod between;
mod shared;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_utils::CachePadded;
use weir_io::Port;
use weir_packet::{BATCH, Batch, Frame, Pool};
use weir_sys::clock;
use weir_vm::timers::{next_due, run_due};
use weir_vm::{Clock, Env, Run};

use crate::counters::PortCounters;
use crate::cut::Cut;
use crate::env::WorkerEnv;
use crate::exhale::{Exhale, Outgoing, Watched, send, transmit, with_context};
use crate::generation::{Generation, PortNumber};
use crate::handoff::Inbox;
use crate::host::{Host, Tools};
use crate::ledger::Leveller;
use crate::mailbox::Windows;
use crate::observe::{Observers, Place, TraceRecord, Watchers};
use crate::pipeline::{Judge, Judgement, REDIRECTS_MAX};
use crate::reason::Reason;
use crate::swap::Reader;
use between::window;
pub use shared::{Pulse, Shared, WorkerCounters};

/// Callbacks of a map's timers in a turn at most, so that packets do not wait for all of them.
const CALLBACKS_MAX: usize = 256;

/// Is told of each packet after it was judged, for captures; its absence costs nothing.
pub trait Recorder: Send {
    /// The packet as it leaves its last stage.
    fn record(&mut self, port: PortNumber, frame: &Frame, judgement: &Judgement);
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Packets received.
    pub received: usize,
    /// Frames taken over from other workers, to be sent.
    pub taken: usize,
    /// Whether no port will ever receive again.
    pub ended: bool,
}

/// One worker, to be moved into its thread.
pub struct Worker {
    number: usize,
    generations: Reader<Generation>,
    ports: Vec<Box<dyn Port>>,
    pool: Pool,
    inhaled: Batch,
    exhaled: Vec<Batch>,
    inboxes: Vec<Inbox>,
    env: WorkerEnv,
    /// Where packets for the host go; without it they have passed, and are gone.
    host: Option<Host>,
    shared: Arc<Shared>,
    sample: u32,
    recorder: Option<Box<dyn Recorder>>,
    observers: Option<Arc<Observers>>,
    /// Those who watch this turn.
    watchers: Option<Arc<Watchers>>,
    /// The way of the packet that is being traced.
    record: TraceRecord,
    leveller: Leveller,
    /// Frames that this worker's ends of rings to other workers ever took.
    handed: Vec<Arc<AtomicU64>>,
    /// Room for the descriptors that a sleep waits for.
    fds: Vec<RawFd>,
}

impl Worker {
    /// A worker with its queue of each port, in the order of the generation's ports.
    pub fn new(
        number: usize,
        generations: Reader<Generation>,
        ports: Vec<Box<dyn Port>>,
        pool: Pool,
        env: WorkerEnv,
        recorder: Option<Box<dyn Recorder>>,
    ) -> Self {
        let shared = Worker::seen_from_outside(ports.len());
        let exhaled = ports.iter().map(|_| Batch::new()).collect();
        let leveller = Leveller::new(pool.free(), pool.free() + env.spare.free());
        Self {
            number,
            generations,
            fds: Vec::with_capacity(ports.len() + 1),
            ports,
            pool,
            inhaled: Batch::new(),
            exhaled,
            inboxes: Vec::new(),
            env,
            host: None,
            shared,
            sample: 0,
            recorder,
            observers: None,
            watchers: None,
            record: TraceRecord::new(),
            leveller,
            handed: Vec::new(),
        }
    }

    /// What others may read of a worker with so many ports, before there is the worker.
    pub fn seen_from_outside(ports: usize) -> Arc<Shared> {
        Arc::new(Shared {
            counters: (0..ports).map(|_| CachePadded::new(PortCounters::default())).collect(),
            cut: Cut::default(),
            pulse: CachePadded::default(),
            windows: Windows::default(),
        })
    }

    /// Is read through `shared` from now on, which was made for as many ports.
    pub fn seen_as(mut self, shared: &Arc<Shared>) -> Self {
        self.shared = Arc::clone(shared);
        self.shared.windows.set(self.ports.iter().map(|port| window(&**port)).collect());
        self
    }

    /// Gives the ends of rings to and from other workers that belong to it.
    pub fn with_rings(mut self, inboxes: Vec<Inbox>, handed: Vec<Arc<AtomicU64>>) -> Self {
        self.inboxes = inboxes;
        self.handed = handed;
        self
    }

    /// Gives it a way to the host.
    pub fn with_host(mut self, host: Host) -> Self {
        self.host = Some(host);
        self
    }

    /// Lets these watch its packets and its programs' records.
    pub fn watched_by(mut self, observers: &Arc<Observers>) -> Self {
        self.observers = Some(Arc::clone(observers));
        self.env.watched_by(observers);
        self
    }

    /// Its counters, to read from elsewhere.
    pub fn counters(&self) -> WorkerCounters {
        Arc::clone(&self.shared.counters)
    }

    /// Everything of it that may be read from elsewhere.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What helpers of this worker see.
    pub fn env(&self) -> &WorkerEnv {
        &self.env
    }

    /// One turn: a batch of at most `limit` packets from each port, all judged by one generation.
    pub fn turn(&mut self, limit: usize) -> Turn {
        let start = clock::ticks();
        let mut turn = Turn { received: 0, taken: 0, ended: true };
        self.edge();
        self.env.edge();
        self.watchers = self.observers.as_ref().and_then(|observers| observers.watchers());
        self.leveller.level(&mut self.pool);
        self.env.replenish(&mut self.pool);
        self.call_timers();
        for port in 0..self.ports.len() {
            let received = self.ports[port].receive(&mut self.pool, &mut self.inhaled, limit.min(BATCH));
            turn.received += received.frames;
            turn.ended &= received.end;
            let counters = &self.shared.counters[port];
            // Lost before they were frames: they came, and they are named.
            counters.received.packets.add(received.lost as u64);
            counters.dropped[Reason::RxNoFrame as usize].add(received.lost as u64);
            if received.frames > 0 {
                self.judge(port);
            }
        }
        self.attend_host();
        turn.taken = self.take_over();
        for port in 0..self.ports.len() {
            self.send(port);
            self.ports[port].flush(&mut self.pool);
        }
        self.shared.pulse.count(&turn, clock::ticks().wrapping_sub(start), self.pool.free());
        turn
    }

    /// Goes over to the current generation, and writes down what was counted under the one before.
    #[inline]
    fn edge(&mut self) {
        let Self { generations, shared, .. } = self;
        generations.edge_with(|version| shared.cut.enter(version, || shared.totals()));
    }

    /// Calls what timers are due for. Without an armed one this reads a word for each map that has timers.
    fn call_timers(&mut self) {
        let Self { generations, env, number, .. } = self;
        let generation = generations.now();
        if generation.timed.is_empty() || next_due(&generation.timed, *number).is_none() {
            return;
        }
        let now_ns = env.now_ns(Clock::Monotonic);
        let mut run = Run::new(env, *number as u32).with_table(&generation.table);
        for map in &generation.timed {
            run_due(map, &mut run, now_ns, CALLBACKS_MAX);
        }
    }

    /// Sends what other workers handed over for this one's ports, as far as those have room.
    fn take_over(&mut self) -> usize {
        let mut taken = 0;
        for at in 0..self.inboxes.len() {
            let port = self.inboxes[at].port;
            // What this worker judged itself for the port goes first: its room is counted off.
            let room = self.ports[port].send_room().saturating_sub(self.exhaled[port].len());
            self.inboxes[at].take(&mut self.inhaled, room);
            let count = self.inhaled.len();
            if count == 0 {
                continue;
            }
            taken += count;
            let watched = watched(self.watchers.as_deref(), port, self.number);
            let sent = send(&mut *self.ports[port], &mut self.pool, &mut self.inhaled, watched, Reason::from);
            let counters = &self.shared.counters[port];
            counters.returned.add(sent.refused.total() as u64);
            for (refusal, count) in sent.refused.each() {
                counters.dropped[Reason::from(refusal) as usize].add(count as u64);
            }
        }
        taken
    }

    /// Judges the inhaled batch, and the copies that its programs made.
    fn judge(&mut self, port: PortNumber) {
        // The one of the turn's edge, also if there is a newer one by now.
        let generation = self.generations.now();
        let run = Run::new(&mut self.env, self.number as u32).with_table(&generation.table);
        let mut judge = Judge::new(generation, self.number, run, &mut self.sample);
        let watchers = self.watchers.as_deref();
        if watchers.is_some() {
            judge = judge.with_record(&mut self.record);
        }
        let mut exhale = Exhale {
            worker: self.number,
            generation,
            ports: &mut self.ports,
            pool: &mut self.pool,
            exhaled: &mut self.exhaled,
            host: self.host.as_mut(),
            counters: &self.shared.counters,
            recorder: self.recorder.as_deref_mut(),
            watchers,
        };
        let wired = Judgement::of_wire(generation, port);
        let queue = exhale.ports[port].queue();
        for mut frame in self.inhaled.drain() {
            self.shared.counters[port].received.count(frame.len());
            let place = Place { port, queue, worker: self.number };
            let traced = watchers.map_or(0, |watchers| watchers.enter(place, &frame));
            if traced != 0 {
                judge.begin_trace(place, frame.bytes());
            }
            let judgement = match wired {
                Some(judgement) if traced == 0 => judgement,
                Some(_) | None => {
                    with_context(&mut frame, generation.ports[port].ifindex, queue, |context| {
                        judge.judge(port, context)
                    })
                }
            };
            if let Some(watchers) = watchers {
                watchers.leave(place, &frame, &judgement, traced, judge.end_trace(&judgement));
            }
            exhale.frame(port, frame, &judgement);
        }
        drop(judge);
        let mut outgoing = Outgoing { env: &mut self.env, sample: &mut self.sample, exhale };
        outgoing.clones(port);
    }

    /// Lets the host's lane decide about what it was given and about what waited in it, and sends what comes of it.
    fn attend_host(&mut self) {
        let Some(host) = &mut self.host else { return };
        let now_ns = clock::now_ns(clock::Clock::Monotonic);
        let generation = self.generations.now();
        let watchers = self.watchers.as_deref();
        // What leaves may come back by a redirect, though seldom.
        for _ in 0..REDIRECTS_MAX {
            let mut tools = Tools {
                routes: self.env.routes(),
                generation,
                pool: &mut self.pool,
                counters: &self.shared.counters,
                now_ns,
                watchers,
                worker: self.number,
            };
            host.drain(&mut tools);
            if host.is_idle() {
                return;
            }
            host.work(&mut tools);
            if !host.has_leaving() {
                return;
            }
            let exhale = Exhale {
                worker: self.number,
                generation,
                ports: &mut self.ports,
                pool: &mut self.pool,
                exhaled: &mut self.exhaled,
                host: Some(&mut *host),
                counters: &self.shared.counters,
                recorder: self.recorder.as_deref_mut(),
                watchers,
            };
            let mut outgoing = Outgoing { env: &mut self.env, sample: &mut self.sample, exhale };
            while let Some(leaving) = outgoing.exhale.host.as_mut().and_then(|host| host.leaving()) {
                outgoing.frame(leaving.from, leaving.to, false, leaving.frame);
                outgoing.clones(leaving.from);
            }
        }
        let (routes, counters) = (self.env.routes(), &*self.shared.counters);
        let (pool, worker) = (&mut self.pool, self.number);
        let mut tools = Tools { routes, generation, pool, counters, now_ns, watchers, worker };
        host.give_up(Reason::RedirectLoop, &mut tools);
    }

    fn send(&mut self, port: PortNumber) {
        if !self.exhaled[port].is_empty() {
            let batch = &mut self.exhaled[port];
            let watched = watched(self.watchers.as_deref(), port, self.number);
            transmit(&mut *self.ports[port], &mut self.pool, batch, &self.shared.counters[port], watched);
        }
    }
}

/// Who watches what a port does not take.
fn watched(watchers: Option<&Watchers>, port: PortNumber, worker: usize) -> Watched<'_> {
    watchers.map(|watchers| (watchers, Place { port, queue: 0, worker }))
}
