//! `BPF_MAP_TYPE_CGROUP_ARRAY` and `BPF_MAP_TYPE_STACK_TRACE`: created so that programs which name them load,
//! and empty for ever, since no packet here belongs to a cgroup or has a kernel stack.

use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;

use crate::array::{index_of, next_index};
use crate::storage::{Done, Kind};

#[derive(Debug)]
pub(crate) struct Empty {
    kind: MapKind,
    len: usize,
}

impl Empty {
    pub(crate) fn new(spec: &MapSpec) -> Empty {
        Empty { kind: spec.kind, len: spec.max_entries as usize }
    }

    fn cgroups(&self) -> bool {
        self.kind == MapKind::CgroupArray
    }
}

impl Kind for Empty {
    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(if self.cgroups() { Errno::ENOTSUPP } else { Errno::ENOENT })
    }

    /// A cgroup array takes descriptors of cgroups, which nobody here can have.
    fn write(&self, key: &[u8], _value: &[u8], flags: u64) -> Done {
        match self.cgroups() && flags == 0 {
            true if index_of(key) >= self.len => Err(Errno::E2BIG),
            true => Err(Errno::EBADF),
            false => Err(Errno::EINVAL),
        }
    }

    fn remove(&self, key: &[u8]) -> Done {
        Err(if index_of(key) >= self.len { Errno::E2BIG } else { Errno::ENOENT })
    }

    fn take(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(if self.cgroups() { Errno::ENOTSUPP } else { Errno::ENOENT })
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        if self.cgroups() { next_index(after, self.len) } else { Err(Errno::ENOENT) }
    }

    fn entries(&self) -> usize {
        0
    }

    fn bytes(&self) -> usize {
        0
    }
}
