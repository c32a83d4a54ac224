//! `BPF_MAP_TYPE_PROG_ARRAY`: what tail calls go to.
//!
//! An entry is a number of the generation's program table: 0 is empty, `n + 1` is program `n`. User space
//! reads and writes `n`, where bpf(2) has program ids and descriptors.

use std::sync::atomic::{AtomicU32, Ordering};

use weir_ebpf::abi::Errno;
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;
use crate::array::{index_of, next_index};
use crate::storage::{Done, Kind};

#[derive(Debug)]
pub(crate) struct ProgArray {
    slots: Area,
    len: usize,
}

impl ProgArray {
    pub(crate) fn new(spec: &MapSpec) -> Result<ProgArray, MapError> {
        let len = spec.max_entries as usize;
        // Two entries of 4 bytes share a stride of 8.
        Ok(ProgArray { slots: Area::new(len.div_ceil(2), 8, Commit::Lazily)?, len })
    }

    /// Entry 0; entry `i` is `4 * i` bytes further, for `i < len`.
    pub(crate) fn base(&self) -> (*const u32, usize) {
        (self.slots.base().cast(), self.len)
    }

    fn entry(&self, index: usize) -> Option<&AtomicU32> {
        // SAFETY: the index is in range, so the word lies inside `slots`; entries are only touched as atomics
        // (compiled code reads them with aligned 4-byte loads).
        (index < self.len).then(|| unsafe { &*self.slots.base().cast::<AtomicU32>().add(index) })
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> u32 {
        self.entry(index as usize).map_or(0, |entry| entry.load(Ordering::Acquire))
    }
}

impl Kind for ProgArray {
    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        let entry = self.entry(index_of(key)).map_or(0, |entry| entry.load(Ordering::Acquire));
        Ok(entry.checked_sub(1).ok_or(Errno::ENOENT)?.to_ne_bytes().to_vec())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let entry = self.entry(index_of(key)).ok_or(Errno::E2BIG)?;
        let program = value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)?;
        entry.store(program.checked_add(1).ok_or(Errno::EBADF)?, Ordering::Release);
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Done {
        let entry = self.entry(index_of(key)).ok_or(Errno::E2BIG)?;
        match entry.swap(0, Ordering::AcqRel) {
            0 => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(after, self.len)
    }

    fn entries(&self) -> usize {
        (0..self.len as u32).filter(|index| self.slot(*index) != 0).count()
    }

    fn bytes(&self) -> usize {
        self.slots.bytes()
    }
}
