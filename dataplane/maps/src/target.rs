//! `BPF_MAP_TYPE_DEVMAP`, `DEVMAP_HASH`, `CPUMAP` and `XSKMAP`: where `bpf_redirect_map` sends frames.
//!
//! A target is eight bytes, published at once, so a reader never sees half of one:
//!
//! ```text
//!   | first word (port, queue length, socket) | program, counted from 1 (as `struct bpf_devmap_val`) |
//! ```
//!
//! Whether the port or socket exists is for the engine to say when it gives a target out; the kernel's check
//! of device numbers has no counterpart here. Follows kernel/bpf/devmap.c, cpumap.c and net/xdp/xskmap.c.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weir_ebpf::abi::map_kind::update_flags as flag;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;
use crate::array::{index, index_of, next_index};
use crate::hash::Hash;
use crate::storage::{Done, Kind};

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Out of a port, through a program if one is given.
    Port {
        /// Interface index.
        ifindex: u32,
        /// The map entry's own program, by number.
        program: Option<u32>,
    },
    /// To another worker, through a program if one is given.
    Worker {
        /// The worker's number.
        cpu: u32,
        /// Frames that may wait for it.
        queue: u32,
        /// The map entry's own program, by number.
        program: Option<u32>,
    },
    /// To an AF_XDP socket.
    Socket {
        /// The number that the control side put into the map.
        socket: u32,
    },
}

/// Longest queue of a CPU-map entry.
const QUEUE_MAX: u32 = 16384;
/// `NR_CPUS` of a distribution's kernel.
const CPUS_MAX: u32 = 8192;

/// Targets by index.
#[derive(Debug)]
pub(crate) struct TargetArray {
    kind: MapKind,
    slots: Area,
    len: usize,
    value_size: usize,
    cpus: usize,
    used: AtomicU32,
}

impl TargetArray {
    pub(crate) fn new(spec: &MapSpec, cpus: usize) -> Result<TargetArray, MapError> {
        if spec.kind == MapKind::Cpumap && spec.max_entries > CPUS_MAX {
            return Err(MapError::Refused {
                name: spec.name.clone(),
                kind: spec.kind,
                what: format!("{} entries, and there are at most {CPUS_MAX} CPUs", spec.max_entries),
                errno: Errno::E2BIG,
            });
        }
        let len = spec.max_entries as usize;
        let slots = Area::new(len, 8, Commit::Lazily)?;
        let used = AtomicU32::new(0);
        Ok(TargetArray { kind: spec.kind, slots, len, value_size: spec.value_size as usize, cpus, used })
    }

    pub(crate) fn target(&self, key: u64) -> Option<Target> {
        let index = usize::try_from(key).ok().filter(|index| *index < self.len)?;
        self.decode(key as u32, self.slots.u64_at(index).load(Ordering::Acquire))
    }

    fn decode(&self, key: u32, packed: u64) -> Option<Target> {
        let (first, program) = unpack(packed)?;
        Some(match self.kind {
            MapKind::Cpumap => Target::Worker { cpu: key, queue: first, program },
            // The socket's number is stored plus one, as 0 is empty.
            MapKind::Xskmap => Target::Socket { socket: first - 1 },
            _ => Target::Port { ifindex: first, program },
        })
    }

    /// What a value says, or `None` when it empties the entry.
    fn encode(&self, index: usize, value: &[u8]) -> Result<Option<u64>, Errno> {
        let (first, program) = words(value)?;
        match self.kind {
            MapKind::Cpumap if first > QUEUE_MAX => Err(Errno::EOVERFLOW),
            MapKind::Cpumap if index >= self.cpus => Err(Errno::ENODEV),
            MapKind::Cpumap if first == 0 => Ok(None),
            MapKind::Xskmap => Ok(Some(u64::from(first.checked_add(1).ok_or(Errno::EBADF)?))),
            _ if first == 0 && program != 0 => Err(Errno::EINVAL),
            _ if first == 0 => Ok(None),
            _ => Ok(Some(pack(first, program))),
        }
    }

    fn check_flags(&self, index: usize, flags: u64) -> Done {
        if flags > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        if index >= self.len {
            return Err(Errno::E2BIG);
        }
        let taken = self.slots.u64_at(index).load(Ordering::Acquire) != 0;
        match (self.kind, flags) {
            (MapKind::Xskmap, flag::NOEXIST) if taken => Err(Errno::EEXIST),
            (MapKind::Xskmap, flag::EXIST) if !taken => Err(Errno::ENOENT),
            (MapKind::Xskmap, _) => Ok(()),
            (_, flag::NOEXIST) => Err(Errno::EEXIST),
            (_, _) => Ok(()),
        }
    }

    fn set(&self, index: usize, packed: u64) {
        let old = self.slots.u64_at(index).swap(packed, Ordering::AcqRel);
        match (old, packed) {
            (0, 1..) => self.used.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => self.used.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

fn pack(first: u32, program: u32) -> u64 {
    u64::from(first) | u64::from(program) << 32
}

fn unpack(packed: u64) -> Option<(u32, Option<u32>)> {
    (packed != 0).then_some((packed as u32, ((packed >> 32) as u32).checked_sub(1)))
}

/// The one or two words of a value.
fn words(value: &[u8]) -> Result<(u32, u32), Errno> {
    let first = value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)?;
    let second = value.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    Ok((first, second))
}

impl Kind for TargetArray {
    unsafe fn lookup(&self, _cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller owes 4 readable bytes.
        let index = unsafe { index(key) };
        if index >= self.len || self.slots.u64_at(index).load(Ordering::Acquire) == 0 {
            return std::ptr::null_mut();
        }
        self.slots.at(index)
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        self.slots.locate(addr, len).is_some_and(|(_, inside)| inside + len <= self.value_size)
    }

    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        if self.kind == MapKind::Xskmap {
            return Err(Errno::EOPNOTSUPP);
        }
        let index = index_of(key);
        let packed = if index < self.len { self.slots.u64_at(index).load(Ordering::Acquire) } else { 0 };
        if packed == 0 {
            return Err(Errno::ENOENT);
        }
        Ok(packed.to_ne_bytes()[..self.value_size].to_vec())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        let index = index_of(key);
        self.check_flags(index, flags)?;
        self.set(index, self.encode(index, value)?.unwrap_or(0));
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Done {
        let index = index_of(key);
        if index >= self.len {
            return Err(Errno::EINVAL);
        }
        self.set(index, 0);
        Ok(())
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(after, self.len)
    }

    fn entries(&self) -> usize {
        self.used.load(Ordering::Relaxed) as usize
    }

    fn bytes(&self) -> usize {
        self.slots.bytes()
    }
}

/// Ports by any number: a hash table whose values are packed targets.
#[derive(Debug)]
pub(crate) struct TargetHash {
    table: Hash,
    value_size: usize,
}

impl TargetHash {
    pub(crate) fn new(spec: &MapSpec, cpus: usize) -> Result<TargetHash, MapError> {
        let shape = MapSpec::new(&spec.name, MapKind::Hash, 4, 8, spec.max_entries);
        Ok(TargetHash { table: Hash::new(&shape, cpus)?, value_size: spec.value_size as usize })
    }

    pub(crate) fn target(&self, key: u64) -> Option<Target> {
        let key = u32::try_from(key).ok()?.to_ne_bytes();
        // SAFETY: the key has 4 bytes.
        let place = unsafe { self.table.lookup(0, key.as_ptr()) };
        if place.is_null() {
            return None;
        }
        // SAFETY: a value of this table is 8 bytes, aligned to 8, written only through atomics.
        let (ifindex, program) = unpack(unsafe { &*place.cast::<AtomicU64>() }.load(Ordering::Acquire))?;
        Some(Target::Port { ifindex, program })
    }
}

impl Kind for TargetHash {
    unsafe fn lookup(&self, cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller owes 4 readable bytes.
        unsafe { self.table.lookup(cpu, key) }
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        self.table.owns(addr, len)
    }

    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        let mut value = self.table.read(key, false)?;
        value.truncate(self.value_size);
        Ok(value)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        let (ifindex, program) = words(value)?;
        if flags > flag::EXIST || ifindex == 0 {
            return Err(Errno::EINVAL);
        }
        // `__dev_map_hash_update_elem` knows BPF_NOEXIST only.
        self.table.write(key, &pack(ifindex, program).to_ne_bytes(), flags & flag::NOEXIST)
    }

    fn remove(&self, key: &[u8]) -> Done {
        self.table.remove(key)
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.next_key(after)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.table.keys()
    }

    fn keys_after(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        self.table.keys_after(after, limit)
    }

    fn entries(&self) -> usize {
        self.table.entries()
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
    }
}
