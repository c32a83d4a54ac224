//! Which instructions a set of programs has: every operation with every form of operand.

use std::collections::BTreeSet;

use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, SwapKind, Width};

/// An instruction without its registers and numbers.
pub type Form = String;

/// The form of an instruction; `None` for the second half of another.
pub fn form(insn: &Insn) -> Option<Form> {
    let of = |src: Source| match src {
        Source::Reg(_) => "reg",
        Source::Imm(_) => "imm",
    };
    Some(match *insn {
        Insn::SecondHalf => return None,
        Insn::Alu { width, op, src, .. } => format!("{width:?} {op:?} {}", of(src)),
        Insn::Mov { width, src, .. } => format!("{width:?} Mov {}", of(src)),
        Insn::MovSx { width, from, .. } => format!("{width:?} MovSx {from:?}"),
        Insn::Neg { width, .. } => format!("{width:?} Neg"),
        Insn::Swap { kind, size, .. } => format!("{kind:?} {size:?}"),
        Insn::LoadImm64 { value, .. } => match value {
            Imm64::Value(_) => "LoadImm64 value".to_owned(),
            Imm64::Map(_) => "LoadImm64 map".to_owned(),
            Imm64::MapValue { .. } => "LoadImm64 map value".to_owned(),
            Imm64::Function(_) => "LoadImm64 function".to_owned(),
            Imm64::Variable { .. } => "LoadImm64 kernel variable".to_owned(),
        },
        Insn::Load { size, signed, .. } => format!("Load {size:?}{}", if signed { " signed" } else { "" }),
        Insn::Store { size, src, .. } => format!("Store {size:?} {}", of(src)),
        Insn::Atomic { size, op, .. } => format!("Atomic {size:?} {op:?}"),
        Insn::LoadAcquire { size, .. } => format!("LoadAcquire {size:?}"),
        Insn::StoreRelease { size, .. } => format!("StoreRelease {size:?}"),
        Insn::LoadPacket { size, index, .. } => {
            format!("LoadPacket {size:?}{}", if index.is_some() { " indexed" } else { "" })
        }
        Insn::Goto { .. } => "Goto".to_owned(),
        Insn::GotoLong { .. } => "GotoLong".to_owned(),
        Insn::Branch { width, cond, src, .. } => format!("{width:?} if {cond:?} {}", of(src)),
        Insn::MayGoto { .. } => "MayGoto".to_owned(),
        Insn::Call { .. } => "Call helper".to_owned(),
        Insn::CallLocal { .. } => "Call function".to_owned(),
        Insn::CallKfunc { .. } => "Call kernel function".to_owned(),
        Insn::CallReg { .. } => "Call register".to_owned(),
        Insn::Exit => "Exit".to_owned(),
    })
}

/// Every form that a program may have. Calls of registers and kernel variables are refused; kernel
/// functions have tests of their own.
pub fn all() -> BTreeSet<Form> {
    let (dst, off) = (Reg::R0, 0);
    let sources = [Source::Reg(dst), Source::Imm(0)];
    let widths = [Width::W32, Width::W64];
    let sizes = [Size::B, Size::H, Size::W, Size::DW];
    let mut insns = vec![
        Insn::Goto { off },
        Insn::GotoLong { off: 0 },
        Insn::MayGoto { off },
        Insn::Call { helper: 1 },
        Insn::CallLocal { off: 0 },
        Insn::Exit,
    ];
    for width in widths {
        for src in sources {
            insns.extend(AluOp::ALL.iter().map(|&op| Insn::Alu { width, op, dst, src }));
            insns.extend(Cond::ALL.iter().map(|&cond| Insn::Branch { width, cond, dst, src, off }));
            insns.push(Insn::Mov { width, dst, src });
        }
        insns.push(Insn::Neg { width, dst });
        let narrower = sizes.iter().filter(|size| size.bits() < width.bits());
        insns.extend(narrower.map(|&from| Insn::MovSx { width, from, dst, src: dst }));
    }
    for size in sizes {
        let base = dst;
        insns.push(Insn::Load { size, signed: false, dst, base, off });
        insns.extend(sources.map(|src| Insn::Store { size, base, off, src }));
        insns.push(Insn::LoadAcquire { size, dst, base, off });
        insns.push(Insn::StoreRelease { size, base, off, src: dst });
        if size != Size::DW {
            insns.push(Insn::Load { size, signed: true, dst, base, off });
            insns.extend([None, Some(dst)].map(|index| Insn::LoadPacket { size, index, offset: 0 }));
        }
        if size != Size::B {
            let kinds = [SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap];
            insns.extend(kinds.map(|kind| Insn::Swap { kind, size, dst }));
        }
        if matches!(size, Size::W | Size::DW) {
            insns.extend(AtomicOp::ALL.iter().map(|&op| Insn::Atomic { size, op, base, off, src: dst }));
        }
    }
    let values = [Imm64::Value(0), Imm64::Map(0), Imm64::MapValue { map: 0, offset: 0 }, Imm64::Function(0)];
    insns.extend(values.map(|value| Insn::LoadImm64 { dst, value }));
    insns.iter().filter_map(form).collect()
}

/// What was met of [`all`].
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    met: BTreeSet<Form>,
}

impl Coverage {
    /// Adds a program's instructions.
    pub fn add(&mut self, insns: &[Insn]) {
        self.met.extend(insns.iter().filter_map(form));
    }

    /// Adds what another one met.
    pub fn join(&mut self, other: Coverage) {
        self.met.extend(other.met);
    }

    /// The forms that were not met.
    pub fn missing(&self) -> Vec<Form> {
        all().difference(&self.met).cloned().collect()
    }

    /// Met, of all.
    pub fn share(&self) -> (usize, usize) {
        let all = all();
        (all.intersection(&self.met).count(), all.len())
    }
}
