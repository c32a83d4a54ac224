//! Deliberate bugs, each of which the tests must find, with the class of published mistake it stands
//! for. Without the feature `mutants`, which only tests turn on, none exists.
#![cfg_attr(not(feature = "mutants"), allow(unreachable_pub, reason = "only this crate's tests see it"))]

/// The classes of mistakes that verifiers are known for. Two have no bug here: leaks of pointers, which the
/// rules allow (a loader with CAP_PERFMON), and programs that the verifier does not come to an end with, which
/// no answer shows; `tests/limits.rs` has those. Of DPDK's sixteen fixes of 2026, two mended what refused too
/// much (17509d4742) or overflowed a table (1ad243a134); the others are among the bugs.
#[cfg(feature = "mutants")]
pub const CLASSES: [&str; 19] = [
    "32-bit results and their bounds",
    "sign and zero extension",
    "what comparisons teach",
    "linked numbers",
    "division, remainder, negation, overflow",
    "shifts",
    "dead branches",
    "holes in tables",
    "ranges and known bits that disagree",
    "null checks",
    "packet ranges",
    "the stack",
    "atomics",
    "pruning and what it needs",
    "functions, tail calls and callbacks",
    "leaks of pointers",
    "constants that other paths do not have",
    "memory given to helpers, maps and resources",
    "programs without end",
];

/// Declares [`Bug`] from its rows.
macro_rules! bugs {
    (numbers { $( $(#[$ndoc:meta])* $number:ident = $nclass:literal, $nwhere:literal; )+ }
     walk { $( $(#[$wdoc:meta])* $walk:ident = $wclass:literal, $wwhere:literal; )+ }) => {
        /// A mistake that verifiers have made, which a test turns on for its own thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $( $(#[$ndoc])* $number, )+
            $( $(#[$wdoc])* $walk, )+
        }

        #[cfg(any(test, feature = "mutants"))]
        impl Bug {
            /// Bugs in what is known of numbers.
            pub const NUMBERS: &[Bug] = &[$( Bug::$number, )+];
            /// Bugs in pointers, memory, paths and resources.
            #[cfg(feature = "mutants")]
            pub const WALK: &[Bug] = &[$( Bug::$walk, )+];

            /// Its class, as an index into [`CLASSES`] from 1, and where such a mistake was made: a CVE, a fix,
            /// or the verifier that is known for it.
            #[cfg(feature = "mutants")]
            pub const fn class(self) -> (usize, &'static str) {
                match self {
                    $( Bug::$number => ($nclass, $nwhere), )+
                    $( Bug::$walk => ($wclass, $wwhere), )+
                }
            }
        }
    };
}

bugs! {
    numbers {
        /// Tristate addition forgets that a carry may reach a known bit.
        AddNoCarry = 9, "tnum_add without the carry";
        /// Tristate subtraction forgets borrows.
        SubNoBorrow = 9, "tnum_sub without the borrow";
        /// Tristate multiplication ignores the unknown bits of one side.
        MulNoMask = 9, "tnum_mul, first versions (Agni)";
        /// A 32-bit result keeps the ranges of the 64-bit one.
        NoTruncation = 1, "CVE-2020-8835, CVE-2021-3490, CVE-2017-16996: no truncation of 32-bit results";
        /// A 32-bit result is sign-extended.
        SignExtendMov32 = 2, "CVE-2017-16995: sign extension of a 32-bit immediate";
        /// A narrowing sign extension reads the whole register's range.
        MovsxKeepsRange = 1, "PREVAIL #1214: sign extension of a part";
        /// A 32-bit comparison refines all 64 bits.
        Jump32RefinesAll = 3, "JMP32 refinement of the whole register";
        /// Signed comparison refined as unsigned.
        SignedAsUnsigned = 3, "signed and unsigned bounds mixed up (CVE-2017-17853's family)";
        /// `<` keeps the equal value out of the other way.
        StrictBoundOff = 3, "off by one in a refined bound (CVE-2021-4159's family)";
        /// `!=` a value takes it away although the other side is not constant.
        NotEqualRange = 3, "CVE-2024-41003: != against more than a constant";
        /// The smallest number divided by -1 is taken for a positive one.
        SdivOverflow = 5, "DPDK 03519ff27f: INT_MIN / -1";
        /// Quotients are taken to be known, and that by zero gives zero is forgotten.
        DivByZero = 5, "division by zero taken for a trap (PREVAIL, uBPF)";
        /// The remainder by zero is taken to be below the divisor.
        ModByZero = 5, "CVE-2021-3444: x % 0 = x";
        /// The signed remainder takes the divisor's sign.
        SmodSign = 5, "PREVAIL ae3a0ea6: sign of the remainder";
        /// Multiplication ignores overflow of the ranges.
        MulOverflow = 5, "DPDK a7ac086145, cc205e72e6: products that overflow";
        /// Addition ignores overflow of the ranges.
        AddOverflow = 5, "sums that overflow (REG INVARIANTS VIOLATION family)";
        /// A shift by the width or more is taken to leave nothing.
        ShiftNotMasked = 6, "DPDK 42b1e624f3: shifts by the width and more";
        /// An arithmetic shift of 32 bits brings in zeros.
        Arsh32Logical = 6, "CVE-2018-18445 family: 32-bit right shifts";
        /// A left shift forgets that bits fall off.
        LshOverflow = 6, "left shifts that overflow (CVE-2017-16996's family)";
        /// A failed `&` test removes unknown bits of the other side.
        ClearUnknown = 3, "JSET refinement by unknown bits";
        /// A byte swap keeps the ranges of what it swapped.
        SwapKeepsRange = 4, "BPF_END that keeps bounds";
        /// Bitwise or is bounded by the larger operand.
        OrBound = 1, "CVE-2021-3490: bounds of OR";
        /// Negation forgets that the smallest number is its own.
        NegSmallest = 5, "DPDK ec4d63bf13: -INT_MIN";
        /// The bits that two least numbers have in common are taken for common to all.
        AndLeast = 9, "DPDK 9ad7e6d9d4: the least of AND";
        /// The bits that one of two least numbers has are taken for those of all.
        OrLeast = 9, "DPDK 9b4781582e: the least of OR";
        /// An exclusive or is taken for positive when one side is.
        XorPositive = 9, "DPDK abdbaa35ee: signed XOR";
        /// Differences ignore overflow of the ranges.
        SubOverflow = 5, "DPDK b418ce3901: differences that overflow";
        /// A number that is at most another one is taken to be at most the least of it.
        AtMostLeast = 3, "DPDK 199179c89b, 4b7a9847cf: bounds from the wrong end of the other side";
        /// What is loaded whole is taken for positive.
        LoadPositive = 2, "DPDK 08eb798a07: signed range of a 64-bit load";
        /// A shift by one of several amounts is taken for one by the least.
        ShiftLeast = 6, "DPDK 42b1e624f3's family: shifts by a range";
        /// The low half is bounded by the ends of the whole, although the upper half changes between them.
        LowOfWhole = 1, "CVE-2021-31440: 32-bit bounds from 64-bit ones that do not fit";
        /// Known bits are learned from the numbers below the sign bit alone.
        BitsOfOneHalf = 9, "ranges and known bits that disagree (Agni, SAS 2024)";
        /// `>=` is taken to fail when the ranges touch.
        DecidedTooSoon = 7, "DPDK 1c39f3f240: a way that can be gone is taken for dead";
    }
    walk {
        /// Arithmetic on a pointer that may be null.
        NullArithmetic = 10, "CVE-2022-23222: arithmetic on *_OR_NULL";
        /// Memory is accessed through a pointer that may be null.
        NullUnchecked = 10, "PREVAIL #1149: access to an unchecked lookup";
        /// The null check settles the way on which the pointer is null.
        NullWrongWay = 10, "null check taken the other way round";
        /// A null check settles every pointer that may be null.
        NullOfOthers = 10, "CVE-2024-35905's family: ids mixed up in null checks";
        /// `data + n >= end` failed proves a byte more than it says.
        PacketRangeOffByOne = 11, "find_good_pkt_pointers off by one (fb2a311a31d3)";
        /// The way on which the check failed is proven.
        PacketRangeWrongWay = 11, "packet check that proves the wrong branch";
        /// A packet pointer keeps its range when something unknown is added.
        PacketRangeKept = 11, "packet range kept through variable arithmetic";
        /// A check proves bytes behind pointers with another unknown part.
        PacketRangeOfOthers = 11, "packet ids ignored when a range is proven";
        /// Packet pointers outlive helpers that move the packet.
        StalePacket = 11, "missing bpf_helper_changes_pkt_data row; CVE-2024-58100, CVE-2024-58098";
        /// Packet pointers on the stack outlive them.
        StaleSpilledPacket = 11, "clear_all_pkt_pointers that forgets the stack";
        /// The size of a packet access is not looked at.
        PacketSizeIgnored = 11, "off < range, whatever the size";
        /// A packet pointer's unknown part is looked at as a signed number only, so that it may be negative.
        PacketNegative = 11, "packet pointer with a negative variable part (CVE-2017-17852's family)";
        /// A check proves bytes behind pointers that may be anywhere.
        PacketFar = 11, "MAX_PACKET_OFF not asked for in find_good_pkt_pointers";
        /// An access may end a byte behind its region.
        RegionOffByOne = 18, "check_mem_region_access off by one (DPDK, 2026)";
        /// An unknown part is compared with the region's end as a signed number, and with its start not at all.
        RegionNegative = 18, "CVE-2017-17852: negative variable offsets";
        /// The largest unknown part is not looked at.
        RegionUnbounded = 18, "CVE-2020-8835's effect: no upper bound on the offset";
        /// Offsets of pointers add up without end.
        OffsetUnbounded = 18, "CVE-2017-17854: pointer offsets that overflow";
        /// A write to an unknown place of the stack leaves what was spilled there.
        SmearKeepsSpills = 12, "CVE-2023-39191's family: variable stack writes over spilled values";
        /// A write of a part of a slot leaves the value that was spilled there.
        WriteKeepsSpill = 12, "CVE-2021-33200's family: partly overwritten spills";
        /// A narrow fill of a wide spill has the wide one's range.
        FillNotCut = 12, "CVE-2021-45402's family: 32-bit fill of a 64-bit spill";
        /// A narrow spill keeps the wide range.
        SpillNotCut = 12, "CVE-2023-52920's family: spills of fewer than 8 bytes";
        /// A store of a part of a pointer's slot leaves a pointer in it.
        LooseStackBounds = 12, "CVE-2024-26641's family: stack access beyond 512 bytes";
        /// A helper that writes to the stack leaves what was known of it.
        HelperKeepsStack = 12, "uninit memory argument that keeps stack knowledge";
        /// r1 to r5 outlive a call.
        CallKeepsArguments = 15, "caller-saved registers not cleared";
        /// A tail call of a function goes nowhere.
        TailCallStops = 11, "tail calls that end no function (CVE-2024-58100's family)";
        /// A fetching atomic leaves its source as it was.
        FetchKeepsSource = 13, "atomic fetch without its destination";
        /// A compare-and-exchange leaves r0 as it was.
        CmpxchgKeepsR0 = 13, "cmpxchg: r0 as a destination (CVE-2026-43009's family)";
        /// An atomic leaves what was known of its memory.
        AtomicKeepsMemory = 13, "atomic on the stack that keeps the spilled value";
        /// A signed load is taken for an unsigned one.
        SignedLoad = 2, "LDSX taken for LDX (PREVAIL)";
        /// Arithmetic other than adding a constant keeps the link.
        LinkKept = 4, "CVE-2026-45933: linked ids kept through arithmetic";
        /// Negation and byte swaps keep the link.
        LinkKeptBySwap = 4, "CVE-2026-43070: BPF_END keeps the id";
        /// A copy of the low half is linked to the whole.
        LinkOfHalf = 4, "mov32 that links (find_equal_scalars of 32 bits)";
        /// Sums of low halves are linked as whole ones.
        LinkOfSum = 4, "sync_linked_regs without BPF_ADD_CONST32: 32-bit sums that go round";
        /// What numbers are apart by is not looked at.
        LinkDelta = 4, "BPF_ADD_CONST deltas ignored";
        /// Pruning does not compare numbers.
        PruneNumbers = 14, "CVE-2023-2163: pruned with a wider number";
        /// Pruning does not compare the stack.
        PruneStack = 14, "stacksafe skipped";
        /// Pruning does not compare which values are tied together.
        PruneNames = 14, "check_ids skipped (scalar ids, 2023)";
        /// Pruning does not compare packet ranges.
        PrunePacketRange = 14, "packet ranges skipped in regsafe";
        /// Pruning does not compare the callers' frames.
        PruneCallers = 14, "func_states of callers skipped";
        /// Pruning does not compare offsets.
        PruneOffsets = 14, "fixed offsets skipped in regsafe";
        /// Pruning takes a pointer that may be null for one that is not.
        PruneNull = 14, "nullness skipped in regsafe";
        /// A state that waits for its own end cuts paths off.
        LoopForever = 14, "loops pruned by open states (infinite loops accepted)";
        /// What the target of a jump reads is dead.
        LivenessOfTargets = 14, "liveness that misses a successor";
        /// Arguments of helpers are dead.
        LivenessOfCalls = 14, "liveness of r1-r5 at calls";
        /// The program may end with a reference.
        LeakedReference = 18, "reference leak at exit";
        /// A released record may be used.
        UseAfterRelease = 18, "release_reference that leaves copies";
        /// The program may end with a lock held.
        LeakedLock = 18, "spin lock held at exit";
        /// Any map's value is constant.
        ConstantOfUnfrozen = 18, "constants read from maps that may change";
        /// The index one past an array's end is taken to be there.
        ElidedNullOffByOne = 10, "can_elide_value_nullness off by one (CVE-2025-21813's family)";
        /// An inner map is taken to be as long as the one that declares its shape.
        ElidedNullOfInner = 10, "null elision on inner maps";
        /// The context pointer may be moved.
        ContextMoved = 18, "modified context pointers";
        /// Sizes given to helpers are compared as signed numbers, so that a negative one is small.
        SizeNegative = 18, "negative sizes of helper memory (ARG_CONST_SIZE before 06c1c049721a)";
        /// The least size given to a helper counts, not the largest.
        SizeLeast = 18, "smallest size checked instead of the largest";
        /// Functions may be as deep as they like.
        DepthUnchecked = 15, "check_max_stack_depth skipped (ubpf, rbpf)";
        /// Special fields of values may be written.
        SpecialField = 18, "direct access to a lock or timer in a value";
        /// Read-only maps may be written.
        WriteReadOnly = 18, "CVE-2024-49861: helper writes to read-only maps";
        /// Stack pointers may be returned.
        ReturnStack = 15, "pointer to a frame that is gone";
        /// A callback's index is taken to be 0.
        CallbackIndex = 17, "callback arguments known too well";
        /// Negative immediates are zero-extended.
        ImmediateUnsigned = 2, "CVE-2017-16995: the other way round";
        /// Signed less-than with a register is never taken.
        ComparisonHole = 8, "DPDK 7f8ce8d13f: JSLT|X missing in a table";
        /// What a number was made of is looked up for its left operand alone.
        RootsOfLeft = 14, "CVE-2023-2163: precision of one operand lost";
        /// What a comparison taught does not count as a part of the number.
        RootsOfComparison = 14, "precision through conditions (mark_chain_precision of linked registers)";
        /// What an atomic fetched has no past.
        RootsOfFetch = 13, "CVE-2026-43009: precision of an atomic fetch lost";
        /// Numbers that moved a pointer did not matter.
        OffsetForgotten = 14, "mark_chain_precision missing in pointer arithmetic";
        /// Numbers that decided a branch did not matter.
        DecisionForgotten = 14, "mark_chain_precision missing in branches (CVE-2023-2163)";
        /// A number that was kept as zero bytes did not matter.
        ZerosForgotten = 14, "precision of stack zeros (b5dc0163d8fd)";
        /// What mattered is noted in the last kept state, and not in those before.
        DemandStops = 14, "precision marks that stop at the parent state";
        /// A loop that came round did not need its numbers.
        RoundForgotten = 14, "precision in loops (a3b666bfa9c9's family)";
        /// A function starts with its caller's r6 to r9.
        CalleeSeesCaller = 15, "callee-saved registers readable in a callee";
        /// The program may end without an answer.
        GarbageReturned = 15, "r0 not checked at exit";
        /// A function may end in the middle.
        FallsThrough = 15, "fall-through from one function into the next (check_subprogs)";
        /// Code that nothing reaches is left alone.
        Unreached = 15, "unreachable code that is loaded unchecked (check_cfg)";
        /// A tail call may stand below any stack.
        TailCallDepth = 15, "stacks above tail calls that add up (7f6e4312e15a)";
        /// What a callback answers is not looked at.
        CallbackAnswer = 15, "callback return values unchecked";
        /// Stack accesses need not be aligned.
        StackMisaligned = 12, "CVE-2017-17856: misaligned spills";
        /// Memory of any size is a key.
        KeySize = 18, "key size not looked at (rbpf, uBPF maps)";
        /// Memory of any size is a value.
        ValueSize = 18, "value size not looked at (rbpf, uBPF maps)";
        /// Memory of size zero satisfies a helper that reads.
        SizeZero = 18, "zero sizes where the helper needs a byte";
        /// Any map goes to any helper.
        MapKind = 18, "CVE-2021-34866: map type confusion";
        /// A record may be given back from its middle.
        RecordMoved = 18, "CVE-2021-4204: moved pointers given to ringbuf helpers";
        /// Helpers of other program types may be called.
        HelperOfOthers = 18, "helpers with a context of another type";
        /// Read-only fields of the context may be written.
        ContextReadOnly = 18, "context fields writable for all";
        /// A dynptr or iterator may be written over.
        ObjectOverwritten = 12, "CVE-2023-39191: dynptrs on the stack overwritten";
        /// Slices of the packet outlive a helper that moves it.
        PartOfMovedPacket = 11, "slices not invalidated by packet changes (CVE-2024-58098's family)";
        /// What a call was given is that of the first path.
        FactsOfFirstCall = 17, "CVE-2022-2905: a constant index that other paths do not have";
        /// Which ways a branch goes is that of the last path.
        WaysOfLast = 8, "code taken for dead that one path alone does not reach (sanitize_dead_code)";
        /// Where an access goes is that of the last path.
        AccessOfLast = 12, "one instruction for two kinds of pointer (reg_type_mismatch)";
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
