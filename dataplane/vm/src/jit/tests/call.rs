//! Frames and calls: what survives, what is aligned, who is called.

use weir_ebpf::abi::Helper;
use weir_ebpf::isa::{AluOp, Cond, Imm64, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_sys::code::{Executable, Reserved, Written};

use super::super::{Compiled, Link};
use super::{call, load, mov, store};
use crate::context::Context;
use crate::env::TestEnv;
use crate::run::{MAY_GOTO_MAX, Run};

const fn copy(dst: Reg, src: Reg) -> Insn {
    Insn::Mov { width: Width::W64, dst, src: Source::Reg(src) }
}

const fn add(dst: Reg, src: Source) -> Insn {
    Insn::Alu { width: Width::W64, op: AluOp::Add, dst, src }
}

/// A helper that answers `rsp & 15` as its caller had it, and ruins every register it may.
fn rude_helper() -> Executable {
    let mut code = vec![0x48, 0x8d, 0x44, 0x24, 0x08, 0x83, 0xe0, 0x0f];
    // mov rsi, rdx, rcx, rdi, r8, r9, r10, r11, each to -1.
    for [rex, reg] in
        [0x48c6u16, 0x48c2, 0x48c1, 0x48c7, 0x49c0, 0x49c1, 0x49c2, 0x49c3].map(u16::to_be_bytes)
    {
        code.extend([rex, 0xc7, reg, 0xff, 0xff, 0xff, 0xff]);
    }
    code.push(0xc3);
    let place = Reserved::near(rude_helper as *const () as usize, code.len()).unwrap();
    Written::new(&code).unwrap().seal().unwrap().map(place).unwrap()
}

fn compile_with(insns: Vec<Insn>, helper: &dyn Fn(u32) -> Option<usize>) -> Compiled {
    let program = Program::from_insns("test", ProgramType::Xdp, insns);
    // SAFETY: tests run only programs that stay inside the memory they give them.
    unsafe {
        Compiled::unproven(&program, &Link { helper, kfunc: &|_| None, maps: &[], owner: 0, exact: false })
    }
    .unwrap()
}

/// Runs with a packet of 64 bytes, 0, 1, 2, …
fn run(code: &Compiled) -> (u64, u64) {
    let mut room: Vec<u8> = (0..64).collect();
    let mut context = Context::new(&mut room, 0..64);
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 3);
    run.begin(ProgramType::Xdp, &mut context);
    let r0 = code.run(&mut run, &mut context);
    (r0, run.may_goto)
}

fn saved(mask: u8) -> Vec<Reg> {
    let kept = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
    kept.into_iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0).map(|(_, reg)| reg).collect()
}

/// Calls the helper with some of r6-r9 in use; r0 is the stack's misalignment plus, per lost register, 1000.
fn calls_helper(mask: u8) -> Vec<Insn> {
    let mut insns: Vec<_> = saved(mask).into_iter().map(|reg| mov(reg, 70 + reg.index() as i32)).collect();
    insns.push(Insn::Call { helper: 1 });
    for reg in saved(mask) {
        let imm = Source::Imm(70 + reg.index() as i32);
        insns.push(Insn::Branch { width: Width::W64, cond: Cond::Eq, dst: reg, src: imm, off: 1 });
        insns.push(add(Reg::R0, Source::Imm(1000)));
    }
    insns.push(Insn::Exit);
    insns
}

#[test]
fn helpers_are_called_on_an_aligned_stack_and_registers_survive() {
    let rude = rude_helper();
    for mask in 0..16 {
        let code = compile_with(calls_helper(mask), &|_| Some(rude.address()));
        assert_eq!(run(&code).0, 0, "main with registers {mask:04b}");
    }
}

#[test]
fn functions_keep_their_callers_registers() {
    let rude = rude_helper();
    for outer in 0..16 {
        for inner in 0..16 {
            // main: r6.. = 7x; call f; check; exit. f: the program of the test above.
            let mut main = calls_helper(outer);
            let at = main.iter().position(|insn| matches!(insn, Insn::Call { .. })).unwrap();
            main[at] = Insn::CallLocal { off: (main.len() - at - 1) as i32 };
            let mut callee = calls_helper(inner);
            // The callee overwrites with other values.
            for insn in &mut callee {
                match insn {
                    Insn::Mov { src: Source::Imm(imm), .. } | Insn::Branch { src: Source::Imm(imm), .. } => {
                        *imm += 10
                    }
                    _ => {}
                }
            }
            main.extend(callee);
            let code = compile_with(main, &|_| Some(rude.address()));
            assert_eq!(run(&code).0, 0, "main {outer:04b}, function {inner:04b}");
        }
    }
}

#[test]
fn helpers_out_of_reach_are_called_through_a_register() {
    let rude = rude_helper();
    let program = Program::from_insns("test", ProgramType::Xdp, calls_helper(15));
    let helper = |_| Some(rude.address());
    let link = Link { helper: &helper, kfunc: &|_| None, maps: &[], owner: 0, exact: false };
    let bytes = |base| {
        super::super::x64::emit(&program, None, &link, base, super::super::x64::Shorts::default())
            .unwrap()
            .bytes
    };
    let far = bytes(rude.address().wrapping_add(1 << 40));
    let near = bytes(rude.address().wrapping_add(1 << 30));
    assert!(near.len() < far.len());
    let call: Vec<u8> = [0x49, 0xbb].into_iter().chain((rude.address() as u64).to_le_bytes()).collect();
    assert!(far.windows(10).any(|window| window == call), "mov r11, address");
}

#[test]
fn a_function_sees_its_callers_stack() {
    let code = compile_with(
        vec![
            Insn::Store { size: Size::DW, base: Reg::R10, off: -8, src: Source::Imm(5) },
            copy(Reg::R1, Reg::R10),
            add(Reg::R1, Source::Imm(-8)),
            Insn::CallLocal { off: 3 },
            load(Reg::R1, Reg::R10, -8),
            add(Reg::R0, Source::Reg(Reg::R1)),
            Insn::Exit,
            // The function: its own stack must not be its caller's.
            Insn::Store { size: Size::DW, base: Reg::R10, off: -8, src: Source::Imm(1000) },
            Insn::Store { size: Size::DW, base: Reg::R10, off: -512, src: Source::Imm(1000) },
            load(Reg::R0, Reg::R1, 0),
            mov(Reg::R2, 70),
            store(Reg::R1, 0, Reg::R2),
            Insn::Exit,
        ],
        &|_| None,
    );
    assert_eq!(call(&code, [0, 0]), 75);
}

#[test]
fn functions_eight_deep_with_all_arguments() {
    let mut insns =
        [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5].map(|reg| mov(reg, reg.index() as i32)).to_vec();
    for _ in 0..7 {
        insns.extend([Insn::CallLocal { off: 1 }, Insn::Exit]);
        insns.push(copy(Reg::R6, Reg::R1));
        insns.push(add(Reg::R1, Source::Imm(1)));
    }
    insns.push(mov(Reg::R0, 0));
    insns.extend([Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5].map(|reg| add(Reg::R0, Source::Reg(reg))));
    insns.push(Insn::Exit);
    assert_eq!(call(&compile_with(insns, &|_| None), [0, 0]), 7 + 15);
}

fn real_helper(number: u32) -> Option<usize> {
    Helper::new(number).map(|helper| crate::helpers::body(helper) as *const () as usize)
}

#[test]
fn callbacks_are_called_back() {
    // bpf_loop(10, f, &sum, 0), f: *(u64 *)state += index; return index == 6;
    let code = compile_with(
        vec![
            Insn::Store { size: Size::DW, base: Reg::R10, off: -8, src: Source::Imm(100) },
            mov(Reg::R6, 1),
            mov(Reg::R1, 10),
            Insn::LoadImm64 { dst: Reg::R2, value: Imm64::Function(10) },
            Insn::SecondHalf,
            copy(Reg::R3, Reg::R10),
            add(Reg::R3, Source::Imm(-8)),
            mov(Reg::R4, 0),
            Insn::Call { helper: Helper::Loop as u32 },
            Insn::Alu { width: Width::W64, op: AluOp::Mul, dst: Reg::R0, src: Source::Imm(1000) },
            load(Reg::R1, Reg::R10, -8),
            add(Reg::R0, Source::Reg(Reg::R1)),
            add(Reg::R0, Source::Reg(Reg::R6)),
            Insn::Exit,
            load(Reg::R6, Reg::R2, 0),
            add(Reg::R6, Source::Reg(Reg::R1)),
            store(Reg::R2, 0, Reg::R6),
            mov(Reg::R0, 0),
            Insn::Branch { width: Width::W32, cond: Cond::Ne, dst: Reg::R1, src: Source::Imm(6), off: 1 },
            mov(Reg::R0, 1),
            Insn::Exit,
        ],
        &real_helper,
    );
    // Indices 0 to 6 were seen: 7 calls, 21 in all.
    assert_eq!(run(&code).0, 7000 + 121 + 1);
}

#[test]
fn may_goto_takes_from_the_budget_and_stops_at_its_end() {
    let code = compile_with(
        vec![
            mov(Reg::R0, 0),
            Insn::MayGoto { off: 2 },
            add(Reg::R0, Source::Imm(1)),
            Insn::Goto { off: -3 },
            Insn::MayGoto { off: 1 },
            mov(Reg::R0, 0),
            Insn::Exit,
        ],
        &|_| None,
    );
    assert_eq!(run(&code), (MAY_GOTO_MAX, 0), "the second finds the budget used up, and jumps too");
}

#[test]
fn legacy_packet_loads() {
    let abs =
        |size, offset| vec![mov(Reg::R6, 0), Insn::LoadPacket { size, index: None, offset }, Insn::Exit];
    let ind = |size, index, offset| {
        let load = Insn::LoadPacket { size, index: Some(Reg::R7), offset };
        vec![mov(Reg::R7, index), load, Insn::Exit]
    };
    let answer = |insns| run(&compile_with(insns, &|_| None)).0;
    assert_eq!(answer(abs(Size::B, 12)), 12);
    assert_eq!(answer(abs(Size::H, 12)), 0x0c0d);
    assert_eq!(answer(abs(Size::W, 12)), 0x0c0d_0e0f);
    assert_eq!(answer(ind(Size::W, 20, -10)), 0x0a0b_0c0d);
    // Out of bounds the program ends with 0.
    let past = |size, offset| {
        let mut insns = abs(size, offset);
        insns.insert(2, mov(Reg::R0, 77));
        answer(insns)
    };
    assert_eq!([past(Size::W, 60), past(Size::W, 61), past(Size::B, 63), past(Size::B, 64)], [77, 0, 77, 0]);
}

#[test]
fn calls_by_register_find_the_helper() {
    let insns = vec![mov(Reg::R1, 5), mov(Reg::R2, 8), Insn::CallReg { reg: Reg::R2 }, Insn::Exit];
    assert_eq!(run(&compile_with(insns, &real_helper)).0, 3, "the worker's number");
}

#[test]
fn what_goes_out_of_the_program_is_refused() {
    let compile = |insns| {
        let program = Program::from_insns("test", ProgramType::Xdp, insns);
        // SAFETY: never run.
        unsafe {
            Compiled::unproven(
                &program,
                &Link { helper: &|_| None, kfunc: &|_| None, maps: &[], owner: 0, exact: false },
            )
        }
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        compile(vec![Insn::Goto { off: 1 }, Insn::Exit]),
        "insn 0: goes out of the program, to insn 2"
    );
    assert_eq!(
        compile(vec![Insn::CallLocal { off: -9 }, Insn::Exit]),
        "insn 0: goes out of the program, to insn -8"
    );
    assert_eq!(compile(vec![Insn::Call { helper: 9999 }, Insn::Exit]), "insn 0: helper 9999 has no body");
    let map = Insn::LoadImm64 { dst: Reg::R1, value: Imm64::Map(0) };
    let error = compile(vec![map, Insn::SecondHalf, Insn::Exit]);
    assert_eq!(error, "insn 0: the program was loaded without map 0");
}
