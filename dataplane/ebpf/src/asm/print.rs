//! Instructions to text.

use std::fmt::{self, Display, Formatter};

use crate::abi::Helper;
use crate::isa::{AtomicOp, Imm64, Insn, Reg, Size, Source, SwapKind, Width};
use crate::program::Program;

/// Writes one line for each instruction, which [`super::assemble`] reads back to the same
/// instructions. Offsets stay relative, so that a part of a program can be printed too.
pub fn disassemble(insns: &[Insn]) -> String {
    let lines = insns.iter().filter(|insn| **insn != Insn::SecondHalf);
    lines.map(|insn| format!("{insn}\n")).collect()
}

/// A program for reading: functions as labels, slot numbers, and in comments the helpers, the maps
/// and where the jumps go. The assembler reads this form too.
pub struct Listing<'p>(pub &'p Program);

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let program = self.0;
        for (slot, insn) in program.insns.iter().enumerate() {
            if let Some(function) = program.functions.iter().find(|function| function.start == slot) {
                writeln!(f, "{}:", function.name)?;
            }
            if *insn == Insn::SecondHalf {
                continue;
            }
            let text = insn.to_string();
            match remark(program, slot, insn) {
                Some(remark) => writeln!(f, "{slot:8}: {text:40} // {remark}")?,
                None => writeln!(f, "{slot:8}: {text}")?,
            }
        }
        Ok(())
    }
}

/// What the numbers in an instruction mean in this program.
fn remark(program: &Program, slot: usize, insn: &Insn) -> Option<String> {
    let place = |target: i64| match program.functions.iter().find(|f| f.start as i64 == target) {
        Some(function) => function.name.clone(),
        None => format!("to {target}"),
    };
    match *insn {
        Insn::Call { helper } => Some(Helper::new(helper)?.name().to_owned()),
        Insn::LoadImm64 { value: Imm64::Map(map) | Imm64::MapValue { map, .. }, .. } => {
            Some(program.maps.get(map as usize)?.name.clone())
        }
        Insn::CallLocal { off } | Insn::LoadImm64 { value: Imm64::Function(off), .. } => {
            Some(place(slot as i64 + 1 + i64::from(off)))
        }
        _ => insn.jump_target(slot).map(place),
    }
}

/// A register at a width: `r1` or `w1`.
struct At(Width, Reg);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Width::W32 => write!(f, "w{}", self.1.index()),
            Width::W64 => write!(f, "r{}", self.1.index()),
        }
    }
}

/// A second operand at a width.
struct Operand(Width, Source);

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Source::Reg(reg) => At(self.0, reg).fmt(f),
            Source::Imm(imm) => imm.fmt(f),
        }
    }
}

/// An address: `r1 + 4`, `r10 - 8`.
struct Address(Reg, i16);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.1 < 0 { '-' } else { '+' };
        write!(f, "{} {sign} {}", self.0, self.1.unsigned_abs())
    }
}

/// A typed address: `(u32 *)(r1 + 4)`.
struct Memory(&'static str, Address);

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({} *)({})", self.0, self.1)
    }
}

impl Size {
    /// The C type of an unsigned access: `u8` to `u64`.
    pub const fn unsigned(self) -> &'static str {
        match self {
            Size::B => "u8",
            Size::H => "u16",
            Size::W => "u32",
            Size::DW => "u64",
        }
    }

    /// The C type of a signed access: `s8` to `s64`.
    pub const fn signed(self) -> &'static str {
        match self {
            Size::B => "s8",
            Size::H => "s16",
            Size::W => "s32",
            Size::DW => "s64",
        }
    }

    /// The register width that holds an access of this size.
    pub(super) const fn width(self) -> Width {
        match self {
            Size::DW => Width::W64,
            Size::B | Size::H | Size::W => Width::W32,
        }
    }
}

impl SwapKind {
    /// The assembler's word, before the number of bits.
    pub const fn name(self) -> &'static str {
        match self {
            SwapKind::ToLe => "le",
            SwapKind::ToBe => "be",
            SwapKind::Bswap => "bswap",
        }
    }
}

/// The instruction in clang's syntax; the second half of a load prints as a comment.
impl Display for Insn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Insn::Alu { width, op, dst, src } => {
                write!(f, "{} {} {}", At(width, dst), op.symbol(), Operand(width, src))
            }
            Insn::Mov { width, dst, src } => write!(f, "{} = {}", At(width, dst), Operand(width, src)),
            Insn::MovSx { width, from, dst, src } => {
                write!(f, "{} = ({}){}", At(width, dst), from.signed(), At(width, src))
            }
            Insn::Neg { width, dst } => write!(f, "{} = -{}", At(width, dst), At(width, dst)),
            Insn::Swap { kind, size, dst } => write!(f, "{dst} = {}{} {dst}", kind.name(), size.bits()),
            Insn::LoadImm64 { dst, value } => write!(f, "{dst} = {value} ll"),
            Insn::SecondHalf => f.write_str("// second half of the load above"),
            Insn::Load { size, signed, dst, base, off } => {
                let kind = if signed { size.signed() } else { size.unsigned() };
                write!(f, "{dst} = *{}", Memory(kind, Address(base, off)))
            }
            Insn::Store { size, base, off, src } => {
                let memory = Memory(size.unsigned(), Address(base, off));
                write!(f, "*{memory} = {}", Operand(Width::W64, src))
            }
            Insn::Atomic { size, op, base, off, src } => atomic(f, size, op, Address(base, off), src),
            Insn::LoadAcquire { size, dst, base, off } => {
                let memory = Memory(size.unsigned(), Address(base, off));
                write!(f, "{} = load_acquire({memory})", At(size.width(), dst))
            }
            Insn::StoreRelease { size, base, off, src } => {
                let memory = Memory(size.unsigned(), Address(base, off));
                write!(f, "store_release({memory}, {})", At(size.width(), src))
            }
            Insn::LoadPacket { size, index, offset } => packet(f, size, index, offset),
            Insn::Goto { off } => write!(f, "goto {off:+}"),
            Insn::GotoLong { off } => write!(f, "gotol {off:+}"),
            Insn::Branch { width, cond, dst, src, off } => {
                let (left, right) = (At(width, dst), Operand(width, src));
                write!(f, "if {left} {} {right} goto {off:+}", cond.symbol())
            }
            Insn::MayGoto { off } => write!(f, "may_goto {off:+}"),
            Insn::Call { helper } => write!(f, "call {helper}"),
            Insn::CallLocal { off } => write!(f, "call pc{off:+}"),
            Insn::CallKfunc { btf_id, off: 0 } => write!(f, "call kfunc[{btf_id}]"),
            Insn::CallKfunc { btf_id, off } => write!(f, "call kfunc[{btf_id}][{off}]"),
            Insn::CallReg { reg } => write!(f, "callx {reg}"),
            Insn::Exit => f.write_str("exit"),
        }
    }
}

impl Display for Imm64 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Imm64::Value(value) => write!(f, "{value:#x}"),
            Imm64::Map(map) => write!(f, "map[{map}]"),
            Imm64::MapValue { map, offset } => write!(f, "map[{map}][{offset}]"),
            Imm64::Variable { btf_id, btf_fd } => write!(f, "variable[{btf_id}][{btf_fd}]"),
            Imm64::Function(off) => write!(f, "subprog[{off:+}]"),
        }
    }
}

fn atomic(f: &mut Formatter<'_>, size: Size, op: AtomicOp, at: Address, src: Reg) -> fmt::Result {
    let width = size.width();
    let suffix = if width == Width::W64 { "_64" } else { "32_32" };
    let (src, name) = (At(width, src), op.text());
    match op {
        AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
            write!(f, "lock *{} {name} {src}", Memory(size.unsigned(), at))
        }
        AtomicOp::FetchAdd | AtomicOp::FetchOr | AtomicOp::FetchAnd | AtomicOp::FetchXor => {
            write!(f, "{src} = {name}({}, {src})", Memory(size.unsigned(), at))
        }
        AtomicOp::Xchg => write!(f, "{src} = {name}{suffix}({at}, {src})"),
        AtomicOp::CmpXchg => {
            let r0 = At(width, Reg::R0);
            write!(f, "{r0} = {name}{suffix}({at}, {r0}, {src})")
        }
    }
}

fn packet(f: &mut Formatter<'_>, size: Size, index: Option<Reg>, offset: i32) -> fmt::Result {
    let kind = size.unsigned();
    match (index, offset) {
        (None, offset) => write!(f, "r0 = *({kind} *)skb[{offset}]"),
        (Some(index), 0) => write!(f, "r0 = *({kind} *)skb[{index}]"),
        (Some(index), offset) => {
            let sign = if offset < 0 { '-' } else { '+' };
            write!(f, "r0 = *({kind} *)skb[{index} {sign} {}]", offset.unsigned_abs())
        }
    }
}
