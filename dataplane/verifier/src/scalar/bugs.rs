//! Deliberate bugs, each of which the tests must find. Without the feature
//! `mutants`, which only tests turn on, none exists.
#![cfg_attr(not(feature = "mutants"), allow(unreachable_pub, reason = "only this crate's tests see it"))]

/// Declares [`Bug`] from its rows.
macro_rules! bugs {
    ($( $(#[$doc:meta])* $name:ident; )+) => {
        /// A mistake that verifiers have made, which a test turns on for its own thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $( $(#[$doc])* $name, )+ }

        #[cfg(any(test, feature = "mutants"))]
        impl Bug {
            /// Every bug.
            pub const ALL: &[Bug] = &[$( Bug::$name, )+];
        }
    };
}

bugs! {
    /// Tristate addition forgets that a carry may reach a known bit.
    AddNoCarry;
    /// Tristate subtraction forgets borrows.
    SubNoBorrow;
    /// Tristate multiplication ignores the unknown bits of one side.
    MulNoMask;
    /// A 32-bit result keeps the ranges of the 64-bit one (CVE-2020-8835's family).
    NoTruncation;
    /// A 32-bit result is sign-extended (CVE-2017-16995).
    SignExtendMov32;
    /// A narrowing sign extension reads the whole register's range.
    MovsxKeepsRange;
    /// A 32-bit comparison refines all 64 bits.
    Jump32RefinesAll;
    /// Signed comparison refined as unsigned.
    SignedAsUnsigned;
    /// `<` keeps the equal value out of the other way.
    StrictBoundOff;
    /// `!=` a value takes it away although the other side is not constant.
    NotEqualRange;
    /// The smallest number divided by -1 is taken for a positive one.
    SdivOverflow;
    /// Division forgets that by zero gives zero.
    DivByZero;
    /// The remainder by zero is taken to be below the divisor.
    ModByZero;
    /// The signed remainder takes the divisor's sign.
    SmodSign;
    /// Multiplication ignores overflow of the ranges.
    MulOverflow;
    /// Addition ignores overflow of the ranges.
    AddOverflow;
    /// A shift by the width or more is taken as is.
    ShiftNotMasked;
    /// An arithmetic shift of 32 bits brings in zeros.
    Arsh32Logical;
    /// A left shift forgets that bits fall off.
    LshOverflow;
    /// A failed `&` test removes unknown bits of the other side.
    ClearUnknown;
    /// A byte swap keeps the ranges of what it swapped.
    SwapKeepsRange;
    /// Bitwise or is bounded by the larger operand.
    OrBound;
    /// Negation forgets that the smallest number is its own.
    NegSmallest;
}

#[cfg(any(test, feature = "mutants"))]
pub(crate) use switch::seeded;
#[cfg(feature = "mutants")]
pub use switch::with;

/// Never: there are no bugs outside tests.
#[cfg(not(any(test, feature = "mutants")))]
#[inline(always)]
pub(crate) const fn seeded(_: Bug) -> bool {
    false
}

#[cfg(any(test, feature = "mutants"))]
pub(crate) mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this thread has turned the bug on.
    pub(crate) fn seeded(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }

    /// Runs with the bug on.
    pub fn with<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
        ON.set(Some(bug));
        let result = run();
        ON.set(None);
        result
    }
}
