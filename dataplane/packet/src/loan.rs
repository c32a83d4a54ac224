//! Frames that somebody outside has: a kernel's rings, a device. An account of which, so that each comes back once.
//!
//! Lending ends the frame here and gives its address; settling takes an address, from whoever brings it, and gives
//! the frame only if that very chunk is lent. So whatever a kernel answers, no chunk ever has two owners on this
//! side, and at the end exactly those not settled yet can be had back.

use std::fmt;
use std::sync::Arc;

use crate::frame::{Frame, HEADROOM};
use crate::umem::Umem;

/// Which chunks of a umem are lent.
pub struct Loans {
    umem: Arc<Umem>,
    /// A bit per chunk, set while it is lent.
    lent: Box<[u64]>,
    count: usize,
    base_mask: u64,
    shift: u32,
}

/// Why an address and a length are no packet of a lent frame.
#[derive(Debug)]
pub enum Unsettled {
    /// The chunk is not lent.
    NotLent,
    /// It was, but the packet would reach beyond it; here is the frame, with no bytes in it.
    Beyond(Frame),
}

impl Loans {
    /// An account with nothing lent.
    pub fn new(umem: &Arc<Umem>) -> Loans {
        let size = umem.chunk_size().bytes() as u64;
        Loans {
            umem: Arc::clone(umem),
            lent: vec![0; umem.chunks().div_ceil(64)].into(),
            count: 0,
            base_mask: size - 1,
            shift: size.trailing_zeros(),
        }
    }

    /// Lends a frame and says where its data begins, as an offset in the umem.
    ///
    /// # Panics
    /// When the frame is of another umem: that one's address means something else here.
    #[inline]
    pub fn lend(&mut self, frame: Frame) -> u64 {
        let Some(chunk) = self.umem.number(&frame) else { strange(&frame, &self.umem) };
        let address = (u64::from(chunk) << self.shift) + frame.start() as u64;
        // A frame is the only owner of its chunk, so the bit cannot be set already.
        self.lent[chunk as usize / 64] |= 1 << (chunk % 64);
        self.count += 1;
        address
    }

    /// The frame lent whose chunk holds this address, with no bytes in it; `None` when none such is lent.
    #[inline]
    pub fn settle(&mut self, address: u64) -> Option<Frame> {
        let chunk = address >> self.shift;
        let word = self.lent.get_mut((chunk / 64) as usize)?;
        let bit = 1 << (chunk % 64);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.count -= 1;
        // SAFETY: the bit was set, so `lend` consumed the frame that owned this chunk and nobody had it back
        // since; bits beyond the last chunk are never set.
        Some(unsafe { self.umem.again(chunk as u32) })
    }

    /// As [`Loans::settle`], with the `len` bytes from `address` on as its packet.
    #[inline]
    pub fn settle_packet(&mut self, address: u64, len: u32) -> Result<Frame, Unsettled> {
        let mut frame = self.settle(address).ok_or(Unsettled::NotLent)?;
        let start = address & self.base_mask;
        let end = start + u64::from(len);
        if end > self.base_mask + 1 {
            return Err(Unsettled::Beyond(frame));
        }
        frame.set_range(start as usize..end as usize);
        Ok(frame)
    }

    /// Whether the chunk that holds this address is lent.
    pub fn has(&self, address: u64) -> bool {
        let chunk = address >> self.shift;
        let word = usize::try_from(chunk / 64).ok().and_then(|word| self.lent.get(word));
        word.is_some_and(|word| word & (1 << (chunk % 64)) != 0)
    }

    /// Settles every frame that is lent: for who knows that nobody out there will touch them any more. Says how
    /// many they were.
    pub fn settle_all(&mut self, mut with: impl FnMut(Frame)) -> usize {
        let count = self.count;
        for at in 0..self.lent.len() {
            while self.lent[at] != 0 {
                let chunk = at as u64 * 64 + u64::from(self.lent[at].trailing_zeros());
                self.settle(chunk << self.shift).map(&mut with);
            }
        }
        count
    }

    /// How many frames are lent.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The umem whose frames these are.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Brings every lent chunk home to the umem, past any pool: for an owner that ends without one at hand, and
    /// knows that nobody out there will touch them any more.
    pub fn home(&mut self) {
        let umem = Arc::clone(&self.umem);
        self.settle_all(|frame| umem.bring_home(frame));
    }
}

#[cold]
#[inline(never)]
fn strange(frame: &Frame, umem: &Umem) -> ! {
    panic!("{frame:?} is not of {umem:?}: frames are lent with their own umem")
}

impl fmt::Debug for Loans {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Loans({} frames of {:?})", self.count, self.umem)
    }
}

// A fresh frame's data begins where AF_XDP puts packets in a chunk: the umem has no headroom of its own.
const _: () = assert!(HEADROOM == 256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::ChunkSize;

    #[test]
    fn a_frame_comes_back_once_wherever_in_its_chunk_it_is_addressed() {
        let umem = Umem::new(100, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(100).unwrap();
        let mut loans = Loans::new(&umem);
        let mut frame = pool.take().unwrap();
        frame.fill(b"packet").unwrap();
        let address = loans.lend(frame);
        assert_eq!((address, loans.count()), (256, 1));
        let frame = loans.settle_packet(address, 6).unwrap();
        assert_eq!((frame.bytes(), loans.count()), (b"packet" as &[u8], 0));
        assert!(loans.settle_packet(address, 6).is_err());
        let address = loans.lend(frame);
        let frame = loans.settle(address - 256 + 2047).unwrap();
        assert_eq!((frame.len(), frame.start()), (0, HEADROOM));
        pool.put(frame);
    }

    #[test]
    fn nonsense_settles_nothing() {
        let umem = Umem::new(65, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(65).unwrap();
        let mut loans = Loans::new(&umem);
        let address = loans.lend(pool.take().unwrap());
        for nonsense in [2048, 65 * 2048, 64 * 2048, u64::MAX, 1 << 63, 128 * 2048] {
            assert!(loans.settle(nonsense).is_none() && loans.settle_packet(nonsense, 1).is_err());
        }
        assert!(loans.has(address) && loans.count() == 1);
        for len in [1793, u32::MAX] {
            let Err(Unsettled::Beyond(frame)) = loans.settle_packet(address, len) else { panic!("{len}") };
            assert!(frame.is_empty());
            assert_eq!(loans.lend(frame), address);
        }
        pool.put(loans.settle_packet(address, 1792).unwrap());
    }

    #[test]
    fn what_is_lent_at_the_end_comes_back_exactly() {
        let umem = Umem::new(200, ChunkSize::Page).unwrap();
        let mut pool = umem.pool(150).unwrap();
        let mut loans = Loans::new(&umem);
        let addresses: Vec<_> = std::iter::from_fn(|| pool.take()).map(|frame| loans.lend(frame)).collect();
        for address in addresses.iter().step_by(3) {
            pool.put(loans.settle(*address).unwrap());
        }
        assert_eq!((loans.count(), pool.free()), (100, 50));
        assert_eq!(loans.settle_all(|frame| pool.put(frame)), 100);
        assert_eq!((loans.count(), pool.free()), (0, 150));
        loans.lend(pool.take().unwrap());
        loans.home();
        assert_eq!((loans.count(), umem.home()), (0, 51));
    }
}
