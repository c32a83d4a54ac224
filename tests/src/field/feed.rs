//! A port that numbered packets come in by, as fast as they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_engine::generation::PortPlan;
use weir_io::port::{Refusal, Refused, Wait};
use weir_io::{Gauges, Port, Received, Sent};
use weir_packet::{Batch, Frame, Pool};

use super::{FLOWS, Field, Seen};
use crate::net::number::{Ends, Number, template};

/// Frames that a feed holds between calls, as a fill ring would.
pub(super) const STASH: usize = 256;

/// One worker's feed.
pub(super) struct Feed {
    field: Arc<Field>,
    worker: usize,
    plan: (String, u32),
    template: Vec<u8>,
    stash: Vec<Frame>,
    seen: Arc<Seen>,
    /// Flaps seen when it was opened.
    flaps: u64,
}

impl Feed {
    pub(super) fn new(field: &Arc<Field>, worker: usize, plan: &PortPlan) -> Self {
        let address = ([10, 0, 0, 1].into(), [10, 0, 1, worker as u8].into());
        let ends = Ends { link: ([2; 6], plan.mac), address, port: (1000, 9) };
        Self {
            field: Arc::clone(field),
            worker,
            plan: (plan.name.clone(), plan.ifindex),
            template: template(&ends, 74),
            stash: Vec::with_capacity(STASH),
            seen: Arc::default(),
            flaps: field.wishes.flaps.load(Ordering::Relaxed),
        }
    }

    /// The number of the next packet of this worker.
    fn next(&self) -> (u32, u64) {
        let made = &self.field.made[self.worker];
        let count = made.load(Ordering::Relaxed);
        made.store(count + 1, Ordering::Relaxed);
        let flows = FLOWS * self.field.workers as u64;
        let flow = self.worker as u64 * FLOWS + count % FLOWS;
        (flow as u32, count / FLOWS * flows + flow)
    }
}

impl Feed {
    /// Whether what is on its way to another worker leaves room for more.
    fn may_go_on(&self) -> bool {
        let count = |of: &[AtomicU64]| of[self.worker].load(Ordering::Relaxed);
        let free = !self.field.wishes.paced.load(Ordering::Relaxed) || self.worker == 0;
        free || count(&self.field.made) - count(&self.field.delivered) < 256
    }
}

impl Port for Feed {
    fn name(&self) -> &str {
        &self.plan.0
    }

    fn index(&self) -> u32 {
        self.plan.1
    }

    fn queue(&self) -> u32 {
        self.worker as u32
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let wishes = &self.field.wishes;
        if self.worker == 0 {
            let block = wishes.block_ms.swap(0, Ordering::Relaxed);
            if block > 0 {
                std::thread::sleep(Duration::from_millis(block));
            }
        }
        if wishes.flaps.load(Ordering::Relaxed) != self.flaps {
            self.seen.lost.store(true, Ordering::Relaxed);
            return Received::default();
        }
        while self.stash.len() < STASH {
            let Some(frame) = pool.take() else { break };
            self.stash.push(frame);
        }
        let mut received = Received::default();
        if !wishes.quiet.load(Ordering::Relaxed) && self.may_go_on() {
            for _ in 0..max.min(batch.room()) {
                if wishes.starve.load(Ordering::Relaxed) > 0 {
                    wishes.starve.fetch_sub(1, Ordering::Relaxed);
                    // It came, and is one of those that are missing with a name.
                    self.next();
                    self.field.starved.fetch_add(1, Ordering::Relaxed);
                    received.lost += 1;
                    continue;
                }
                let Some(mut frame) = self.stash.pop() else { break };
                let (flow, id) = self.next();
                frame.fill(&self.template).expect("a template fits");
                Number::emit(frame.bytes_mut(), flow, id);
                batch.push(frame).expect("there is room");
                received.frames += 1;
            }
        }
        self.seen.held.store(self.stash.len(), Ordering::Relaxed);
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let refused = Refused::all(Refusal::Down, batch.len());
        pool.put_all(batch);
        Sent { sent: 0, refused }
    }

    fn wait(&self) -> Wait {
        Wait::Later
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        Some(Arc::clone(&self.seen) as Arc<dyn Gauges>)
    }

    fn close(&mut self, pool: &mut Pool) -> usize {
        let count = self.stash.len();
        self.stash.drain(..).for_each(|frame| pool.put(frame));
        self.seen.held.store(0, Ordering::Relaxed);
        count
    }
}
