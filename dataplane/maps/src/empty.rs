//! Kinds that are created so that programs which name them load, and stay empty for ever: no packet here
//! belongs to a cgroup, has a kernel stack, or comes from a socket that anyone could put into a map.
//!
//! `BPF_MAP_TYPE_CGROUP_ARRAY`, `STACK_TRACE`, `SOCKMAP`, `SOCKHASH` and `SK_STORAGE`
//! (kernel/bpf/arraymap.c, stackmap.c, net/core/sock_map.c, bpf_sk_storage.c).

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

    /// Whether keys are indices, of which each is there.
    fn indexed(&self) -> bool {
        matches!(self.kind, MapKind::CgroupArray | MapKind::Sockmap)
    }

    /// What a lookup says of a key that has nothing.
    fn nothing(&self) -> Errno {
        match self.kind {
            MapKind::CgroupArray => Errno::ENOTSUPP,
            // Its keys are descriptors.
            MapKind::SkStorage => Errno::EBADF,
            _ => Errno::ENOENT,
        }
    }
}

impl Kind for Empty {
    unsafe fn delete(&self, _key: *const u8) -> Done {
        Err(if self.kind == MapKind::Sockhash { Errno::ENOENT } else { Errno::EINVAL })
    }

    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(self.nothing())
    }

    /// They take descriptors of cgroups and sockets, which nobody here can have.
    fn write(&self, key: &[u8], _value: &[u8], flags: u64) -> Done {
        const FLAGS_MAX: u64 = 2;
        let allowed = match self.kind {
            MapKind::CgroupArray => flags == 0,
            MapKind::Sockmap | MapKind::Sockhash | MapKind::SkStorage => flags <= FLAGS_MAX,
            _ => false,
        };
        match allowed {
            true if self.indexed() && index_of(key) >= self.len => Err(Errno::E2BIG),
            true => Err(Errno::EBADF),
            false => Err(Errno::EINVAL),
        }
    }

    fn remove(&self, key: &[u8]) -> Done {
        Err(match self.kind {
            MapKind::Sockmap => Errno::EINVAL,
            MapKind::Sockhash => Errno::ENOENT,
            MapKind::SkStorage => Errno::EBADF,
            _ if index_of(key) >= self.len => Errno::E2BIG,
            _ => Errno::ENOENT,
        })
    }

    fn take(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(if self.kind == MapKind::StackTrace { Errno::ENOENT } else { Errno::ENOTSUPP })
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        match self.kind {
            MapKind::SkStorage => Err(Errno::ENOTSUPP),
            _ if self.indexed() => next_index(after, self.len),
            _ => Err(Errno::ENOENT),
        }
    }

    fn entries(&self) -> usize {
        0
    }

    fn bytes(&self) -> usize {
        0
    }
}
