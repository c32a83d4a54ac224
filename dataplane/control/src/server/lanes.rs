//! Where actions are done: quick ones beside each other, slow ones a few at a time, changes one at a time.
//!
//! Changes have a thread of their own, and it keeps the promise of `confirm`: a change that is not confirmed in
//! time is taken back there, in order with all others, also when who made it has gone.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use weir_sys::priority::Preference;

use super::backend::{Backend, Given, json};
use super::peer::Peer;
use crate::action::field::Parts;
use crate::action::{Action, Kind, Lane};
use crate::problem::{Cause, Problem};
use crate::reply;
use crate::urgency::share;

/// Quick actions at a time.
const QUICK: usize = 16;
/// And of those that are not their connection's first.
const FURTHER: usize = 2;
/// Slow actions at a time.
const SLOW: usize = 2;
/// Changes that may wait for their turn.
const CHANGES: usize = 16;

/// Whether a connection has asked for something before. Who asks for one thing does not wait behind those who send
/// requests by the hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its first request.
    First,
    /// Not the first.
    Further,
}

/// What an action comes to.
pub(super) type Done = Result<Given, Problem>;

/// A change in the queue.
struct Change {
    kind: Kind,
    parts: Parts,
    peer: Peer,
    done: oneshot::Sender<Done>,
}

/// A change that waits to be confirmed.
#[derive(Clone, Debug)]
struct Pending {
    /// What to go back to.
    from: u64,
    until: Instant,
    /// The same for people.
    confirm_by: String,
}

type Shared = Arc<Mutex<Option<Pending>>>;

/// Where actions are done.
#[derive(Debug)]
pub(super) struct Lanes {
    backend: Arc<dyn Backend>,
    quick: Arc<Semaphore>,
    further: Semaphore,
    slow: Arc<Semaphore>,
    changes: SyncSender<Change>,
    pending: Shared,
}

impl Lanes {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        let (changes, queue) = sync_channel(CHANGES);
        let pending = Shared::default();
        let changer = Changer { backend: Arc::clone(&backend), pending: Arc::clone(&pending) };
        let thread = std::thread::Builder::new().name("weir-changes".to_owned());
        // Without this thread nothing can be changed; each change then says so.
        if let Err(error) = thread.spawn(move || changer.run(&queue)) {
            tracing::error!(%error, "no thread for changes");
        }
        let (quick, slow) = (Arc::new(Semaphore::new(QUICK)), Arc::new(Semaphore::new(SLOW)));
        Self { backend, quick, further: Semaphore::new(FURTHER), slow, changes, pending }
    }

    /// Does an action in its lane.
    pub(super) async fn run(&self, kind: Kind, parts: Parts, peer: Peer, order: Order) -> Done {
        let done = match kind.row().lane {
            Lane::Quick => self.at_once(kind, parts, peer, order).await,
            Lane::Slow => self.apart(kind, parts, peer).await,
            Lane::Change => self.in_turn(kind, parts, peer).await,
        };
        done.map(|given| match given {
            Given::Config(mut config) => {
                config.confirm_by = lock(&self.pending).as_ref().map(|pending| pending.confirm_by.clone());
                Given::Config(config)
            }
            other => other,
        })
    }

    /// By a thread that is there already, and as preferred as the one that reads and writes.
    async fn at_once(&self, kind: Kind, parts: Parts, peer: Peer, order: Order) -> Done {
        let _further = match order {
            Order::First => None,
            Order::Further => Some(self.further.acquire().await.map_err(|_| ended())?),
        };
        let work = tokio::task::spawn_blocking(self.work(turn(&self.quick).await?, kind, parts, peer));
        work.await
            .unwrap_or_else(|error| Err(Problem::new(Cause::Internal, format!("the action failed: {error}"))))
    }

    /// By a thread of its own, which takes no more of a worker's core than any other.
    async fn apart(&self, kind: Kind, parts: Parts, peer: Peer) -> Done {
        let work = self.work(turn(&self.slow).await?, kind, parts, peer);
        let (done, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("weir-slow".to_owned()).spawn(move || {
            share(Preference::USUAL);
            let _ = done.send(work());
        });
        thread.map_err(|error| Problem::new(Cause::Unavailable, format!("no thread for it: {error}")))?;
        let failed = |_| Err(Problem::new(Cause::Internal, "the action failed; see the log"));
        answer.await.unwrap_or_else(failed)
    }

    /// What an action takes. Its turn ends with the work, also when who asked has gone.
    fn work(
        &self,
        turn: OwnedSemaphorePermit,
        kind: Kind,
        parts: Parts,
        peer: Peer,
    ) -> impl FnOnce() -> Done + Send + 'static {
        let backend = Arc::clone(&self.backend);
        move || {
            let _turn = turn;
            kind.decode(&parts).and_then(|action| backend.answer(action, &peer))
        }
    }

    async fn in_turn(&self, kind: Kind, parts: Parts, peer: Peer) -> Done {
        let (done, answer) = oneshot::channel();
        let queued = self.changes.try_send(Change { kind, parts, peer, done });
        queued.map_err(|_| {
            let problem = Problem::new(Cause::Unavailable, format!("{CHANGES} changes are waiting already"));
            problem.hint("try again when they are done")
        })?;
        answer.await.map_err(|_| ended())?
    }
}

async fn turn(lane: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(lane).acquire_owned().await.map_err(|_| ended())
}

fn ended() -> Problem {
    Problem::new(Cause::Unavailable, "weir is ending")
}

fn lock(pending: &Shared) -> std::sync::MutexGuard<'_, Option<Pending>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that makes changes.
struct Changer {
    backend: Arc<dyn Backend>,
    pending: Shared,
}

impl Changer {
    fn run(&self, queue: &Receiver<Change>) {
        share(Preference::USUAL);
        loop {
            let until = lock(&self.pending).as_ref().map(|pending| pending.until);
            let change = match until {
                Some(until) => queue.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match change {
                // Who asked has gone before it began: then it does not begin.
                Ok(change) if change.done.is_closed() => {}
                Ok(change) => {
                    let (kind, parts, peer) = (change.kind, change.parts, change.peer);
                    let work = || kind.decode(&parts).and_then(|action| self.change(action, &peer));
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                    let failed = |_| Err(Problem::new(Cause::Internal, "the change failed; see the log"));
                    let _ = change.done.send(done.unwrap_or_else(failed));
                }
                Err(RecvTimeoutError::Timeout) => self.take_back(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Nobody confirmed.
    fn take_back(&self) {
        let Some(pending) = lock(&self.pending).take() else { return };
        match self.backend.revert(pending.from) {
            Ok(()) => tracing::warn!(to = pending.from, "a change was not confirmed, and is taken back"),
            Err(error) => tracing::error!(to = pending.from, %error, "a change that was not confirmed stays"),
        }
    }

    fn change(&self, action: Action, peer: &Peer) -> Done {
        let waiting = lock(&self.pending).clone();
        match (&action, waiting) {
            (Action::ConfigConfirm {}, None) => {
                return Err(Problem::new(Cause::Conflict, "no change waits to be confirmed"));
            }
            (Action::ConfigConfirm {}, Some(_)) => {
                lock(&self.pending).take();
                let generation = self.backend.generation();
                return json(&reply::Confirmed { schema: reply::schema("confirmed"), generation });
            }
            (Action::ConfigRollback { .. }, Some(_)) => {
                lock(&self.pending).take();
            }
            (_, Some(pending)) => {
                let detail = format!("a change waits to be confirmed until {}", pending.confirm_by);
                let problem = Problem::new(Cause::Conflict, detail);
                return Err(problem.hint("weir config confirm, or weir config rollback"));
            }
            (_, None) => {}
        }
        let confirm = match &action {
            Action::ConfigApply { confirm, dry_run: false, .. } => *confirm,
            _ => None,
        };
        let from = self.backend.generation();
        let given = self.backend.answer(action, peer)?;
        Ok(match (given, confirm) {
            (Given::Applied(mut applied), Some(limit)) if applied.to != from => {
                applied.confirm_by = Some(self.await_confirmation(from, limit));
                Given::Applied(applied)
            }
            (given, _) => given,
        })
    }

    fn await_confirmation(&self, from: u64, limit: Duration) -> String {
        let confirm_by = reply::time(SystemTime::now() + limit);
        let pending = Pending { from, until: Instant::now() + limit, confirm_by: confirm_by.clone() };
        *lock(&self.pending) = Some(pending);
        confirm_by
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Keeps all but `healthz` waiting until it opens, and counts who has come.
    #[derive(Debug, Default)]
    struct Gate {
        came: AtomicUsize,
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.opened.notify_all();
        }

        /// Once so many have come.
        async fn reached_by(&self, many: usize) {
            while self.came.load(Ordering::SeqCst) < many {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    impl Backend for Gate {
        fn answer(&self, action: Action, _peer: &Peer) -> Done {
            if action.kind() != Kind::Healthz {
                self.came.fetch_add(1, Ordering::SeqCst);
                drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
            }
            Ok(Given::Json(Default::default()))
        }

        fn generation(&self) -> u64 {
            0
        }

        fn revert(&self, _to: u64) -> Result<(), Problem> {
            Ok(())
        }
    }

    fn lanes() -> (Arc<Gate>, Arc<Lanes>) {
        let gate = Arc::new(Gate::default());
        let backend: Arc<dyn Backend> = gate.clone();
        (gate, Arc::new(Lanes::new(backend)))
    }

    fn asked(lanes: &Arc<Lanes>, action: &Action, order: Order) -> tokio::task::JoinHandle<Done> {
        let (lanes, kind, parts) = (Arc::clone(lanes), action.kind(), action.encode());
        let peer = Peer { uid: 0, gid: 0, pid: None, role: None };
        tokio::spawn(async move { lanes.run(kind, parts, peer, order).await })
    }

    #[tokio::test]
    async fn who_asks_once_does_not_wait_behind_those_who_ask_by_the_hundred() {
        let (gate, lanes) = lanes();
        let many: Vec<_> = (0..100).map(|_| asked(&lanes, &Action::Version {}, Order::Further)).collect();
        gate.reached_by(FURTHER).await;
        asked(&lanes, &Action::Healthz {}, Order::First).await.unwrap().unwrap();
        assert_eq!(gate.came.load(Ordering::SeqCst), FURTHER, "the others wait for each other");
        gate.open();
        for one in many {
            one.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn slow_work_keeps_its_turn_when_who_asked_has_gone() {
        let (gate, lanes) = lanes();
        let slow = Action::Routes { to: None, limit: None };
        assert_eq!(slow.row().lane, Lane::Slow);
        let gone: Vec<_> = (0..SLOW).map(|_| asked(&lanes, &slow, Order::First)).collect();
        gate.reached_by(SLOW).await;
        gone.iter().for_each(tokio::task::JoinHandle::abort);
        let next = asked(&lanes, &slow, Order::First);
        // Quick actions go on; their being answered shows that `next` had its chance.
        asked(&lanes, &Action::Healthz {}, Order::First).await.unwrap().unwrap();
        assert_eq!(gate.came.load(Ordering::SeqCst), SLOW);
        gate.open();
        next.await.unwrap().unwrap();
        assert_eq!(gate.came.load(Ordering::SeqCst), SLOW + 1);
    }
}
