//! The shape of a value: how long it is and which of its bytes are not plain data.
//!
//! A spin lock or a timer inside a value belongs to the element, not to its contents: updates leave it
//! alone and user space reads zeros there (`copy_map_value` and `check_and_init_map_value` in
//! include/linux/bpf.h).

use weir_ebpf::abi::Errno;
use weir_ebpf::program::{MapSpec, ValueField};

use crate::{copy, spin};

/// What a value looks like.
#[derive(Debug)]
pub(crate) struct ValueShape {
    /// Bytes as declared.
    pub(crate) size: usize,
    /// Runs of plain bytes, as (offset, length), in order.
    plain: Vec<(usize, usize)>,
    /// Runs that belong to the element.
    special: Vec<(usize, usize)>,
    lock: Option<usize>,
    /// Where the timer is.
    pub(crate) timer: Option<usize>,
}

impl ValueShape {
    pub(crate) fn new(spec: &MapSpec) -> ValueShape {
        let size = spec.value_size as usize;
        let mut special: Vec<(usize, usize)> = spec.fields.iter().map(extent).collect();
        special.retain(|(offset, len)| offset + len <= size);
        special.sort_unstable();
        let mut plain = Vec::new();
        let mut from = 0;
        for &(offset, len) in &special {
            if offset > from {
                plain.push((from, offset - from));
            }
            from = offset + len;
        }
        if size > from {
            plain.push((from, size - from));
        }
        let lock = spec.fields.iter().find_map(|field| match *field {
            ValueField::SpinLock { offset } if offset as usize + 4 <= size => Some(offset as usize),
            ValueField::SpinLock { .. } | ValueField::Timer { .. } | ValueField::Foreign { .. } => None,
        });
        let timer = spec.fields.iter().find_map(|field| match *field {
            ValueField::Timer { offset } if offset as usize + 16 <= size => Some(offset as usize),
            ValueField::SpinLock { .. } | ValueField::Timer { .. } | ValueField::Foreign { .. } => None,
        });
        ValueShape { size, plain, special, lock, timer }
    }

    /// Bytes from one value to the next: rounded up to 8, as in the kernel.
    pub(crate) fn stride(&self) -> usize {
        self.size.next_multiple_of(8)
    }

    /// Whether some of `from..to` of a value is not plain data.
    pub(crate) fn is_special(&self, from: usize, to: usize) -> bool {
        self.special.iter().any(|&(offset, len)| from < offset + len && offset < to)
    }

    /// `BPF_F_LOCK` asks for a spin lock in the value.
    pub(crate) fn check_lock(&self, locked: bool) -> Result<(), Errno> {
        if locked && self.lock.is_none() { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Overwrites the plain bytes of the shared value at `dst`; with `locked`, under its spin lock.
    ///
    /// # Safety
    /// As for [`copy::write`] with `size` bytes; with `locked`, the value has a lock (`check_lock`).
    #[inline]
    pub(crate) unsafe fn store(&self, dst: *mut u8, src: *const u8, locked: bool) {
        let held = self.lock.filter(|_| locked);
        if let Some(offset) = held {
            // SAFETY: the lock lies inside the value (checked in `new`), which is valid by the caller's promise.
            unsafe { spin::lock(dst.add(offset)) };
        }
        if self.special.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { copy::write(dst, src, self.size) };
        } else {
            for &(offset, len) in &self.plain {
                // SAFETY: the run lies inside the value; it need not be aligned, so bytes are copied singly.
                unsafe { copy::write_bytes(dst.add(offset), src.add(offset), len) };
            }
        }
        if let Some(offset) = held {
            // SAFETY: locked above.
            unsafe { spin::unlock(dst.add(offset)) };
        }
    }

    /// Zeroes the special fields of a value that begins a new life.
    ///
    /// # Safety
    /// `dst` is a value of this shape that the caller may write.
    pub(crate) unsafe fn reset_fields(&self, dst: *mut u8) {
        for &(offset, len) in &self.special {
            // SAFETY: the run lies inside the value.
            unsafe { copy::zero(dst.add(offset), len) };
        }
    }

    /// A private copy of the shared value at `src`, special fields zeroed, `room` bytes long.
    ///
    /// # Safety
    /// `src` is a value of this shape, aligned to 8.
    pub(crate) unsafe fn load(&self, src: *mut u8, room: usize, locked: bool) -> Vec<u8> {
        let mut value = vec![0; room.max(self.size)];
        let held = self.lock.filter(|_| locked);
        // SAFETY: the value is valid by the caller's promise; the lock lies inside it; `value` has `size` bytes.
        unsafe {
            if let Some(offset) = held {
                spin::lock(src.add(offset));
            }
            copy::read(value.as_mut_ptr(), src, self.size);
            if let Some(offset) = held {
                spin::unlock(src.add(offset));
            }
        }
        for &(offset, len) in &self.special {
            value[offset..offset + len].fill(0);
        }
        value
    }
}

fn extent(field: &ValueField) -> (usize, usize) {
    (field.offset() as usize, field.size() as usize)
}
