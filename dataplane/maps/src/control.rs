//! The side of a map that people use: byte slices, measured here, with bpf(2)'s answers.
//!
//! Values that workers write at the same time are read word by word: a value may come out torn between
//! aligned words of 8 bytes, as with bpf(2). For a whole value, put a `bpf_spin_lock` in it and pass
//! `BPF_F_LOCK`. Follows kernel/bpf/syscall.c.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_ebpf::abi::map_kind::{create_flags, update_flags as flag};
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::ValueField;

use crate::Map;
use crate::storage::{Done, Kind, each};

/// The control side of a map.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    map: &'a Map,
}

impl<'a> Control<'a> {
    pub(crate) fn new(map: &'a Map) -> Self {
        Control { map }
    }

    /// Bytes that [`lookup`](Self::lookup) answers with and [`update`](Self::update) takes: the value size;
    /// for per-CPU kinds that rounded up to 8, once for each worker.
    pub fn value_bytes(self) -> usize {
        let size = self.map.spec().value_size as usize;
        if self.map.spec().kind.is_percpu() { size.next_multiple_of(8) * self.map.cpus() } else { size }
    }

    /// The value under a key; all workers' values, each padded to 8 bytes, for per-CPU kinds. A queue or
    /// stack answers what would be popped, for an empty key. A bloom filter takes the value in question
    /// as the key.
    pub fn lookup(self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.lookup_with(key, 0)
    }

    /// [`lookup`](Self::lookup), with `BPF_F_LOCK` under the value's spin lock.
    pub fn lookup_with(self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.may_read()?;
        let locked = self.check_lock(flags)?;
        match self.map.spec().kind {
            MapKind::BloomFilter => measure(key, self.map.spec().value_size)?,
            _ => self.check_key(key)?,
        }
        each!(&self.map.storage, kind => kind.read(key, locked))
    }

    /// The value stored under exactly this key: a trie's [`lookup`](Self::lookup) answers with the longest
    /// prefix that matches.
    pub fn entry(self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.may_read()?;
        self.check_key(key)?;
        each!(&self.map.storage, kind => kind.read_exact(key, false))
    }

    /// The value under a key: one for each worker for per-CPU kinds, else just one.
    pub fn lookup_percpu(self, key: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let values = self.lookup(key)?;
        let size = self.map.spec().value_size as usize;
        if !self.map.spec().kind.is_percpu() {
            return Ok(vec![values]);
        }
        Ok(values.chunks(size.next_multiple_of(8)).map(|value| value[..size].to_vec()).collect())
    }

    /// Puts a value ([`value_bytes`](Self::value_bytes) long) under a key; pushes, with an empty key, for
    /// kinds without keys. Flags are `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`, `BPF_F_LOCK`.
    pub fn update(self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.may_write()?;
        self.check_lock(flags & flag::LOCK)?;
        self.check_key(key)?;
        if value.len() != self.value_bytes() {
            return Err(Errno::EINVAL);
        }
        let done = each!(&self.map.storage, kind => kind.write(key, value, flags));
        done.inspect_err(|errno| self.map.counters.failed(*errno))
    }

    /// [`update`](Self::update) with one value for each worker.
    pub fn update_percpu(self, key: &[u8], values: &[Vec<u8>], flags: u64) -> Result<(), Errno> {
        let size = self.map.spec().value_size as usize;
        if values.iter().any(|value| value.len() != size) {
            return Err(Errno::EINVAL);
        }
        let room = if self.map.spec().kind.is_percpu() { size.next_multiple_of(8) } else { size };
        let padded =
            values.iter().flat_map(|value| value.iter().copied().chain(std::iter::repeat_n(0, room - size)));
        self.update(key, &padded.collect::<Vec<u8>>(), flags)
    }

    /// Takes a key out.
    pub fn delete(self, key: &[u8]) -> Result<(), Errno> {
        self.may_write()?;
        self.check_key(key)?;
        each!(&self.map.storage, kind => kind.remove(key))
    }

    /// Takes a key out and answers its value: hash tables; queues and stacks pop.
    pub fn lookup_and_delete(self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.may_read()?;
        self.may_write()?;
        self.check_key(key)?;
        each!(&self.map.storage, kind => kind.take(key, false))
    }

    /// The key after this one, the first one for `None` or an unknown key, `ENOENT` after the last.
    pub fn next_key(self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.may_read()?;
        if let Some(key) = after {
            self.check_key(key)?;
        }
        each!(&self.map.storage, kind => kind.next_key(after))
    }

    /// Every key with its value. Entries that come or go meanwhile may be in it or not; nothing comes twice.
    /// Empty for kinds without keys, and where there is nothing to read.
    pub fn entries(self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a {
        self.keys().filter_map(move |key| self.lookup(&key).ok().map(|value| (key, value)))
    }

    /// Takes every key out, and answers how many there were.
    pub fn clear(self) -> Result<usize, Errno> {
        let mut removed = 0;
        for key in self.keys() {
            match self.delete(&key) {
                Ok(()) => removed += 1,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(removed)
    }

    /// Every key, each once.
    pub fn keys(self) -> impl Iterator<Item = Vec<u8>> + 'a {
        let keys = match self.may_read() {
            Ok(()) => each!(&self.map.storage, kind => kind.keys()),
            Err(_) => Vec::new(),
        };
        keys.into_iter()
    }

    /// About `limit` keys that follow this one, or the first ones; none after the last. Unlike
    /// [`next_key`](Self::next_key) it goes on where it was when the key has been taken out meanwhile, so a
    /// walk in pages ends, names every key that stays from beginning to end exactly once, and others at
    /// most once for each time they were put in. A page may be longer than `limit` by a hash bucket.
    pub fn keys_after(self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, Errno> {
        self.may_read()?;
        if let Some(key) = after {
            self.check_key(key)?;
        }
        Ok(each!(&self.map.storage, kind => kind.keys_after(after, limit)))
    }

    /// Puts an inner map into a map of maps.
    pub fn set_inner(self, key: &[u8], inner: &Arc<Map>, flags: u64) -> Result<(), Errno> {
        self.may_write()?;
        self.check_key(key)?;
        self.map.outer().ok_or(Errno::EINVAL)?.set_inner(key, inner, flags)
    }

    /// The inner map under a key.
    pub fn inner(self, key: &[u8]) -> Option<Arc<Map>> {
        self.map.outer()?.inner_map(key)
    }

    /// Puts program number `program` of the generation's table under an index of a prog array.
    pub fn set_program(self, index: u32, program: u32) -> Result<(), Errno> {
        self.update(&index.to_ne_bytes(), &program.to_ne_bytes(), 0)
    }

    /// Makes the map unchangeable from this side for ever (`BPF_MAP_FREEZE`); `EPERM` the second time.
    pub fn freeze(self) -> Result<(), Errno> {
        if !self.map.spec().fields.is_empty() {
            return Err(Errno::ENOTSUPP);
        }
        self.may_write()?;
        self.map.frozen.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether it was frozen.
    pub fn is_frozen(self) -> bool {
        self.map.frozen.load(Ordering::Acquire)
    }

    fn may_read(self) -> Done {
        if self.map.spec().flags & create_flags::WRONLY != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn may_write(self) -> Done {
        let barred = self.is_frozen() || self.map.spec().flags & create_flags::RDONLY != 0;
        if barred { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn check_key(self, key: &[u8]) -> Done {
        measure(key, self.map.spec().key_size)
    }

    /// Only `BPF_F_LOCK` is known here, and only for values with a spin lock.
    fn check_lock(self, flags: u64) -> Result<bool, Errno> {
        let lock = self.map.spec().fields.iter().any(|field| matches!(field, ValueField::SpinLock { .. }));
        match flags {
            0 => Ok(false),
            flag::LOCK if lock => Ok(true),
            _ => Err(Errno::EINVAL),
        }
    }
}

fn measure(bytes: &[u8], size: u32) -> Done {
    if bytes.len() == size as usize { Ok(()) } else { Err(Errno::EINVAL) }
}
