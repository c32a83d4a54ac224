//! Asking the cache for what is needed soon.

/// Has the first line of `what` fetched, to be read soon. A hint: it changes nothing and cannot fault.
#[inline(always)]
pub fn read<T: ?Sized>(what: &T) {
    let at = std::ptr::from_ref(what).cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is part of x86-64's baseline, and prefetching faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
