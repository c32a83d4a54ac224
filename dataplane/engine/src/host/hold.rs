//! Packets that wait for the link address of their next hop.
//!
//! As in the kernel, a few wait for each neighbour while it is asked for, and are sent when it answers; when it does
//! not, their senders are told (RFC 1812, section 5.3.5 has no more to say than that). Bounds are by
//! neighbour, by worker and by time, so that a scan of a network's addresses takes no frames from others' traffic.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use weir_packet::Frame;
use weir_router::NeighbourState;

use crate::generation::PortNumber;
use crate::routes::Routes;

/// Packets that wait for one neighbour.
pub const HELD_PER_NEIGHBOUR: usize = 16;
/// Packets that wait in one worker.
pub const HELD_MAX: usize = 256;
/// How long they wait: a little longer than the kernel asks (three times, a second apart).
pub const PATIENCE_NS: u64 = 3_500_000_000;
/// How long until a neighbour that does not answer is told of again, in case nobody heard.
const ASK_AGAIN_NS: u64 = 1_000_000_000;
/// How long until those who wait are looked after again.
const LOOK_EVERY_NS: u64 = 1_000_000;

/// A neighbour whose link address is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The port it is at.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
}

/// Who waits for one neighbour.
#[derive(Debug)]
struct Queue {
    frames: VecDeque<(PortNumber, Frame, u64)>,
    asked_ns: u64,
    /// The kernel has begun to ask: if it says now that it failed, that is news.
    asking: bool,
}

/// All that wait in a worker.
#[derive(Debug, Default)]
pub(super) struct Hold {
    queues: HashMap<Wanted, Queue>,
    frames: usize,
    looked_ns: u64,
    /// Whose wait is over, because the neighbour is known.
    free: VecDeque<(PortNumber, Frame)>,
    /// Whose wait is over in vain.
    given_up: VecDeque<(PortNumber, Frame)>,
}

impl Hold {
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Keeps a frame until the neighbour is known; answers whether to ask for it. A frame that there is no room for
    /// comes back.
    pub(super) fn keep(
        &mut self,
        wanted: Wanted,
        from: PortNumber,
        frame: Frame,
        now_ns: u64,
    ) -> Result<bool, Frame> {
        if self.frames >= HELD_MAX {
            return Err(frame);
        }
        let new = Queue { frames: VecDeque::new(), asked_ns: now_ns, asking: false };
        let is_new = !self.queues.contains_key(&wanted);
        let queue = self.queues.entry(wanted).or_insert(new);
        if queue.frames.len() >= HELD_PER_NEIGHBOUR {
            return Err(frame);
        }
        queue.frames.push_back((from, frame, now_ns));
        self.frames += 1;
        let ask = is_new || now_ns.saturating_sub(queue.asked_ns) >= ASK_AGAIN_NS;
        if ask {
            queue.asked_ns = now_ns;
        }
        Ok(ask)
    }

    /// The next frame whose neighbour is known now.
    pub(super) fn release(&mut self, routes: &Routes, now_ns: u64) -> Option<(PortNumber, Frame)> {
        self.look(routes, now_ns);
        let released = self.free.pop_front()?;
        self.frames -= 1;
        Some(released)
    }

    /// The next frame that waited in vain.
    pub(super) fn give_up(&mut self, routes: &Routes, now_ns: u64) -> Option<(PortNumber, Frame)> {
        self.look(routes, now_ns);
        let given_up = self.given_up.pop_front()?;
        self.frames -= 1;
        Some(given_up)
    }

    /// Any frame, at the end.
    pub(super) fn take_any(&mut self) -> Option<(PortNumber, Frame)> {
        let mut queued = self.queues.values_mut().filter_map(|queue| queue.frames.pop_front());
        let taken = queued.next().map(|(from, frame, _)| (from, frame));
        drop(queued);
        let taken = taken.or_else(|| self.free.pop_front()).or_else(|| self.given_up.pop_front())?;
        self.frames -= 1;
        Some(taken)
    }

    /// Looks after those who wait, now and then.
    fn look(&mut self, routes: &Routes, now_ns: u64) {
        if self.frames == 0 || now_ns.saturating_sub(self.looked_ns) < LOOK_EVERY_NS {
            return;
        }
        self.looked_ns = now_ns;
        let Self { queues, free, given_up, .. } = self;
        let neighbours = routes.tables().neighbours();
        queues.retain(|wanted, queue| {
            let state = neighbours.get(wanted.ifindex, wanted.address).map(|neighbour| neighbour.state);
            match state {
                Some(state) if state.is_valid() => {
                    free.extend(queue.frames.drain(..).map(|(from, frame, _)| (from, frame)));
                    return false;
                }
                Some(NeighbourState::Failed) if queue.asking => {
                    given_up.extend(queue.frames.drain(..).map(|(from, frame, _)| (from, frame)));
                    return false;
                }
                Some(NeighbourState::Incomplete) => queue.asking = true,
                Some(_) | None => {}
            }
            let late = |since: u64| now_ns.saturating_sub(since) >= PATIENCE_NS;
            while queue.frames.front().is_some_and(|(_, _, since)| late(*since)) {
                given_up.extend(queue.frames.pop_front().map(|(from, frame, _)| (from, frame)));
            }
            !queue.frames.is_empty()
        });
    }
}
