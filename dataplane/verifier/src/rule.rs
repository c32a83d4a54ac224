//! The rules a program can break: one table with the name, the fault, the law, and the kernel's wording.
//!
//! Names are stable: people search for them, tests expect them, the manual lists them.

macro_rules! rules {
    ($( $name:ident = $text:literal, $fault:literal, $sentence:literal, $kernel:literal; )+) => {
        /// A rule that a program broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule { $( #[doc = $sentence] $name, )+ }

        impl Rule {
            /// Every rule, in table order.
            pub const ALL: &[Rule] = &[$( Rule::$name, )+];
            /// The stable name, such as `packet-past-end`.
            pub const fn name(self) -> &'static str { match self { $( Rule::$name => $text, )+ } }
            /// What is wrong with a program that breaks it, in a few words.
            pub const fn fault(self) -> &'static str { match self { $( Rule::$name => $fault, )+ } }
            /// What the rule asks for, in a sentence.
            pub const fn sentence(self) -> &'static str { match self { $( Rule::$name => $sentence, )+ } }
            /// The kernel's wording, with its placeholders; empty where the kernel has no such message.
            pub const fn kernel(self) -> &'static str { match self { $( Rule::$name => $kernel, )+ } }
            /// The rule with this name.
            pub fn from_name(name: &str) -> Option<Rule> {
                Rule::ALL.iter().copied().find(|rule| rule.name() == name)
            }
        }

        impl std::fmt::Display for Rule {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }
    };
}

rules! {
    // The shape of the program.
    ProgramSize = "program-size", "the program is empty or too long",
        "A program has at least one instruction and at most a million.", "";
    BadInstruction = "bad-instruction", "no such instruction",
        "Every instruction is one that weir knows, with its reserved fields zero.", "unknown opcode %02x";
    JumpOutOfRange = "jump-out-of-range", "jump out of the function",
        "Jumps stay inside their function.", "jump out of range from insn %d to %d";
    JumpIntoImmediate = "jump-into-immediate", "jump into the middle of an instruction",
        "Jumps do not land in the second half of a 64-bit immediate load.", "jump into the middle of ldimm64 insn %d";
    FallsOffEnd = "falls-off-end", "the end of the function is reached without an exit",
        "A function ends in an exit or a jump.", "last insn is not an exit or jmp";
    Unreachable = "unreachable-code", "an instruction that nothing leads to",
        "Every instruction can be reached from the entry.", "unreachable insn %d";
    CallTarget = "call-target", "call of something that is no function",
        "Local calls go to the start of a function.", "call to invalid destination";
    Recursion = "recursion", "a function that calls itself",
        "Functions do not call themselves, directly or through others.", "the call stack of %d frames is too deep";
    CallDepth = "call-depth", "too many functions active at once",
        "At most eight functions are active at a time.", "the call stack of %d frames is too deep !";
    StackDepth = "stack-depth", "more stack than there is",
        "All frames of a call chain share 512 bytes of stack.", "combined stack size of %d calls is %d. Too large";
    // Registers and arithmetic.
    Uninitialised = "uninitialised-register", "use of a value that nobody set",
        "A register is written before it is read.", "R%d !read_ok";
    FramePointer = "frame-pointer-write", "write to the frame pointer",
        "r10 is read only.", "frame pointer is read only";
    DivisionByZero = "division-by-zero", "division by zero",
        "An immediate divisor is not zero.", "div by zero";
    ShiftTooFar = "shift-too-far", "shift by more than the width",
        "An immediate shift is smaller than the width.", "invalid shift %d";
    PointerArithmetic = "pointer-arithmetic", "arithmetic that this pointer does not allow",
        "Only adding and subtracting numbers is done to pointers, and only to kinds that allow it.", "R%d pointer arithmetic on %s prohibited";
    PointerOffset = "pointer-offset", "a pointer moved too far",
        "A pointer's offset stays below 512 MiB.", "math between %s pointer and %lld is not allowed";
    // Memory.
    NotAPointer = "not-a-pointer", "memory accessed through something that is no pointer",
        "Memory is accessed through pointers that allow it.", "R%d invalid mem access '%s'";
    MaybeNull = "null-check", "use of a pointer that may be null",
        "A pointer that may be null is compared with null first.", "R%d invalid mem access '%s'";
    PacketPastEnd = "packet-past-end", "access past the checked part of the packet",
        "Packet bytes are compared with data_end before they are touched.", "invalid access to packet, off=%d size=%d, R%d(id=%d,off=%d,r=%d)";
    PacketWrite = "packet-write", "write to a packet that this program may only read",
        "This program type may write to the packet.", "cannot write into packet";
    NegativeOffset = "negative-offset", "an offset that may be negative",
        "A variable offset is proven not to be negative.", "R%d min value is negative, either use unsigned index or do a if (index >=0) check.";
    UnboundedOffset = "unbounded-offset", "an offset without a bound",
        "A variable offset has a proven upper bound.", "R%d unbounded memory access, make sure to bounds check any such access";
    MapValueBounds = "map-value-bounds", "access outside the map's value",
        "An access stays inside the map's value.", "invalid access to map value, value_size=%d off=%d size=%d";
    MapReadOnly = "map-read-only", "write to a read-only map",
        "A map made read-only for programs is not written.", "write into map forbidden, value_size=%d off=%d size=%d";
    MapWriteOnly = "map-write-only", "read of a write-only map",
        "A map made write-only for programs is not read.", "read from map forbidden, value_size=%d off=%d size=%d";
    MapField = "map-special-field", "direct access to what only calls may touch",
        "Locks, timers and pointers of the kernel inside a value are touched by their helpers only.", "%s cannot be accessed directly by load/store";
    MemoryBounds = "memory-bounds", "access outside the memory",
        "An access stays inside its memory.", "invalid access to memory, mem_size=%u off=%d size=%d";
    ReadOnlyMemory = "read-only-memory", "write to read-only memory",
        "Read-only memory is not written.", "R%d cannot write into %s";
    StackBounds = "stack-bounds", "access outside the stack",
        "An access stays inside the 512 bytes below r10.", "invalid write to stack R%d off=%d size=%d";
    Misaligned = "misaligned", "access that is not aligned",
        "An access is aligned to its size where that is asked for.", "misaligned %saccess off %s+%d+%d size %d";
    ContextAccess = "context-access", "access to the context that it does not allow",
        "Context fields are accessed at their place, with a size and in a direction they allow.", "invalid bpf_context access off=%d size=%d";
    ContextModified = "context-modified", "use of a changed context pointer",
        "The context pointer is used as it was given.", "dereference of modified %s ptr R%d off=%d disallowed";
    AtomicTarget = "atomic-target", "atomic operation on memory that does not take it",
        "Atomic operations go to the stack, map values and other plain memory.", "BPF_ATOMIC stores into R%d %s is not allowed";
    PointerMix = "pointer-mix", "one instruction, two kinds of memory",
        "One instruction does not access the context on one path and other memory on another.", "same insn cannot be used with different pointers";
    // Calls.
    HelperUnknown = "helper-unknown", "a helper that weir does not have",
        "The helper is one that weir has.", "invalid func %s#%d";
    HelperNotOffered = "helper-not-offered", "a helper that is not for this type of program",
        "The helper is offered to this program type.", "program of this type cannot use helper %s#%d";
    HelperLicense = "helper-license", "a GPL-only helper in a program that is not",
        "GPL-only helpers are called by programs with a GPL-compatible licence.", "cannot call GPL-restricted function from non-GPL compatible program";
    KernelFunction = "kernel-function", "call of a kernel function",
        "The kernel function (kfunc) is one that weir has, and offered to this program type.", "calling kernel function %s is not allowed";
    KernelVariable = "kernel-variable", "use of a kernel variable",
        "Kernel variables are not there in user space.", "";
    ArgumentType = "argument-type", "an argument of the wrong kind",
        "Each argument is of the kind the helper wants.", "R%d type=%s expected=%s";
    ArgumentSize = "argument-size", "a size without proven bounds",
        "The size argument has proven bounds that fit the memory before it.", "R%d unbounded memory access, use 'var &= const' or 'if (var < const)'";
    ArgumentConstant = "argument-constant", "an argument that is no constant",
        "The argument is a constant known at verification.", "R%d is not a known constant";
    ArgumentText = "argument-text", "a text that is not constant",
        "The text argument is a constant string in a frozen map.", "R%d does not point to a readonly map";
    HelperPacket = "helper-packet", "packet memory given to a helper that takes none",
        "This helper takes no packet memory.", "helper access to the packet is not allowed";
    MapHelper = "map-helper", "a helper that does not fit the map",
        "The helper fits the map's kind.", "cannot pass map_type %d into func %s#%d";
    GlobalFunction = "global-function", "a global function of types that cannot be proven alone",
        "A global function takes numbers, the context and memory of known size, and answers a number.", "Global function %s() doesn't return scalar. Only those are supported.";
    ReturnsStack = "returns-stack", "a function returns a pointer to its stack",
        "A function does not return a pointer to its stack.", "cannot return stack pointer to the caller";
    CallbackReturn = "callback-return", "a callback answers neither 0 nor 1",
        "A callback returns 0 to go on or 1 to stop.", "At callback return the register R0 has %s should have been in [%d, %d]";
    ProgramReturn = "program-return", "an answer that this program may not give",
        "Programs of some types answer numbers of a range only.", "At program exit the register R0 has %s should have been in [%d, %d]";
    TailCallStack = "tail-call-stack", "too much stack below a tail call",
        "Functions below a tail call leave it enough stack.", "tail_calls are not allowed when call stack of previous frames is %d bytes. Too large";
    // Resources.
    Unreleased = "unreleased-reference", "something reserved is never released on this path",
        "Everything reserved is submitted or discarded on every path.", "Unreleased reference id=%d alloc_insn=%d";
    NotAcquired = "not-acquired", "release of something that was not reserved",
        "Only what was reserved is released, and as it was given.", "R%d must be referenced when passed to release function";
    Dynptr = "dynptr", "misuse of a dynptr",
        "A dynptr is made by its helpers, used where it was made, and never overwritten while it holds a record.", "Expected an initialized dynptr as arg #%d";
    Iterator = "iterator", "misuse of an iterator",
        "An iterator is begun once, asked for the next while it lives, and ended on every path.", "expected an initialized iter_%s as arg #%d";
    SpinLock = "spin-lock", "misuse of a spin lock",
        "One lock is held at a time, is let go, and nothing is called in between.", "function calls are not allowed while holding a lock";
    Timer = "timer", "misuse of a timer",
        "A timer's helpers are given the timer inside a value of a map, and the map that it is in.", "map '%s' has no valid bpf_timer";
    // Ends.
    InfiniteLoop = "infinite-loop", "a loop without an end",
        "Each turn of a loop changes something that its condition sees.", "infinite loop detected at insn %d";
    TooLarge = "too-large", "too much to prove",
        "Proving takes at most a million instructions walked.", "BPF program is too large. Processed %d insn";
    TooMuchMemory = "too-much-memory", "too many states to keep",
        "What is kept of a program while it is proven stays within the memory given for it.", "";
    TooSlow = "too-slow", "too long to prove",
        "Proving a program ends within the time given for it.", "";
    TooManyBranches = "too-many-branches", "too many branches wait",
        "At most 8192 branches wait to be explored.", "The sequence of %d jumps is too complex.";
    LegacyPacket = "legacy-packet", "legacy packet access where it is not offered",
        "LD_ABS and LD_IND are for socket filters and tc, in the main function's context.", "BPF_LD_[ABS|IND] instructions not allowed for this program type";
    Unsupported = "unsupported", "weir does not prove this yet",
        "weir does not yet prove this; the kernel may.", "";
}
