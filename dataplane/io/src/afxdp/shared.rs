//! What a port shares with those who read its gauges.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_sys::xdp::{RingArea, Statistics};

use super::link::{Link, woken};
use crate::gauges::{Gauges, Held, Losses, State, Way};

/// The four rings' memory.
#[derive(Debug, Clone)]
pub struct Areas {
    /// Empty frames, to the kernel.
    pub fill: Arc<RingArea>,
    /// Packets, from it.
    pub rx: Arc<RingArea>,
    /// Packets, to it.
    pub tx: Arc<RingArea>,
    /// Sent frames, from it.
    pub completion: Arc<RingArea>,
}

impl Areas {
    /// Lets go of the socket, which mappings of its rings keep open. False when the kernel would not.
    pub(super) fn let_go(&self) -> bool {
        let all = [&self.fill, &self.rx, &self.tx, &self.completion];
        // Each of them, whatever became of the one before.
        all.into_iter().filter(|ring| ring.let_go().is_err()).count() == 0
    }
}

/// Written by the worker, read by anyone.
#[derive(Debug)]
pub(super) struct Shared {
    areas: Areas,
    way: Way,
    /// Taken out when the port is closed, so that no reader keeps the socket open.
    link: Mutex<Option<Arc<dyn Link>>>,
    state: Mutex<State>,
    /// Somebody heard another state of the kernel than the worker's: it is to ask as well.
    doubt: AtomicBool,
    /// What the kernel had counted when the port was closed.
    last: Mutex<Statistics>,
    /// Frames that went to the fill ring and to the transmit ring and did not come back yet.
    pub(super) lent: AtomicUsize,
    pub(super) scattered: AtomicU64,
    pub(super) strange: AtomicU64,
    pub(super) put_off: AtomicU64,
}

/// Each value under these locks is replaced whole, so a panic elsewhere leaves it whole.
fn hold<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(areas: Areas, way: Way, link: Arc<dyn Link>) -> Shared {
        Shared {
            areas,
            way,
            link: Mutex::new(Some(link)),
            state: Mutex::new(State::Up),
            doubt: AtomicBool::new(false),
            last: Mutex::default(),
            lent: AtomicUsize::new(0),
            scattered: AtomicU64::new(0),
            strange: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
        }
    }

    pub(super) fn set_state(&self, state: State) {
        *hold(&self.state) = state;
    }

    /// Whether the worker should ask for the state itself, which is then no question any more.
    #[inline]
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.load(Relaxed) && self.doubt.swap(false, Relaxed)
    }

    pub(super) fn areas(&self) -> &Areas {
        &self.areas
    }

    /// The last word of the link, and the end of it here.
    pub(super) fn unlink(&self) {
        if let Some(link) = hold(&self.link).take() {
            *hold(&self.last) = link.statistics().unwrap_or_default();
        }
    }

    /// Counts on, by the one worker that writes.
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Relaxed) + count, Relaxed);
    }
}

impl Gauges for Shared {
    fn held(&self) -> Held {
        let lent = self.lent.load(Relaxed);
        if lent == 0 {
            return Held::default();
        }
        // The kernel goes on while this reads: it takes a frame out of the fill ring before it puts it into the
        // receive ring. Read in the other order, no frame is seen in both; one may be seen in neither.
        let [rx, completion, fill, tx] =
            [&self.areas.rx, &self.areas.completion, &self.areas.fill, &self.areas.tx]
                .map(|ring| ring.waiting() as usize);
        let device = lent.saturating_sub(fill + rx + tx + completion);
        Held { fill, rx, tx, completion, device }
    }

    fn losses(&self) -> Losses {
        let link = hold(&self.link);
        let kernel = match link.as_ref().map(|link| link.statistics()) {
            Some(Ok(statistics)) => statistics,
            Some(Err(_)) | None => *hold(&self.last),
        };
        Losses {
            rx_dropped: kernel.rx_dropped,
            rx_ring_full: kernel.rx_ring_full,
            fill_empty: kernel.fill_empty,
            rx_invalid: kernel.rx_invalid,
            tx_invalid: kernel.tx_invalid,
            tx_empty: kernel.tx_empty,
            scattered: self.scattered.load(Relaxed),
            strange: self.strange.load(Relaxed),
            wakeups_put_off: self.put_off.load(Relaxed),
        }
    }

    fn way(&self) -> Way {
        self.way
    }

    /// A worker that sleeps learns late that its device went down, so the kernel is asked, unless the worker's
    /// own calls do that every turn (busy polling) or it knows that all is over.
    fn state(&self) -> State {
        let told = hold(&self.state).clone();
        if self.way.busy_poll || matches!(told, State::Lost(_)) {
            return told;
        }
        let asked = hold(&self.link).as_ref().map(|link| State::from(woken(link.wake_rx())));
        match asked {
            Some(state) => {
                self.doubt.fetch_or(state != told, Relaxed);
                state
            }
            None => hold(&self.state).clone(),
        }
    }
}
