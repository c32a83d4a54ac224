//! A helper call as its body sees it: arguments by the signature, answers as values.
//!
//! This file holds what bodies would otherwise each need `unsafe` for. The one promise is made where a
//! [`Call`] is made: its five numbers fulfil the helper's signature. Every getter asserts that the
//! signature says what it hands out, so a body that takes a number for a pointer fails its first test.

use std::sync::Arc;

use weir_ebpf::abi::helper::Arg;
use weir_ebpf::abi::{Callee, Errno, Helper};
use weir_maps::{Map, TimerRef, Timers};

use super::dynptr::Dynptr;
use super::iterator::Count;
use crate::context::Context;
use crate::env::Env;
use crate::interpreter::Code;
use crate::run::Run;

/// One call of a helper.
pub(crate) struct Call<'r> {
    run: &'r mut Run<'r>,
    args: [u64; 5],
    callee: Callee,
}

/// Memory of the program that an argument names. Programs of other workers may write map values at the
/// same time, and it may overlap the packet, so it is never a Rust slice: bytes are copied in and out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    at: *mut u8,
    len: usize,
}

impl<'r> Call<'r> {
    /// # Safety
    /// `run` is unique for the time of the call and has a context, and `args` fulfil the signature of
    /// `callee`: see [`crate::HelperFn`].
    pub(crate) unsafe fn new(run: *mut Run<'_>, args: [u64; 5], callee: Callee) -> Self {
        // SAFETY: valid and unique for 'r, which the caller lets end with the call.
        let run = unsafe { &mut *run.cast::<Run<'r>>() };
        Self { run, args, callee }
    }

    /// A number, all 64 bits.
    pub(crate) fn u64(&self, index: usize) -> u64 {
        self.args[index]
    }

    /// A number, as C truncates it to `u32`.
    pub(crate) fn u32(&self, index: usize) -> u32 {
        self.args[index] as u32
    }

    /// A number, as C truncates it to `int`.
    pub(crate) fn i32(&self, index: usize) -> i32 {
        self.args[index] as i32
    }

    /// A number, as C truncates it to `u16`.
    pub(crate) fn u16(&self, index: usize) -> u16 {
        self.args[index] as u16
    }

    /// The run.
    pub(crate) fn run(&mut self) -> &mut Run<'r> {
        self.run
    }

    /// The world.
    pub(crate) fn env(&mut self) -> &mut dyn Env {
        self.run.env()
    }

    /// The packet's context.
    pub(crate) fn context(&mut self) -> &mut Context<'static> {
        // SAFETY: `new`'s caller promised a context; it is borrowed from the engine for the run, and
        // handed out here for no longer than `self` is.
        unsafe { &mut *self.run.context }
    }

    /// The memory that argument `index` points to, `index + 1` its size; empty for a null pointer.
    pub(crate) fn memory(&self, index: usize) -> Memory {
        let kind = self.kind(index);
        assert!(matches!(
            kind,
            Arg::Mem
                | Arg::MemOrNull
                | Arg::UninitMem
                | Arg::UninitMemOrNull
                | Arg::MemReadWrite
                | Arg::Buffer
        ));
        assert!(matches!(self.kind(index + 1), Arg::Size | Arg::SizeOrZero | Arg::BufferSize));
        self.region(index, self.args[index + 1] as u32 as usize)
    }

    /// The memory of a fixed size that argument `index` points to.
    pub(crate) fn fixed(&self, index: usize) -> Memory {
        let len = match self.kind(index) {
            Arg::Long | Arg::Place8 => 8,
            Arg::LongU32 | Arg::SpinLock | Arg::Place4 => 4,
            Arg::Place2 => 2,
            Arg::Place16 => 16,
            Arg::Read20 => 20,
            Arg::Read40 => 40,
            kind => unreachable!("argument {index} of {} is {kind:?}", self.callee.name()),
        };
        self.region(index, len)
    }

    /// A copy of the text that argument `index` points to, with its terminator.
    pub(crate) fn text(&self, index: usize) -> Vec<u8> {
        assert!(matches!(self.kind(index), Arg::ConstStr));
        let at = self.pointer(index);
        let mut text = Vec::new();
        loop {
            // SAFETY: the signature promises text with a terminator, and none was met so far.
            let byte = unsafe { at.add(text.len()).read() };
            text.push(byte);
            if byte == 0 {
                return text;
            }
        }
    }

    /// The map that argument `index` names.
    pub(crate) fn map(&self, index: usize) -> &'r Map {
        assert!(matches!(self.kind(index), Arg::Map));
        // SAFETY: a map argument is the address of a map of the running program (or an inner map of one),
        // which the generation keeps alive for longer than the run.
        unsafe { &*std::ptr::with_exposed_provenance(self.args[index] as usize) }
    }

    /// The timer that argument `index` points to, if it was begun.
    pub(crate) fn timer(&self, index: usize) -> Option<TimerRef<'r>> {
        assert!(matches!(self.kind(index), Arg::Timer));
        // SAFETY: the signature promises the timer in a value of a map of the program, which outlives the run.
        unsafe { Timers::begun(self.pointer(index)) }
    }

    /// The program that makes the call. Engines put it behind the arguments of `bpf_timer_set_callback`, as the
    /// kernel's verifier does.
    pub(crate) fn program(&self) -> Arc<Code> {
        assert!(self.callee.is(Helper::TimerSetCallback));
        let code = std::ptr::with_exposed_provenance::<Code>(self.args[2] as usize);
        // SAFETY: the engine put the address there of what an `Arc` holds that it keeps for the run.
        unsafe {
            Arc::increment_strong_count(code);
            Arc::from_raw(code)
        }
    }

    /// Calls a function of the program, which `callback` (a `Callback` argument) names; answers its r0.
    pub(crate) fn call_back(&mut self, callback: u64, args: [u64; 4]) -> u64 {
        let [r1, r2, r3, r4] = args;
        let enter = self.run.call_function;
        // SAFETY: the engine that runs set `call_function` and made `callback`; the run is handed on, and not
        // touched through `self` until it comes back.
        unsafe { enter(self.run, callback, r1, r2, r3, r4) }
    }

    /// The pointer in argument `index`, which the signature says is one.
    pub(crate) fn pointer(&self, index: usize) -> *mut u8 {
        assert!(!matches!(
            self.kind(index),
            Arg::Anything
                | Arg::Number
                | Arg::DontCare
                | Arg::Size
                | Arg::SizeOrZero
                | Arg::BufferSize
                | Arg::ConstSize
                | Arg::ConstBufferSize
        ));
        std::ptr::with_exposed_provenance_mut(self.args[index] as usize)
    }

    fn region(&self, index: usize, len: usize) -> Memory {
        let at = self.pointer(index);
        Memory { at, len: if at.is_null() { 0 } else { len } }
    }

    fn kind(&self, index: usize) -> Arg {
        self.callee.args(self.run.kind)[index]
    }

    /// The view that argument `index` points to.
    pub(crate) fn dynptr(&self, index: usize) -> Dynptr {
        let kind = self.kind(index);
        assert!(is_new_dynptr(kind) || matches!(kind, Arg::Dynptr | Arg::RecordDynptr));
        // SAFETY: the signature promises 16 aligned bytes of stack there; all of `Dynptr` is numbers.
        unsafe { self.pointer(index).cast::<Dynptr>().read() }
    }

    /// Sets the view that argument `index` points to.
    pub(crate) fn set_dynptr(&mut self, index: usize, view: Dynptr) {
        let kind = self.kind(index);
        assert!(is_new_dynptr(kind) || matches!(kind, Arg::Dynptr | Arg::RecordDynptr));
        // SAFETY: the signature promises 16 aligned, writable bytes of stack there.
        unsafe { self.pointer(index).cast::<Dynptr>().write(view) }
    }

    /// The count that argument `index` points to.
    pub(crate) fn count(&self, index: usize) -> Count {
        assert!(matches!(self.kind(index), Arg::Iterator));
        // SAFETY: the signature promises 8 aligned bytes of stack there; all of `Count` is numbers.
        unsafe { self.pointer(index).cast::<Count>().read() }
    }

    /// Sets the count that argument `index` points to.
    pub(crate) fn set_count(&mut self, index: usize, count: Count) {
        assert!(matches!(self.kind(index), Arg::NewIterator | Arg::Iterator | Arg::EndedIterator));
        // SAFETY: the signature promises 8 aligned, writable bytes of stack there.
        unsafe { self.pointer(index).cast::<Count>().write(count) }
    }
}

/// Whether the argument is a place for a dynptr.
pub(crate) fn is_new_dynptr(kind: Arg) -> bool {
    matches!(
        kind,
        Arg::NewDynptr | Arg::NewMemDynptr | Arg::NewRecordDynptr | Arg::NewSkbDynptr | Arg::NewXdpDynptr
    )
}

impl Memory {
    /// Where it starts.
    pub(super) fn start(&self) -> *mut u8 {
        self.at
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A copy of the bytes at `offset`, as far as they fit; zeros for what lies behind the end.
    pub(crate) fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        let len = N.min(self.len.saturating_sub(offset));
        if len > 0 {
            // SAFETY: `offset + len <= self.len`, readable by the signature; `bytes` is ours and has N.
            unsafe { self.at.add(offset).copy_to(bytes.as_mut_ptr(), len) };
        }
        bytes
    }

    /// A copy of all bytes.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // SAFETY: readable for `len` bytes by the signature; `bytes` is ours and has as many.
        unsafe { self.at.copy_to(bytes.as_mut_ptr(), self.len) };
        bytes
    }

    /// Writes all of the bytes to `offset`.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len, "bodies measure before they write");
        // SAFETY: inside the region (asserted), writable by the signature; `copy_to` allows overlap.
        unsafe { bytes.as_ptr().copy_to(self.at.add(offset), bytes.len()) };
    }

    /// Zeroes all bytes.
    pub(crate) fn clear(&self) {
        if self.len > 0 {
            // SAFETY: writable for `len` bytes by the signature.
            unsafe { self.at.write_bytes(0, self.len) };
        }
    }

    /// Fills it from the packet at `offset`; false, and nothing done, when the packet is too short.
    pub(crate) fn fill_from(&self, context: &Context<'_>, offset: usize) -> bool {
        let Some(from) = context.within(offset, self.len) else { return false };
        // SAFETY: `within` found `len` bytes there; writable here by the signature; overlap is allowed.
        unsafe { from.copy_to(self.at, self.len) };
        true
    }

    /// Copies it into the packet at `offset`; false, and nothing done, when the packet is too short.
    pub(crate) fn store_to(&self, context: &mut Context<'_>, offset: usize) -> bool {
        let Some(to) = context.within(offset, self.len) else { return false };
        // SAFETY: `within` found `len` bytes there; readable here by the signature; overlap is allowed.
        unsafe { self.at.copy_to(to, self.len) };
        true
    }
}

/// What a body answers, as r0 holds it.
pub(crate) trait Answer {
    /// The 64 bits of r0.
    fn register(self) -> u64;
}

impl Answer for u64 {
    fn register(self) -> u64 {
        self
    }
}

impl Answer for u32 {
    fn register(self) -> u64 {
        u64::from(self)
    }
}

impl Answer for i64 {
    fn register(self) -> u64 {
        self as u64
    }
}

impl Answer for () {
    fn register(self) -> u64 {
        0
    }
}

impl Answer for Errno {
    fn register(self) -> u64 {
        self.as_return()
    }
}

impl<T: Answer> Answer for Result<T, Errno> {
    fn register(self) -> u64 {
        match self {
            Ok(answer) => answer.register(),
            Err(errno) => errno.as_return(),
        }
    }
}
