//! A map: the storage of one kind behind the verbs that programs call.
//!
//! These are the bodies of the map helpers. Pointers are raw, as helpers get them: the verifier has proven
//! that a key has `key_size` readable bytes and a value `value_size`, and the checked interpreter tests it
//! again. People go through [`Control`], which is safe.
//!
//! `cpu` is the number of the worker that runs the program, below the `cpus` the map was made for. Two
//! workers must not pass the same number at once: it would not break memory, but per-CPU values would mix.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use weir_ebpf::abi::{Errno, MAP_HEAD_BYTES, MapKind};
use weir_ebpf::program::{Initial, MapSpec};

use crate::array::{Array, ArrayLayout};
use crate::bloom_filter::Bloom;
use crate::counters::Counters;
use crate::empty::Empty;
use crate::hash::Hash;
use crate::head::Head;
use crate::lpm_trie::LpmTrie;
use crate::map_of_maps::{ArrayOfMaps, HashOfMaps, Outer};
use crate::perf_event_array::PerfEventArray;
use crate::prog_array::ProgArray;
use crate::queue::Queue;
use crate::ringbuf::Ringbuf;
use crate::storage::{Done, Kind, each};
use crate::target::{Target, TargetArray, TargetHash};
use crate::timer::{Due, TimerClock, Timers};
use crate::{Control, MapError, create};

/// A map, shared by the programs of a generation and the control side.
///
/// Its address is what programs hold, so it begins with what they may read there.
#[derive(Debug)]
#[repr(C)]
pub struct Map {
    pub(crate) head: Head,
    pub(crate) storage: Storage,
    pub(crate) frozen: AtomicBool,
    pub(crate) counters: Counters,
    spec: MapSpec,
    id: u32,
    cpus: usize,
}

#[derive(Debug)]
pub(crate) enum Storage {
    Array(Array),
    Hash(Hash),
    LpmTrie(LpmTrie),
    ProgArray(ProgArray),
    ArrayOfMaps(ArrayOfMaps),
    HashOfMaps(HashOfMaps),
    Queue(Queue),
    Bloom(Bloom),
    Devmap(TargetArray),
    DevmapHash(TargetHash),
    Cpumap(TargetArray),
    Xskmap(TargetArray),
    PerfEventArray(PerfEventArray),
    Ringbuf(Ringbuf),
    Empty(Empty),
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Map {
    /// Makes a map for `cpus` workers, with the contents of its data section if it has one.
    ///
    /// All memory that the map will ever use is reserved here, except where `BPF_F_NO_PREALLOC` asks for
    /// growth. Programs and inner maps named in [`Initial`] are for the loader to put in.
    pub fn create(spec: &MapSpec, cpus: usize) -> Result<Arc<Map>, MapError> {
        create::check(spec)?;
        let cpus = cpus.max(1);
        let storage = Storage::new(spec, cpus)?;
        if let (Storage::Array(array), Initial::Data(bytes)) = (&storage, &spec.initial) {
            array.fill(bytes);
        }
        let frozen = AtomicBool::new(spec.frozen);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let head = Head::new(spec, id);
        Ok(Arc::new(Map {
            head,
            storage,
            frozen,
            counters: Counters::default(),
            spec: spec.clone(),
            id,
            cpus,
        }))
    }

    /// What it was made from.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// A number that no other map of this process has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The addresses of what programs may read of the map itself ([`MapField`](weir_ebpf::abi::MapField)).
    pub fn head(&self) -> Range<usize> {
        let start = std::ptr::from_ref(&self.head).addr();
        start..start + MAP_HEAD_BYTES as usize
    }

    /// How many workers it was made for.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// The safe side, for people.
    pub fn control(&self) -> Control<'_> {
        Control::new(self)
    }

    /// Entries inside: live keys; all of them for arrays; waiting bytes for a ring buffer.
    pub fn entries(&self) -> usize {
        each!(&self.storage, kind => kind.entries())
    }

    /// Bytes of memory set aside, touched or not.
    pub fn bytes(&self) -> usize {
        each!(&self.storage, kind => kind.bytes())
    }

    /// Has the kernel back the storage now, so that no packet pays for a first touch.
    pub fn populate(&self) {
        each!(&self.storage, kind => kind.populate());
    }

    /// Updates that failed, by reason.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Keys that an LRU kind has evicted to make room.
    pub fn evictions(&self) -> u64 {
        if let Storage::Hash(hash) = &self.storage { hash.evictions() } else { 0 }
    }

    fn count(&self, done: Done) -> Done {
        if let Err(errno) = done {
            self.counters.failed(errno);
        }
        done
    }

    /// `bpf_map_lookup_elem`: the value of a key (this worker's, for per-CPU kinds), or null. For maps of
    /// maps the address of the inner [`Map`].
    ///
    /// The address stays inside a value of this map as long as the map lives; after the key is deleted or
    /// updated the bytes may become another key's.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    #[inline]
    pub unsafe fn lookup(&self, cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { each!(&self.storage, kind => kind.lookup(cpu, key)) }
    }

    /// `bpf_map_update_elem`.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes and `value` for `value_size`.
    pub unsafe fn update(
        &self,
        cpu: usize,
        key: *const u8,
        value: *const u8,
        flags: u64,
    ) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        self.count(unsafe { each!(&self.storage, kind => kind.update(cpu, key, value, flags)) })
    }

    /// `bpf_map_delete_elem`.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    pub unsafe fn delete(&self, key: *const u8) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        unsafe { each!(&self.storage, kind => kind.delete(key)) }
    }

    /// `bpf_map_push_elem`: onto a queue, stack or bloom filter.
    ///
    /// # Safety
    /// `value` is readable for `value_size` bytes.
    pub unsafe fn push(&self, value: *const u8, flags: u64) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        self.count(unsafe { each!(&self.storage, kind => kind.push(value, flags)) })
    }

    /// `bpf_map_pop_elem`: off a queue or stack.
    ///
    /// # Safety
    /// `value` is writable for `value_size` bytes.
    pub unsafe fn pop(&self, value: *mut u8) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        unsafe { each!(&self.storage, kind => kind.pop(value)) }
    }

    /// `bpf_map_peek_elem`: what would be popped; or whether a bloom filter knows the value.
    ///
    /// # Safety
    /// `value` is readable and writable for `value_size` bytes.
    pub unsafe fn peek(&self, value: *mut u8) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        unsafe { each!(&self.storage, kind => kind.peek(value)) }
    }

    /// `bpf_map_lookup_percpu_elem`: the value of another worker, or null.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    pub unsafe fn lookup_percpu(&self, key: *const u8, cpu: usize) -> *mut u8 {
        match &self.storage {
            // SAFETY: the caller's promise.
            Storage::Array(array) => unsafe { array.lookup_percpu(cpu, key) },
            // SAFETY: the caller's promise.
            Storage::Hash(hash) => unsafe { hash.lookup_percpu(cpu, key) },
            _ => std::ptr::null_mut(),
        }
    }

    /// `bpf_for_each_map_elem`: calls `each` with key and value of every entry until it answers false;
    /// answers how many it was called for. Arrays and hash tables only, else `EINVAL`.
    ///
    /// The callback may change the map. Entries that come or go meanwhile may be visited or not.
    pub fn for_each(
        &self,
        cpu: usize,
        mut each: impl FnMut(*const u8, *mut u8) -> bool,
    ) -> Result<u64, Errno> {
        each!(&self.storage, kind => kind.for_each(cpu, &mut each))
    }

    /// The inner map under a key of a map of maps, or null. It lives until
    /// [`release_retired`](Map::release_retired) is called after it was replaced.
    ///
    /// # Safety
    /// `key` is readable for `key_size` bytes.
    pub unsafe fn inner(&self, key: *const u8) -> *const Map {
        match &self.storage {
            // SAFETY: the caller's promise.
            Storage::ArrayOfMaps(outer) => unsafe { outer.lookup(0, key) }.cast_const().cast(),
            // SAFETY: the caller's promise.
            Storage::HashOfMaps(outer) => unsafe { outer.lookup(0, key) }.cast_const().cast(),
            _ => std::ptr::null(),
        }
    }

    /// Where `bpf_redirect_map` sends a frame for this key of a device, CPU or socket map.
    #[inline]
    pub fn target(&self, key: u64) -> Option<Target> {
        match &self.storage {
            Storage::Devmap(map) | Storage::Cpumap(map) | Storage::Xskmap(map) => map.target(key),
            Storage::DevmapHash(map) => map.target(key),
            _ => None,
        }
    }

    /// An entry of a prog array: 0 when empty (or beyond the end), else the program's number plus one.
    #[inline]
    pub fn slot(&self, index: u32) -> u32 {
        if let Storage::ProgArray(array) = &self.storage { array.slot(index) } else { 0 }
    }

    /// The index of a perf event array that a record with these flags of `bpf_perf_event_output` goes to.
    pub fn perf_slot(&self, flags: u64, cpu: usize) -> Result<u32, Errno> {
        match &self.storage {
            Storage::PerfEventArray(array) => array.slot(flags, cpu),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The ring buffer behind a map of that kind.
    #[inline]
    pub fn ringbuf(&self) -> Option<&Ringbuf> {
        if let Storage::Ringbuf(ring) = &self.storage { Some(ring) } else { None }
    }

    /// Where the values are, for arrays and per-CPU arrays.
    pub fn array_layout(&self) -> Option<ArrayLayout> {
        if let Storage::Array(array) = &self.storage { Some(array.layout()) } else { None }
    }

    /// The first entry of a prog array and how many there are: aligned words of 4 bytes, to be read atomically.
    pub fn prog_array_base(&self) -> Option<(*const u32, usize)> {
        if let Storage::ProgArray(array) = &self.storage { Some(array.base()) } else { None }
    }

    /// The address that `BPF_PSEUDO_MAP_VALUE` stands for: `offset` bytes into the one value of an array.
    pub fn direct_value(&self, offset: u32) -> Option<*mut u8> {
        if let Storage::Array(array) = &self.storage { array.direct_value(offset) } else { None }
    }

    /// Whether `addr..addr + len` lies inside one value that a program may have a pointer to.
    pub fn owns(&self, addr: usize, len: usize) -> bool {
        each!(&self.storage, kind => kind.owns(addr, len))
    }

    /// Whether some of `addr..addr + len`, which it owns, is a lock or a timer.
    pub fn has_special(&self, addr: usize, len: usize) -> bool {
        each!(&self.storage, kind => kind.has_special(addr, len))
    }

    /// The timers of its values, if those have one each.
    #[inline]
    pub fn timers(&self) -> Option<&Timers> {
        match &self.storage {
            Storage::Array(array) => array.timers.as_deref(),
            Storage::Hash(hash) => hash.timers.as_deref(),
            _ => None,
        }
    }

    /// Whether this is the address of a timer in one of its values.
    pub fn is_timer(&self, addr: usize) -> bool {
        match &self.storage {
            Storage::Array(array) => array.timer_at(addr).is_some(),
            Storage::Hash(hash) => hash.timer_at(addr).is_some(),
            _ => false,
        }
    }

    /// `bpf_timer_init` of the timer at this address. `EBUSY` when it was begun before; `EPERM` when no loaded
    /// program uses the map.
    pub fn begin_timer(&self, addr: usize, clock: TimerClock) -> Result<(), Errno> {
        match &self.storage {
            Storage::Array(array) => array.begin_timer(addr, clock),
            Storage::Hash(hash) => hash.begin_timer(addr, clock),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Key and value of the element whose timer is due: `each` is called with their addresses.
    pub fn timed_entry<T>(&self, due: &Due, each: impl FnOnce(*const u8, *mut u8) -> T) -> Option<T> {
        match &self.storage {
            Storage::Array(array) => {
                let index = (due.number as u32).to_ne_bytes();
                Some(each(index.as_ptr(), array.timed_value(due.number)))
            }
            Storage::Hash(hash) => {
                let (key, value) = hash.timed_entry(due.number);
                Some(each(key, value))
            }
            _ => None,
        }
    }

    /// One loaded program fewer uses its timers: with the last one they are all cancelled
    /// (`map_release_uref`).
    pub fn leave_timers(&self) {
        if self.timers().is_some_and(Timers::leave) {
            self.forget_timers();
        }
    }

    fn forget_timers(&self) {
        for number in self.timers().map(Timers::each_begun).unwrap_or_default() {
            match &self.storage {
                Storage::Array(array) => array.forget_timer(number),
                Storage::Hash(hash) => hash.forget_timer(number as u32 + 1),
                _ => {}
            }
        }
        if let Some(timers) = self.timers() {
            timers.let_go();
        }
    }

    /// Frees inner maps that were replaced or removed, and answers how many.
    ///
    /// # Safety
    /// Every run that began before the last replacement or removal has ended.
    pub unsafe fn release_retired(&self) -> usize {
        self.outer().map_or(0, Outer::release)
    }

    pub(crate) fn outer(&self) -> Option<&dyn Outer> {
        match &self.storage {
            Storage::ArrayOfMaps(outer) => Some(outer),
            Storage::HashOfMaps(outer) => Some(outer),
            _ => None,
        }
    }
}

impl Storage {
    fn new(spec: &MapSpec, cpus: usize) -> Result<Storage, MapError> {
        Ok(match spec.kind {
            MapKind::Array | MapKind::PercpuArray => Storage::Array(Array::new(spec, cpus)?),
            MapKind::Hash | MapKind::PercpuHash | MapKind::LruHash | MapKind::LruPercpuHash => {
                Storage::Hash(Hash::new(spec, cpus)?)
            }
            MapKind::LpmTrie => Storage::LpmTrie(LpmTrie::new(spec)?),
            MapKind::ProgArray => Storage::ProgArray(ProgArray::new(spec)?),
            MapKind::ArrayOfMaps => Storage::ArrayOfMaps(ArrayOfMaps::new(spec)?),
            MapKind::HashOfMaps => Storage::HashOfMaps(HashOfMaps::new(spec, cpus)?),
            MapKind::Queue | MapKind::Stack => Storage::Queue(Queue::new(spec)?),
            MapKind::BloomFilter => Storage::Bloom(Bloom::new(spec)?),
            MapKind::Devmap => Storage::Devmap(TargetArray::new(spec, cpus)?),
            MapKind::DevmapHash => Storage::DevmapHash(TargetHash::new(spec, cpus)?),
            MapKind::Cpumap => Storage::Cpumap(TargetArray::new(spec, cpus)?),
            MapKind::Xskmap => Storage::Xskmap(TargetArray::new(spec, cpus)?),
            MapKind::PerfEventArray => Storage::PerfEventArray(PerfEventArray::new(spec)?),
            MapKind::Ringbuf => Storage::Ringbuf(Ringbuf::new(spec)?),
            MapKind::CgroupArray
            | MapKind::StackTrace
            | MapKind::Sockmap
            | MapKind::Sockhash
            | MapKind::CgroupStorage
            | MapKind::ReuseportSockarray
            | MapKind::PercpuCgroupStorage
            | MapKind::SkStorage => Storage::Empty(Empty::new(spec)),
        })
    }
}
