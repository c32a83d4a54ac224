//! The bit groups of the opcode byte (RFC 9669, section 3), which `decode` and `encode` share.

/// Instruction classes: the low three bits.
pub mod class {
    #![allow(missing_docs, reason = "kernel names")]
    pub const LD: u8 = 0x00;
    pub const LDX: u8 = 0x01;
    pub const ST: u8 = 0x02;
    pub const STX: u8 = 0x03;
    pub const ALU: u8 = 0x04;
    pub const JMP: u8 = 0x05;
    pub const JMP32: u8 = 0x06;
    pub const ALU64: u8 = 0x07;
}

/// Addressing modes of loads and stores: the high three bits.
pub mod mode {
    #![allow(missing_docs, reason = "kernel names")]
    pub const IMM: u8 = 0x00;
    pub const ABS: u8 = 0x20;
    pub const IND: u8 = 0x40;
    pub const MEM: u8 = 0x60;
    pub const MEMSX: u8 = 0x80;
    pub const ATOMIC: u8 = 0xc0;
}

/// Operation bits that the tables do not hold, because they are shapes of their own.
pub mod op {
    #![allow(missing_docs, reason = "kernel names")]
    pub const NEG: u8 = 0x80;
    pub const MOV: u8 = 0xb0;
    pub const END: u8 = 0xd0;
    pub const JA: u8 = 0x00;
    pub const CALL: u8 = 0x80;
    pub const EXIT: u8 = 0x90;
    pub const JCOND: u8 = 0xe0;
}

/// The source bit of arithmetic and jumps: the second operand is a register.
pub const SRC_REG: u8 = 0x08;
/// The whole opcode of a 64-bit immediate load.
pub const LD_IMM64: u8 = class::LD | mode::IMM | 0x18;

/// Values of the source field that give a 64-bit immediate or a call its meaning.
pub mod pseudo {
    #![allow(missing_docs, reason = "kernel names")]
    pub const MAP_FD: u8 = 1;
    pub const MAP_VALUE: u8 = 2;
    pub const BTF_ID: u8 = 3;
    pub const FUNC: u8 = 4;
    pub const MAP_IDX: u8 = 5;
    pub const MAP_IDX_VALUE: u8 = 6;
    pub const CALL: u8 = 1;
    pub const KFUNC_CALL: u8 = 2;
}

use super::Size;

impl Size {
    /// The size bits of a load or store opcode.
    pub const fn code_bits(self) -> u8 {
        match self {
            Size::W => 0x00,
            Size::H => 0x08,
            Size::B => 0x10,
            Size::DW => 0x18,
        }
    }

    /// The size that an opcode's size bits name; all four values are taken.
    pub const fn from_code(code: u8) -> Size {
        match code & 0x18 {
            0x00 => Size::W,
            0x08 => Size::H,
            0x10 => Size::B,
            _ => Size::DW,
        }
    }
}
