//! What others want of a worker: letters that it reads between two turns.
//!
//! A worker looks at one flag a turn, and takes the lock only when somebody wrote. A sleeping worker is woken.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use weir_io::{Gauges, Port};
use weir_sys::wait::{self, Event};

use crate::generation::PortNumber;
use crate::host::Behind;
use crate::ledger::Said;

/// Something for a worker to do between two turns.
pub enum Letter {
    /// Take another port in the place of one; its frames come back first.
    Port {
        /// Which.
        number: PortNumber,
        /// The new one.
        port: Box<dyn Port>,
        /// Is told when it is done.
        done: Sender<()>,
    },
    /// Put something else behind a port.
    Behind {
        /// Which.
        number: PortNumber,
        /// The new way to the host.
        behind: Behind,
        /// Is told when it is done.
        done: Sender<()>,
    },
    /// Say where frames are, and what was counted.
    Statement {
        /// Where to say it: also when nobody waits any more, it is news for the next who asks.
        said: Arc<Said>,
        /// Is told when it is done.
        done: Sender<()>,
    },
    /// Give back everything and end.
    Stop,
}

/// Where letters for one worker lie.
#[derive(Debug)]
pub struct Mailbox {
    waiting: AtomicBool,
    asleep: AtomicBool,
    letters: Mutex<Vec<Letter>>,
    event: Event,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Letter::Port { .. } => "Port",
            Letter::Behind { .. } => "Behind",
            Letter::Statement { .. } => "Statement",
            Letter::Stop => "Stop",
        })
    }
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            waiting: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            letters: Mutex::default(),
            event: Event::new()?,
        }))
    }

    /// Leaves a letter, and wakes the worker if it sleeps.
    pub fn post(&self, letter: Letter) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push(letter);
        self.waiting.store(true, Ordering::Release);
        drop(letters);
        self.event.notify();
    }

    /// Wakes the worker if it sleeps; costs next to nothing when it does not.
    #[inline]
    pub fn nudge(&self) {
        // What was left for the worker is to be seen before its sleep is: it says that it sleeps, then looks.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.event.notify();
        }
    }

    /// Whether there may be letters: once a turn, by the worker.
    #[inline]
    pub fn any(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes all letters, in order.
    #[cold]
    pub fn take(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Release);
        std::mem::take(&mut *letters)
    }

    /// Sleeps until a letter comes, somebody nudges, or one of these descriptors is readable, at most `limit`;
    /// not at all when `ready` says that something waits. `fds` has room for one more.
    pub fn sleep(&self, fds: &mut Vec<RawFd>, limit: Duration, ready: impl FnOnce() -> bool) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !self.any() && !ready() {
            // First, so that it is watched however many ports there are.
            fds.insert(0, self.event.raw());
            // A descriptor that cannot be waited for ends the sleep, which is then a short one: no fault of ours.
            // Packets wake more often than letters do, and then there is no event to read.
            if wait::readable(fds, limit).is_ok_and(|ready| ready & 1 != 0) {
                self.event.clear();
            }
        }
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// What others may read of the ports that a worker runs now.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Vec<Window>>);

/// One port of one worker, seen from outside.
#[derive(Clone, Debug)]
pub struct Window {
    /// The queue of the device.
    pub queue: u32,
    /// What it shows, if anything.
    pub gauges: Option<Arc<dyn Gauges>>,
}

impl Windows {
    /// The worker's ports now, in their order.
    pub fn set(&self, windows: Vec<Window>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = windows;
    }

    /// Another port stands at this place.
    pub fn replace(&self, number: PortNumber, window: Window) {
        if let Some(place) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            *place = window;
        }
    }

    /// A copy, to look at in peace.
    pub fn all(&self) -> Vec<Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
