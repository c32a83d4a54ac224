//! A worker: one thread on one core that receives, judges and sends, batch after batch.
//!
//! A turn is three paragraphs: inhale (receive a batch from each port), judge (each frame through the
//! pipeline into its lane), exhale (send what each port got). Nothing in it allocates, locks, logs or
//! makes a system call; a port may, once a batch.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use weir_io::{Port, Wait};
use weir_packet::{BATCH, Batch, Frame, Pool};
use weir_sys::clock;
use weir_vm::{Context, Run};

use crate::counters::{Counter, PortCounters, Totals, Traffic};
use crate::cut::Cut;
use crate::env::WorkerEnv;
use crate::generation::{Generation, PortNumber};
use crate::handoff::Inbox;
use crate::ledger::{Account, Leveller};
use crate::mailbox::{Mailbox, Window, Windows};
use crate::observe::{Observers, Place, TraceRecord, Watchers};
use crate::pipeline::{Judge, Judgement, Lane};
use crate::reason::Reason;
use crate::swap::Reader;

/// How long a sleep may be when a port cannot be waited for.
const LATER: Duration = Duration::from_millis(1);

/// Is told of each packet after it was judged, for captures; its absence costs nothing.
pub trait Recorder: Send {
    /// The packet as it leaves its last stage.
    fn record(&mut self, port: PortNumber, frame: &Frame, judgement: &Judgement);
}

/// A worker's counters, which others may read: one set for each port, in the order of the ports.
pub type WorkerCounters = Arc<[CachePadded<PortCounters>]>;

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

/// How a worker is getting on, for others to read.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Turns so far.
    pub turns: Counter,
    /// Turns in which nothing came.
    pub idle_turns: Counter,
    /// Times it slept.
    pub sleeps: Counter,
    /// Clock ticks spent in turns in which something came.
    pub busy_ticks: Counter,
    /// Turns by the packets they had: 1, 2, up to 4, 8, 16, 32, 64, more.
    pub batches: [Counter; 8],
    /// Frames free in its pool after the last turn.
    pub free: AtomicUsize,
}

impl Pulse {
    fn count(&self, turn: &Turn, ticks: u64, free: usize) {
        self.turns.add(1);
        self.free.store(free, Ordering::Relaxed);
        match turn.received {
            0 => self.idle_turns.add(1),
            received => {
                self.batches[(received.next_power_of_two().ilog2() as usize).min(7)].add(1);
                self.busy_ticks.add(ticks);
            }
        }
    }
}

/// What others may read of a worker.
#[derive(Debug)]
pub struct Shared {
    /// Packets, by port.
    pub counters: WorkerCounters,
    /// Its counts at the last change of generation.
    pub cut: Cut,
    /// How it is getting on.
    pub pulse: CachePadded<Pulse>,
    /// Its ports.
    pub windows: Windows,
}

impl Shared {
    /// All counters of the worker now; exact between two turns.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counters.iter().for_each(|port| port.add_to(&mut totals));
        totals
    }
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
            let sent = self.ports[port].send(&mut self.pool, &mut self.inhaled);
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
            counters: &self.shared.counters,
            recorder: self.recorder.as_deref_mut(),
        };
        for mut frame in self.inhaled.drain() {
            self.shared.counters[port].received.count(frame.len());
            let queue = exhale.ports[port].queue();
            let place = Place { port, queue, worker: self.number };
            let traced = watchers.map_or(0, |watchers| watchers.enter(place, &frame));
            if traced != 0 {
                judge.begin_trace(place, frame.bytes());
            }
            let judgement = with_context(&mut frame, generation.ports[port].ifindex, queue, |context| {
                judge.judge(port, context)
            });
            if let Some(watchers) = watchers {
                watchers.leave(place, &frame, &judgement, traced, judge.end_trace(&judgement));
            }
            exhale.frame(port, frame, &judgement);
        }
        drop(judge);
        while let Some(clone) = self.env.clones.pop_front() {
            let mut frame = clone.frame;
            let Some(to) = generation.port_by_ifindex(clone.ifindex) else {
                exhale.pool.put(frame);
                continue;
            };
            self.shared.counters[port].cloned.count(frame.len());
            let run = Run::new(&mut self.env, self.number as u32).with_table(&generation.table);
            let mut judge = Judge::new(generation, self.number, run, &mut self.sample);
            let judgement = with_context(&mut frame, generation.ports[to].ifindex, 0, |context| {
                judge.copy(to, clone.ingress, context)
            });
            drop(judge);
            if let Some(watchers) = self.watchers.as_deref() {
                let place = Place { port, queue: 0, worker: self.number };
                watchers.leave(place, &frame, &judgement, 0, None);
            }
            exhale.frame(port, frame, &judgement);
        }
    }

    fn send(&mut self, port: PortNumber) {
        if !self.exhaled[port].is_empty() {
            let batch = &mut self.exhaled[port];
            transmit(&mut *self.ports[port], &mut self.pool, batch, &self.shared.counters[port]);
        }
    }

    /// Ends the worker: ports give their frames back, and whatever was on its way is sent first.
    /// Answers how many frames the ports still held.
    pub fn close(mut self) -> usize {
        for at in 0..self.inboxes.len() {
            let port = self.inboxes[at].port;
            let waiting = |inbox: &Inbox| !inbox.is_empty();
            while waiting(&self.inboxes[at]) {
                self.inboxes[at].take(&mut self.inhaled, BATCH);
                // Counted as transmitted by who handed them over; they are not, and say why.
                self.shared.counters[port].returned.add(self.inhaled.len() as u64);
                let down = &self.shared.counters[port].dropped[Reason::TxDown as usize];
                down.add(self.inhaled.len() as u64);
                self.pool.put_all(&mut self.inhaled);
            }
        }
        for port in 0..self.ports.len() {
            self.send(port);
        }
        self.ports.iter_mut().map(|port| port.close(&mut self.pool)).sum()
    }

    /// Puts another port in the place of one, whose frames come back. Between turns.
    pub fn replace_port(&mut self, number: PortNumber, port: Box<dyn Port>) {
        let Some(place) = self.ports.get_mut(number) else { return };
        place.close(&mut self.pool);
        self.shared.windows.replace(number, window(&*port));
        *place = port;
    }

    /// Where this worker's frames are. Between turns.
    pub fn account(&self) -> Account {
        let mut account = Account {
            free: self.pool.free(),
            spare: self.env.spare.free(),
            batch: self.inhaled.len() + self.exhaled.iter().map(Batch::len).sum::<usize>(),
            from_home: self.leveller.from_home(),
            handed: self.handed.iter().map(|handed| handed.load(Ordering::Relaxed)).sum(),
            received: self.inboxes.iter().map(Inbox::received).sum(),
            ..Account::default()
        };
        for held in self.ports.iter().filter_map(|port| port.gauges()).map(|gauges| gauges.held()) {
            account.ports.fill += held.fill;
            account.ports.rx += held.rx;
            account.ports.tx += held.tx;
            account.ports.completion += held.completion;
            account.ports.device += held.device;
        }
        account
    }

    /// Sleeps until a port has something or somebody wants something, at most `limit`. Holds up nobody meanwhile.
    pub fn sleep(&mut self, mailbox: &Mailbox, limit: Duration) {
        let mut limit = limit;
        self.fds.clear();
        for port in &self.ports {
            match port.wait() {
                Wait::Ready => return,
                Wait::Readable(fd) => self.fds.push(fd),
                Wait::Later => limit = limit.min(LATER),
                Wait::End => {}
            }
        }
        self.rest();
        self.shared.pulse.sleeps.add(1);
        let Self { inboxes, fds, .. } = self;
        mailbox.sleep(fds, limit, || inboxes.iter().any(|inbox| !inbox.is_empty()));
    }

    /// Says that no generation is used until the next turn: before a wait.
    pub fn rest(&mut self) {
        self.shared.cut.rest(self.shared.totals());
        self.generations.rest();
        self.env.rest();
    }
}

/// What is to be seen of a port from outside.
fn window(port: &dyn Port) -> Window {
    Window { queue: port.queue(), gauges: port.gauges() }
}

/// Makes the context of a frame, and notes in the frame where its packet ended up.
#[inline]
fn with_context(
    frame: &mut Frame,
    ifindex: u32,
    queue: u32,
    judge: impl FnOnce(&mut Context<'_>) -> Judgement,
) -> Judgement {
    let (stamp_ns, hash) = (frame.stamp_ns, frame.hash);
    let (room, range) = frame.room_mut();
    let mut context = Context::new(room, range);
    context.ingress_ifindex = ifindex;
    context.rx_queue_index = queue;
    context.tstamp = stamp_ns;
    context.hash = hash;
    let judgement = judge(&mut context);
    let (data, meta) = (context.data_range(), context.meta_range().len());
    frame.set_range(data);
    frame.set_meta_len(meta);
    judgement
}

/// Sends a port's batch and counts what became of it.
fn transmit(port: &mut dyn Port, pool: &mut Pool, batch: &mut Batch, counters: &PortCounters) {
    let bytes: usize = batch.iter().map(Frame::len).sum();
    let sent = port.send(pool, batch);
    counters.transmitted.packets.add(sent.sent as u64);
    // Refused packets are rare; their bytes are counted as if they had been average.
    let all = sent.sent + sent.refused.total();
    counters.transmitted.bytes.add((bytes * sent.sent).checked_div(all).unwrap_or(0) as u64);
    for (refusal, count) in sent.refused.each() {
        counters.dropped[Reason::from(refusal) as usize].add(count as u64);
    }
}

/// Where judged frames go: the parts of the worker that lanes lead to.
struct Exhale<'w> {
    worker: usize,
    generation: &'w Generation,
    ports: &'w mut [Box<dyn Port>],
    pool: &'w mut Pool,
    exhaled: &'w mut [Batch],
    counters: &'w [CachePadded<PortCounters>],
    recorder: Option<&'w mut (dyn Recorder + 'static)>,
}

impl Exhale<'_> {
    #[inline]
    fn frame(&mut self, from: PortNumber, frame: Frame, judgement: &Judgement) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(from, &frame, judgement);
        }
        let counters = &self.counters[from];
        match judgement.lane {
            Lane::Port { port, class } => {
                counters.forwarded.add(1);
                if let Some(class) = class {
                    self.class(class).count(frame.len());
                }
                return self.out(port, frame);
            }
            Lane::Host => counters.passed.count(frame.len()),
            Lane::Consumed => counters.consumed.count(frame.len()),
            Lane::Drop(reason) => counters.drop(reason),
        }
        self.pool.put(frame);
    }

    fn class(&self, class: usize) -> &Traffic {
        &self.generation.classes[class].sent[self.worker]
    }

    #[inline]
    fn out(&mut self, port: PortNumber, frame: Frame) {
        let Err(frame) = self.exhaled[port].push(frame) else { return };
        // The batch is full: send it, and then there is room.
        transmit(&mut *self.ports[port], self.pool, &mut self.exhaled[port], &self.counters[port]);
        if let Err(frame) = self.exhaled[port].push(frame) {
            self.counters[port].drop(Reason::TxRingFull);
            self.pool.put(frame);
        }
    }
}
