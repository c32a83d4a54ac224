//! `BPF_MAP_TYPE_PERF_EVENT_ARRAY`: the gate before the sink of `bpf_perf_event_output`.
//!
//! Records go to the virtual machine's environment; the map says only whether an index has a listener.
//! Every index has one from the start, since the sink takes all: user space may close single ones.

use std::sync::atomic::Ordering;

use weir_ebpf::abi::Errno;
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;
use crate::array::{index_of, next_index};
use crate::storage::{Done, Kind};

/// `BPF_F_INDEX_MASK`; all bits set mean the running CPU (`BPF_F_CURRENT_CPU`).
const INDEX_MASK: u64 = 0xffff_ffff;
/// `BPF_F_CTXLEN_MASK`: how many bytes of the packet follow the record.
const CTXLEN_MASK: u64 = 0xf_ffff << 32;

#[derive(Debug)]
pub(crate) struct PerfEventArray {
    /// 0: open; 1: closed.
    closed: Area,
    len: usize,
}

impl PerfEventArray {
    pub(crate) fn new(spec: &MapSpec) -> Result<PerfEventArray, MapError> {
        let len = spec.max_entries as usize;
        Ok(PerfEventArray { closed: Area::new(len, 8, Commit::Lazily)?, len })
    }

    /// The index that a record with these flags goes to (`__bpf_perf_event_output`).
    pub(crate) fn slot(&self, flags: u64, cpu: usize) -> Result<u32, Errno> {
        if flags & !(INDEX_MASK | CTXLEN_MASK) != 0 {
            return Err(Errno::EINVAL);
        }
        let index = match flags & INDEX_MASK {
            INDEX_MASK => cpu,
            index => index as usize,
        };
        if index >= self.len {
            return Err(Errno::E2BIG);
        }
        match self.closed.u32_at(index).load(Ordering::Relaxed) {
            0 => Ok(index as u32),
            _ => Err(Errno::ENOENT),
        }
    }

    fn set(&self, key: &[u8], closed: u32) -> Result<u32, Errno> {
        let index = index_of(key);
        if index >= self.len {
            return Err(Errno::E2BIG);
        }
        Ok(self.closed.u32_at(index).swap(closed, Ordering::Relaxed))
    }
}

impl Kind for PerfEventArray {
    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: u64) -> Done {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.set(key, 0).map(|_| ())
    }

    fn remove(&self, key: &[u8]) -> Done {
        match self.set(key, 1)? {
            0 => Ok(()),
            _ => Err(Errno::ENOENT),
        }
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(after, self.len)
    }

    fn entries(&self) -> usize {
        (0..self.len).filter(|index| self.closed.u32_at(*index).load(Ordering::Relaxed) == 0).count()
    }

    fn bytes(&self) -> usize {
        self.closed.bytes()
    }
}
