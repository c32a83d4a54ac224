//! `BPF_MAP_TYPE_QUEUE` and `BPF_MAP_TYPE_STACK`: values in order, pushed and popped under one short lock.
//!
//! Follows kernel/bpf/queue_stack_maps.c. Every operation moves the head or the tail, so readers cannot do
//! without the lock either; it is held for one copy of a value.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weir_ebpf::abi::map_kind::update_flags as flag;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::area::Area;
use crate::storage::{Done, Kind};
use crate::{MapError, copy, spin};

#[derive(Debug)]
pub(crate) struct Queue {
    stack: bool,
    values: Area,
    value_size: usize,
    len: usize,
    lock: AtomicU32,
    /// Values ever pushed on top, and ever taken from the bottom; their difference is what is inside. A stack
    /// pops by lowering `top`.
    top: AtomicU64,
    bottom: AtomicU64,
}

impl Queue {
    pub(crate) fn new(spec: &MapSpec) -> Result<Queue, MapError> {
        let value_size = spec.value_size as usize;
        let len = spec.max_entries as usize;
        let values = Area::new(len, value_size.next_multiple_of(8), Commit::Now)?;
        let stack = spec.kind == MapKind::Stack;
        let zero = || AtomicU64::new(0);
        Ok(Queue { stack, values, value_size, len, lock: AtomicU32::new(0), top: zero(), bottom: zero() })
    }

    fn place(&self, number: u64) -> *mut u8 {
        self.values.at((number % self.len as u64) as usize)
    }

    /// Runs the body alone, with bottom and top.
    fn locked<T>(&self, body: impl FnOnce(u64, u64) -> T) -> T {
        let lock = std::ptr::from_ref(&self.lock).cast_mut().cast();
        // SAFETY: the word is a lock that lives as long as self.
        unsafe { spin::lock(lock) };
        let result = body(self.bottom.load(Ordering::Relaxed), self.top.load(Ordering::Relaxed));
        // SAFETY: locked above, and `body` does not panic: it copies and compares.
        unsafe { spin::unlock(lock) };
        result
    }

    unsafe fn get(&self, value: *mut u8, take: bool) -> Done {
        self.locked(|bottom, top| {
            if bottom == top {
                // SAFETY: the caller owes `value_size` writable bytes.
                unsafe { value.write_bytes(0, self.value_size) };
                return Err(Errno::ENOENT);
            }
            let number = if self.stack { top - 1 } else { bottom };
            // SAFETY: the place is a value of this map, and the caller owes `value_size` writable bytes.
            unsafe { copy::read(value, self.place(number), self.value_size) };
            match (take, self.stack) {
                (false, _) => {}
                (true, true) => self.top.store(top - 1, Ordering::Relaxed),
                (true, false) => self.bottom.store(bottom + 1, Ordering::Relaxed),
            }
            Ok(())
        })
    }
}

impl Kind for Queue {
    unsafe fn push(&self, value: *const u8, flags: u64) -> Done {
        if flags & flag::NOEXIST != 0 || flags > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        self.locked(|bottom, top| {
            if top - bottom == self.len as u64 {
                // BPF_EXIST: the oldest makes room.
                if flags & flag::EXIST == 0 {
                    return Err(Errno::E2BIG);
                }
                self.bottom.store(bottom + 1, Ordering::Relaxed);
            }
            // SAFETY: the place is a value of this map; the caller owes `value_size` readable bytes.
            unsafe { copy::write(self.place(top), value, self.value_size) };
            self.top.store(top + 1, Ordering::Relaxed);
            Ok(())
        })
    }

    unsafe fn pop(&self, value: *mut u8) -> Done {
        // SAFETY: the caller's promise.
        unsafe { self.get(value, true) }
    }

    unsafe fn peek(&self, value: *mut u8) -> Done {
        // SAFETY: the caller's promise.
        unsafe { self.get(value, false) }
    }

    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_size];
        // SAFETY: `value` has `value_size` bytes.
        unsafe { self.get(value.as_mut_ptr(), false) }.map(|()| value)
    }

    fn write(&self, _key: &[u8], value: &[u8], flags: u64) -> Done {
        // SAFETY: Control measured `value`.
        unsafe { self.push(value.as_ptr(), flags) }
    }

    fn take(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_size];
        // SAFETY: `value` has `value_size` bytes.
        unsafe { self.get(value.as_mut_ptr(), true) }.map(|()| value)
    }

    fn entries(&self) -> usize {
        self.locked(|bottom, top| (top - bottom) as usize)
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }

    fn populate(&self) {
        self.values.populate();
    }
}
