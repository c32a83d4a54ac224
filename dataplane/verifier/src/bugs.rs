//! Deliberate bugs, each of which the tests must find, with the class of published mistake it stands
//! for. Without the feature `mutants`, which only tests turn on, none exists.
#![cfg_attr(not(feature = "mutants"), allow(unreachable_pub, reason = "only this crate's tests see it"))]

/// Declares [`Bug`] from its rows.
macro_rules! bugs {
    (numbers { $( $(#[$ndoc:meta])* $number:ident = $nclass:literal; )+ }
     walk { $( $(#[$wdoc:meta])* $walk:ident = $wclass:literal; )+ }) => {
        /// A mistake that verifiers have made, which a test turns on for its own thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $( $(#[$ndoc])* $number, )+ $( $(#[$wdoc])* $walk, )+ }

        #[cfg(any(test, feature = "mutants"))]
        impl Bug {
            /// Bugs in what is known of numbers.
            pub const NUMBERS: &[Bug] = &[$( Bug::$number, )+];
            /// Bugs in pointers, memory, paths and resources.
            pub const WALK: &[Bug] = &[$( Bug::$walk, )+];

            /// Where such a mistake was made: a CVE, a fix, or the class of both.
            pub const fn class(self) -> &'static str {
                match self { $( Bug::$number => $nclass, )+ $( Bug::$walk => $wclass, )+ }
            }
        }
    };
}

bugs! {
    numbers {
        /// Tristate addition forgets that a carry may reach a known bit.
        AddNoCarry = "tnum_add without the carry";
        /// Tristate subtraction forgets borrows.
        SubNoBorrow = "tnum_sub without the borrow; DPDK's range of a difference";
        /// Tristate multiplication ignores the unknown bits of one side.
        MulNoMask = "tnum_mul, first versions (Agni)";
        /// A 32-bit result keeps the ranges of the 64-bit one.
        NoTruncation = "CVE-2020-8835, CVE-2021-3490, CVE-2017-16996: no truncation of 32-bit results";
        /// A 32-bit result is sign-extended.
        SignExtendMov32 = "CVE-2017-16995: sign extension of a 32-bit immediate";
        /// A narrowing sign extension reads the whole register's range.
        MovsxKeepsRange = "PREVAIL #1214: sign extension of a part";
        /// A 32-bit comparison refines all 64 bits.
        Jump32RefinesAll = "JMP32 refinement of the whole register";
        /// Signed comparison refined as unsigned.
        SignedAsUnsigned = "signed and unsigned bounds mixed up (DPDK, 2026)";
        /// `<` keeps the equal value out of the other way.
        StrictBoundOff = "off by one in a refined bound (DPDK eval_jgt)";
        /// `!=` a value takes it away although the other side is not constant.
        NotEqualRange = "CVE-2024-41003: != against more than a constant";
        /// The smallest number divided by -1 is taken for a positive one.
        SdivOverflow = "DPDK 03519ff27f: INT_MIN / -1";
        /// Division forgets that by zero gives zero.
        DivByZero = "DPDK ec4d63bf13: x / 0 = 0";
        /// The remainder by zero is taken to be below the divisor.
        ModByZero = "CVE-2021-3444: x % 0 = x";
        /// The signed remainder takes the divisor's sign.
        SmodSign = "PREVAIL ae3a0ea6: sign of the remainder";
        /// Multiplication ignores overflow of the ranges.
        MulOverflow = "DPDK a7ac086145: products that overflow";
        /// Addition ignores overflow of the ranges.
        AddOverflow = "sums that overflow (REG INVARIANTS VIOLATION family)";
        /// A shift by the width or more is taken as is.
        ShiftNotMasked = "DPDK 42b1e624f3: shifts by the width and more";
        /// An arithmetic shift of 32 bits brings in zeros.
        Arsh32Logical = "CVE-2018-18445 family: 32-bit right shifts";
        /// A left shift forgets that bits fall off.
        LshOverflow = "left shifts that overflow (CVE-2017-16996's family)";
        /// A failed `&` test removes unknown bits of the other side.
        ClearUnknown = "JSET refinement (DPDK eval_jset)";
        /// A byte swap keeps the ranges of what it swapped.
        SwapKeepsRange = "BPF_END that keeps bounds";
        /// Bitwise or is bounded by the larger operand.
        OrBound = "CVE-2021-3490: bounds of OR";
        /// Negation forgets that the smallest number is its own.
        NegSmallest = "PREVAIL, DPDK: -INT_MIN";
    }
    walk {
        /// Arithmetic on a pointer that may be null.
        NullArithmetic = "CVE-2022-23222: arithmetic on *_OR_NULL";
        /// Memory is accessed through a pointer that may be null.
        NullUnchecked = "PREVAIL #1149: access to an unchecked lookup";
        /// The null check settles the way on which the pointer is null.
        NullWrongWay = "null check taken the other way round";
        /// A null check settles every pointer that may be null.
        NullOfOthers = "CVE-2024-35905's family: ids mixed up in null checks";
        /// `data + n >= end` failed proves a byte more than it says.
        PacketRangeOffByOne = "find_good_pkt_pointers off by one (fb2a311a31d3)";
        /// The way on which the check failed is proven.
        PacketRangeWrongWay = "packet check that proves the wrong branch";
        /// A packet pointer keeps its range when something unknown is added.
        PacketRangeKept = "packet range kept through variable arithmetic";
        /// A check proves bytes behind pointers with another unknown part.
        PacketRangeOfOthers = "packet ids ignored when a range is proven";
        /// Packet pointers outlive helpers that move the packet.
        StalePacket = "missing bpf_helper_changes_pkt_data row; CVE-2024-58100, CVE-2024-58098";
        /// Packet pointers on the stack outlive them.
        StaleSpilledPacket = "clear_all_pkt_pointers that forgets the stack";
        /// The size of a packet access is not looked at.
        PacketSizeIgnored = "off < range, whatever the size";
        /// The least of a packet pointer's unknown part may be negative.
        PacketNegative = "packet pointer with a negative variable part";
        /// An access may end a byte behind its region.
        RegionOffByOne = "check_mem_region_access off by one (DPDK, 2026)";
        /// A negative unknown part is not looked at.
        RegionNegative = "CVE-2017-17852: negative variable offsets";
        /// The largest unknown part is not looked at.
        RegionUnbounded = "CVE-2020-8835's effect: no upper bound on the offset";
        /// Offsets of pointers add up without end.
        OffsetUnbounded = "CVE-2017-17854: pointer offsets that overflow";
        /// A write to an unknown place of the stack leaves what was spilled there.
        SmearKeepsSpills = "CVE-2023-39191's family: variable stack writes over spilled values";
        /// A write of a part of a slot leaves the value that was spilled there.
        WriteKeepsSpill = "CVE-2021-33200's family: partly overwritten spills";
        /// A narrow fill of a wide spill has the wide one's range.
        FillNotCut = "CVE-2021-45402's family: 32-bit fill of a 64-bit spill";
        /// A narrow spill keeps the wide range.
        SpillNotCut = "CVE-2023-52920's family: spills of fewer than 8 bytes";
        /// A store of a part of a pointer's slot leaves a pointer in it.
        LooseStackBounds = "CVE-2024-26641's family: stack access beyond 512 bytes";
        /// A helper that writes to the stack leaves what was known of it.
        HelperKeepsStack = "uninit memory argument that keeps stack knowledge";
        /// r1 to r5 outlive a call.
        CallKeepsArguments = "caller-saved registers not cleared";
        /// A tail call of a function goes nowhere.
        TailCallStops = "tail calls that end no function (CVE-2024-58100's family)";
        /// A fetching atomic leaves its source as it was.
        FetchKeepsSource = "atomic fetch without its destination";
        /// A compare-and-exchange leaves r0 as it was.
        CmpxchgKeepsR0 = "cmpxchg: r0 as a destination (CVE-2026-43009's family)";
        /// An atomic leaves what was known of its memory.
        AtomicKeepsMemory = "atomic on the stack that keeps the spilled value";
        /// A signed load is taken for an unsigned one.
        SignedLoad = "LDSX taken for LDX (PREVAIL)";
        /// Arithmetic other than adding a constant keeps the link.
        LinkKept = "CVE-2026-45933: linked ids kept through arithmetic";
        /// Negation and byte swaps keep the link.
        LinkKeptBySwap = "CVE-2026-43070: BPF_END keeps the id";
        /// A copy of the low half is linked to the whole.
        LinkOfHalf = "mov32 that links (find_equal_scalars of 32 bits)";
        /// What numbers are apart by is not looked at.
        LinkDelta = "BPF_ADD_CONST deltas ignored";
        /// Pruning does not compare numbers.
        PruneNumbers = "CVE-2023-2163: pruned with a wider number";
        /// Pruning does not compare the stack.
        PruneStack = "stacksafe skipped";
        /// Pruning does not compare which values are tied together.
        PruneNames = "check_ids skipped (scalar ids, 2023)";
        /// Pruning does not compare packet ranges.
        PrunePacketRange = "packet ranges skipped in regsafe";
        /// Pruning does not compare the callers' frames.
        PruneCallers = "func_states of callers skipped";
        /// Pruning does not compare offsets.
        PruneOffsets = "fixed offsets skipped in regsafe";
        /// Pruning takes a pointer that may be null for one that is not.
        PruneNull = "nullness skipped in regsafe";
        /// A state that waits for its own end cuts paths off.
        LoopForever = "loops pruned by open states (infinite loops accepted)";
        /// What the target of a jump reads is dead.
        LivenessOfTargets = "liveness that misses a successor";
        /// Arguments of helpers are dead.
        LivenessOfCalls = "liveness of r1-r5 at calls";
        /// The program may end with a reference.
        LeakedReference = "reference leak at exit";
        /// A released record may be used.
        UseAfterRelease = "release_reference that leaves copies";
        /// The program may end with a lock held.
        LeakedLock = "spin lock held at exit";
        /// Any map's value is constant.
        ConstantOfUnfrozen = "constants read from maps that may change";
        /// The index one past an array's end is taken to be there.
        ElidedNullOffByOne = "can_elide_value_nullness off by one (CVE-2025-21813's family)";
        /// An inner map is taken to be as long as the one that declares its shape.
        ElidedNullOfInner = "null elision on inner maps";
        /// The context pointer may be moved.
        ContextMoved = "modified context pointers";
        /// Sizes given to helpers may be negative.
        SizeNegative = "negative sizes of helper memory";
        /// The least size given to a helper counts, not the largest.
        SizeLeast = "smallest size checked instead of the largest";
        /// Functions may be as deep as they like.
        DepthUnchecked = "check_max_stack_depth skipped (ubpf, rbpf)";
        /// Special fields of values may be written.
        SpecialField = "direct access to a lock or timer in a value";
        /// Read-only maps may be written.
        WriteReadOnly = "CVE-2024-49861: helper writes to read-only maps";
        /// Stack pointers may be returned.
        ReturnStack = "pointer to a frame that is gone";
        /// A callback's index is taken to be 0.
        CallbackIndex = "callback arguments known too well";
    }
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
