//! The chunks one worker may fill: a stack, so that the chunk used last, warm in the cache, is used next.
//!
//! Taking and giving back touch nothing that another worker writes. A frame may come back to another pool of the
//! same umem than it was taken from (it went out by another worker's port), so pools drift; [`Pool::level`] evens
//! them out through the umem's home list, under a lock, now and then and never per packet.

use std::fmt;
use std::sync::Arc;

use crate::batch::Batch;
use crate::frame::Frame;
use crate::umem::{Umem, UmemError};

/// Free chunks of one umem.
pub struct Pool {
    free: Vec<u32>,
    umem: Arc<Umem>,
}

impl Pool {
    pub(crate) fn new(umem: &Arc<Umem>, frames: usize) -> Result<Pool, UmemError> {
        // Room for every chunk there is, so that giving back never allocates, whoever gives.
        let mut free = Vec::with_capacity(umem.chunks());
        let mut list = umem.home_list();
        let home = list.len();
        let Some(rest) = home.checked_sub(frames) else {
            return Err(UmemError::Short { wanted: frames, home, chunks: umem.chunks() });
        };
        free.extend(list.drain(rest..));
        drop(list);
        Ok(Pool { free, umem: Arc::clone(umem) })
    }

    /// A frame with no bytes in it, or `None` when all are in use.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let chunk = self.free.pop()?;
        // SAFETY: `chunk` was in this pool's list, is in it no more, and lists hold a chunk once: it came from
        // the home list or from a frame that `release` ended.
        Some(unsafe { self.umem.claim(chunk) })
    }

    /// Ends a frame; its chunk is free again.
    ///
    /// # Panics
    /// When the frame is of another umem: it would be lost to that one, and this one cannot hold it.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        match self.umem.release(frame) {
            Ok(chunk) => self.free.push(chunk),
            Err(frame) => strange(&frame, &self.umem),
        }
    }

    /// Ends all frames of a batch, which is empty afterwards.
    #[inline]
    pub fn put_all(&mut self, batch: &mut Batch) {
        // From the back, so that the next batch is filled in the same order of chunks.
        while let Some(frame) = batch.pop() {
            self.put(frame);
        }
    }

    /// How many frames could be taken now.
    #[inline]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The umem that frames are taken from.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Whether `frame` may come back here.
    #[inline]
    pub fn owns(&self, frame: &Frame) -> bool {
        self.umem.number(frame).is_some()
    }

    /// Brings the free frames towards `wanted`: surplus goes to the umem's home list, shortage is made up from it
    /// as far as it goes. Takes a lock: for quiet moments. Answers how many are free now.
    pub fn level(&mut self, wanted: usize) -> usize {
        let mut home = self.umem.home_list();
        if self.free.len() > wanted {
            home.extend(self.free.drain(wanted..));
        } else {
            let take = (wanted - self.free.len()).min(home.len());
            let rest = home.len() - take;
            self.free.extend(home.drain(rest..));
        }
        self.free.len()
    }
}

#[cold]
#[inline(never)]
fn strange(frame: &Frame, umem: &Umem) -> ! {
    panic!("{frame:?} is not of {umem:?}: frames go back to a pool of their own umem")
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.umem.home_list().append(&mut self.free);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pool({} free of {:?})", self.free.len(), self.umem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HEADROOM;
    use crate::umem::ChunkSize;

    fn umem(chunks: usize) -> Arc<Umem> {
        Umem::new(chunks, ChunkSize::Half).unwrap()
    }

    #[test]
    fn every_frame_is_another_place_and_the_last_used_comes_first() {
        let umem = umem(4);
        let mut pool = umem.pool(4).unwrap();
        let frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let addresses: Vec<_> = frames.iter().map(|frame| umem.address(frame).unwrap()).collect();
        assert_eq!(addresses, [0, 1, 2, 3].map(|chunk| chunk * 2048 + HEADROOM as u64));
        for frame in frames {
            pool.put(frame);
        }
        let warm = pool.take().unwrap();
        assert_eq!(umem.address(&warm).unwrap(), 3 * 2048 + HEADROOM as u64);
        pool.put(warm);
    }

    #[test]
    fn frames_may_come_back_to_another_pool_of_the_umem() {
        let umem = umem(8);
        let (mut left, mut right) = (umem.pool(4).unwrap(), umem.pool(2).unwrap());
        assert_eq!(umem.home(), 2);
        while let Some(frame) = left.take() {
            right.put(frame);
        }
        assert_eq!((left.free(), right.free()), (0, 6));
        assert_eq!((right.level(2), left.level(4), umem.home()), (2, 4, 2));
        drop((left, right));
        assert_eq!(umem.home(), 8);
    }

    #[test]
    fn a_pool_larger_than_what_is_left_is_refused() {
        let umem = umem(8);
        let _six = umem.pool(6).unwrap();
        let words = umem.pool(3).unwrap_err().to_string();
        assert_eq!(words, "a pool of 3 frames cannot be filled: 2 of the umem's 8 are free");
        assert!(Umem::new(0, ChunkSize::Half).is_err());
    }

    #[test]
    #[should_panic(expected = "frames go back to a pool of their own umem")]
    fn a_frame_of_another_umem_is_not_taken() {
        let mut ours = umem(1).pool(1).unwrap();
        let mut theirs = umem(1).pool(1).unwrap();
        ours.put(theirs.take().unwrap());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "1 of 4 frames were never given back to a pool; chunks [0]")]
    fn a_leak_is_told_when_the_umem_goes() {
        let umem = umem(4);
        let mut pool = umem.pool(4).unwrap();
        let frame = pool.take().unwrap();
        drop((frame, pool, umem));
    }

    #[test]
    fn frames_travel_between_threads() {
        let umem = umem(64);
        let mut here = umem.pool(32).unwrap();
        let mut there = umem.pool(0).unwrap();
        let mut batch = Batch::new();
        for number in 0..32_u8 {
            let mut frame = here.take().unwrap();
            frame.fill(&[number; 60]).unwrap();
            batch.push(frame).unwrap();
        }
        let there = std::thread::spawn(move || {
            assert!(batch.iter().enumerate().all(|(at, frame)| frame.bytes() == [at as u8; 60]));
            there.put_all(&mut batch);
            there
        });
        assert_eq!(there.join().unwrap().free(), 32);
    }
}
