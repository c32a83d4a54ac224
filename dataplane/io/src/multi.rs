//! Several queues of one device as one port: for a worker that serves more queues than one.
//!
//! Each `receive` brings packets of one queue, so that [`Port::queue`] is true of the whole batch; the queues take
//! turns. What is sent goes out by the first queue, all of it: that keeps every flow in order, and costs one wake-up
//! instead of one for each queue.

use std::fmt;
use std::sync::Arc;

use weir_packet::{Batch, Pool};
use weir_sys::wait::Group;

use crate::gauges::{Gauges, Held, Losses, State, Way};
use crate::port::{Port, Received, Sent, Wait};

/// Queues of one device.
pub struct Multi {
    queues: Vec<Box<dyn Port>>,
    /// Whose turn it is to be looked at first.
    turn: usize,
    /// Which one the last batch came from.
    last: usize,
    /// All the queues' descriptors as one, when each has one.
    group: Option<Group>,
    gauges: Option<Arc<dyn Gauges>>,
}

impl fmt::Debug for Multi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Multi({} queues)", self.queues.len())
    }
}

impl Multi {
    /// One port of these queues, which are of one device; `None` of none. A single one stays what it is.
    pub fn of(mut queues: Vec<Box<dyn Port>>) -> Option<Box<dyn Port>> {
        if queues.len() < 2 {
            return queues.pop();
        }
        let descriptors: Option<Vec<_>> = queues
            .iter()
            .map(|port| match port.wait() {
                Wait::Readable(fd) => Some(fd),
                Wait::Ready | Wait::Later | Wait::End => None,
            })
            .collect();
        let group = descriptors.and_then(|all| Group::of(all).ok());
        let gauges: Option<Vec<_>> = queues.iter().map(|port| port.gauges()).collect();
        let gauges = gauges.map(|all| Arc::new(Together(all)) as Arc<dyn Gauges>);
        Some(Box::new(Multi { queues, turn: 0, last: 0, group, gauges }))
    }
}

impl Port for Multi {
    fn name(&self) -> &str {
        self.queues[0].name()
    }

    fn index(&self) -> u32 {
        self.queues[0].index()
    }

    fn queue(&self) -> u32 {
        self.queues[self.last].queue()
    }

    fn frame_max(&self) -> usize {
        self.queues[0].frame_max()
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut all = Received { end: true, ..Received::default() };
        for _ in 0..self.queues.len() {
            let at = self.turn;
            self.turn = if at + 1 == self.queues.len() { 0 } else { at + 1 };
            let received = self.queues[at].receive(pool, batch, max);
            all.lost += received.lost;
            all.end &= received.end;
            if received.frames > 0 {
                self.last = at;
                return Received { frames: received.frames, end: false, ..all };
            }
        }
        all
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        self.queues[0].send(pool, batch)
    }

    fn send_room(&self) -> usize {
        self.queues[0].send_room()
    }

    fn flush(&mut self, pool: &mut Pool) {
        for port in &mut self.queues {
            port.flush(pool);
        }
    }

    fn unsent(&self) -> usize {
        self.queues.iter().map(|port| port.unsent()).sum()
    }

    fn wait(&self) -> Wait {
        let mut waits = self.queues.iter().map(|port| port.wait());
        match (waits.clone().any(|wait| wait == Wait::Ready), &self.group) {
            (true, _) => Wait::Ready,
            (false, _) if waits.clone().all(|wait| wait == Wait::End) => Wait::End,
            (false, Some(group)) if waits.all(|wait| matches!(wait, Wait::Readable(_))) => {
                Wait::Readable(group.raw())
            }
            (false, _) => Wait::Later,
        }
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        self.gauges.clone()
    }

    fn close(&mut self, pool: &mut Pool) -> usize {
        self.group = None;
        self.queues.iter_mut().map(|port| port.close(pool)).sum()
    }
}

/// The queues' gauges, added up.
#[derive(Debug)]
struct Together(Vec<Arc<dyn Gauges>>);

impl Gauges for Together {
    fn held(&self) -> Held {
        self.0.iter().map(|gauges| gauges.held()).fold(Held::default(), |sum, one| Held {
            fill: sum.fill + one.fill,
            rx: sum.rx + one.rx,
            tx: sum.tx + one.tx,
            completion: sum.completion + one.completion,
            device: sum.device + one.device,
        })
    }

    fn losses(&self) -> Losses {
        self.0.iter().map(|gauges| gauges.losses()).fold(Losses::default(), |sum, one| Losses {
            rx_dropped: sum.rx_dropped + one.rx_dropped,
            rx_ring_full: sum.rx_ring_full + one.rx_ring_full,
            fill_empty: sum.fill_empty + one.fill_empty,
            rx_invalid: sum.rx_invalid + one.rx_invalid,
            tx_invalid: sum.tx_invalid + one.tx_invalid,
            tx_empty: sum.tx_empty + one.tx_empty,
            scattered: sum.scattered + one.scattered,
            strange: sum.strange + one.strange,
            wakeups_put_off: sum.wakeups_put_off + one.wakeups_put_off,
        })
    }

    fn way(&self) -> Way {
        // Queues of one device are opened alike; the worst of them is what all can count on.
        self.0.iter().map(|gauges| gauges.way()).reduce(worse).unwrap_or_default()
    }

    fn state(&self) -> State {
        let rank = |state: &State| match state {
            State::Up => 0,
            State::Down(_) => 1,
            State::Lost(_) => 2,
        };
        self.0.iter().map(|gauges| gauges.state()).max_by_key(rank).unwrap_or_default()
    }
}

fn worse(one: Way, other: Way) -> Way {
    Way {
        native: one.native.and_then(|native| other.native.map(|too| native && too)),
        zero_copy: one.zero_copy && other.zero_copy,
        need_wakeup: one.need_wakeup && other.need_wakeup,
        busy_poll: one.busy_poll && other.busy_poll,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::null::Null;
    use crate::pair::pair;
    use weir_packet::{ChunkSize, Umem};

    #[test]
    fn queues_take_turns_and_a_batch_is_of_one() {
        let umem = Umem::new(64, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(64).unwrap();
        let (mut one, left) = pair("a", 1, 16);
        let (mut two, right) = pair("b", 3, 16);
        let mut port = Multi::of(vec![Box::new(left), Box::new(right)]).unwrap();
        assert_eq!((port.name(), port.index(), port.wait()), ("a1", 2, Wait::Later));
        for (far, count) in [(&mut one, 3), (&mut two, 2)] {
            let mut batch = Batch::new();
            for _ in 0..count {
                let mut frame = pool.take().unwrap();
                frame.fill(&[count; 60]).unwrap();
                batch.push(frame).unwrap();
            }
            assert_eq!(far.send(&mut pool, &mut batch).sent, usize::from(count));
        }
        assert_eq!(port.wait(), Wait::Ready);
        let mut batch = Batch::new();
        assert_eq!(port.receive(&mut pool, &mut batch, 2).frames, 2);
        assert_eq!(port.receive(&mut pool, &mut batch, 64).frames, 2);
        assert_eq!(port.receive(&mut pool, &mut batch, 64).frames, 1);
        assert_eq!(port.receive(&mut pool, &mut batch, 64), Received::default());
        let kinds: Vec<_> = batch.iter().map(|frame| frame.bytes()[0]).collect();
        assert_eq!(kinds, [3, 3, 2, 2, 3]);
        // All goes out by the first.
        assert_eq!(port.send(&mut pool, &mut batch).sent, 5);
        assert_eq!(one.receive(&mut pool, &mut batch, 64).frames, 5);
        pool.put_all(&mut batch);
        assert_eq!(port.close(&mut pool), 0);
    }

    #[test]
    fn one_queue_stays_what_it_is_and_all_at_their_end_are_the_end() {
        assert!(Multi::of(Vec::new()).is_none());
        assert_eq!(Multi::of(vec![Box::new(Null::new("n", 1))]).unwrap().name(), "n");
        let mut port = Multi::of(vec![Box::new(Null::new("n", 1)), Box::new(Null::new("m", 1))]).unwrap();
        let umem = Umem::new(1, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(1).unwrap();
        assert!(port.receive(&mut pool, &mut Batch::new(), 1).end);
        assert_eq!(port.wait(), Wait::End);
    }
}
