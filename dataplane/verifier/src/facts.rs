//! What the verifier proved, instruction by instruction, for those who come after it.
//!
//! The JIT turns these facts into cheaper code; the log prints them. A fact holds on every path that
//! reaches the instruction, with every value the verifier could not rule out.

use weir_ebpf::Reg;
use weir_ebpf::abi::ContextField;

/// A set of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RegSet(pub u16);

impl RegSet {
    /// Whether the register is in the set.
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 & (1 << reg.index()) != 0
    }

    /// Puts the register in.
    pub const fn insert(&mut self, reg: Reg) {
        self.0 |= 1 << reg.index();
    }

    /// Takes the register out.
    pub const fn remove(&mut self, reg: Reg) {
        self.0 &= !(1 << reg.index());
    }
}

/// What the base register of a load, store or atomic points into, the same on every path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Access {
    /// Not a memory access, or never reached.
    #[default]
    None,
    /// A field of the context; `offset` is the byte of the program's view that is touched.
    Context {
        /// Which field.
        field: ContextField,
        /// Byte of the program's view where the access starts (base and instruction offset added).
        offset: u32,
    },
    /// The stack of this or a calling function.
    Stack,
    /// The packet or its metadata.
    Packet,
    /// A map's value; the map when it is the same one on all paths.
    MapValue {
        /// Index into `Program::maps`.
        map: Option<u32>,
    },
    /// Other memory: a ring-buffer record, or different kinds of plain memory on different paths.
    Memory,
}

/// What is known of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CallFacts {
    /// The map argument, as an index into `Program::maps`, when it is the same one on all paths
    /// (not for an inner map that was looked up).
    pub map: Option<u32>,
    /// The key or index, when it is the same constant on all paths: the `u32` index of a tail call or
    /// array lookup.
    pub index: Option<u32>,
}

/// Which ways a branch was seen to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ways {
    /// The condition can hold.
    pub taken: bool,
    /// The condition can fail.
    pub fallen: bool,
}

/// What was proved of one instruction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InsnFacts {
    /// Whether any path comes here; code that none reaches may be left out.
    pub reached: bool,
    /// Where a load, store or atomic goes.
    pub access: Access,
    /// What a call is given.
    pub call: CallFacts,
    /// Which ways a branch goes.
    pub ways: Ways,
    /// Registers that may be read later, before being written, in this function.
    pub live_out: RegSet,
}

/// What was proved of one function.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FunctionFacts {
    /// Bytes of stack it uses, rounded up to 8.
    pub stack_bytes: u32,
    /// Whether a tail call can happen in it or in what it calls.
    pub tail_calls: bool,
    /// Whether bytes of its stack may be read, or handed to a helper, that nothing wrote before. They are whatever
    /// lay there, unless whoever runs it clears them.
    pub reads_unwritten: bool,
}

/// Everything that was proved of a program.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// One for each slot.
    pub insns: Vec<InsnFacts>,
    /// One for each of `Program::functions`.
    pub functions: Vec<FunctionFacts>,
}
