//! Replacing what workers run, between two batches.
//!
//! There is one current generation. Each worker keeps a reference of its own and looks at one number
//! at every batch edge; only when the number moved does it take the lock and the new reference. So a
//! turn costs one load of a line that nobody writes, and a batch is judged by one generation whole.
//!
//! ```text
//!  publish(g8) ── version 7 -> 8 ──┬── worker 0 at its batch edge: takes g8, says "seen 8"
//!                                  └── worker 1 … says "seen 8"  ── quiescent: g7 is freed by the publisher
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// A worker that waits or has ended is at rest: it holds up nobody, and reads anew when it wakes.
const RESTING: u64 = u64::MAX;

/// How long the publisher looks without pause, and how long it sleeps between two looks after that.
const SPIN: Duration = Duration::from_micros(50);

/// The current generation, and how far each worker has come.
#[derive(Debug)]
pub struct Swap<G> {
    version: CachePadded<AtomicU64>,
    current: Mutex<Arc<G>>,
    seen: Box<[CachePadded<AtomicU64>]>,
}

/// A worker did not come to a batch edge in time. The new generation is published all the same, and
/// the old one is freed when the worker gets there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} did not reach a batch edge within {waited_ms} ms")]
pub struct NotQuiescent {
    /// Which worker.
    pub worker: usize,
    /// How long was waited.
    pub waited_ms: u64,
}

impl<G> Swap<G> {
    /// The first generation, for so many workers, all at rest.
    pub fn new(first: Arc<G>, workers: usize) -> Arc<Self> {
        let seen = (0..workers).map(|_| CachePadded::new(AtomicU64::new(RESTING))).collect();
        Arc::new(Self { version: CachePadded::new(AtomicU64::new(1)), current: Mutex::new(first), seen })
    }

    /// The generation that is current now.
    pub fn current(&self) -> Arc<G> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many generations there have been.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes `next` current, waits until every worker has left the one before, and frees it here.
    /// Answers how long that took.
    pub fn publish(&self, next: Arc<G>, limit: Duration) -> Result<Duration, NotQuiescent> {
        let (old, took) = self.replace(next, limit);
        drop(old);
        took
    }

    /// The same, and gives the one before back. Unless a worker did not leave it in time, or someone else
    /// looks at it ([`Swap::current`]), nobody else has it any more.
    pub fn replace(&self, next: Arc<G>, limit: Duration) -> (Arc<G>, Result<Duration, NotQuiescent>) {
        let start = Instant::now();
        let (old, version) = self.exchange(next);
        let worker = self.wait(version, start + limit).first().copied();
        let waited = start.elapsed();
        let late = |worker| Err(NotQuiescent { worker, waited_ms: waited.as_millis() as u64 });
        (old, worker.map_or(Ok(waited), late))
    }

    /// Makes `next` current, and gives the one before with the number of the new one. Workers may use the one
    /// before until [`Swap::wait`] for that number says that none is left.
    pub fn exchange(&self, next: Arc<G>) -> (Arc<G>, u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, next);
        // Inside the lock, so that whoever sees the number finds this generation or a later one.
        (old, self.version.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Waits until no worker uses a generation before `version`; answers those that still do at the deadline.
    pub fn wait(&self, version: u64, deadline: Instant) -> Vec<usize> {
        let behind = |worker: &usize| self.seen[*worker].load(Ordering::Acquire) < version;
        let mut late: Vec<usize> = (0..self.seen.len()).collect();
        let start = Instant::now();
        loop {
            late.retain(behind);
            let now = Instant::now();
            if late.is_empty() || now >= deadline {
                return late;
            }
            // A turn takes microseconds. After some of them a worker has lost its core, perhaps to us: yielding
            // would give it a whole slice of time, and us nothing until that is over.
            match now - start < SPIN {
                true => std::hint::spin_loop(),
                false => std::thread::sleep(SPIN),
            }
        }
    }

    /// The current generation and its number, for a worker that says by this that it has left all others;
    /// `entering` is called before that is said.
    #[cold]
    fn take(&self, worker: usize, entering: impl FnOnce(u64)) -> (Arc<G>, u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Inside the lock, as the publisher counts.
        let version = self.version.load(Ordering::Acquire);
        entering(version);
        self.seen[worker].store(version, Ordering::Release);
        (Arc::clone(&current), version)
    }

    /// The view of one worker. Two readers with the same number would speak for each other.
    pub fn reader(self: &Arc<Self>, worker: usize) -> Reader<G> {
        Reader { swap: Arc::clone(self), worker, version: 0, generation: None }
    }
}

/// What one worker sees of a [`Swap`]. It begins at rest.
#[derive(Debug)]
pub struct Reader<G> {
    swap: Arc<Swap<G>>,
    worker: usize,
    version: u64,
    /// None at rest: what is not used is not kept.
    generation: Option<Arc<G>>,
}

impl<G> Reader<G> {
    /// The generation for the next batch: call it at each batch edge, hold nothing of the last.
    #[inline]
    pub fn edge(&mut self) -> &G {
        self.edge_with(|_| {})
    }

    /// The same; `entering` is called with the new one's number when it is another than that of the last edge
    /// (also after a rest), before the publisher learns that this worker has left the one before.
    #[inline]
    pub fn edge_with(&mut self, entering: impl FnOnce(u64)) -> &G {
        if self.swap.version.load(Ordering::Acquire) != self.version {
            self.generation = None;
        }
        self.current(entering)
    }

    /// The generation of the last edge, or the current one after a rest.
    #[inline]
    pub fn now(&mut self) -> &G {
        self.current(|_| {})
    }

    #[inline]
    fn current(&mut self, entering: impl FnOnce(u64)) -> &G {
        let Self { swap, worker, version, generation } = self;
        generation.get_or_insert_with(|| {
            let (current, number) = swap.take(*worker, entering);
            *version = number;
            current
        })
    }

    /// Says that this worker uses no generation until its next [`Reader::edge`].
    pub fn rest(&mut self) {
        self.version = 0;
        self.generation = None;
        self.swap.seen[self.worker].store(RESTING, Ordering::Release);
    }
}

impl<G> Drop for Reader<G> {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Counts itself alive, and is poisoned when freed.
    struct Marked {
        number: u64,
        freed: Arc<AtomicU64>,
    }

    impl Drop for Marked {
        fn drop(&mut self) {
            self.freed.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn workers_see_generations_in_order_and_the_publisher_frees_them() {
        let freed = Arc::new(AtomicU64::new(0));
        let marked = |number| Arc::new(Marked { number, freed: Arc::clone(&freed) });
        let swap = Swap::new(marked(1), 2);
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let (mut reader, stop) = (swap.reader(worker), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let number = reader.edge().number;
                        assert!(number >= last, "generation {number} after {last}");
                        last = number;
                    }
                })
            })
            .collect();
        for number in 2..=200 {
            swap.publish(marked(number), Duration::from_secs(10)).unwrap();
            assert_eq!(freed.load(Ordering::SeqCst), number - 1, "freed when publish returns");
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(swap.version(), 200);
    }

    #[test]
    fn a_worker_in_a_batch_holds_the_old_generation_and_is_named() {
        let swap = Swap::new(Arc::new(1), 1);
        let mut reader = swap.reader(0);
        let inside = *reader.edge();
        let error = swap.publish(Arc::new(2), Duration::from_millis(5)).unwrap_err();
        assert_eq!((inside, error.worker), (1, 0));
        assert_eq!(*reader.edge(), 2);
        reader.rest();
        swap.publish(Arc::new(3), Duration::from_millis(5)).expect("a resting worker holds up nobody");
        let (old, _) = swap.replace(Arc::new(4), Duration::from_millis(5));
        assert_eq!(Arc::try_unwrap(old), Ok(3), "and keeps nothing");
        assert_eq!(*reader.now(), 4, "and wakes to the current one");
    }
}
