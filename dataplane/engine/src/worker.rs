//! A worker: one thread on one core that receives, judges and sends, batch after batch.
//!
//! A turn is three paragraphs: inhale (receive a batch from each port), judge (each frame through the
//! pipeline into its lane), exhale (send what each port got). Nothing in it allocates, locks, logs or
//! makes a system call; a port may, once a batch.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use weir_io::Port;
use weir_packet::{BATCH, Batch, Frame, Pool};
use weir_vm::{Context, Run};

use crate::counters::{PortCounters, Traffic};
use crate::env::WorkerEnv;
use crate::generation::{Generation, PortNumber};
use crate::pipeline::{Judge, Judgement, Lane};
use crate::reason::Reason;
use crate::swap::Reader;

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
    env: WorkerEnv,
    counters: WorkerCounters,
    sample: u32,
    recorder: Option<Box<dyn Recorder>>,
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
        let counters = ports.iter().map(|_| CachePadded::new(PortCounters::default())).collect();
        let exhaled = ports.iter().map(|_| Batch::new()).collect();
        Self {
            number,
            generations,
            ports,
            pool,
            inhaled: Batch::new(),
            exhaled,
            env,
            counters,
            sample: 0,
            recorder,
        }
    }

    /// Its counters, to read from elsewhere.
    pub fn counters(&self) -> WorkerCounters {
        Arc::clone(&self.counters)
    }

    /// What helpers of this worker see.
    pub fn env(&self) -> &WorkerEnv {
        &self.env
    }

    /// One turn: a batch of at most `limit` packets from each port.
    pub fn turn(&mut self, limit: usize) -> Turn {
        let mut turn = Turn { received: 0, ended: true };
        self.env.edge();
        self.env.replenish(&mut self.pool);
        for port in 0..self.ports.len() {
            let received = self.ports[port].receive(&mut self.pool, &mut self.inhaled, limit.min(BATCH));
            turn.received += received.frames;
            turn.ended &= received.end;
            let counters = &self.counters[port];
            // Lost before they were frames: they came, and they are named.
            counters.received.packets.add(received.lost as u64);
            counters.dropped[Reason::RxNoFrame as usize].add(received.lost as u64);
            if received.frames > 0 {
                self.judge(port);
            }
        }
        for port in 0..self.ports.len() {
            self.send(port);
            self.ports[port].flush(&mut self.pool);
        }
        turn
    }

    /// Judges the inhaled batch, and the copies that its programs made.
    fn judge(&mut self, port: PortNumber) {
        let generation = self.generations.edge();
        let run = Run::new(&mut self.env, self.number as u32).with_table(&generation.table);
        let mut judge = Judge::new(generation, self.number, run, &mut self.sample);
        let mut exhale = Exhale {
            worker: self.number,
            generation,
            ports: &mut self.ports,
            pool: &mut self.pool,
            exhaled: &mut self.exhaled,
            counters: &self.counters,
            recorder: self.recorder.as_deref_mut(),
        };
        for mut frame in self.inhaled.drain() {
            self.counters[port].received.count(frame.len());
            let queue = exhale.ports[port].queue();
            let judgement = with_context(&mut frame, generation.ports[port].ifindex, queue, |context| {
                judge.judge(port, context)
            });
            exhale.frame(port, frame, &judgement);
        }
        drop(judge);
        while let Some(clone) = self.env.clones.pop_front() {
            let mut frame = clone.frame;
            let Some(to) = generation.port_by_ifindex(clone.ifindex) else {
                exhale.pool.put(frame);
                continue;
            };
            self.counters[port].cloned.count(frame.len());
            let run = Run::new(&mut self.env, self.number as u32).with_table(&generation.table);
            let mut judge = Judge::new(generation, self.number, run, &mut self.sample);
            let judgement = with_context(&mut frame, generation.ports[to].ifindex, 0, |context| {
                judge.copy(to, clone.ingress, context)
            });
            drop(judge);
            exhale.frame(port, frame, &judgement);
        }
    }

    fn send(&mut self, port: PortNumber) {
        if !self.exhaled[port].is_empty() {
            let batch = &mut self.exhaled[port];
            transmit(&mut *self.ports[port], &mut self.pool, batch, &self.counters[port]);
        }
    }

    /// Ends the worker: ports give their frames back, and whatever was on its way is sent first.
    /// Answers how many frames the ports still held.
    pub fn close(mut self) -> usize {
        for port in 0..self.ports.len() {
            self.send(port);
        }
        self.ports.iter_mut().map(|port| port.close(&mut self.pool)).sum()
    }

    /// Says that no generation is used until the next turn: before a wait.
    pub fn rest(&mut self) {
        self.generations.rest();
        self.env.rest();
    }
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
