//! The JIT: a proven program to machine code that runs.
//!
//! The way is program and facts → [`x64`] (instruction by instruction; an optimising tier would stand
//! before it) → bytes → `weir_sys::code` (sealed, then mapped) → [`Compiled`].
//!
//! In compiled code r0 is rax, r1–r5 are rsi, rdx, rcx, r8, r9, r6–r9 are rbx, r13, r14, r15, and r10
//! is rbp; the run is kept in r12, and rdi, r10 and r11 are scratch. With the run handed over in rdi
//! this is the C convention of [`crate::HelperFn`]: helpers are called as they are, and every function
//! of a program that is entered from outside (the first one, callbacks) can be called from Rust.

mod link;
pub mod replay;
mod runtime;
#[cfg(test)]
mod tests;
mod x64;

use std::sync::Arc;

use thiserror::Error;
use weir_ebpf::Program;
use weir_ebpf::abi::{Helper, Kfunc};
use weir_sys::code::{CodeError, Executable, Reserved, Written};
use weir_verifier::{Facts, Verified};

use crate::context::Context;
use crate::helpers;
use crate::interpreter::Code;
use crate::run::{HelperFn, Run};

pub(crate) use link::{Link, MapLink};
pub use replay::{ReplayError, replay};

/// Why a program has no machine code.
#[derive(Debug, Error)]
pub enum JitError {
    /// An instruction that the verifier lets nobody use, and that has no meaning here.
    #[error("insn {slot}: {what} cannot be compiled")]
    Insn {
        /// Where it stands.
        slot: usize,
        /// What it is.
        what: &'static str,
    },
    /// A helper without a body.
    #[error("insn {slot}: helper {number} has no body")]
    Helper {
        /// The call.
        slot: usize,
        /// The number called.
        number: u32,
    },
    /// A kernel function without a body.
    #[error("insn {slot}: kernel function {number} has no body")]
    Kfunc {
        /// The call.
        slot: usize,
        /// The number called.
        number: i32,
    },
    /// A map that the program names but was not given.
    #[error("insn {slot}: the program was loaded without map {map}")]
    Map {
        /// The instruction that names it.
        slot: usize,
        /// Index into the program's maps.
        map: u32,
    },
    /// A jump or call out of the program.
    #[error("insn {slot}: goes out of the program, to insn {target}")]
    Target {
        /// The jump.
        slot: usize,
        /// Where it goes.
        target: i64,
    },
    /// No memory for the code.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// The machine code of one program.
#[derive(Debug)]
pub struct Compiled {
    code: Executable,
    bytes: usize,
    slots: Vec<u32>,
}

impl Compiled {
    /// Compiles a proven program with its maps.
    pub(crate) fn new(verified: &Verified, code: &Arc<Code>) -> Result<Self, JitError> {
        let maps: Vec<_> = code.maps.iter().map(MapLink::new).collect();
        let owner = Arc::as_ptr(code).expose_provenance();
        let helper = |number| Helper::new(number).map(|helper| helpers::body(helper) as *const () as usize);
        let kfunc = |number| Kfunc::new(number).map(|kfunc| helpers::kfunc_body(kfunc) as *const () as usize);
        let link = Link { helper: &helper, kfunc: &kfunc, maps: &maps, owner, exact: false };
        Self::build(verified.program(), Some(verified.facts()), &link)
    }

    /// Compiles a program that nobody has proven: every access goes to the address that the program
    /// computes.
    ///
    /// # Safety
    /// Running the code is only sound with an input for which the checked interpreter ran this very
    /// program to its end without a violation.
    pub(crate) unsafe fn unproven(program: &Program, link: &Link<'_>) -> Result<Self, JitError> {
        Self::build(program, None, link)
    }

    fn build(program: &Program, facts: Option<&Facts>, link: &Link<'_>) -> Result<Self, JitError> {
        let draft = x64::emit(program, facts, link, 0, x64::Shorts::default())?;
        let place = Reserved::near(Self::build as *const () as usize, draft.bytes.len())?;
        let last = x64::emit(program, facts, link, place.address(), draft.shorts)?;
        assert!(last.bytes.len() <= draft.bytes.len(), "the second pass only shortens");
        let code = Written::new(&last.bytes)?.seal()?.map(place)?;
        Ok(Self { code, bytes: last.bytes.len(), slots: last.slots })
    }

    /// The machine code.
    pub fn code(&self) -> &[u8] {
        &self.code.bytes()[..self.bytes]
    }

    /// Where the code lies.
    pub fn address(&self) -> usize {
        self.code.address()
    }

    /// Where the code of each slot starts, in bytes from the start of the code.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Where the program is entered, from Rust and by tail calls: a [`HelperFn`] whose r1 is the context.
    pub(crate) fn entry(&self) -> *const u8 {
        self.code.at(0)
    }

    /// Runs the program for a packet and answers r0.
    pub(crate) fn run(&self, run: &mut Run<'_>, context: &mut Context<'_>) -> u64 {
        run.call_function = runtime::call_function;
        // SAFETY: the entry is compiled to be called like this; the program was proven for the maps it was
        // compiled with (or, unproven, whoever compiled it promised), and the run and the context are
        // borrowed for the call.
        unsafe {
            let enter: HelperFn = std::mem::transmute(self.entry());
            let context = std::ptr::from_mut(context).expose_provenance();
            enter(run, context as u64, 0, 0, 0, 0)
        }
    }
    /// Calls a function that a timer was given; `function` is its address.
    pub(crate) fn call_later(&self, run: &mut Run<'_>, function: u64, [map, key, value]: [u64; 3]) {
        run.call_function = runtime::call_function;
        // SAFETY: this program has set the function (`Call::program` says which it is), whose address compiled
        // code took; callbacks are compiled to be entered like this, and this one was proven for a key and a
        // value of the map. The run is borrowed for the call.
        unsafe {
            runtime::call_function(run, function, map, key, value, 0);
        }
    }
}
