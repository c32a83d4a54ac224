//! Programs made to keep a verifier busy: each is answered, by name, within the budget of instructions, memory
//! and time, and with a stack that does not grow with the program.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ebpf::isa::{AluOp, Cond, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_verifier::{Options, Reject, Rule, TimeLimit, verify};

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
    assert_eq!(answer(doubling()), Some(Rule::TooLarge));
}

/// Thirty bits that chance sets, and each of them decides.
fn doubling() -> Vec<Insn> {
    let mut insns = vec![mov(Reg::R6, 0)];
    for bit in 0..30 {
        insns.extend([RANDOM, branch(Cond::Eq, Reg::R0, 0, 1), alu(AluOp::Or, Reg::R6, 1 << bit)]);
    }
    for bit in 0..30 {
        insns.push(branch(Cond::Set, Reg::R6, 1 << bit, 0));
    }
    insns.extend([mov(Reg::R0, 0), Insn::Exit]);
    insns
}

fn refusal(insns: Vec<Insn>, options: &Options) -> Reject {
    let program = Program::from_insns("busy", ProgramType::Xdp, insns);
    *verify(Arc::new(program), options).expect_err("it was made to be too much")
}

#[test]
fn states_are_kept_within_the_memory_given() {
    // A full stack that is read at the end, so that every state holds all of it.
    let spill =
        |slot: i16| Insn::Store { size: Size::DW, base: Reg::R10, off: -8 * slot, src: Source::Reg(Reg::R1) };
    let fill = |slot: i16| Insn::Load {
        size: Size::DW,
        signed: false,
        dst: Reg::R2,
        base: Reg::R10,
        off: -8 * slot,
    };
    let mut insns: Vec<Insn> = (1..=64).map(spill).collect();
    insns.extend(doubling());
    let end = insns.len() - 2;
    insns.splice(end..end, (1..=64).map(fill));
    let reject = refusal(insns.clone(), &Options { memory_max: 8 << 20, ..Options::default() });
    assert_eq!(reject.rule, Rule::TooMuchMemory, "{}", reject.message);
    assert!(reject.message.starts_with("the states to compare with take more than 8 MiB after "));
    assert!(reject.help.unwrap_or_default().contains(") meet at insn "));
    // Less than twice the limit was ever held: it is looked at after each instruction.
    assert!(reject.stats.peak_bytes < 9 << 20, "{}", reject.stats.peak_bytes);
    let reject = refusal(insns, &Options::default());
    assert!(matches!(reject.rule, Rule::TooLarge | Rule::TooMuchMemory), "{}", reject.message);
}

#[test]
fn proving_ends_within_the_time_given() {
    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });
    fn clock() -> Duration {
        NOW.set(NOW.get() + 1);
        Duration::from_millis(NOW.get())
    }
    let time = Some(TimeLimit { limit: Duration::from_millis(100), clock });
    let reject = refusal(doubling(), &Options { time, ..Options::default() });
    assert_eq!(reject.rule, Rule::TooSlow, "{}", reject.message);
    assert_eq!(reject.message, "not proven within 100ms, after 6464 insns");
    assert!(reject.help.unwrap_or_default().starts_with("most states ("));
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

#[test]
fn a_long_way_is_walked_once() {
    // Wherever states are kept, the last of them is one from which the long way starts.
    for before in 0..10 {
        let mut insns = vec![mov(Reg::R6, 0); before];
        for _ in 0..9 {
            insns.extend([RANDOM, branch(Cond::Eq, Reg::R0, 0, 2), mov(Reg::R6, 1), mov(Reg::R7, 1)]);
        }
        insns.extend(vec![mov(Reg::R0, 2); 90_000]);
        insns.push(Insn::Exit);
        assert_eq!(answer(insns), None, "{before}");
    }
}
