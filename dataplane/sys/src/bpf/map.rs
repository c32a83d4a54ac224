//! Maps of the kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Command, bpf, own, possible_cpus};

/// What a kernel map is made of; numbers as in `enum bpf_map_type` and `BPF_F_*`.
#[derive(Clone, Debug, Default)]
pub struct MapAttr {
    /// `BPF_MAP_TYPE_*`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Inner map's descriptor, for maps of maps.
    pub inner: Option<RawFd>,
    /// `map_extra`.
    pub extra: u64,
    /// A loaded BTF object and the type ids of key and value (special fields need them).
    pub btf: Option<(RawFd, u32, u32)>,
}

#[repr(C)]
struct CreateAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    extra: u64,
}

#[repr(C)]
struct ElementAttr {
    fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map of the kernel; closed when dropped.
#[derive(Debug)]
pub struct KernelMap {
    fd: OwnedFd,
    key_size: usize,
    value_bytes: usize,
}

impl KernelMap {
    /// Creates a map.
    pub fn create(attr: &MapAttr) -> io::Result<Self> {
        let (btf_fd, key_type, value_type) = attr.btf.unwrap_or_default();
        let mut create = CreateAttr {
            kind: attr.kind,
            key_size: attr.key_size,
            value_size: attr.value_size,
            max_entries: attr.max_entries,
            flags: attr.flags,
            inner_map_fd: attr.inner.unwrap_or_default() as u32,
            numa_node: 0,
            name: *b"weir\0\0\0\0\0\0\0\0\0\0\0\0",
            ifindex: 0,
            btf_fd: btf_fd as u32,
            btf_key_type_id: key_type,
            btf_value_type_id: value_type,
            btf_vmlinux_value_type_id: 0,
            extra: attr.extra,
        };
        // SAFETY: `CreateAttr` mirrors the map-create part of `union bpf_attr`; it holds no pointers.
        let fd = unsafe { bpf(Command::MapCreate, &mut create)? };
        const PERCPU: [u32; 4] = [5, 6, 10, 21];
        let value_bytes = if PERCPU.contains(&attr.kind) {
            (attr.value_size as usize).next_multiple_of(8) * possible_cpus()
        } else {
            attr.value_size as usize
        };
        Ok(Self { fd: own(fd), key_size: attr.key_size as usize, value_bytes })
    }

    /// The descriptor, to put into programs and maps of maps.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Bytes that a lookup answers with and an update takes: for per-CPU kinds one value a CPU, each
    /// rounded up to 8 bytes.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    fn element(&self, key: Option<&[u8]>, value: *const u8, flags: u64) -> ElementAttr {
        if let Some(key) = key {
            assert_eq!(key.len(), self.key_size, "a key of this map has {} bytes", self.key_size);
        }
        ElementAttr {
            fd: self.fd.as_raw_fd() as u32,
            pad: 0,
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value: value as u64,
            flags,
        }
    }

    /// The value under a key. Kinds without keys take an empty one (`key` is passed as null).
    pub fn lookup(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        self.read(Command::MapLookup, key)
    }

    /// Takes the value out (queues, stacks, hash tables).
    pub fn lookup_and_delete(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        self.read(Command::MapLookupAndDelete, key)
    }

    /// Whether a bloom filter may hold this value: `Ok`, or `ENOENT`.
    pub fn contains(&self, value: &[u8]) -> io::Result<()> {
        assert_eq!(value.len(), self.value_bytes, "a value of this map has {} bytes", self.value_bytes);
        let mut asked = value.to_vec();
        let mut attr = self.element(None, asked.as_mut_ptr(), 0);
        // SAFETY: the kernel reads the value (and may write it back), which has `value_bytes`.
        unsafe { bpf(Command::MapLookup, &mut attr)? };
        Ok(())
    }

    fn read(&self, command: Command, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.value_bytes];
        let mut attr = self.element((!key.is_empty()).then_some(key), value.as_mut_ptr(), 0);
        // SAFETY: `key` has `key_size` bytes (asserted in `element`) and `value` has `value_bytes`,
        // which is all the kernel writes for this map's kind.
        unsafe { bpf(command, &mut attr)? };
        Ok(value)
    }

    /// Puts a value under a key.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        assert_eq!(value.len(), self.value_bytes, "a value of this map has {} bytes", self.value_bytes);
        let mut attr = self.element((!key.is_empty()).then_some(key), value.as_ptr(), flags);
        // SAFETY: lengths were asserted above and in `element`; the kernel only reads both.
        unsafe { bpf(Command::MapUpdate, &mut attr)? };
        Ok(())
    }

    /// Takes a key out.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        let mut attr = self.element(Some(key), std::ptr::null(), 0);
        // SAFETY: `key` has `key_size` bytes (asserted in `element`); no value is touched.
        unsafe { bpf(Command::MapDelete, &mut attr)? };
        Ok(())
    }

    /// The key after this one, or the first; `ENOENT` after the last.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Vec<u8>> {
        let mut next = vec![0; self.key_size];
        let mut attr = self.element(key, next.as_mut_ptr(), 0);
        // SAFETY: the "value" pointer of this command receives a key, and `next` has `key_size` bytes.
        unsafe { bpf(Command::MapNextKey, &mut attr)? };
        Ok(next)
    }

    /// Makes the map unchangeable from user space.
    pub fn freeze(&self) -> io::Result<()> {
        let mut attr = self.element(None, std::ptr::null(), 0);
        // SAFETY: the command reads only the descriptor; the rest of the attribute is zero.
        unsafe { bpf(Command::MapFreeze, &mut attr)? };
        Ok(())
    }
}
