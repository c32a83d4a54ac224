//! A port for workers that have no queue of it: what they send goes to a worker that has one.
//!
//! Frames cross by address, through a ring of one writer and one reader. The owner takes no more from it than its
//! port has room for, so that frames wait here, in order, rather than get lost there; when the ring is full, the
//! sender is refused as by any full port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use weir_io::port::{Refusal, Sent, Wait};
use weir_io::{Port, Received};
use weir_packet::{BATCH, Batch, Frame, Pool};

use crate::generation::PortNumber;
use crate::mailbox::Mailbox;

/// Frames that may be on their way from one worker to another.
pub const HANDOFF_DEPTH: usize = 512;

/// The sending end: a port that receives nothing.
#[derive(Debug)]
pub struct Handoff {
    name: String,
    index: u32,
    ring: Producer<Frame>,
    handed: Arc<AtomicU64>,
    owner: Arc<Mailbox>,
}

/// The owner's end: frames for one of its ports.
#[derive(Debug)]
pub struct Inbox {
    /// Which port they are for.
    pub port: PortNumber,
    ring: Consumer<Frame>,
    received: u64,
}

/// Both ends, and the number of frames that were ever handed over.
pub fn handoff(
    name: &str,
    index: u32,
    port: PortNumber,
    owner: &Arc<Mailbox>,
) -> (Handoff, Inbox, Arc<AtomicU64>) {
    let (producer, consumer) = RingBuffer::new(HANDOFF_DEPTH);
    let handed = Arc::new(AtomicU64::new(0));
    let sender = Handoff {
        name: name.to_owned(),
        index,
        ring: producer,
        handed: Arc::clone(&handed),
        owner: Arc::clone(owner),
    };
    (sender, Inbox { port, ring: consumer, received: 0 }, handed)
}

impl Port for Handoff {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn receive(&mut self, _pool: &mut Pool, _batch: &mut Batch, _max: usize) -> Received {
        Received::default()
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let mut sent = Sent::default();
        for frame in batch.drain() {
            match self.ring.push(frame) {
                Ok(()) => sent.sent += 1,
                Err(rtrb::PushError::Full(frame)) => {
                    sent.refused.add(Refusal::RingFull);
                    pool.put(frame);
                }
            }
        }
        // One writer.
        self.handed.store(self.handed.load(Ordering::Relaxed) + sent.sent as u64, Ordering::Relaxed);
        self.owner.nudge();
        sent
    }

    fn send_room(&self) -> usize {
        self.ring.slots()
    }

    fn wait(&self) -> Wait {
        Wait::End
    }
}

impl Inbox {
    /// Takes up to `room` frames, and no more than a batch.
    #[inline]
    pub fn take(&mut self, batch: &mut Batch, room: usize) {
        let wanted = room.min(BATCH).min(batch.room());
        for _ in 0..wanted {
            let Ok(frame) = self.ring.pop() else { break };
            self.received += 1;
            if let Err(frame) = batch.push(frame) {
                // There was room for `wanted`.
                unreachable!("no room for {frame:?}");
            }
        }
    }

    /// Whether frames wait.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Frames that were ever taken.
    pub fn received(&self) -> u64 {
        self.received
    }
}
