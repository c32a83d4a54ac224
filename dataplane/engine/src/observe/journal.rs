//! The last few things that were said, numbered, for any number of readers: lines of `bpf_trace_printk`,
//! events. Whoever is late misses the oldest, and is told how many.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something said, with its number from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its number.
    pub number: u64,
    /// What was said.
    pub said: T,
}

/// A bounded list that forgets from the front. It locks, so it is not for workers' packets.
#[derive(Debug)]
pub struct Journal<T> {
    kept: Mutex<Kept<T>>,
    news: Condvar,
    most: usize,
}

#[derive(Debug)]
struct Kept<T> {
    entries: VecDeque<T>,
    /// The number of the first one kept.
    first: u64,
    closed: bool,
}

impl<T: Clone> Journal<T> {
    /// Keeps the last `most` entries, at least one.
    pub fn new(most: usize) -> Self {
        let kept = Kept { entries: VecDeque::new(), first: 0, closed: false };
        Self { kept: Mutex::new(kept), news: Condvar::new(), most: most.max(1) }
    }

    /// Adds one.
    pub fn say(&self, said: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.entries.len() == self.most {
            kept.entries.pop_front();
            kept.first += 1;
        }
        kept.entries.push_back(said);
        drop(kept);
        self.news.notify_all();
    }

    /// The number that the next entry will have.
    pub fn next(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.first + kept.entries.len() as u64
    }

    /// At most `most` entries from number `from` on; waits for one no longer than `limit`. A first number
    /// above `from` says that those between are forgotten. `None`: nothing will be said any more.
    pub fn read(&self, from: u64, most: usize, limit: Duration) -> Option<Vec<Entry<T>>> {
        let end = Instant::now() + limit;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let skip = from.saturating_sub(kept.first) as usize;
            let found: Vec<Entry<T>> = kept
                .entries
                .iter()
                .enumerate()
                .skip(skip)
                .take(most)
                .map(|(at, said)| Entry { number: kept.first + at as u64, said: said.clone() })
                .collect();
            let left = end.saturating_duration_since(Instant::now());
            match (found.is_empty(), kept.closed) {
                (false, _) => return Some(found),
                (true, true) => return None,
                (true, false) if left.is_zero() => return Some(found),
                (true, false) => {}
            }
            kept = self.news.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes all readers for the last time.
    pub fn close(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_late_reader_sees_by_the_numbers_what_it_missed() {
        let journal = Journal::new(3);
        assert_eq!(journal.read(0, 9, NOW), Some(vec![]));
        (0..5).for_each(|n| journal.say(n));
        let read = journal.read(1, 2, NOW).unwrap();
        assert_eq!(read, [Entry { number: 2, said: 2 }, Entry { number: 3, said: 3 }]);
        assert_eq!(journal.read(4, 9, NOW).unwrap(), [Entry { number: 4, said: 4 }]);
        assert_eq!((journal.read(5, 9, NOW), journal.next()), (Some(vec![]), 5));
        journal.close();
        assert_eq!(journal.read(5, 9, Duration::from_secs(60)), None);
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let journal = std::sync::Arc::new(Journal::new(3));
        let reader = {
            let journal = std::sync::Arc::clone(&journal);
            std::thread::spawn(move || journal.read(0, 9, Duration::from_secs(60)))
        };
        journal.say("news");
        assert_eq!(reader.join().unwrap().unwrap()[0].said, "news");
    }
}
