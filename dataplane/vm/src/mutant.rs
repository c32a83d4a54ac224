//! Deliberate bugs in the JIT, each of which the tests must find. Without the feature `mutants`, which
//! only tests turn on, none exists.
//!
//! None of them makes a program leave its memory: they compute wrong numbers, and addresses that
//! random programs use are masked and checked by other instructions.

use weir_ebpf::Insn;
#[cfg(feature = "mutants")]
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Size, Width};

/// Declares [`Mutant`] from its rows.
macro_rules! mutants {
    ($( $(#[$doc:meta])* $name:ident; )+) => {
        /// A mistake that JITs have made, which a test turns on for its own thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $( $(#[$doc])* $name, )+ }

        impl Mutant {
            /// Every mutant.
            pub const ALL: &[Mutant] = &[$( Mutant::$name, )+];
        }
    };
}

mutants! {
    /// 32-bit arithmetic leaves the upper half of the result.
    Alu32KeepsUpper;
    /// A 32-bit move copies all 64 bits.
    Mov32KeepsUpper;
    /// A 32-bit negation is one of 64 bits.
    Neg32KeepsUpper;
    /// `(s32)` zero-extends.
    MovsxZeroExtends;
    /// `le16` and `le32` leave what is above.
    SwapNoTruncation;
    /// `be16` leaves what is above.
    SwapKeepsUpper;
    /// A 64-bit immediate load keeps 32 bits, sign-extended.
    Immediate64Cut;
    /// A negative immediate is zero-extended in 64-bit arithmetic (CVE-2017-16995's family).
    ImmediateZeroExtended;
    /// A sign-extending load zero-extends.
    LoadUnsigned;
    /// A 32-bit comparison looks at 64 bits.
    Branch32Wide;
    /// `s<` compares without signs.
    SignedLessUnsigned;
    /// `>=` is `>`.
    GreaterOrEqualStrict;
    /// `&` tests for inequality.
    TestNotEqual;
    /// Signed division is unsigned.
    SdivUnsigned;
    /// Signed remainder is unsigned.
    SmodUnsigned;
    /// Division by zero leaves the dividend.
    DivByZeroKeeps;
    /// A division loses r2, which is rdx.
    DivLosesR2;
    /// An arithmetic right shift brings in zeros.
    ArshLogical;
    /// `atomic_fetch_or` does not fetch.
    FetchOrForgets;
    /// A fetching `and`, `or` or `xor` loses r0, which is rax.
    FetchLosesR0;
    /// `cmpxchg` of 32 bits does not zero-extend r0 (CVE-2026-98869's family).
    CmpxchgKeepsUpper;
    /// A function does not save its caller's r8.
    FunctionLosesR8;
    /// A looked-up index is not multiplied by the value's size.
    ArrayNotScaled;
}

#[cfg(not(feature = "mutants"))]
pub(crate) use absent::{bend, seeded};
#[cfg(feature = "mutants")]
pub(crate) use switch::bend;
#[cfg(feature = "mutants")]
pub use switch::{seeded, with};

#[cfg(not(feature = "mutants"))]
mod absent {
    use super::{Insn, Mutant};

    /// Never: there are no mutants outside tests.
    #[inline(always)]
    pub(crate) const fn seeded(_: Mutant) -> bool {
        false
    }

    /// The instruction as it is.
    #[inline(always)]
    pub(crate) const fn bend(insn: Insn) -> Insn {
        insn
    }
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this thread has turned the mutant on.
    pub fn seeded(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Runs with the mutant on.
    pub fn with<T>(mutant: Mutant, run: impl FnOnce() -> T) -> T {
        ON.set(Some(mutant));
        let result = run();
        ON.set(None);
        result
    }

    /// The instruction as the mutant takes it.
    pub(crate) fn bend(insn: Insn) -> Insn {
        use Mutant as M;
        let Some(mutant) = ON.get() else { return insn };
        match (mutant, insn) {
            (M::Alu32KeepsUpper, Insn::Alu { width: Width::W32, op, dst, src }) => {
                Insn::Alu { width: Width::W64, op, dst, src }
            }
            (M::Mov32KeepsUpper, Insn::Mov { width: Width::W32, dst, src }) => {
                Insn::Mov { width: Width::W64, dst, src }
            }
            (M::Neg32KeepsUpper, Insn::Neg { width: Width::W32, dst }) => {
                Insn::Neg { width: Width::W64, dst }
            }
            (M::MovsxZeroExtends, Insn::MovSx { from: Size::W, dst, src, .. }) => {
                Insn::Mov { width: Width::W32, dst, src: weir_ebpf::isa::Source::Reg(src) }
            }
            (M::Immediate64Cut, Insn::LoadImm64 { dst, value: Imm64::Value(value) }) => {
                let cut = i64::from(value as i32) as u64;
                Insn::LoadImm64 { dst, value: Imm64::Value(cut) }
            }
            (M::LoadUnsigned, Insn::Load { size, dst, base, off, .. }) => {
                Insn::Load { size, signed: false, dst, base, off }
            }
            (M::Branch32Wide, Insn::Branch { width: Width::W32, cond, dst, src, off }) => {
                Insn::Branch { width: Width::W64, cond, dst, src, off }
            }
            (M::SignedLessUnsigned, Insn::Branch { width, cond: Cond::SLt, dst, src, off }) => {
                Insn::Branch { width, cond: Cond::Lt, dst, src, off }
            }
            (M::GreaterOrEqualStrict, Insn::Branch { width, cond: Cond::Ge, dst, src, off }) => {
                Insn::Branch { width, cond: Cond::Gt, dst, src, off }
            }
            (M::TestNotEqual, Insn::Branch { width, cond: Cond::Set, dst, src, off }) => {
                Insn::Branch { width, cond: Cond::Ne, dst, src, off }
            }
            (M::SdivUnsigned, Insn::Alu { width, op: AluOp::SDiv, dst, src }) => {
                Insn::Alu { width, op: AluOp::Div, dst, src }
            }
            (M::SmodUnsigned, Insn::Alu { width, op: AluOp::SMod, dst, src }) => {
                Insn::Alu { width, op: AluOp::Mod, dst, src }
            }
            (M::ArshLogical, Insn::Alu { width, op: AluOp::Arsh, dst, src }) => {
                Insn::Alu { width, op: AluOp::Rsh, dst, src }
            }
            (M::FetchOrForgets, Insn::Atomic { size, op: AtomicOp::FetchOr, base, off, src }) => {
                Insn::Atomic { size, op: AtomicOp::Or, base, off, src }
            }
            _ => insn,
        }
    }
}
