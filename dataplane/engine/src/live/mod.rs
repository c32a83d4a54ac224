//! A running weir: workers that move packets, and changes made beside them.
//!
//! ```text
//!   caller ── apply(change) ── edit ── build (prove, compile, carry maps) ── publish ── quiescent ── settle, free
//!                                                                              │
//!   workers ── mailbox? ── edge (one generation a turn, counts cut) ── receive, judge, send ── …
//!                                                                              │
//!   supervisor ── ports down? open anew ── workers stalled? say so ── probation over or tripped? keep, roll back
//! ```
//!
//! Changes are made by who asks for them, one at a time; reading takes nothing that a change holds for longer than
//! an exchange of pointers. What is changed is a whole generation or nothing.

mod apply;
mod carry;
pub mod change;
mod collect;
mod current;
pub mod durations;
mod edit;
pub mod event;
mod follow;
mod history;
mod keep;
pub mod open;
mod placeholder;
mod probation;
mod start;
pub mod stats;
mod supervise;
mod thread;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use weir_packet::Umem;

#[doc(hidden)]
pub use apply::Mutant;
pub use change::{
    Change, ChangeError, Desired, How, MapFate, MapPlan, Objects, Plan, Probation, ProgramFate, ProgramPlan,
    Swapped,
};
pub use current::Current;
pub use event::{Event, Events, What};
pub use history::{Past, PastState};
pub use keep::Restoration;
pub use open::{Device, Offline, OpenError, Opener};
pub use start::{StartError, StartOptions, WorkerStart};
pub use stats::Stats;

use crate::counters::Totals;
use crate::env::TraceLine;
use crate::generation::Generation;
use crate::host::Wants;
use crate::ledger::Said;
use crate::mailbox::{Letter, Mailbox};
use crate::observe::Observers;
use crate::routes::live::Live as LiveRoutes;
use crate::routes::mirror::{Meter, Mirror};
use crate::snapshot::{Keeper, Written};
use crate::swap::Swap;
use crate::worker::{Shared as WorkerShared, Worker};

/// The least time that the last snapshot is given.
const LAST_SNAPSHOT: Duration = Duration::from_secs(1);

/// How long waits of a running weir may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For another change to be over.
    pub change: Duration,
    /// For workers to leave a generation.
    pub grace: Duration,
    /// For workers to answer a letter.
    pub answer: Duration,
    /// For a worker to come to the end of a turn, before it is called stalled.
    pub stall: Duration,
    /// Between two attempts to open a port that failed, at first and at most.
    pub reopen: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            change: Duration::from_secs(10),
            grace: Duration::from_secs(2),
            answer: Duration::from_millis(100),
            stall: Duration::from_secs(1),
            reopen: (Duration::from_millis(50), Duration::from_secs(5)),
        }
    }
}

/// A running weir.
pub struct Live {
    engine: Arc<Engine>,
    threads: Mutex<Threads>,
}

struct Threads {
    workers: Vec<JoinHandle<Option<Worker>>>,
    supervisor: Option<JoinHandle<()>>,
    keeper: Option<Keeper>,
    mirror: Option<Mirror>,
}

/// What all threads share.
struct Engine {
    options: StartOptions,
    umem: Arc<Umem>,
    generations: Arc<Swap<Generation>>,
    routes: Arc<LiveRoutes>,
    /// Neighbours that workers want.
    wants: Wants,
    /// What the thread that follows the kernel counts, when there is one.
    mirrored: OnceLock<Meter>,
    observers: Arc<Observers>,
    workers: Vec<Staff>,
    ports: Vec<supervise::PortWatch>,
    current: Mutex<Arc<Current>>,
    history: Mutex<history::History>,
    /// Held by whoever makes a change.
    change: Mutex<apply::Changer>,
    probation: Mutex<Option<probation::Watch>>,
    events: Events,
    snapshots: Mutex<stats::SnapshotStats>,
    restoration: Restoration,
    swaps: Mutex<stats::SwapStats>,
    /// Routes were last counted then: counting looks at each.
    routes_seen: Mutex<Option<(Instant, stats::RouteStats)>>,
    /// What programs trace, on its way to the observers' journal.
    traces: Mutex<mpsc::Receiver<TraceLine>>,
    started: Instant,
    stopping: AtomicBool,
    /// Wakes the supervisor.
    bell: Sender<()>,
}

/// A worker, as others know it.
struct Staff {
    core: usize,
    shared: Arc<WorkerShared>,
    mailbox: Arc<Mailbox>,
    health: Arc<thread::Health>,
    said: Arc<Said>,
}

/// How a running weir ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// All packets.
    pub totals: Totals,
    /// Frames that nobody gave back: must be 0 when no worker is stalled.
    pub frames_lost: usize,
    /// Workers that did not end in time.
    pub stalled: Vec<usize>,
}

impl Live {
    /// Loads programs, opens ports, starts workers. When it answers, packets flow.
    pub fn start(desired: Desired, options: StartOptions) -> Result<Arc<Live>, StartError> {
        start::start(desired, options)
    }

    /// What runs now.
    pub fn current(&self) -> Arc<Current> {
        self.engine.current()
    }

    /// The generations there were, the latest first.
    pub fn history(&self) -> Vec<Past> {
        lock(&self.engine.history).list()
    }

    /// Everything that is counted, now. Asks the workers where the frames are, and waits for them no longer than
    /// [`Limits::answer`].
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Hears of everything that happens from now on.
    pub fn subscribe(&self) -> Receiver<Event> {
        self.engine.events.subscribe()
    }

    /// What the maps began with.
    pub fn restoration(&self) -> &Restoration {
        &self.engine.restoration
    }

    /// Writes the maps to disk now. `None` when the newest snapshot holds exactly what there is, or none is kept.
    pub fn snapshot(&self, limit: Duration) -> Result<Option<Written>, String> {
        lock(&self.threads).keeper.as_ref().map_or(Ok(None), |keeper| keeper.now(limit))
    }

    /// Tells all who listen.
    pub fn tell(&self, what: What) {
        self.engine.events.tell(what);
    }

    /// Whether all ports are up and all workers move; if not, what is wrong.
    pub fn faults(&self) -> Vec<String> {
        self.engine.faults()
    }

    /// Whether every worker came to the end of a turn lately: what a watchdog is to be told.
    pub fn alive(&self) -> bool {
        self.engine.workers.iter().all(|worker| worker.health.state() == stats::WorkerState::Running)
    }

    /// What a change would come to. Nothing is changed.
    pub fn plan(&self, change: &Change, how: &How) -> Result<Plan, ChangeError> {
        self.engine.plan(change, how)
    }

    /// Makes a change, and answers when no worker uses the generation before it any more. What is refused changes
    /// nothing.
    pub fn apply(&self, change: &Change, how: &How) -> Result<Swapped, ChangeError> {
        self.engine.apply(change, how)
    }

    /// Runs the programs of an earlier generation again, as a new one; absent: of the last good one before this.
    pub fn rollback(&self, to: Option<u64>) -> Result<Swapped, ChangeError> {
        self.engine.rollback(to, "by request")
    }

    /// The same for a reason of the caller's.
    pub fn take_back(&self, to: u64, why: &str) -> Result<Swapped, ChangeError> {
        self.engine.rollback(Some(to), why)
    }

    /// Ends a probation at once: what runs stays. False when there is none.
    pub fn confirm(&self) -> bool {
        self.engine.confirm()
    }

    /// The routes, to look at and to change while packets flow.
    pub fn routes(&self) -> &Arc<LiveRoutes> {
        &self.engine.routes
    }

    /// Captures, traces of packets, readers of perf event arrays, and the lines that programs trace.
    pub fn observers(&self) -> &Arc<Observers> {
        &self.engine.observers
    }

    /// Looks after the ports now: somebody knows that a device changed.
    pub fn look(&self) {
        let _ = self.engine.bell.try_send(());
    }

    /// Stops the workers, closes the ports, and waits for both no longer than `limit`.
    pub fn shutdown(&self, limit: Duration) -> Ended {
        let mut threads = lock(&self.threads);
        self.engine.shutdown(&mut threads, Instant::now() + limit)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !threads.workers.is_empty() {
            self.engine.shutdown(threads, Instant::now() + Duration::from_secs(1));
        }
    }
}

impl Engine {
    fn current(&self) -> Arc<Current> {
        Arc::clone(&lock(&self.current))
    }

    /// Takes the right to make a change.
    fn changing(&self) -> Result<MutexGuard<'_, apply::Changer>, ChangeError> {
        let limit = self.options.limits.change;
        let start = Instant::now();
        loop {
            if self.stopping.load(Ordering::Acquire) {
                return Err(ChangeError::Ended);
            }
            match self.change.try_lock() {
                Ok(changer) => return Ok(changer),
                // A change that ended in a panic published its generation or did not; what it noted is whole.
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if start.elapsed() > limit => {
                    return Err(ChangeError::Busy { seconds: limit.as_secs() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The counters of all workers, ports together.
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.workers.iter().for_each(|worker| totals += &worker.shared.totals());
        totals
    }

    fn shutdown(&self, threads: &mut Threads, deadline: Instant) -> Ended {
        if !self.stopping.swap(true, Ordering::AcqRel) {
            self.events.tell(What::Stopping);
        }
        let _ = self.bell.try_send(());
        if let Some(mirror) = threads.mirror.take() {
            mirror.end(deadline);
        }
        if let Some(supervisor) = threads.supervisor.take() {
            // It looks at `stopping` between steps that have deadlines themselves.
            let _ = supervisor.join();
        }
        self.workers.iter().for_each(|worker| worker.mailbox.post(Letter::Stop));
        let mut ended = Ended::default();
        let mut workers = Vec::new();
        for (number, thread) in threads.workers.drain(..).enumerate() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
            match thread.is_finished() {
                true => workers.extend(thread.join().ok().flatten()),
                false => ended.stalled.push(number),
            }
        }
        // Nothing changes any more: what is written now is what there was in the end.
        if let Some(keeper) = threads.keeper.take() {
            keeper.end(deadline.saturating_duration_since(Instant::now()).max(LAST_SNAPSHOT));
        }
        // All have stopped: what one handed to another is in a ring, and comes back by the other's end of it.
        workers.into_iter().for_each(|worker| {
            worker.close();
        });
        ended.totals = self.totals();
        ended.frames_lost = self.umem.chunks() - self.umem.home();
        ended
    }
}

/// Locks what is held for moments only; a panic in one of them leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
