//! `struct bpf_spin_lock`: four bytes inside a map value, 0 when free.
//!
//! Helpers lock it for programs, and `BPF_F_LOCK` for updates and lookups; all of them come here. And the same
//! kind of lock for what maps keep to themselves.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes the lock, waiting for whoever has it.
///
/// # Safety
/// `lock` points to a `bpf_spin_lock` inside a live map value, aligned to 4.
#[inline]
pub unsafe fn lock(lock: *mut u8) {
    // SAFETY: valid and aligned by the caller's promise; locks are only touched through this module.
    let word = unsafe { &*lock.cast::<AtomicU32>() };
    let mut waited = Backoff::default();
    while word.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        waited.wait();
    }
}

/// Gives the lock back.
///
/// # Safety
/// As for [`lock()`], and the caller has it.
#[inline]
pub unsafe fn unlock(lock: *mut u8) {
    // SAFETY: as in `lock`.
    unsafe { &*lock.cast::<AtomicU32>() }.store(0, Ordering::Release);
}

/// Spins a little, then lets others run: with more workers than cores the holder may not be running.
#[derive(Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(64) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Something that is touched by one at a time, for a few instructions.
#[derive(Debug, Default)]
pub(crate) struct Spin<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through the lock only, by one thread at a time.
unsafe impl<T: Send> Sync for Spin<T> {}

/// The value, as long as the lock is held.
pub(crate) struct Held<'s, T> {
    spin: &'s Spin<T>,
}

impl<T> Spin<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    pub(crate) fn lock(&self) -> Held<'_, T> {
        let mut waited = Backoff::default();
        while self.word.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            waited.wait();
        }
        Held { spin: self }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: whoever has a `Held` has the lock.
        unsafe { &*self.spin.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: whoever has a `Held` has the lock, and this one is borrowed alone.
        unsafe { &mut *self.spin.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.spin.word.store(0, Ordering::Release);
    }
}
