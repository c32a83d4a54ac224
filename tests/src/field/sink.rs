//! A port that notes which packets leave by it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use weir_engine::generation::PortPlan;
use weir_io::port::{Refusal, Wait};
use weir_io::{Gauges, Port, Received, Sent};
use weir_packet::{Batch, Pool};

use super::{FLOWS, Field, Seen};
use crate::net::number::Number;

/// One worker's sink, or the only one.
pub(super) struct Sink {
    field: Arc<Field>,
    number: usize,
    plan: (String, u32),
    seen: Arc<Seen>,
    /// Flaps seen when it was opened.
    flaps: u64,
    taken: u64,
}

impl Sink {
    pub(super) fn new(field: &Arc<Field>, number: usize, plan: &PortPlan) -> Self {
        Self {
            field: Arc::clone(field),
            number,
            plan: (plan.name.clone(), plan.ifindex),
            seen: Arc::default(),
            flaps: field.wishes.flaps.load(Ordering::Relaxed),
            taken: 0,
        }
    }
}

impl Port for Sink {
    fn name(&self) -> &str {
        &self.plan.0
    }

    fn index(&self) -> u32 {
        self.plan.1
    }

    fn receive(&mut self, _pool: &mut Pool, _batch: &mut Batch, _max: usize) -> Received {
        if self.field.wishes.flaps.load(Ordering::Relaxed) != self.flaps {
            self.seen.lost.store(true, Ordering::Relaxed);
        }
        Received::default()
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let wishes = &self.field.wishes;
        let reason = if self.seen.lost.load(Ordering::Relaxed) {
            Some(Refusal::Down)
        } else if wishes.stalled.load(Ordering::Relaxed) {
            Some(Refusal::RingFull)
        } else {
            None
        };
        let mut sent = Sent::default();
        if let Some(reason) = reason {
            self.field.refused.fetch_add(batch.len() as u64, Ordering::Relaxed);
            for frame in batch.drain() {
                sent.refused.add(reason);
                pool.put(frame);
            }
            return sent;
        }
        let (swallow, leak) =
            (wishes.swallow_every.load(Ordering::Relaxed), wishes.leak_every.load(Ordering::Relaxed));
        let nth = |every: u64, taken: u64| every > 0 && taken.is_multiple_of(every);
        let mut tally = self.field.tallies[self.number].lock().unwrap_or_else(PoisonError::into_inner);
        for frame in batch.drain() {
            sent.sent += 1;
            self.taken += 1;
            if !nth(swallow, self.taken)
                && let Some(number) = Number::parse(frame.bytes())
            {
                tally.note(&number, u64::MAX);
                if let Some(delivered) = self.field.delivered.get(number.flow as usize / FLOWS as usize) {
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
            }
            match nth(leak, self.taken) {
                true => drop(frame),
                false => pool.put(frame),
            }
        }
        sent
    }

    fn wait(&self) -> Wait {
        Wait::Later
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        Some(Arc::clone(&self.seen) as Arc<dyn Gauges>)
    }
}
