//! Instructions as the kernel's log spells them (kernel/bpf/disasm.c), which is not quite the assembler's
//! way: offsets stand close to their sign, jumps are relative to `pc`, and what is compared is hexadecimal.

use weir_ebpf::Program;
use weir_ebpf::abi::kfunc::Kfunc;
use weir_ebpf::abi::names::helper_name;
use weir_ebpf::isa::{AtomicOp, Imm64, Insn, Reg, Size, Source, Width};

/// An instruction, with its opcode. Of maps the assembler's way is kept: the kernel prints their addresses.
pub(crate) fn text(program: &Program, slot: usize) -> String {
    let insn = &program.insns[slot];
    let opcode = weir_ebpf::encode::encode(std::slice::from_ref(insn)).first().map_or(0, |raw| raw.code);
    format!("({opcode:02x}) {}", spelled(insn))
}

fn spelled(insn: &Insn) -> String {
    match *insn {
        Insn::Branch { width, cond, dst, src, off } => {
            let letter = if width == Width::W32 { 'w' } else { 'r' };
            let right = match src {
                Source::Reg(reg) => format!("{letter}{}", reg.index()),
                Source::Imm(imm) => format!("{:#x}", imm as u32),
            };
            format!("if {letter}{} {} {right} goto pc{off:+}", dst.index(), cond.symbol())
        }
        Insn::Goto { off } => format!("goto pc{off:+}"),
        Insn::GotoLong { off } => format!("gotol pc{off:+}"),
        Insn::MayGoto { off } => format!("may_goto pc{off:+}"),
        Insn::Call { helper } => match helper_name(helper) {
            Some(name) => format!("call bpf_{name}#{helper}"),
            None => format!("call unknown#{helper}"),
        },
        Insn::CallLocal { off } => format!("call pc{off:+}"),
        Insn::CallKfunc { btf_id, .. } => match Kfunc::new(btf_id) {
            Some(kfunc) => format!("call {}#{btf_id}", kfunc.name()),
            None => format!("call kernel-function#{btf_id}"),
        },
        Insn::LoadImm64 { dst, value: Imm64::Value(value) } => format!("r{} = {value:#x}", dst.index()),
        Insn::LoadImm64 { dst, value: Imm64::Function(off) } => format!("r{} = {off:#x}", dst.index()),
        Insn::Atomic { size, op, base, off, src } if op.fetches() => fetching(size, op, base, off, src),
        Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. } => insn.to_string().replace(" + ", " +").replace(" - ", " -"),
        Insn::Alu { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Neg { .. }
        | Insn::Swap { .. }
        | Insn::LoadImm64 { .. }
        | Insn::SecondHalf
        | Insn::LoadPacket { .. }
        | Insn::CallReg { .. }
        | Insn::Exit => insn.to_string(),
    }
}

/// An atomic operation that answers what memory held.
fn fetching(size: Size, op: AtomicOp, base: Reg, off: i16, src: Reg) -> String {
    let (wide, word) = if size == Size::DW { ("64", "u64") } else { ("", "u32") };
    let (base, src) = (base.index(), src.index());
    let name = match op {
        AtomicOp::Xchg => "xchg",
        AtomicOp::CmpXchg => "cmpxchg",
        AtomicOp::FetchAdd => "fetch_add",
        AtomicOp::FetchOr => "fetch_or",
        AtomicOp::FetchAnd => "fetch_and",
        AtomicOp::FetchXor => "fetch_xor",
        AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => op.text(),
    };
    match op {
        AtomicOp::CmpXchg => format!("r0 = atomic{wide}_{name}(({word} *)(r{base} {off:+}), r0, r{src})"),
        _ => format!("r{src} = atomic{wide}_{name}(({word} *)(r{base} {off:+}), r{src})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_otherwise_than_by_the_assembler() {
        let pairs = [
            ("*(u64 *)(r10 - 8) = r1", "*(u64 *)(r10 -8) = r1"),
            ("r0 = *(s16 *)(r1 + 4)", "r0 = *(s16 *)(r1 +4)"),
            ("if r1 s> -1 goto +2", "if r1 s> 0xffffffff goto pc+2"),
            ("if w1 == w2 goto -1", "if w1 == w2 goto pc-1"),
            ("call bpf_ktime_get_ns", "call bpf_ktime_get_ns#5"),
            ("r3 = atomic_fetch_add((u64 *)(r1 + 8), r3)", "r3 = atomic64_fetch_add((u64 *)(r1 +8), r3)"),
            ("w0 = cmpxchg32_32(r1 + 0, w0, w2)", "r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"),
            ("r1 = 5", "r1 = 5"),
        ];
        for (ours, theirs) in pairs {
            let insns = weir_ebpf::asm::assemble(ours).expect("an instruction");
            assert_eq!(spelled(&insns[0]), theirs);
        }
    }
}
