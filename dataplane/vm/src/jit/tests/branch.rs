//! Branches: every condition, every register pair, and every distance at which encodings change.

use weir_ebpf::isa::{Cond, Insn, Reg, Source, Width};

use super::{BOUNDARIES, IMMEDIATES, Probe, call, compile, distinct, mov};

fn eval(cond: Cond, width: Width, dst: u64, src: u64) -> bool {
    match width {
        Width::W32 => cond.eval32(dst as u32, src as u32),
        Width::W64 => cond.eval64(dst, src),
    }
}

/// `r0 = 1` if the branch is taken, 0 if not. r0 is set before, so it cannot be an operand with that value.
fn probe(width: Width, cond: Cond, dst: Reg, src: Source) -> Probe {
    let store = |imm| Insn::Store {
        size: weir_ebpf::isa::Size::DW,
        base: Reg::R10,
        off: -200,
        src: Source::Imm(imm),
    };
    Probe::new(&[
        store(1),
        Insn::Branch { width, cond, dst, src, off: 1 },
        store(0),
        super::load(Reg::R5, Reg::R10, -200),
    ])
}

#[test]
fn conditions_on_registers() {
    for &cond in Cond::ALL {
        for width in [Width::W32, Width::W64] {
            for dst in [Reg::R0, Reg::R1, Reg::R4, Reg::R6, Reg::R7] {
                for src in Reg::ALL.into_iter().take(10) {
                    let probe = probe(width, cond, dst, Source::Reg(src));
                    for (n, a) in BOUNDARIES.into_iter().enumerate() {
                        for b in
                            BOUNDARIES.into_iter().skip(n % 3).step_by(if dst == Reg::R6 { 1 } else { 3 })
                        {
                            let mut before = distinct();
                            before[src.index()] = b;
                            before[dst.index()] = a;
                            let (a, b) = (before[dst.index()], before[src.index()]);
                            let taken = probe.run(before)[5] == 1;
                            let what = format!("{dst} {} {src} ({width:?}) of {a:#x}, {b:#x}", cond.symbol());
                            assert_eq!(taken, eval(cond, width, a, b), "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn conditions_on_immediates() {
    for &cond in Cond::ALL {
        for width in [Width::W32, Width::W64] {
            for dst in [Reg::R0, Reg::R6, Reg::R9] {
                for imm in IMMEDIATES {
                    let probe = probe(width, cond, dst, Source::Imm(imm));
                    for a in BOUNDARIES {
                        let mut before = distinct();
                        before[dst.index()] = a;
                        let taken = probe.run(before)[5] == 1;
                        let what = format!("{dst} {} {imm} ({width:?}) of {a:#x}", cond.symbol());
                        assert_eq!(taken, eval(cond, width, a, i64::from(imm) as u64), "{what}");
                    }
                }
            }
        }
    }
}

/// A program that jumps over `bytes` bytes of code, and back over as many, and must come through.
fn jumps_over(bytes: usize) -> Vec<Insn> {
    // `r0 = 1` is 5 bytes, `r1 = r1` 3: together they fill any number from 8 on.
    let threes = (0..5).find(|n| bytes >= n * 3 && (bytes - n * 3).is_multiple_of(5)).unwrap();
    let filler = |imm| {
        let five = std::iter::repeat_n(mov(Reg::R0, imm), (bytes - threes * 3) / 5);
        let same = Insn::Mov { width: Width::W64, dst: Reg::R1, src: Source::Reg(Reg::R1) };
        five.chain(std::iter::repeat_n(same, threes)).collect::<Vec<_>>()
    };
    let over = filler(1).len() as i16;
    let back = -(over + 3);
    // 0: goto 2; 1: exit; 2: goto over the first filler; filler; 3: goto the exit over it all.
    let mut insns = vec![mov(Reg::R0, 7), Insn::Goto { off: 1 }, Insn::Exit, Insn::Goto { off: over }];
    insns.extend(filler(1));
    insns.push(Insn::Branch {
        width: Width::W64,
        cond: Cond::Eq,
        dst: Reg::R0,
        src: Source::Imm(7),
        off: back,
    });
    insns.extend([mov(Reg::R0, 2), Insn::Exit]);
    insns
}

#[test]
fn distances_around_every_edge() {
    let edges = [127, 128, 32_767, 32_768];
    for bytes in edges.into_iter().flat_map(|edge: usize| edge - 12..edge + 13) {
        assert_eq!(call(&compile(jumps_over(bytes)), [0, 0]), 7, "over {bytes} bytes");
    }
}

#[test]
fn short_jumps_are_short() {
    let near = compile(vec![mov(Reg::R0, 0), Insn::Goto { off: 1 }, mov(Reg::R0, 1), Insn::Exit]);
    assert_eq!(near.code(), [0x31, 0xc0, 0xeb, 5, 0xb8, 1, 0, 0, 0, 0xc3]);
}

#[test]
fn the_longest_offsets() {
    let nop = Insn::Mov { width: Width::W64, dst: Reg::R1, src: Source::Reg(Reg::R1) };
    // Forward by 32,767 and back by 32,768.
    let mut insns = vec![mov(Reg::R0, 3), Insn::Goto { off: 1 }, Insn::Exit, Insn::Goto { off: 32_765 }];
    insns.extend(std::iter::repeat_n(nop, 32_765));
    insns.push(Insn::Branch {
        width: Width::W32,
        cond: Cond::Ne,
        dst: Reg::R0,
        src: Source::Imm(0),
        off: -32_768,
    });
    insns.extend([mov(Reg::R0, 1), Insn::Exit]);
    assert_eq!(call(&compile(insns), [0, 0]), 3);
}

#[test]
fn programs_of_65_thousand_instructions() {
    let add =
        Insn::Alu { width: Width::W64, op: weir_ebpf::isa::AluOp::Add, dst: Reg::R0, src: Source::Imm(1) };
    let mut insns = vec![mov(Reg::R0, 0), Insn::GotoLong { off: 1 }, Insn::Exit];
    insns.extend(std::iter::repeat_n(add, 65_536));
    insns.push(Insn::GotoLong { off: -65_538 });
    let code = compile(insns);
    assert_eq!(call(&code, [0, 0]), 65_536);
    assert_eq!(code.slots().len(), 65_540);
}

#[test]
fn a_loop_comes_to_its_end() {
    let sub =
        Insn::Alu { width: Width::W32, op: weir_ebpf::isa::AluOp::Sub, dst: Reg::R1, src: Source::Imm(1) };
    let add = Insn::Alu {
        width: Width::W64,
        op: weir_ebpf::isa::AluOp::Add,
        dst: Reg::R0,
        src: Source::Reg(Reg::R1),
    };
    let again =
        Insn::Branch { width: Width::W64, cond: Cond::Ne, dst: Reg::R1, src: Source::Imm(0), off: -3 };
    let code = compile(vec![mov(Reg::R0, 0), add, sub, again, Insn::Exit]);
    assert_eq!(call(&code, [1000, 0]), 500_500);
}
