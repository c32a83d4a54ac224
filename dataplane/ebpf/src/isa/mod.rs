//! The instruction set, said once (RFC 9669, and what the kernel added up to cpu v4).
//!
//! [`RawInsn`] is the wire form, `struct bpf_insn`. [`Insn`] is the decoded form: one variant per
//! shape of meaning, so a reader that matches on it without a `_` arm cannot forget one. Opcode
//! bits live in [`alu`], [`jump`] and [`atomic`] as tables, and only `decode` and `encode` put bits
//! and meanings together.
//!
//! Instructions are addressed by *slot*, as the kernel counts them: a 64-bit immediate load takes
//! two slots, the second of which decodes to [`Insn::SecondHalf`]. Jump offsets count slots from
//! the one that follows the jump.

pub mod alu;
pub mod atomic;
pub mod code;
pub mod jump;

use std::fmt;

pub use alu::AluOp;
pub use atomic::AtomicOp;
pub use jump::Cond;

/// One 8-byte instruction slot as it stands in an object: `struct bpf_insn`.
///
/// ```text
///  0        1        2                 4                                  8
///  +--------+----+---+-----------------+----------------------------------+
///  |  code  |src |dst|       off       |               imm                |
///  +--------+----+---+-----------------+----------------------------------+
///            high low     s16 (LE)                  s32 (LE)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RawInsn {
    /// Opcode: class, operation or mode, source or size.
    pub code: u8,
    /// Destination register number, 0..=15 as encoded.
    pub dst: u8,
    /// Source register number or pseudo kind, 0..=15 as encoded.
    pub src: u8,
    /// Signed offset.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

impl RawInsn {
    /// Bytes of one slot.
    pub const SIZE: usize = 8;

    /// Reads a slot from its little-endian bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self {
            code: bytes[0],
            dst: bytes[1] & 0x0f,
            src: bytes[1] >> 4,
            off: i16::from_le_bytes([bytes[2], bytes[3]]),
            imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    /// Writes a slot as little-endian bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        let regs = (self.src << 4) | (self.dst & 0x0f);
        [self.code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }
}

/// A register. `R0` returns, `R1`–`R5` are arguments, `R6`–`R9` survive calls, `R10` is the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the register's name is all there is to say")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

impl Reg {
    /// How many registers there are.
    pub const COUNT: usize = 11;

    /// All registers, in order.
    pub const ALL: [Reg; Self::COUNT] =
        [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9, Reg::R10];

    /// The argument registers of a call, first argument first.
    pub const ARGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

    /// The register with this number, or `None` above 10.
    pub const fn new(number: u8) -> Option<Reg> {
        if (number as usize) < Self::COUNT { Some(Self::ALL[number as usize]) } else { None }
    }

    /// The register's number, 0 to 10, for indexing.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.index())
    }
}

/// How much of its registers an arithmetic instruction or comparison uses.
///
/// A 32-bit operation writes zeros to the upper half of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the width's name is all there is to say")]
pub enum Width {
    W32,
    W64,
}

impl Width {
    /// Bits of the width: 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }
}

/// The size of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// One byte.
    B,
    /// Half word, two bytes.
    H,
    /// Word, four bytes.
    W,
    /// Double word, eight bytes.
    DW,
}

impl Size {
    /// Bytes of the access: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u32 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::DW => 8,
        }
    }

    /// Bits of the access: 8, 16, 32 or 64.
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }
}

/// The second operand of arithmetic, comparisons and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A register.
    Reg(Reg),
    /// An immediate; a 64-bit operation sign-extends it.
    Imm(i32),
}

/// What a byte swap instruction turns its register into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapKind {
    /// To little endian: on this machine only truncates to the width.
    ToLe,
    /// To big endian: swaps and truncates.
    ToBe,
    /// Unconditional swap (cpu v4).
    Bswap,
}

/// What the 64 bits of a two-slot immediate load stand for (RFC 9669, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm64 {
    /// A plain number (`src` 0).
    Value(u64),
    /// A map: index into [`crate::Program::maps`] (`src` 1; `BPF_PSEUDO_MAP_IDX` 5 decodes to the same).
    Map(u32),
    /// The first value of an array map plus an offset in bytes (`src` 2, or 6).
    MapValue {
        /// Index into [`crate::Program::maps`].
        map: u32,
        /// Bytes from the start of the value.
        offset: u32,
    },
    /// A kernel variable by BTF id (`src` 3).
    Variable {
        /// BTF id of the variable.
        btf_id: u32,
        /// The module's BTF; 0 is the kernel's own.
        btf_fd: u32,
    },
    /// A function of this program, as an offset in slots from the slot after this one's *first*
    /// half (`BPF_PSEUDO_FUNC`, `src` 4).
    Function(i32),
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = dst op src`.
    Alu {
        /// 32 or 64 bits.
        width: Width,
        /// Which operation.
        op: AluOp,
        /// Both first operand and result.
        dst: Reg,
        /// Second operand.
        src: Source,
    },
    /// `dst = src`.
    Mov {
        /// 32 or 64 bits.
        width: Width,
        /// Result.
        dst: Reg,
        /// What is moved.
        src: Source,
    },
    /// `dst = (s8|s16|s32) src` (cpu v4). `from` is never `DW`, nor `W` at 32 bits.
    MovSx {
        /// 32 or 64 bits of result.
        width: Width,
        /// How many low bytes of the source are sign-extended.
        from: Size,
        /// Result.
        dst: Reg,
        /// What is extended.
        src: Reg,
    },
    /// `dst = -dst`.
    Neg {
        /// 32 or 64 bits.
        width: Width,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = le16 dst`, `be32`, `bswap64` … `size` is never `B`.
    Swap {
        /// Which swap.
        kind: SwapKind,
        /// How many low bytes stay.
        size: Size,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = imm64`, two slots.
    LoadImm64 {
        /// Result.
        dst: Reg,
        /// What the immediate stands for.
        value: Imm64,
    },
    /// The second slot of [`Insn::LoadImm64`]. Never executed; a jump here is refused.
    SecondHalf,
    /// `dst = *(size *)(base + off)`.
    Load {
        /// Bytes read.
        size: Size,
        /// Sign-extends (`BPF_MEMSX`, cpu v4); never with `DW`.
        signed: bool,
        /// Result.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `*(size *)(base + off) = src`.
    Store {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// What is stored.
        src: Source,
    },
    /// `lock *(size *)(base + off) op= src`, perhaps returning the old value. `size` is `W` or `DW`.
    Atomic {
        /// Bytes read and written.
        size: Size,
        /// Which operation, and whether it fetches.
        op: AtomicOp,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// Operand; receives the old value when the operation fetches (but `cmpxchg` answers in r0).
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + off))`.
    LoadAcquire {
        /// Bytes read.
        size: Size,
        /// Result.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `store_release((size *)(base + off), src)`.
    StoreRelease {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// What is stored.
        src: Reg,
    },
    /// `r0 = ntoh(*(size *)(packet + index + offset))`, legacy packet access (`LD_ABS`, `LD_IND`).
    /// Reads the context from r6, clobbers r1–r5, and ends the program with 0 when out of bounds.
    LoadPacket {
        /// Bytes read; never `DW`.
        size: Size,
        /// Added to the offset, for `LD_IND`.
        index: Option<Reg>,
        /// Offset into the packet.
        offset: i32,
    },
    /// `goto +off` with a 16-bit offset.
    Goto {
        /// Slots from the next one.
        off: i16,
    },
    /// `gotol +off` with a 32-bit offset (cpu v4).
    GotoLong {
        /// Slots from the next one.
        off: i32,
    },
    /// `if dst cond src goto +off`.
    Branch {
        /// Compares 32 or 64 bits.
        width: Width,
        /// Which comparison.
        cond: Cond,
        /// Left side.
        dst: Reg,
        /// Right side.
        src: Source,
        /// Slots from the next one.
        off: i16,
    },
    /// `may_goto +off`: jumps when the loop budget of the run is used up (`BPF_JCOND`).
    MayGoto {
        /// Slots from the next one.
        off: i16,
    },
    /// `call helper`.
    Call {
        /// Helper number, `enum bpf_func_id`.
        helper: u32,
    },
    /// `call` to a function of this program.
    CallLocal {
        /// Slots from the next one.
        off: i32,
    },
    /// `call` to a kernel function.
    CallKfunc {
        /// Its number: in programs that weir has linked, of [`crate::abi::Kfunc`]; for a kernel, its BTF id.
        btf_id: i32,
        /// Index of the module's BTF fd.
        off: i16,
    },
    /// `callx`: helper number in a register. The verifier refuses it; the ISA suite has it.
    CallReg {
        /// Holds the helper number.
        reg: Reg,
    },
    /// Returns from the function; from the first function, ends the program with r0.
    Exit,
}

impl Insn {
    /// Slots this instruction takes: 2 for a 64-bit immediate, else 1.
    pub const fn slots(&self) -> usize {
        match self {
            Insn::LoadImm64 { .. } => 2,
            _ => 1,
        }
    }

    /// Where this instruction, standing at `slot`, may jump besides falling through: `None` when it
    /// never jumps. Calls are not jumps. The target may lie outside the program if nobody checked.
    pub const fn jump_target(&self, slot: usize) -> Option<i64> {
        let off = match self {
            Insn::Goto { off } | Insn::Branch { off, .. } | Insn::MayGoto { off } => *off as i64,
            Insn::GotoLong { off } => *off as i64,
            _ => return None,
        };
        Some(slot as i64 + 1 + off)
    }

    /// Whether control can reach the following instruction.
    pub const fn falls_through(&self) -> bool {
        !matches!(self, Insn::Goto { .. } | Insn::GotoLong { .. } | Insn::Exit)
    }
}
