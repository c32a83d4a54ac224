//! `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_PERCPU_ARRAY`: values by index, all present from the start.
//!
//! ```text
//!   base                 base + stride                  base + percpu_stride
//!   | value 0 of cpu 0 | value 1 of cpu 0 | … pad page | value 0 of cpu 1 | …
//! ```
//!
//! A plain array is one with one CPU. Follows kernel/bpf/arraymap.c.

use weir_ebpf::abi::map_kind::update_flags as flag;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::{Commit, PAGE};

use crate::area::Area;
use crate::storage::{Done, Kind};
use crate::timer::{Bytes, TimerClock, Timers};
use crate::value::ValueShape;
use crate::{MapError, copy};

/// Where an array's values are, for code that computes their addresses itself.
///
/// The address of value `index` of CPU `cpu` is `base + cpu * percpu_stride + index * stride`, for every
/// `index < len`. It is valid as long as the map lives and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ArrayLayout {
    /// Value 0 of CPU 0.
    pub base: *mut u8,
    /// Bytes from one value to the next: the value size rounded up to 8.
    pub stride: usize,
    /// How many values there are.
    pub len: usize,
    /// Bytes from a CPU's values to the next CPU's; 0 in a plain array.
    pub percpu_stride: usize,
}

#[derive(Debug)]
pub(crate) struct Array {
    values: Area,
    shape: ValueShape,
    len: usize,
    cpus: usize,
    percpu: bool,
    pub(crate) timers: Option<Box<Timers>>,
}

impl Array {
    pub(crate) fn new(spec: &MapSpec, cpus: usize) -> Result<Array, MapError> {
        let shape = ValueShape::new(spec);
        let percpu = spec.kind == MapKind::PercpuArray;
        let timers = shape.timer.map(|_| Timers::new(spec.max_entries as usize, cpus));
        let cpus = if percpu { cpus } else { 1 };
        let len = spec.max_entries as usize;
        // Each CPU's values begin on a page of their own, so that no two workers write the same line.
        let row = (len * shape.stride()).next_multiple_of(if percpu { PAGE } else { 8 });
        let values = Area::new(cpus, row, Commit::Now)?;
        Ok(Array { values, shape, len, cpus, percpu, timers })
    }

    pub(crate) fn layout(&self) -> ArrayLayout {
        ArrayLayout {
            base: self.values.base(),
            stride: self.shape.stride(),
            len: self.len,
            percpu_stride: if self.percpu { self.values.stride() } else { 0 },
        }
    }

    /// The only value of a data section, from byte `offset` on (`array_map_direct_value_addr`).
    pub(crate) fn direct_value(&self, offset: u32) -> Option<*mut u8> {
        let inside = self.len == 1 && !self.percpu && (offset as usize) < self.shape.size;
        inside.then(|| self.values.base().wrapping_add(offset as usize))
    }

    #[inline]
    fn value(&self, cpu: usize, index: usize) -> *mut u8 {
        let cpu = if self.percpu { cpu } else { 0 };
        if index >= self.len || cpu >= self.cpus {
            return std::ptr::null_mut();
        }
        self.values.at(cpu).wrapping_add(index * self.shape.stride())
    }

    /// The value of one CPU by its key, or null.
    pub(crate) unsafe fn lookup_percpu(&self, cpu: usize, key: *const u8) -> *mut u8 {
        if !self.percpu {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller owes 4 readable bytes.
        self.value(cpu, unsafe { index(key) })
    }

    fn check_update(&self, index: usize, flags: u64) -> Done {
        if flags & !flag::LOCK > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        if index >= self.len {
            return Err(Errno::E2BIG);
        }
        if flags & flag::NOEXIST != 0 {
            return Err(Errno::EEXIST);
        }
        self.shape.check_lock(flags & flag::LOCK != 0)
    }
}

/// The index behind a key.
#[inline]
pub(crate) unsafe fn index(key: *const u8) -> usize {
    // SAFETY: the caller owes 4 readable bytes.
    unsafe { key.cast::<u32>().read_unaligned() as usize }
}

/// The index in a key of 4 bytes.
pub(crate) fn index_of(key: &[u8]) -> usize {
    key.first_chunk().map_or(usize::MAX, |bytes| u32::from_ne_bytes(*bytes) as usize)
}

/// `array_map_get_next_key`: indices in order; an unknown key is answered with the first.
pub(crate) fn next_index(after: Option<&[u8]>, len: usize) -> Result<Vec<u8>, Errno> {
    let next = match after.map(index_of) {
        Some(last) if last == len - 1 => return Err(Errno::ENOENT),
        Some(index) if index < len => index + 1,
        Some(_) | None => 0,
    };
    Ok((next as u32).to_ne_bytes().to_vec())
}

impl Kind for Array {
    #[inline]
    unsafe fn lookup(&self, cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller owes 4 readable bytes.
        self.value(cpu, unsafe { index(key) })
    }

    unsafe fn update(&self, cpu: usize, key: *const u8, value: *const u8, flags: u64) -> Done {
        // SAFETY: the caller owes 4 readable bytes.
        let index = unsafe { index(key) };
        self.check_update(index, flags)?;
        let place = self.value(cpu, index);
        if place.is_null() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: `place` is a value of this map; the caller owes `size` readable bytes behind `value`.
        unsafe { self.shape.store(place, value, flags & flag::LOCK != 0) };
        self.forget_timer(index);
        Ok(())
    }

    fn for_each(&self, cpu: usize, each: &mut dyn FnMut(*const u8, *mut u8) -> bool) -> Result<u64, Errno> {
        let mut visited = 0;
        for index in 0..self.len {
            let value = self.value(cpu, index);
            if value.is_null() {
                break;
            }
            visited += 1;
            let key = (index as u32).to_ne_bytes();
            if !each(key.as_ptr(), value) {
                break;
            }
        }
        Ok(visited)
    }

    fn owns(&self, addr: usize, len: usize) -> bool {
        let Some((_, inside)) = self.values.locate(addr, len) else { return false };
        let (index, offset) = (inside / self.shape.stride(), inside % self.shape.stride());
        index < self.len && offset + len <= self.shape.size
    }

    fn has_special(&self, addr: usize, len: usize) -> bool {
        self.values.locate(addr, len).is_some_and(|(_, inside)| {
            let offset = inside % self.shape.stride();
            self.shape.is_special(offset, offset + len)
        })
    }

    fn read(&self, key: &[u8], locked: bool) -> Result<Vec<u8>, Errno> {
        let index = index_of(key);
        if index >= self.len {
            return Err(Errno::ENOENT);
        }
        let room = if self.percpu { self.shape.stride() } else { self.shape.size };
        let values = (0..self.cpus).flat_map(|cpu| {
            // SAFETY: `index < len` and `cpu < cpus`, so this is a value of the map.
            unsafe { self.shape.load(self.value(cpu, index), room, locked) }
        });
        Ok(values.collect())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Done {
        let index = index_of(key);
        self.check_update(index, flags)?;
        for (cpu, value) in (0..self.cpus).zip(value.chunks(self.shape.stride())) {
            // SAFETY: the index was checked; Control measured `value`: one value per CPU.
            unsafe { self.shape.store(self.value(cpu, index), value.as_ptr(), flags & flag::LOCK != 0) };
        }
        self.forget_timer(index);
        Ok(())
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(after, self.len)
    }

    fn entries(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.timers.as_ref().map_or(0, |timers| timers.bytes())
    }

    fn populate(&self) {
        self.values.populate();
    }
}

impl Array {
    /// The number of the timer at this address.
    pub(crate) fn timer_at(&self, addr: usize) -> Option<usize> {
        let start = addr.checked_sub(self.shape.timer?)?;
        let (_, inside) = self.values.locate(start, self.shape.size)?;
        let (index, rest) = (inside / self.shape.stride(), inside % self.shape.stride());
        (index < self.len && rest == 0).then_some(index)
    }

    /// Begins the timer at this address.
    pub(crate) fn begin_timer(&self, addr: usize, clock: TimerClock) -> Done {
        let (timers, offset) = self.timers.as_ref().zip(self.shape.timer).ok_or(Errno::EINVAL)?;
        let index = self.timer_at(addr).ok_or(Errno::EINVAL)?;
        timers.begin(index, self.timer_bytes(index, offset), clock)
    }

    fn timer_bytes(&self, index: usize, offset: usize) -> Bytes<'_> {
        // SAFETY: the timer lies inside the value, aligned (`create::common`), and there is such a value.
        unsafe { Bytes::new(self.value(0, index).add(offset)) }
    }

    /// The value that a timer is in.
    pub(crate) fn timed_value(&self, number: usize) -> *mut u8 {
        self.value(0, number)
    }

    /// Cancels the timer of an element, as overwriting it does (`bpf_obj_free_fields`).
    pub(crate) fn forget_timer(&self, index: usize) {
        if let (Some(timers), Some(offset)) = (&self.timers, self.shape.timer) {
            timers.forget(index, self.timer_bytes(index, offset));
        }
    }

    /// Puts a data section's bytes into value 0.
    pub(crate) fn fill(&self, bytes: &[u8]) {
        let len = bytes.len().min(self.shape.size);
        // SAFETY: value 0 exists (max_entries is at least 1) and has `size` bytes.
        unsafe { copy::write(self.values.base(), bytes.as_ptr(), len) };
    }
}
