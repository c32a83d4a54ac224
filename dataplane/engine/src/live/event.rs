//! What happens to a running weir, told to whoever listens.
//!
//! A listener that is too slow loses events of its own, counted; nobody waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use serde::Serialize;

/// Events that may wait for one listener.
const WAITING_MAX: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Event {
    /// Counts up from 1; a gap is an event that this listener was too slow for.
    pub number: u64,
    /// When, in RFC 3339, UTC.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// Workers run, ports are open.
    Started {
        /// The first generation.
        generation: u64,
        /// How many workers.
        workers: usize,
    },
    /// Another generation runs.
    Swapped {
        /// The one before.
        from: u64,
        /// The one now.
        to: u64,
        /// As it is printed.
        text: String,
    },
    /// A change was refused; the running generation stays.
    Refused {
        /// Why.
        reason: String,
    },
    /// A generation's probation began.
    Probation {
        /// Which generation.
        generation: u64,
        /// For how long.
        seconds: f64,
    },
    /// A generation's probation is over, and it stays.
    Kept {
        /// Which generation.
        generation: u64,
    },
    /// An earlier generation's programs run again.
    RolledBack {
        /// The generation that was given up.
        from: u64,
        /// The new number of what runs again.
        to: u64,
        /// The generation whose programs these are.
        restored: u64,
        /// Why: a probation's condition, or somebody's word.
        reason: String,
    },
    /// A port works again.
    PortUp {
        /// Which.
        interface: String,
    },
    /// A port does not work; it is tried again.
    PortDown {
        /// Which.
        interface: String,
        /// Why.
        reason: String,
    },
    /// A worker does not come to the end of a turn.
    WorkerStalled {
        /// Which.
        worker: usize,
        /// For so long.
        seconds: f64,
    },
    /// A worker that was stalled goes on.
    WorkerBack {
        /// Which.
        worker: usize,
    },
    /// A worker ended by a fault of weir's own.
    WorkerDied {
        /// Which.
        worker: usize,
        /// Its last words.
        reason: String,
    },
    /// The mirror of the kernel's routes differed, and was mended.
    Drift {
        /// So many routes.
        routes: u64,
    },
    /// The tables were made those of the kernel.
    RoutesSynced {
        /// Why.
        reason: String,
        /// How many changes that took.
        changes: u64,
    },
    /// The kernel does not tell of its routes for now, or is not told of ours.
    RoutesDeaf {
        /// Why.
        reason: String,
    },
    /// Maps were written to disk.
    Snapshot {
        /// Of which generation.
        generation: u64,
        /// So many maps.
        maps: usize,
        /// So many bytes.
        bytes: u64,
    },
    /// Maps could not be written to disk.
    SnapshotFailed {
        /// Why.
        reason: String,
    },
    /// Lines that programs traced were not read in time.
    TraceLost {
        /// How many.
        lines: u64,
    },
    /// It comes to its end.
    Stopping,
}

/// Where events are told and heard.
#[derive(Debug, Default)]
pub struct Events {
    numbers: AtomicU64,
    lost: AtomicU64,
    listeners: Mutex<Vec<Sender<Event>>>,
}

impl Events {
    /// Hears everything from now on.
    pub fn subscribe(&self) -> Receiver<Event> {
        let (send, receive) = crossbeam_channel::bounded(WAITING_MAX);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(send);
        receive
    }

    /// Tells all listeners; those that have gone are forgotten.
    pub fn tell(&self, what: What) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let event = Event { number, at: rfc3339(SystemTime::now()), what };
        listeners.retain(|listener| match listener.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Events that listeners were too slow for, all together.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A moment as JSON says it.
pub fn rfc3339(at: SystemTime) -> String {
    // Before 1970 there is no weir; such a clock is wrong, and its reader will see that.
    humantime::format_rfc3339_millis(at.max(UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_loses_its_own_events_only() {
        let events = Events::default();
        let (slow, quick) = (events.subscribe(), events.subscribe());
        for _ in 0..WAITING_MAX + 10 {
            events.tell(What::Stopping);
            assert!(quick.try_recv().is_ok());
        }
        assert_eq!((slow.len(), events.lost()), (WAITING_MAX, 10));
        drop((slow, quick));
        events.tell(What::Stopping);
        assert_eq!(events.lost(), 10, "nobody is there any more");
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            number: 3,
            at: rfc3339(UNIX_EPOCH),
            what: What::PortDown { interface: "wan".into(), reason: "ENETDOWN".into() },
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"number":3,"at":"1970-01-01T00:00:00.000Z","event":"port-down","interface":"wan","reason":"ENETDOWN"}"#
        );
    }
}
