//! What a map may look like: the checks of creation, with the kernel's errno and a sentence each.
//!
//! Follows `map_create` in kernel/bpf/syscall.c and the `map_alloc_check` of each kind (Linux 6.18).

use thiserror::Error;
use weir_ebpf::abi::map_kind::create_flags as f;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::{MapSpec, ValueField};

/// Why a map cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// The declaration breaks a rule of its kind.
    #[error("map {name} ({kind}): {what} ({})", errno.name(), kind = kind.name())]
    Refused {
        /// The map's name.
        name: String,
        /// Its kind.
        kind: MapKind,
        /// What was found and what is wanted.
        what: String,
        /// What bpf(2) answers.
        errno: Errno,
    },
    /// The machine does not have that much memory.
    #[error("map storage of {bytes} bytes cannot be had (ENOMEM)")]
    Memory {
        /// Bytes asked for at once.
        bytes: usize,
    },
}

impl MapError {
    /// What bpf(2) answers.
    pub fn errno(&self) -> Errno {
        match self {
            MapError::Refused { errno, .. } => *errno,
            MapError::Memory { .. } => Errno::ENOMEM,
        }
    }
}

/// `KMALLOC_MAX_SIZE`.
const KMALLOC_MAX: u64 = 4 << 20;
/// `PCPU_MIN_UNIT_SIZE`: the largest value of a per-CPU kind.
const PERCPU_VALUE_MAX: u64 = 32 << 10;
/// `sizeof(struct htab_elem)`.
const HASH_ELEMENT: u64 = 48;
/// `sizeof(struct lpm_trie_node)` and `LPM_DATA_SIZE_MAX`.
const LPM_NODE: u64 = 40;
const LPM_DATA_MAX: u32 = 256;
/// `sysctl_perf_event_max_stack`.
const STACK_DEPTH_MAX: u32 = 127;
/// `MAX_BPF_STACK`: a key is made on it.
const STACK_MAX: u32 = 512;
/// `BPF_LOCAL_STORAGE_MAX_VALUE_SIZE`: what `__u16` can tell, less a header.
const STORAGE_MAX: u32 = 0xffff - 64;
/// `BPF_F_PRESERVE_ELEMS`.
const PRESERVE_ELEMS: u32 = 1 << 11;

const ACCESS: u32 = f::RDONLY | f::WRONLY | f::RDONLY_PROG | f::WRONLY_PROG;
const HASH_FLAGS: u32 = f::NO_PREALLOC | f::NO_COMMON_LRU | f::NUMA_NODE | f::ZERO_SEED | ACCESS;
const ARRAY_FLAGS: u32 = f::NUMA_NODE | f::MMAPABLE | f::INNER_MAP | PRESERVE_ELEMS | ACCESS;

type Fault = (Errno, String);

/// Checks a declaration against the rules of its kind.
pub(crate) fn check(spec: &MapSpec) -> Result<(), MapError> {
    let refused = |(errno, what)| MapError::Refused { name: spec.name.clone(), kind: spec.kind, what, errno };
    common(spec).and_then(|()| of_kind(spec)).map_err(refused)
}

fn refuse<T>(errno: Errno, what: impl Into<String>) -> Result<T, Fault> {
    Err((errno, what.into()))
}

fn invalid(bad: bool, what: impl FnOnce() -> String) -> Result<(), Fault> {
    if bad { refuse(Errno::EINVAL, what()) } else { Ok(()) }
}

fn common(spec: &MapSpec) -> Result<(), Fault> {
    let flags = spec.flags;
    invalid(spec.kind != MapKind::BloomFilter && spec.extra != 0, || {
        format!("map_extra is {}, and only bloom filters have one", spec.extra)
    })?;
    invalid(flags & f::RDONLY != 0 && flags & f::WRONLY != 0, || {
        "BPF_F_RDONLY and BPF_F_WRONLY exclude each other".into()
    })?;
    for field in &spec.fields {
        let (name, offset, len) = (field.name(), field.offset(), u64::from(field.size()));
        let align = if len == 4 { 4 } else { 8 };
        let outside = u64::from(offset) + len > u64::from(spec.value_size);
        invalid(outside || offset % align != 0, || {
            format!("{name} at byte {offset} does not lie aligned inside the value of {}", spec.value_size)
        })?;
    }
    timers(spec)
}

/// What `map_check_btf` and `btf_parse_fields` say of timers.
fn timers(spec: &MapSpec) -> Result<(), Fault> {
    let count = spec.fields.iter().filter(|field| matches!(field, ValueField::Timer { .. })).count();
    let kept = matches!(spec.kind, MapKind::Array | MapKind::Hash | MapKind::LruHash);
    if count > 0 && !kept {
        return refuse(
            Errno::EOPNOTSUPP,
            "values of arrays, hash tables and LRU hash tables alone have timers",
        );
    }
    if count > 0 && spec.flags & (f::RDONLY_PROG | f::WRONLY_PROG) != 0 {
        return refuse(Errno::EACCES, "programs cannot be kept from values with timers");
    }
    if count > 1 { refuse(Errno::E2BIG, format!("{count} timers in a value; at most 1")) } else { Ok(()) }
}

fn of_kind(spec: &MapSpec) -> Result<(), Fault> {
    match spec.kind {
        MapKind::Array | MapKind::PercpuArray => array(spec),
        MapKind::ProgArray | MapKind::PerfEventArray | MapKind::CgroupArray => fd_array(spec),
        MapKind::ArrayOfMaps => fd_array(spec).and_then(|()| inner(spec)),
        MapKind::Hash | MapKind::PercpuHash | MapKind::LruHash | MapKind::LruPercpuHash => hash(spec),
        MapKind::HashOfMaps => {
            hash(spec)?;
            size(spec.value_size == 4, "value_size", spec.value_size, "4")?;
            inner(spec)
        }
        MapKind::LpmTrie => lpm(spec),
        MapKind::Queue | MapKind::Stack => queue(spec),
        MapKind::BloomFilter => bloom(spec),
        MapKind::Devmap | MapKind::DevmapHash => devmap(spec),
        MapKind::Cpumap => cpumap(spec),
        MapKind::Xskmap => xskmap(spec),
        MapKind::Ringbuf => ringbuf(spec),
        MapKind::StackTrace => stack_trace(spec),
        MapKind::Sockmap | MapKind::Sockhash => sockets(spec),
        MapKind::ReuseportSockarray => sockets(spec),
        MapKind::CgroupStorage | MapKind::PercpuCgroupStorage => cgroup_storage(spec),
        MapKind::SkStorage => sk_storage(spec),
    }
}

/// `cgroup_storage_map_alloc`.
fn cgroup_storage(spec: &MapSpec) -> Result<(), Fault> {
    size(matches!(spec.key_size, 8 | 16), "key_size", spec.key_size, "8 or 16")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    // `PCPU_MIN_UNIT_SIZE`: what a CPU has of memory of its own at least.
    let most = if spec.kind == MapKind::PercpuCgroupStorage { 32 << 10 } else { STORAGE_MAX };
    if spec.value_size > most {
        return refuse(Errno::E2BIG, format!("a value of {} bytes; at most {most}", spec.value_size));
    }
    flags(spec, f::NUMA_NODE | ACCESS)?;
    size(spec.max_entries == 0, "max_entries", spec.max_entries, "0")
}

fn size(right: bool, field: &str, found: u32, wanted: &str) -> Result<(), Fault> {
    invalid(!right, || format!("{field} is {found}, and must be {wanted}"))
}

fn flags(spec: &MapSpec, allowed: u32) -> Result<(), Fault> {
    let stray = spec.flags & !allowed;
    invalid(stray != 0, || format!("flags {stray:#x} are not for this kind"))?;
    let both = f::RDONLY_PROG | f::WRONLY_PROG;
    invalid(spec.flags & both == both, || "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other".into())
}

fn some_entries(spec: &MapSpec) -> Result<(), Fault> {
    size(spec.max_entries > 0, "max_entries", 0, "at least 1")
}

fn percpu_value(spec: &MapSpec) -> Result<(), Fault> {
    if spec.kind.is_percpu() && u64::from(spec.value_size).next_multiple_of(8) > PERCPU_VALUE_MAX {
        return refuse(
            Errno::E2BIG,
            format!("a per-CPU value of {} bytes; at most {PERCPU_VALUE_MAX}", spec.value_size),
        );
    }
    Ok(())
}

fn array(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    flags(spec, ARRAY_FLAGS)?;
    let numa = spec.kind == MapKind::PercpuArray && spec.flags & f::NUMA_NODE != 0;
    invalid(numa, || "BPF_F_NUMA_NODE has no meaning for per-CPU kinds".into())?;
    let only_array = spec.flags & (f::MMAPABLE | f::INNER_MAP);
    invalid(spec.kind != MapKind::Array && only_array != 0, || {
        format!("flags {only_array:#x} are for plain arrays")
    })?;
    invalid(spec.kind != MapKind::PerfEventArray && spec.flags & PRESERVE_ELEMS != 0, || {
        "BPF_F_PRESERVE_ELEMS is for perf event arrays".into()
    })?;
    if spec.value_size > i32::MAX as u32 {
        return refuse(Errno::E2BIG, format!("a value of {} bytes", spec.value_size));
    }
    percpu_value(spec)
}

fn fd_array(spec: &MapSpec) -> Result<(), Fault> {
    size(spec.value_size == 4, "value_size", spec.value_size, "4")?;
    invalid(spec.flags & (f::RDONLY_PROG | f::WRONLY_PROG) != 0, || {
        "programs cannot be kept from a map whose values they never see".into()
    })?;
    array(spec)
}

fn hash(spec: &MapSpec) -> Result<(), Fault> {
    let lru = matches!(spec.kind, MapKind::LruHash | MapKind::LruPercpuHash);
    flags(spec, HASH_FLAGS)?;
    let own_lru = spec.flags & f::NO_COMMON_LRU != 0;
    invalid(!lru && own_lru, || "BPF_F_NO_COMMON_LRU is for LRU kinds".into())?;
    if lru && spec.flags & f::NO_PREALLOC != 0 {
        return refuse(Errno::ENOTSUPP, "LRU kinds are always preallocated");
    }
    let numa = spec.flags & f::NUMA_NODE != 0 && (spec.kind.is_percpu() || own_lru);
    invalid(numa, || "BPF_F_NUMA_NODE has no meaning for per-CPU kinds".into())?;
    some_entries(spec)?;
    size(spec.key_size > 0, "key_size", 0, "at least 1")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    let element = u64::from(spec.key_size) + u64::from(spec.value_size);
    if element >= KMALLOC_MAX - HASH_ELEMENT {
        return refuse(Errno::E2BIG, format!("key and value together have {element} bytes"));
    }
    percpu_value(spec)?;
    if spec.max_entries > 1 << 27 {
        return refuse(Errno::E2BIG, format!("{} entries", spec.max_entries));
    }
    Ok(())
}

fn lpm(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    invalid(spec.flags & f::NO_PREALLOC == 0, || "BPF_F_NO_PREALLOC is required".into())?;
    flags(spec, f::NO_PREALLOC | f::NUMA_NODE | ACCESS)?;
    let widths = 5..=4 + LPM_DATA_MAX;
    size(widths.contains(&spec.key_size), "key_size", spec.key_size, "5 to 260 (4 of them the length)")?;
    let value_max = KMALLOC_MAX - u64::from(LPM_DATA_MAX) - LPM_NODE;
    let fits = spec.value_size > 0 && u64::from(spec.value_size) <= value_max;
    size(fits, "value_size", spec.value_size, "at least 1 and below 4 MiB")
}

fn queue(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    size(spec.key_size == 0, "key_size", spec.key_size, "0")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    flags(spec, f::NUMA_NODE | ACCESS)?;
    kmalloc_value(spec)
}

fn kmalloc_value(spec: &MapSpec) -> Result<(), Fault> {
    if u64::from(spec.value_size) > KMALLOC_MAX {
        return refuse(Errno::E2BIG, format!("a value of {} bytes; at most 4 MiB", spec.value_size));
    }
    Ok(())
}

fn bloom(spec: &MapSpec) -> Result<(), Fault> {
    // `bloom_map_alloc_check` comes first.
    kmalloc_value(spec)?;
    size(spec.key_size == 0, "key_size", spec.key_size, "0")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    some_entries(spec)?;
    flags(spec, f::NUMA_NODE | f::ZERO_SEED | ACCESS)?;
    invalid(spec.extra & !0xf != 0, || format!("map_extra is {}: at most 15 hash functions", spec.extra))
}

fn devmap(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    size(matches!(spec.value_size, 4 | 8), "value_size", spec.value_size, "4, or 8 with programs")?;
    flags(spec, f::NUMA_NODE | f::RDONLY | f::WRONLY)?;
    // `dev_map_init_map`: the bucket count must not overflow when it is rounded up (CVE-2024-26885).
    invalid(spec.kind == MapKind::DevmapHash && spec.max_entries > 1 << 31, || {
        format!("{} entries", spec.max_entries)
    })
}

fn cpumap(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    size(matches!(spec.value_size, 4 | 8), "value_size", spec.value_size, "4, or 8 with programs")?;
    flags(spec, f::NUMA_NODE)
}

fn xskmap(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    size(spec.value_size == 4, "value_size", spec.value_size, "4")?;
    flags(spec, f::NUMA_NODE | f::RDONLY | f::WRONLY)
}

fn sockets(spec: &MapSpec) -> Result<(), Fault> {
    some_entries(spec)?;
    match spec.kind {
        MapKind::Sockmap | MapKind::ReuseportSockarray => {
            size(spec.key_size == 4, "key_size", spec.key_size, "4")?
        }
        _ => size(spec.key_size > 0, "key_size", 0, "at least 1")?,
    }
    size(matches!(spec.value_size, 4 | 8), "value_size", spec.value_size, "4 or 8")?;
    // An array of sockets for reuseport is checked as an array is, flags of programs included.
    let programs = if spec.kind == MapKind::ReuseportSockarray { f::RDONLY_PROG | f::WRONLY_PROG } else { 0 };
    flags(spec, f::NUMA_NODE | f::RDONLY | f::WRONLY | programs)?;
    if spec.kind == MapKind::Sockhash && spec.key_size > STACK_MAX {
        return refuse(Errno::E2BIG, format!("a key of {} bytes; at most {STACK_MAX}", spec.key_size));
    }
    Ok(())
}

/// `bpf_local_storage_map_alloc_check`.
fn sk_storage(spec: &MapSpec) -> Result<(), Fault> {
    flags(spec, f::NO_PREALLOC | f::CLONE)?;
    invalid(spec.flags & f::NO_PREALLOC == 0, || "BPF_F_NO_PREALLOC is required".into())?;
    size(spec.max_entries == 0, "max_entries", spec.max_entries, "0")?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    size(spec.value_size > 0, "value_size", 0, "at least 1")?;
    if spec.value_size > STORAGE_MAX {
        return refuse(Errno::E2BIG, format!("a value of {} bytes", spec.value_size));
    }
    Ok(())
}

fn ringbuf(spec: &MapSpec) -> Result<(), Fault> {
    flags(spec, f::NUMA_NODE)?;
    size(spec.key_size == 0, "key_size", spec.key_size, "0")?;
    size(spec.value_size == 0, "value_size", spec.value_size, "0")?;
    let pages = spec.max_entries.is_power_of_two() && spec.max_entries >= 4096;
    size(pages, "max_entries", spec.max_entries, "a power of two and a multiple of the page size 4096")
}

fn stack_trace(spec: &MapSpec) -> Result<(), Fault> {
    flags(spec, f::NUMA_NODE | f::RDONLY | f::WRONLY | f::STACK_BUILD_ID)?;
    some_entries(spec)?;
    size(spec.key_size == 4, "key_size", spec.key_size, "4")?;
    // One frame is an address, or with BPF_F_STACK_BUILD_ID a `struct bpf_stack_build_id`.
    let frame = if spec.flags & f::STACK_BUILD_ID != 0 { 32 } else { 8 };
    let frames = spec.value_size / frame;
    let whole = frames > 0 && spec.value_size.is_multiple_of(frame) && frames <= STACK_DEPTH_MAX;
    size(whole, "value_size", spec.value_size, "1 to 127 frames of 8 bytes (32 with build ids)")
}

/// `bpf_map_meta_alloc`: what the inner maps of a map of maps may be.
fn inner(spec: &MapSpec) -> Result<(), Fault> {
    let Some(inner) = &spec.inner else {
        return refuse(Errno::EBADF, "the shape of its inner maps is not declared");
    };
    match inner.kind {
        MapKind::ArrayOfMaps | MapKind::HashOfMaps => {
            refuse(Errno::EINVAL, "maps of maps cannot hold maps of maps")
        }
        MapKind::ProgArray => refuse(Errno::ENOTSUPP, "prog arrays cannot be inner maps"),
        _ => common(inner).and_then(|()| of_kind(inner)),
    }
}

/// `bpf_map_meta_equal` and `array_map_meta_equal`: whether a map fits where this shape was declared.
pub(crate) fn same_shape(declared: &MapSpec, map: &MapSpec) -> bool {
    let entries_matter = match declared.kind {
        MapKind::Array => declared.flags & f::INNER_MAP == 0,
        MapKind::Xskmap => true,
        _ => false,
    };
    declared.kind == map.kind
        && declared.key_size == map.key_size
        && declared.value_size == map.value_size
        && declared.flags == map.flags
        && declared.fields == map.fields
        && (!entries_matter || declared.max_entries == map.max_entries)
}
