//! A thread that writes snapshots now and then, and once more at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::{Source, Store, StoreError, Written};

/// How long a keeper that is dropped may take for its last snapshot.
const LAST: Duration = Duration::from_secs(5);

/// The maps to keep at this moment.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The generation that runs.
    pub generation: u64,
    /// Its maps; [`Source::is_kept`] is asked of each.
    pub sources: Vec<Source>,
}

/// What came of a turn.
#[derive(Debug)]
pub enum Outcome {
    /// A snapshot was written.
    Written(Written),
    /// It could not be; the one before is still there.
    Failed(StoreError),
}

/// What a person may have asked for.
enum Ask {
    Now(Sender<Result<Option<Written>, String>>),
    End(Sender<()>),
}

/// Keeps the maps of whatever runs.
#[derive(Debug)]
pub struct Keeper {
    ask: Sender<Ask>,
    failures: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Ask::End(_)) { "End" } else { "Now" })
    }
}

impl Keeper {
    /// Starts writing what `what` names into a store, every so often; nothing when it names nothing. `told` hears of each snapshot and each
    /// failure. Nothing here stops a worker, and nothing here is fatal.
    pub fn start(
        mut store: Store,
        every: Duration,
        what: impl Fn() -> Option<Kept> + Send + 'static,
        told: impl Fn(Outcome) + Send + 'static,
    ) -> std::io::Result<Keeper> {
        let (ask, asked) = crossbeam_channel::unbounded();
        let failures = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&failures);
        let mut turn = move || {
            let Some(kept) = what() else { return Ok(None) };
            let result = store.write(kept.generation, &kept.sources);
            let answer = result.as_ref().map(Clone::clone).map_err(ToString::to_string);
            match result {
                Ok(None) => {}
                Ok(Some(written)) => told(Outcome::Written(written)),
                Err(error) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    told(Outcome::Failed(error));
                }
            }
            answer
        };
        let run = move || loop {
            match asked.recv_timeout(every) {
                Err(RecvTimeoutError::Timeout) => drop(turn()),
                // Whoever asked may have gone.
                Ok(Ask::Now(answer)) => drop(answer.send(turn())),
                Ok(Ask::End(ended)) => {
                    drop(turn());
                    // Whoever waited may have given up.
                    let _ = ended.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        let thread = std::thread::Builder::new().name("weir-snapshot".to_owned()).spawn(run)?;
        Ok(Keeper { ask, failures, thread: Mutex::new(Some(thread)) })
    }

    /// A snapshot at once. `None` when the newest one holds exactly what there is.
    pub fn now(&self, limit: Duration) -> Result<Option<Written>, String> {
        let (send, receive) = crossbeam_channel::bounded(1);
        let gone = |_| "the thread that writes snapshots has ended".to_owned();
        self.ask.send(Ask::Now(send)).map_err(|_| gone(()))?;
        receive
            .recv_timeout(limit)
            .map_err(|_| format!("no snapshot within {} s; it goes on", limit.as_secs_f64()))?
    }

    /// Snapshots that could not be written.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Writes a last snapshot and ends the thread; answers whether it did within `limit`. A disk that does not
    /// answer keeps the thread and nobody else.
    pub fn end(&self, limit: Duration) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return true };
        let (send, ended) = crossbeam_channel::bounded(1);
        // Both fail when the thread has ended already, which is what is wanted.
        let asked = self.ask.send(Ask::End(send)).is_ok();
        if asked && ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        let _ = thread.join();
        true
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end(LAST);
    }
}
