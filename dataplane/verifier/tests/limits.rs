//! Programs made to keep a verifier busy: each is answered, by name, within the budget of instructions, and with
//! a stack and a memory that do not grow with the program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ebpf::isa::{AluOp, Cond, Insn, Reg, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_verifier::{Options, Rule, verify};

const W: Width = Width::W64;

fn mov(dst: Reg, imm: i32) -> Insn {
    Insn::Mov { width: W, dst, src: Source::Imm(imm) }
}

fn alu(op: AluOp, dst: Reg, imm: i32) -> Insn {
    Insn::Alu { width: W, op, dst, src: Source::Imm(imm) }
}

fn branch(cond: Cond, dst: Reg, imm: i32, off: i16) -> Insn {
    Insn::Branch { width: W, cond, dst, src: Source::Imm(imm), off }
}

const RANDOM: Insn = Insn::Call { helper: 7 };

/// The rule that refuses it, if one does.
fn answer(insns: Vec<Insn>) -> Option<Rule> {
    let program = Program::from_insns("busy", ProgramType::Xdp, insns);
    let start = Instant::now();
    let options = Options { insns_max: 100_000, ..Options::default() };
    let answer = verify(Arc::new(program), &options).err().map(|reject| reject.rule);
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    answer
}

#[test]
fn paths_that_double_are_cut_off_by_the_budget() {
    let mut insns = vec![mov(Reg::R6, 0)];
    for bit in 0..30 {
        insns.extend([RANDOM, branch(Cond::Eq, Reg::R0, 0, 1), alu(AluOp::Or, Reg::R6, 1 << bit)]);
    }
    // What is in r6 decides.
    insns.extend([mov(Reg::R0, 0), branch(Cond::Eq, Reg::R6, 0x1234_5678, 0), Insn::Exit]);
    assert!(matches!(answer(insns), None | Some(Rule::TooLarge)));
    // And where each bit decides by itself, there is no way round the paths.
    let mut insns = vec![mov(Reg::R6, 0)];
    for bit in 0..30 {
        insns.extend([RANDOM, branch(Cond::Eq, Reg::R0, 0, 1), alu(AluOp::Or, Reg::R6, 1 << bit)]);
    }
    for bit in 0..30 {
        insns.push(branch(Cond::Set, Reg::R6, 1 << bit, 0));
    }
    insns.extend([mov(Reg::R0, 0), Insn::Exit]);
    assert_eq!(answer(insns), Some(Rule::TooLarge));
}

#[test]
fn a_loop_of_a_thousand_million_turns_is_too_large() {
    let insns = vec![
        mov(Reg::R6, 0),
        alu(AluOp::Add, Reg::R6, 1),
        branch(Cond::Lt, Reg::R6, 1_000_000_000, -2),
        mov(Reg::R0, 0),
        Insn::Exit,
    ];
    assert_eq!(answer(insns), Some(Rule::TooLarge));
}

#[test]
fn a_long_program_is_no_deep_one() {
    let mut insns = vec![mov(Reg::R0, 0); 90_000];
    insns.push(Insn::Exit);
    assert_eq!(answer(insns), None);
    // A chain of jumps that goes to and fro over the whole of it.
    let jumps = 20_000;
    let mut insns: Vec<Insn> = (0..jumps).map(|_| Insn::GotoLong { off: 0 }).collect();
    for at in 0..jumps / 2 {
        let there = jumps - 1 - at;
        insns[at] = Insn::GotoLong { off: (there - at - 1) as i32 };
        insns[there] = Insn::GotoLong { off: at as i32 + 1 - there as i32 - 1 };
    }
    insns[jumps / 2] = Insn::GotoLong { off: jumps as i32 / 2 - 1 };
    insns.extend([mov(Reg::R0, 0), Insn::Exit]);
    assert_eq!(answer(insns), None);
}

#[test]
fn functions_that_call_each_other_in_a_row_are_too_deep() {
    let mut insns = Vec::new();
    for _ in 0..5_000 {
        insns.extend([Insn::CallLocal { off: 1 }, Insn::Exit]);
    }
    insns.extend([mov(Reg::R0, 0), Insn::Exit]);
    assert_eq!(answer(insns), Some(Rule::CallDepth));
}

#[test]
fn branches_that_wait_are_counted() {
    let mut insns = vec![RANDOM];
    insns.extend((0..9_000).map(|value| branch(Cond::Eq, Reg::R0, value, 0)));
    insns.extend([mov(Reg::R0, 0), Insn::Exit]);
    assert!(matches!(answer(insns), None | Some(Rule::TooManyBranches | Rule::TooLarge)));
}

#[test]
fn calls_that_double_and_functions_by_the_thousand_are_walked() {
    // Each function calls the one behind it twice, eight deep.
    let mut insns = Vec::new();
    for depth in 0..8 {
        let call = |off| if depth == 7 { mov(Reg::R0, 1) } else { Insn::CallLocal { off } };
        insns.extend([call(2), call(1), Insn::Exit]);
    }
    assert_eq!(answer(insns), None);
    let functions = 10_000;
    let mut insns: Vec<Insn> =
        (0..functions).map(|at| Insn::CallLocal { off: functions - at + 2 * at }).collect();
    insns.push(Insn::Exit);
    insns.extend((0..functions).flat_map(|_| [mov(Reg::R0, 2), Insn::Exit]));
    assert_eq!(answer(insns), None);
}
