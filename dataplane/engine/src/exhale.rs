//! Where judged frames go, and frames that are judged on their way out only.

use crossbeam_utils::CachePadded;
use weir_io::{Port, Refusal, Sent};
use weir_packet::{Batch, Frame, Pool};
use weir_vm::{Context, Run};

use crate::counters::{PortCounters, Traffic};
use crate::env::WorkerEnv;
use crate::generation::{Generation, PortNumber};
use crate::host::Host;
use crate::observe::{Place, Watchers};
use crate::pipeline::{Judge, Judgement, Lane};
use crate::reason::Reason;
use crate::worker::Recorder;

/// Makes the context of a frame, and notes in the frame where its packet ended up.
#[inline]
pub(crate) fn with_context(
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

/// Who watches what a port does not take, and where the port is: nobody, as long as nobody asks.
pub(crate) type Watched<'w> = Option<(&'w Watchers, Place)>;

/// The longest packet that is copied for those who watch what is not sent.
const LOST_MAX: usize = 4096;

/// Sends a batch by a port. While somebody wants to see what it does not take, and for which reason that counts, one
/// frame after the other: a port says how many it refused, and not which.
pub(crate) fn send(
    port: &mut dyn Port,
    pool: &mut Pool,
    batch: &mut Batch,
    watched: Watched<'_>,
    reason: fn(Refusal) -> Reason,
) -> Sent {
    match watched {
        Some((watchers, place)) if watchers.want_lost(place.port) => {
            send_singly(port, pool, batch, (watchers, place), reason)
        }
        Some(_) | None => port.send(pool, batch),
    }
}

#[cold]
fn send_singly(
    port: &mut dyn Port,
    pool: &mut Pool,
    batch: &mut Batch,
    (watchers, place): (&Watchers, Place),
    reason: fn(Refusal) -> Reason,
) -> Sent {
    let mut all = Sent::default();
    let (mut one, mut copy) = (Batch::new(), [0; LOST_MAX]);
    for frame in batch.drain() {
        // After it was refused the frame is somebody else's.
        let len = frame.len().min(LOST_MAX);
        copy[..len].copy_from_slice(&frame.bytes()[..len]);
        if let Err(frame) = one.push(frame) {
            // Not with a batch that was sent.
            pool.put(frame);
            continue;
        }
        let sent = port.send(pool, &mut one);
        all.sent += sent.sent;
        for (refusal, _) in sent.refused.each() {
            all.refused.add(refusal);
            watchers.lost(place, &copy[..len], reason(refusal));
        }
    }
    all
}

/// Sends a port's batch and counts what became of it.
pub(crate) fn transmit(
    port: &mut dyn Port,
    pool: &mut Pool,
    batch: &mut Batch,
    counters: &PortCounters,
    watched: Watched<'_>,
) {
    let bytes: usize = batch.iter().map(Frame::len).sum();
    let sent = send(port, pool, batch, watched, Reason::from);
    counters.transmitted.packets.add(sent.sent as u64);
    // Refused packets are rare; their bytes are counted as if they had been average.
    let all = sent.sent + sent.refused.total();
    counters.transmitted.bytes.add((bytes * sent.sent).checked_div(all).unwrap_or(0) as u64);
    for (refusal, count) in sent.refused.each() {
        counters.dropped[Reason::from(refusal) as usize].add(count as u64);
    }
}

/// Closes a port. What it took and did not send is no packet that was transmitted.
pub(crate) fn close(port: &mut dyn Port, pool: &mut Pool, counters: &PortCounters) -> usize {
    port.flush(pool);
    let unsent = port.unsent() as u64;
    counters.returned.add(unsent);
    counters.dropped[Reason::TxDown as usize].add(unsent);
    port.close(pool)
}

/// Where judged frames go: the parts of the worker that lanes lead to.
pub(crate) struct Exhale<'w> {
    pub(crate) worker: usize,
    pub(crate) generation: &'w Generation,
    pub(crate) ports: &'w mut [Box<dyn Port>],
    pub(crate) pool: &'w mut Pool,
    pub(crate) exhaled: &'w mut [Batch],
    pub(crate) host: Option<&'w mut Host>,
    pub(crate) counters: &'w [CachePadded<PortCounters>],
    pub(crate) recorder: Option<&'w mut (dyn Recorder + 'static)>,
    pub(crate) watchers: Option<&'w Watchers>,
}

impl Exhale<'_> {
    #[inline]
    pub(crate) fn frame(&mut self, from: PortNumber, frame: Frame, judgement: &Judgement) {
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
            Lane::Host => match &mut self.host {
                Some(host) if host.cares(from) => return host.take(from, frame),
                Some(_) | None => counters.passed.count(frame.len()),
            },
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
        let watched = self.watchers.map(|watchers| (watchers, Place { port, queue: 0, worker: self.worker }));
        let batch = &mut self.exhaled[port];
        transmit(&mut *self.ports[port], self.pool, batch, &self.counters[port], watched);
        if let Err(frame) = self.exhaled[port].push(frame) {
            self.counters[port].drop(Reason::TxRingFull);
            self.pool.put(frame);
        }
    }
}

/// Frames that begin at a port's egress or ingress: copies that programs made, and what the host's lane sends.
pub(crate) struct Outgoing<'w> {
    pub(crate) env: &'w mut WorkerEnv,
    pub(crate) sample: &'w mut u32,
    pub(crate) exhale: Exhale<'w>,
}

impl Outgoing<'_> {
    /// The copies that programs made of packets which came in by a port.
    pub(crate) fn clones(&mut self, from: PortNumber) {
        while let Some(clone) = self.env.clones.pop_front() {
            let Some(to) = self.exhale.generation.port_by_ifindex(clone.ifindex) else {
                self.exhale.pool.put(clone.frame);
                continue;
            };
            self.exhale.counters[from].cloned.count(clone.frame.len());
            self.frame(from, to, clone.ingress, clone.frame);
        }
    }

    /// A frame that came of one which came in by `from`: out of the port `to`, or into it.
    pub(crate) fn frame(&mut self, from: PortNumber, to: PortNumber, ingress: bool, mut frame: Frame) {
        let Exhale { generation, worker, .. } = self.exhale;
        let run = Run::new(&mut *self.env, worker as u32).with_table(&generation.table);
        let mut judge = Judge::new(generation, worker, run, self.sample);
        let judgement = with_context(&mut frame, generation.ports[to].ifindex, 0, |context| {
            judge.copy(to, ingress, context)
        });
        drop(judge);
        if let Some(watchers) = self.exhale.watchers {
            watchers.leave(Place { port: from, queue: 0, worker }, &frame, &judgement, 0, None);
        }
        self.exhale.frame(from, frame, &judgement);
    }
}
