//! Arithmetic with every register pair and boundary operand.

use weir_ebpf::isa::{AluOp, Imm64, Insn, Reg, Size, Source, SwapKind, Width};

use super::{BOUNDARIES, IMMEDIATES, Probe, distinct};
use crate::jit::x64::WITHOUT_BMI2;

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

fn eval(op: AluOp, width: Width, dst: u64, src: u64) -> u64 {
    match width {
        Width::W32 => u64::from(op.eval32(dst as u32, src as u32)),
        Width::W64 => op.eval64(dst, src),
    }
}

/// Every pair of boundaries, or a few pairs for register pairs that only differ in encoding.
fn operands(dst: Reg, src: Reg) -> Vec<(u64, u64)> {
    let special = |reg: Reg| matches!(reg, Reg::R0 | Reg::R2 | Reg::R3 | Reg::R6);
    let step = if special(dst) && special(src) { 1 } else { 5 };
    let pairs = BOUNDARIES.iter().flat_map(|&a| BOUNDARIES.iter().map(move |&b| (a, b)));
    pairs.step_by(step).collect()
}

fn check_register_form(op: AluOp, width: Width, dst: Reg, src: Reg) {
    let probe = Probe::new(&[Insn::Alu { width, op, dst, src: Source::Reg(src) }]);
    for (a, b) in operands(dst, src) {
        let mut before = distinct();
        before[src.index()] = b;
        before[dst.index()] = a;
        let after = probe.run(before);
        let mut wanted = before;
        wanted[10] = after[10];
        wanted[dst.index()] = eval(op, width, wanted[dst.index()], wanted[src.index()]);
        assert_eq!(after, wanted, "{dst} {} {src} ({width:?}) of {a:#x}, {b:#x}", op.symbol());
    }
}

fn check_all_register_forms(ops: &[AluOp]) {
    for &op in ops {
        for width in WIDTHS {
            for dst in &Reg::ALL[..10] {
                for src in Reg::ALL {
                    check_register_form(op, width, *dst, src);
                }
            }
        }
    }
}

#[test]
fn every_operation_on_every_register_pair() {
    check_all_register_forms(AluOp::ALL);
}

#[test]
fn shifts_without_bmi2() {
    WITHOUT_BMI2.set(true);
    check_all_register_forms(&[AluOp::Lsh, AluOp::Rsh, AluOp::Arsh]);
}

#[test]
fn every_operation_with_immediates() {
    for &op in AluOp::ALL {
        for width in WIDTHS {
            for dst in [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R5, Reg::R7] {
                for imm in IMMEDIATES {
                    let probe = Probe::new(&[Insn::Alu { width, op, dst, src: Source::Imm(imm) }]);
                    for value in BOUNDARIES {
                        let mut before = distinct();
                        before[dst.index()] = value;
                        let after = probe.run(before);
                        let mut wanted = before;
                        wanted[10] = after[10];
                        wanted[dst.index()] = eval(op, width, value, i64::from(imm) as u64);
                        assert_eq!(after, wanted, "{dst} {} {imm} ({width:?}) of {value:#x}", op.symbol());
                    }
                }
            }
        }
    }
}

/// One instruction whose result is a function of one register.
fn check_unary(insn: Insn, dst: Reg, src: Reg, meaning: impl Fn(u64) -> u64) {
    let probe = Probe::new(&[insn]);
    for value in BOUNDARIES.into_iter().chain([0x0123_4567_89ab_cdef, 0x80, 0x8000, 0xff7f]) {
        let mut before = distinct();
        before[src.index()] = value;
        let after = probe.run(before);
        let mut wanted = before;
        wanted[10] = after[10];
        wanted[dst.index()] = meaning(wanted[src.index()]);
        assert_eq!(after, wanted, "{insn:?} of {value:#x}");
    }
}

#[test]
fn moves_between_all_registers() {
    for dst in Reg::ALL.into_iter().take(10) {
        for src in Reg::ALL {
            for width in WIDTHS {
                let low = |value: u64| if width == Width::W32 { value & 0xffff_ffff } else { value };
                check_unary(Insn::Mov { width, dst, src: Source::Reg(src) }, dst, src, low);
                let signed = |from| Insn::MovSx { width, from, dst, src };
                check_unary(signed(Size::B), dst, src, |value| low(value as i8 as u64));
                check_unary(signed(Size::H), dst, src, |value| low(value as i16 as u64));
            }
            let from = Size::W;
            check_unary(Insn::MovSx { width: Width::W64, from, dst, src }, dst, src, |value| {
                value as i32 as u64
            });
        }
    }
}

#[test]
fn negation_and_swaps() {
    for dst in Reg::ALL.into_iter().take(10) {
        check_unary(Insn::Neg { width: Width::W64, dst }, dst, dst, u64::wrapping_neg);
        let width = Width::W32;
        check_unary(Insn::Neg { width, dst }, dst, dst, |value| u64::from((value as u32).wrapping_neg()));
        for kind in [SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap] {
            let swapped = kind != SwapKind::ToLe;
            check_unary(Insn::Swap { kind, size: Size::H, dst }, dst, dst, |value| {
                u64::from(if swapped { (value as u16).swap_bytes() } else { value as u16 })
            });
            check_unary(Insn::Swap { kind, size: Size::W, dst }, dst, dst, |value| {
                u64::from(if swapped { (value as u32).swap_bytes() } else { value as u32 })
            });
            check_unary(Insn::Swap { kind, size: Size::DW, dst }, dst, dst, |value| {
                if swapped { value.swap_bytes() } else { value }
            });
        }
    }
}

#[test]
fn constants() {
    for dst in Reg::ALL.into_iter().take(10) {
        for imm in IMMEDIATES {
            let insn = |width| Insn::Mov { width, dst, src: Source::Imm(imm) };
            check_unary(insn(Width::W64), dst, dst, |_| i64::from(imm) as u64);
            check_unary(insn(Width::W32), dst, dst, |_| u64::from(imm as u32));
        }
        for value in BOUNDARIES {
            let wide = Insn::LoadImm64 { dst, value: Imm64::Value(value) };
            let probe = Probe::new(&[wide, Insn::SecondHalf]);
            assert_eq!(probe.run(distinct())[dst.index()], value);
        }
    }
}
