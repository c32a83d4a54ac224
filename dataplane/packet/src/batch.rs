//! Up to 64 frames that go through the stages together: the unit of the hot loop. Order is arrival order.

use std::fmt;
use std::mem::MaybeUninit;

use crate::frame::Frame;

/// How many frames a batch holds at most.
pub const BATCH: usize = 64;

/// Up to [`BATCH`] frames, in order, without allocation.
///
/// Dropping a batch drops its frames, which leaks their chunks: empty it into a pool first.
pub struct Batch {
    // Slots below `len` hold frames, the others nothing.
    slots: [MaybeUninit<Frame>; BATCH],
    len: usize,
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Batch {
        Batch { slots: [const { MaybeUninit::uninit() }; BATCH], len: 0 }
    }

    /// How many frames are in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more fit.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH - self.len
    }

    /// Adds a frame at the end, or gives it back when the batch is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(frame) };
        slot.write(frame);
        self.len += 1;
        Ok(())
    }

    /// Removes the last frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: slots below the old len hold frames; this one is now at or above len, so it is read once.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// All frames, in order.
    #[inline]
    pub fn frames(&self) -> &[Frame] {
        // SAFETY: the first `len` slots hold frames, and MaybeUninit<Frame> is laid out as Frame.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// All frames, in order, to change.
    #[inline]
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        // SAFETY: as in `frames`; `&mut self` excludes other borrows.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// The frames in order.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Frame> {
        self.frames().iter()
    }

    /// The frames in order, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Frame> {
        self.frames_mut().iter_mut()
    }

    /// Takes all frames out, in order. Those not asked for before the iterator ends are dropped, that is, leaked.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = std::mem::take(&mut self.len);
        Drain { batch: self, next: 0, end }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.frames()).finish()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Batch {
    type Item = &'a mut Frame;
    type IntoIter = std::slice::IterMut<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// The frames on their way out of a batch.
pub struct Drain<'a> {
    batch: &'a mut Batch,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        // SAFETY: the slots from `next` to `end` (the batch's former len) hold frames, and the batch's len is 0,
        // so this slot is read here once and nowhere else.
        Some(unsafe { self.batch.slots[self.next - 1].assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Drain<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::{ChunkSize, Umem};

    #[test]
    fn a_batch_keeps_order_and_never_holds_more_than_it_says() {
        let umem = Umem::new(BATCH + 1, ChunkSize::Page).unwrap();
        let mut pool = umem.pool(BATCH + 1).unwrap();
        let mut batch = Batch::new();
        for number in 0..BATCH {
            let mut frame = pool.take().unwrap();
            frame.record = number as u32;
            batch.push(frame).unwrap();
        }
        let spare = batch.push(pool.take().unwrap()).unwrap_err();
        pool.put(spare);
        assert_eq!((batch.len(), batch.room()), (BATCH, 0));
        assert!(batch.iter().enumerate().all(|(at, frame)| frame.record == at as u32));
        for (at, frame) in batch.drain().enumerate() {
            assert_eq!(frame.record, at as u32);
            pool.put(frame);
        }
        assert!(batch.is_empty() && batch.pop().is_none());
        assert_eq!(pool.free(), BATCH + 1);
    }

    #[test]
    fn a_full_batch_goes_back_whole() {
        let umem = Umem::new(8, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(8).unwrap();
        let mut batch = Batch::new();
        while let Some(frame) = pool.take() {
            batch.push(frame).unwrap();
        }
        pool.put_all(&mut batch);
        assert_eq!((pool.free(), batch.len()), (8, 0));
    }
}
