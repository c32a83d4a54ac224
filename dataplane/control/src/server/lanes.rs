//! Where actions are done: quick ones beside each other, slow ones a few at a time, changes one at a time.
//!
//! Changes have a thread of their own, and it keeps the promise of `confirm`: a change that is not confirmed in
//! time is taken back there, in order with all others, also when who made it has gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, oneshot};

use weir_sys::priority::Preference;

use super::backend::{Backend, Given, json};
use super::peer::Peer;
use crate::action::field::Parts;
use crate::action::{Action, Kind, Lane};
use crate::problem::{Cause, Problem};
use crate::reply;

/// How those who answer share a core: they have little to do, and are waited for.
pub(crate) const PREFERRED: Preference = Preference { nice: -10, slice: Duration::from_micros(200) };
/// Quick actions at a time.
const QUICK: usize = 16;
/// Slow actions at a time.
const SLOW: usize = 2;
/// Changes that may wait for their turn.
const CHANGES: usize = 16;

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
    quick: Semaphore,
    slow: Semaphore,
    changes: SyncSender<Change>,
    pending: Shared,
    running: Arc<AtomicU64>,
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
        let (quick, slow) = (Semaphore::new(QUICK), Semaphore::new(SLOW));
        Self { backend, quick, slow, changes, pending, running: Arc::default() }
    }

    /// Does an action in its lane.
    pub(super) async fn run(&self, kind: Kind, parts: Parts, peer: Peer) -> Done {
        let done = match kind.row().lane {
            Lane::Quick => self.beside(&self.quick, PREFERRED, kind, parts, peer).await,
            Lane::Slow => self.beside(&self.slow, Preference::USUAL, kind, parts, peer).await,
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

    async fn beside(
        &self,
        lane: &Semaphore,
        preference: Preference,
        kind: Kind,
        parts: Parts,
        peer: Peer,
    ) -> Done {
        let _turn = lane.acquire().await.map_err(|_| ended())?;
        let (backend, running) = (Arc::clone(&self.backend), Arc::clone(&self.running));
        running.fetch_add(1, Ordering::Relaxed);
        let work = tokio::task::spawn_blocking(move || {
            share(preference);
            let done = kind.decode(&parts).and_then(|action| backend.answer(action, &peer));
            running.fetch_sub(1, Ordering::Relaxed);
            done
        });
        work.await
            .unwrap_or_else(|error| Err(Problem::new(Cause::Internal, format!("the action failed: {error}"))))
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

/// Has this thread share the core so. What is long in the doing is not to take a worker's core from it, and where more
/// is not allowed all share alike.
pub(crate) fn share(preference: Preference) {
    if let Err(error) = preference.take() {
        tracing::debug!(%error, ?preference, "a thread shares its core as others do");
    }
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
