//! What packets enter and leave by: one queue of one device, served by one worker.
//!
//! The shape is AF_XDP's. A port may keep frames between calls (in a fill ring, waiting for completion), so every
//! call that could give some back is handed the worker's pool, and [`Port::close`] gives back all. Frames lost
//! from sight this way would show in the umem's ledger.

use std::os::fd::RawFd;
use std::sync::Arc;

use weir_packet::{Batch, Pool};

use crate::gauges::Gauges;

/// What one `receive` did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Frames added to the batch.
    pub frames: usize,
    /// Packets that were there and lost because the pool had no frame, or they fit in none.
    pub lost: usize,
    /// No packet will ever come again: the end of a capture, the other end of a pair gone.
    pub end: bool,
}

/// Why a frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// The transmit ring, or the peer's queue, is full.
    RingFull,
    /// Longer than the port takes.
    TooLong,
    /// The port is down, or its other end has gone.
    Down,
    /// Writing failed; the port keeps the error for who asks.
    Failed,
}

impl Refusal {
    /// Every refusal there is, in the order of their numbers.
    pub const ALL: [Refusal; 4] = [Refusal::RingFull, Refusal::TooLong, Refusal::Down, Refusal::Failed];

    /// The name counters and tables use.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::RingFull => "ring-full",
            Refusal::TooLong => "too-long",
            Refusal::Down => "port-down",
            Refusal::Failed => "write-failed",
        }
    }
}

/// Frames not sent, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused([u32; Refusal::ALL.len()]);

impl Refused {
    /// `count` frames refused for one reason.
    pub fn all(reason: Refusal, count: usize) -> Refused {
        let mut refused = Refused::default();
        refused.0[reason as usize] = count as u32;
        refused
    }

    /// Counts one more.
    #[inline]
    pub fn add(&mut self, reason: Refusal) {
        self.0[reason as usize] += 1;
    }

    /// How many for this reason.
    #[inline]
    pub fn count(&self, reason: Refusal) -> usize {
        self.0[reason as usize] as usize
    }

    /// How many in all.
    #[inline]
    pub fn total(&self) -> usize {
        self.0.iter().sum::<u32>() as usize
    }

    /// The reasons that occurred, with their counts.
    pub fn each(&self) -> impl Iterator<Item = (Refusal, usize)> + '_ {
        Refusal::ALL.into_iter().map(|reason| (reason, self.count(reason))).filter(|(_, count)| *count > 0)
    }
}

/// What one `send` did: `sent + refused.total()` is the length the batch had.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Frames the port took.
    pub sent: usize,
    /// Frames it did not take; they are back in the pool.
    pub refused: Refused,
}

/// What a worker with nothing to do may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A packet is there, or may be: call `receive`, do not sleep.
    Ready,
    /// Sleep until this descriptor is readable.
    Readable(RawFd),
    /// Nothing can be waited for: look again later.
    Later,
    /// Nothing will come.
    End,
}

/// One queue of a device, of a file, of memory.
pub trait Port: Send {
    /// The name people know it by.
    fn name(&self) -> &str;

    /// The interface index programs see (`ingress_ifindex`).
    fn index(&self) -> u32;

    /// The queue programs see (`rx_queue_index`).
    fn queue(&self) -> u32 {
        0
    }

    /// The longest frame that `send` takes.
    fn frame_max(&self) -> usize {
        usize::from(u16::MAX)
    }

    /// Adds at most `max` arrived packets to the end of `batch`, and never more than it has room for.
    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received;

    /// Sends all of `batch`, which is empty afterwards: a frame that is not taken goes back to `pool` and is
    /// counted with its reason.
    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent;

    /// How many frames `send` has room for now: for who would rather wait than lose.
    fn send_room(&self) -> usize {
        usize::MAX
    }

    /// Has the device carry on with what was sent, where it must be told (`XDP_USE_NEED_WAKEUP`), and brings back
    /// to `pool` the frames it is done with. Called once a turn, also when nothing was sent.
    fn flush(&mut self, pool: &mut Pool) {
        let _ = pool;
    }

    /// Packets that `send` took and that the device has not: they are lost if the port is closed now.
    fn unsent(&self) -> usize {
        0
    }

    /// What to wait for when `receive` gave nothing.
    fn wait(&self) -> Wait {
        Wait::Later
    }

    /// What other threads may read of this port while it is used; `None` when there is nothing to read.
    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        None
    }

    /// Gives every frame the port still has back to `pool`, and says how many; nothing goes in or out after.
    fn close(&mut self, pool: &mut Pool) -> usize {
        let _ = pool;
        0
    }
}
