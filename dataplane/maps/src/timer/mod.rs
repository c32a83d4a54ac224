//! `struct bpf_timer`: sixteen bytes of a map's value, and beside the map what they stand for.
//!
//! ```text
//!   value:  … | address of the map's Timers, 0 before bpf_timer_init | number of the timer | …
//! ```
//!
//! Programs and people never see those bytes: the verifier keeps programs from them, and reads by people show
//! zeros. A timer belongs to its element. It is cancelled and forgotten when the element is deleted, evicted or
//! replaced, in an array also when it is overwritten (`bpf_obj_free_fields`), and when no loaded program uses
//! the map any more ([`crate::Map::leave_timers`]), which stands for the kernel's count of user references.
//!
//! Each worker has the timers that it started, earliest first. One lock guards all of a map's timers; whoever
//! only wants to know whether one is due reads a word ([`Timers::next`]). Nothing here knows clocks: times are
//! numbers that the caller brings. Follows kernel/bpf/helpers.c of Linux 6.18.

mod heap;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use weir_ebpf::abi::Errno;

use crate::spin::{Backoff, Spin};
use heap::Heaps;

/// When no timer is armed.
pub const NEVER: u64 = u64::MAX;

/// Whatever must be kept so that a callback can be called.
pub type Owner = Arc<dyn Any + Send + Sync>;

/// The clocks that a timer may go by (`CLOCK_MONOTONIC` and others of linux/time.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// Since boot, without time asleep.
    Monotonic,
    /// Time of day.
    Real,
    /// Since boot, time asleep included.
    Boot,
}

impl TimerClock {
    /// The clock that flags of `bpf_timer_init` name.
    pub const fn new(flags: u64) -> Option<Self> {
        match flags {
            0 => Some(TimerClock::Real),
            1 => Some(TimerClock::Monotonic),
            7 => Some(TimerClock::Boot),
            _ => None,
        }
    }
}

/// The timers of a map, one for each element that there may be.
pub struct Timers {
    inner: Spin<Inner>,
    /// When the next one of each worker is due.
    next: Box<[CachePadded<AtomicU64>]>,
    /// Loaded programs that use the map.
    users: AtomicUsize,
}

struct Inner {
    heaps: Heaps,
    timers: Box<[Timer]>,
    owners: Vec<Held>,
    /// How often one was armed.
    armed: u64,
    /// How many are begun.
    begun: usize,
}

/// One timer. All zeros is one that is not begun.
#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    /// The callback, as the engine that set it knows it.
    function: u64,
    /// Whose callback it is, counted from 1; 0 when none is set.
    owner: u32,
    /// The clock, counted from 1; 0 when it is not begun.
    clock: u32,
    /// The worker that is in the callback now, counted from 1.
    running: u32,
    /// Those that wait for the callback's end from inside another's.
    cancelling: u32,
    /// How many timers there were in this place before.
    life: u32,
}

/// What callbacks belong to, and how many timers have one of it. What none has any more is kept until the
/// control side lets it go, so that no worker frees code.
#[derive(Default)]
struct Held {
    owner: Option<Owner>,
    timers: usize,
}

/// A timer that was begun.
#[derive(Clone, Copy)]
pub struct TimerRef<'m> {
    timers: &'m Timers,
    number: usize,
}

/// A timer that has become due, whose callback is to be called now. Give it back with [`Timers::done`].
pub struct Due {
    /// What was given with the callback.
    pub owner: Owner,
    /// The callback.
    pub function: u64,
    pub(crate) number: usize,
    life: u32,
}

/// The timer whose callback runs on a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Address of its [`Timers`], which the map keeps; 0 for none.
    timers: usize,
    number: usize,
}

/// The timer of an element as a map finds it: its number, and its bytes in the value.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'m> {
    at: *mut u8,
    _map: PhantomData<&'m ()>,
}

impl Bytes<'_> {
    /// # Safety
    /// `at` points to the timer of a value, eight-aligned, that lives as long as the lifetime says.
    pub(crate) unsafe fn new(at: *mut u8) -> Self {
        Bytes { at, _map: PhantomData }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 2);
        // SAFETY: 16 aligned bytes by the promise of `new`, touched as atomics only.
        unsafe { &*self.at.cast::<AtomicU64>().add(index) }
    }

    /// What they say: the address of the map's timers, and the number of this one.
    fn get(&self) -> (usize, usize) {
        let timers = self.word(0).load(Ordering::Acquire) as usize;
        (timers, self.word(1).load(Ordering::Relaxed) as usize)
    }

    fn set(&self, timers: &Timers, number: usize) {
        self.word(1).store(number as u64, Ordering::Relaxed);
        self.word(0).store(std::ptr::from_ref(timers).expose_provenance() as u64, Ordering::Release);
    }

    fn clear(&self) {
        self.word(0).store(0, Ordering::Release);
    }
}

impl Timers {
    /// Timers for so many elements and workers. Its address is what values hold: it must not move once one is
    /// begun.
    pub(crate) fn new(elements: usize, workers: usize) -> Box<Self> {
        // SAFETY: all of a timer is numbers, which may be zero.
        let timers = unsafe { Box::<[Timer]>::new_zeroed_slice(elements).assume_init() };
        let heaps = Heaps::new(elements, workers);
        let inner = Inner { heaps, timers, owners: Vec::new(), armed: 0, begun: 0 };
        Box::new(Timers {
            inner: Spin::new(inner),
            next: (0..workers).map(|_| CachePadded::new(AtomicU64::new(NEVER))).collect(),
            users: AtomicUsize::new(0),
        })
    }

    /// The begun timer that these bytes of a value are.
    ///
    /// # Safety
    /// `timer` points to the timer inside a value of a map that has timers and lives for `'m`.
    pub unsafe fn begun<'m>(timer: *mut u8) -> Option<TimerRef<'m>> {
        // SAFETY: the caller's promise.
        let (timers, number) = unsafe { Bytes::new(timer) }.get();
        // SAFETY: only `Bytes::set` writes that word, with the address of the map's timers, which do not move.
        let timers = unsafe { std::ptr::with_exposed_provenance::<Timers>(timers).as_ref() }?;
        Some(TimerRef { timers, number })
    }

    /// One more loaded program uses the map.
    pub fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
        self.let_go();
    }

    /// One fewer does; answers whether it was the last.
    pub(crate) fn leave(&self) -> bool {
        self.let_go();
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Drops what no timer's callback belongs to any more.
    pub(crate) fn let_go(&self) {
        let mut inner = self.inner.lock();
        let idle = inner.owners.iter_mut().filter(|held| held.timers == 0);
        let gone: Vec<_> = idle.filter_map(|held| held.owner.take()).collect();
        drop(inner);
        // What goes here may use this very map: not under its lock.
        drop(gone);
    }

    /// When the next timer of a worker is due; [`NEVER`] when it has none.
    #[inline]
    pub fn next(&self, worker: usize) -> u64 {
        self.next.get(worker).map_or(NEVER, |next| next.load(Ordering::Relaxed))
    }

    /// How often one was armed so far.
    pub fn armed(&self) -> u64 {
        self.inner.lock().armed
    }

    /// Takes the earliest timer of a worker if it is due, and was not armed after the first `armed` ones.
    pub fn due(&self, worker: usize, now: u64, armed: u64) -> Option<Due> {
        if self.next(worker) > now {
            return None;
        }
        let mut inner = self.inner.lock();
        loop {
            let (number, node) = inner.heaps.top(worker)?;
            if node.deadline > now || node.order >= armed {
                return None;
            }
            self.unlink(&mut inner, number);
            let Timer { function, life, .. } = inner.timers[number];
            // Without an owner it is being cancelled by someone who waits for its callback.
            if let Some(owner) = inner.owner_of(number) {
                inner.timers[number].running = worker as u32 + 1;
                return Some(Due { owner, function, number, life });
            }
        }
    }

    /// The callback of a timer that was due has returned.
    pub fn done(&self, due: &Due) {
        let mut inner = self.inner.lock();
        let timer = &mut inner.timers[due.number];
        if timer.life == due.life {
            timer.running = 0;
        }
    }

    /// What a callback of this timer says of itself when it cancels others.
    pub fn running(&self, due: &Due) -> Running {
        Running { timers: std::ptr::from_ref(self).expose_provenance(), number: due.number }
    }

    /// `bpf_timer_init`.
    pub(crate) fn begin(&self, number: usize, bytes: Bytes<'_>, clock: TimerClock) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if inner.timers[number].clock != 0 {
            if bytes.get().0 != 0 {
                return Err(Errno::EBUSY);
            }
            // Begun by one who had the element's address from before it went: its place has another value by now.
            self.end(&mut inner, number);
        }
        let timer = &mut inner.timers[number];
        if self.users.load(Ordering::Acquire) == 0 {
            return Err(Errno::EPERM);
        }
        *timer = Timer { clock: clock as u32 + 1, life: timer.life, ..Timer::default() };
        inner.begun += 1;
        bytes.set(self, number);
        Ok(())
    }

    /// Cancels a timer whose element goes, or is overwritten, and forgets all of it. A callback that runs
    /// elsewhere is not waited for: what it has is memory of the map, whatever stands there by then.
    pub(crate) fn forget(&self, number: usize, bytes: Bytes<'_>) {
        // Not by what the bytes say: who has the address of an element that went may begin its timer while the
        // place is given another value.
        let mut inner = self.inner.lock();
        self.end(&mut inner, number);
        bytes.clear();
    }

    fn end(&self, inner: &mut Inner, number: usize) {
        self.unlink(inner, number);
        inner.set_owner(number, 0);
        let timer = &mut inner.timers[number];
        if timer.clock != 0 {
            *timer = Timer { life: timer.life.wrapping_add(1), ..Timer::default() };
            inner.begun -= 1;
        }
    }

    /// The timers that are begun.
    pub(crate) fn each_begun(&self) -> Vec<usize> {
        let inner = self.inner.lock();
        if inner.begun == 0 {
            return Vec::new();
        }
        (0..inner.timers.len()).filter(|number| inner.timers[*number].clock != 0).collect()
    }

    /// Bytes set aside.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().timers.len() * (size_of::<Timer>() + size_of::<heap::Node>())
    }

    /// Takes it out of its heap; answers whether it was armed.
    fn unlink(&self, inner: &mut Inner, number: usize) -> bool {
        let Some(worker) = inner.heaps.take(number) else { return false };
        self.publish(inner, worker);
        true
    }

    fn publish(&self, inner: &Inner, worker: usize) {
        let next = inner.heaps.top(worker).map_or(NEVER, |(_, node)| node.deadline);
        self.next[worker].store(next, Ordering::Relaxed);
    }
}

impl Inner {
    fn set_owner(&mut self, number: usize, owner: u32) {
        let old = std::mem::replace(&mut self.timers[number].owner, owner);
        if let Some(held) = old.checked_sub(1).and_then(|old| self.owners.get_mut(old as usize)) {
            held.timers -= 1;
        }
        if let Some(held) = owner.checked_sub(1).and_then(|owner| self.owners.get_mut(owner as usize)) {
            held.timers += 1;
        }
    }

    fn owner_of(&self, number: usize) -> Option<Owner> {
        let owner = self.timers[number].owner.checked_sub(1)?;
        self.owners.get(owner as usize)?.owner.clone()
    }

    /// The number of an owner, counted from 1.
    fn number_of(&mut self, owner: &Owner) -> u32 {
        let same = |held: &Held| {
            held.owner.as_ref().is_some_and(|held| std::ptr::addr_eq(Arc::as_ptr(held), Arc::as_ptr(owner)))
        };
        let known = self.owners.iter().position(same);
        let free = || self.owners.iter().position(|held| held.owner.is_none());
        let at = known.or_else(free).unwrap_or(self.owners.len());
        if at == self.owners.len() {
            self.owners.push(Held::default());
        }
        self.owners[at].owner.get_or_insert_with(|| Arc::clone(owner));
        at as u32 + 1
    }
}

impl TimerRef<'_> {
    /// The clock it goes by; none when its element has just gone.
    pub fn clock(&self) -> Option<TimerClock> {
        match self.timers.inner.lock().timers[self.number].clock.checked_sub(1)? {
            0 => Some(TimerClock::Monotonic),
            1 => Some(TimerClock::Real),
            _ => Some(TimerClock::Boot),
        }
    }

    /// `bpf_timer_set_callback`; the owner is kept as long as it is a timer's.
    pub fn set_callback(&self, owner: &Owner, function: u64) -> Result<(), Errno> {
        let mut inner = self.timers.inner.lock();
        if inner.timers[self.number].clock == 0 {
            return Err(Errno::EINVAL);
        }
        if self.timers.users.load(Ordering::Acquire) == 0 {
            return Err(Errno::EPERM);
        }
        let owner = inner.number_of(owner);
        inner.set_owner(self.number, owner);
        inner.timers[self.number].function = function;
        Ok(())
    }

    /// `bpf_timer_start`, on a worker's clock: due at `deadline`. One that is armed is armed anew.
    pub fn start(&self, worker: usize, deadline: u64) -> Result<(), Errno> {
        let mut inner = self.timers.inner.lock();
        let timer = inner.timers[self.number];
        if timer.clock == 0 || timer.owner == 0 || worker >= self.timers.next.len() {
            return Err(Errno::EINVAL);
        }
        self.timers.unlink(&mut inner, self.number);
        let order = inner.armed;
        inner.armed += 1;
        inner.heaps.put(worker, self.number, deadline, order);
        self.timers.publish(&inner, worker);
        Ok(())
    }

    /// `bpf_timer_cancel` by a worker that is in the callback of the timer `from`, if in any: answers whether it
    /// was armed, after waiting for the end of its callback where that runs on another worker.
    pub fn cancel(&self, worker: usize, from: Running) -> Result<bool, Errno> {
        let mut inner = self.timers.inner.lock();
        let timer = &mut inner.timers[self.number];
        if timer.clock == 0 {
            return Err(Errno::EINVAL);
        }
        let itself = from == Running { timers: std::ptr::from_ref(self.timers).addr(), number: self.number };
        if itself && timer.running == worker as u32 + 1 {
            return Err(Errno::EDEADLK);
        }
        // Two callbacks that cancel each other would wait for ever: one of them sees that the other does.
        let inside = from != Running::default();
        timer.cancelling += u32::from(inside);
        let life = timer.life;
        drop(inner);
        let deadlock = inside && from.is_cancelled();
        let done = if deadlock { Err(Errno::EDEADLK) } else { Ok(self.stop(worker, life)) };
        let mut inner = self.timers.inner.lock();
        let timer = &mut inner.timers[self.number];
        if inside && timer.life == life {
            timer.cancelling -= 1;
        }
        done
    }

    /// Takes callback and deadline away, once no other worker is in the callback.
    fn stop(&self, worker: usize, life: u32) -> bool {
        let mut waited = Backoff::default();
        loop {
            let mut inner = self.timers.inner.lock();
            if inner.timers[self.number].life != life {
                return false;
            }
            inner.set_owner(self.number, 0);
            let running = inner.timers[self.number].running;
            if running == 0 || running == worker as u32 + 1 {
                return self.timers.unlink(&mut inner, self.number);
            }
            drop(inner);
            waited.wait();
        }
    }
}

impl Running {
    /// Whether someone waits for the end of this callback.
    fn is_cancelled(self) -> bool {
        // SAFETY: made by `Timers::running` for the time of a callback, in which the map is kept.
        let timers = unsafe { std::ptr::with_exposed_provenance::<Timers>(self.timers).as_ref() };
        timers.is_some_and(|timers| timers.inner.lock().timers[self.number].cancelling != 0)
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Timers").field("begun", &inner.begun).field("armed", &inner.armed).finish()
    }
}

#[cfg(test)]
mod tests;
