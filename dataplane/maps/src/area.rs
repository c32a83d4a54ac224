//! An area of memory cut into equal strides: where values, slots and buckets live.

use std::sync::atomic::{AtomicU32, AtomicU64};

use weir_sys::mapping::{Commit, Mapping};

use crate::MapError;

/// `count` strides of zeroed memory at an address that never changes.
#[derive(Debug)]
pub(crate) struct Area {
    memory: Mapping,
    stride: usize,
    count: usize,
}

impl Area {
    /// Maps `count` strides (a multiple of 8 bytes each).
    pub(crate) fn new(count: usize, stride: usize, commit: Commit) -> Result<Area, MapError> {
        assert!(stride > 0 && stride.is_multiple_of(8), "strides keep values aligned");
        let bytes = count.checked_mul(stride).ok_or(MapError::Memory { bytes: usize::MAX })?;
        let memory = Mapping::zeroed(bytes, commit).map_err(|_| MapError::Memory { bytes })?;
        Ok(Area { memory, stride, count })
    }

    /// The same on huge pages, if there are any: for areas that grow at the control side's pace.
    pub(crate) fn huge(self) -> Area {
        self.memory.advise_huge();
        self
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.memory.base()
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The address of a stride.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.count);
        // In-range indices stay inside the mapping; others give an address that must not be used, which is
        // why this is arithmetic and not a dereference.
        self.memory.base().wrapping_add(index * self.stride)
    }

    /// The stride that holds all of `addr..addr + len`, and where in it the range begins.
    pub(crate) fn locate(&self, addr: usize, len: usize) -> Option<(usize, usize)> {
        let offset = addr.checked_sub(self.base() as usize)?;
        let (index, inside) = (offset / self.stride, offset % self.stride);
        (index < self.count && inside.checked_add(len)? <= self.stride).then_some((index, inside))
    }

    /// The first four bytes of a stride.
    #[inline]
    pub(crate) fn u32_at(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.count);
        // SAFETY: the index is in range (asserted), strides are at least 8 bytes and aligned to 8 (asserted
        // in `new`), the memory is zeroed or was written through atomics, and lives as long as self.
        unsafe { &*self.at(index).cast::<AtomicU32>() }
    }

    /// The first eight bytes of a stride.
    #[inline]
    pub(crate) fn u64_at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count);
        // SAFETY: as in `u32_at`.
        unsafe { &*self.at(index).cast::<AtomicU64>() }
    }

    /// Bytes mapped, touched or not.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.len()
    }

    pub(crate) fn populate(&self) {
        self.memory.populate(self.count * self.stride);
    }
}
