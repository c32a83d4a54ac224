//! Things from workers to one reader, through buffers that are made once and go round.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

/// A bounded way from any number of workers to a reader. Offering neither waits nor allocates.
pub struct Pipe<T> {
    free: ArrayQueue<Box<T>>,
    full: ArrayQueue<Box<T>>,
    offered: AtomicU64,
    lost: AtomicU64,
    closed: AtomicBool,
}

impl<T> Pipe<T> {
    /// Room for `depth` things, at least one, each made empty here.
    pub fn new(depth: usize, mut empty: impl FnMut() -> T) -> Self {
        let depth = depth.max(1);
        let free = ArrayQueue::new(depth);
        for _ in 0..depth {
            // There is room for all of them.
            let _ = free.push(Box::new(empty()));
        }
        Self {
            free,
            full: ArrayQueue::new(depth),
            offered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Fills a free buffer and passes it on; false, and counted as lost, when the reader has left none.
    #[inline]
    pub fn offer(&self, fill: impl FnOnce(&mut T)) -> bool {
        self.offered.fetch_add(1, Ordering::Relaxed);
        let Some(mut buffer) = self.free.pop() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        fill(&mut buffer);
        // As many buffers as places: there is room.
        let _ = self.full.push(buffer);
        true
    }

    /// The next thing; its buffer goes back when the answer is dropped.
    pub fn take(&self) -> Option<Taken<'_, T>> {
        self.full.pop().map(|buffer| Taken { buffer: Some(buffer), pipe: self })
    }

    /// How many were offered, lost ones included.
    pub fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    /// How many were lost because the reader was too slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Says that no more will come.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether no more will come: what is there already can still be taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl<T> fmt::Debug for Pipe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipe({} of {} waiting, {} lost)", self.full.len(), self.full.capacity(), self.lost())
    }
}

/// Something taken from a [`Pipe`].
#[derive(Debug)]
pub struct Taken<'p, T> {
    buffer: Option<Box<T>>,
    pipe: &'p Pipe<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Taken only in `drop`.
        self.buffer.as_ref().expect("a taken buffer is there until it is dropped")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let _ = self.pipe.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_offered_is_taken_in_order_or_counted_as_lost() {
        let pipe = Pipe::new(2, || 0);
        assert!(pipe.offer(|slot| *slot = 1));
        assert!(pipe.offer(|slot| *slot = 2));
        assert!(!pipe.offer(|slot| *slot = 3));
        let first = pipe.take().unwrap();
        assert!(!pipe.offer(|slot| *slot = 4), "the first is still being read");
        assert_eq!(*first, 1);
        drop(first);
        assert!(pipe.offer(|slot| *slot = 5));
        assert_eq!([*pipe.take().unwrap(), *pipe.take().unwrap()], [2, 5]);
        assert_eq!((pipe.offered(), pipe.lost(), pipe.take().is_none()), (5, 2, true));
    }

    #[test]
    fn many_workers_share_a_pipe_without_losing_count() {
        let pipe = Arc::new(Pipe::new(64, || 0_u64));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let pipe = Arc::clone(&pipe);
                std::thread::spawn(move || (0..10_000).filter(|n| pipe.offer(|slot| *slot = *n)).count())
            })
            .collect();
        let mut taken = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            taken += std::iter::from_fn(|| pipe.take()).count();
        }
        taken += std::iter::from_fn(|| pipe.take()).count();
        let kept: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!((taken, pipe.offered(), pipe.lost() as usize), (kept, 40_000, 40_000 - kept));
    }
}
