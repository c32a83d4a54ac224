//! The instruction corpus on each engine.

use std::collections::HashSet;
use std::mem::discriminant;

use anyhow::{Context as _, Result};
use weir_ebpf::Program;
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Insn, Source};
use weir_sys::bpf::TestRun;
use weir_tests::case::{self, Case};
use weir_tests::engine::{self, Answer};
use weir_tests::kernel::{self, KernelSet};
use weir_vm::Engine;

fn cases() -> Vec<Case> {
    case::read_all(&case::corpus("isa")).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn the_corpus_covers_the_instruction_set() {
    let cases = cases();
    let insns: HashSet<Insn> = cases.iter().flat_map(|case| case.insns.iter().copied()).collect();
    for op in AluOp::ALL {
        for bits in [32, 64] {
            for register in [false, true] {
                let found = insns.iter().any(|insn| {
                    matches!(insn, Insn::Alu { width, op: other, src, .. } if width.bits() == bits
                        && op == other && register == matches!(src, Source::Reg(_)))
                });
                assert!(found, "{op:?} of {bits} bits, register: {register}");
            }
        }
    }
    for cond in Cond::ALL {
        let found = |bits| {
            insns.iter().any(|insn| {
                matches!(insn, Insn::Branch { width, cond: other, .. }
                if width.bits() == bits && cond == other)
            })
        };
        assert!(found(32) && found(64), "{cond:?}");
    }
    for op in AtomicOp::ALL {
        let found = |bits| {
            insns.iter().any(|insn| {
                matches!(insn, Insn::Atomic { size, op: other, .. }
                if size.bits() == bits && op == other)
            })
        };
        assert!(found(32) && found(64), "{op:?}");
    }
    // All shapes but kernel functions and computed calls, which no program may use here.
    assert_eq!(insns.iter().map(discriminant).collect::<HashSet<_>>().len(), 20);
    assert!(cases.len() >= 300, "{} programs", cases.len());
    assert!(cases.iter().map(|case| case.rows.len()).sum::<usize>() >= 5_000);
}

#[test]
fn the_kernel_answers_as_the_corpus_says() {
    if kernel::skip("the_kernel_answers_as_the_corpus_says") {
        return;
    }
    run_all("the kernel", |program| {
        let set = KernelSet::load_one(program)?;
        Ok(move |packet: &[u8]| {
            let output = set.programs[0].test_run(&TestRun { data: packet, ..TestRun::default() })?;
            Ok(Answer { verdict: output.retval, packet: output.data })
        })
    });
}

fn engine_answers(engine: Engine) {
    run_all(&format!("{engine:?}"), |program| {
        let loaded = engine::load(program, engine)?;
        Ok(move |packet: &[u8]| engine::run(&loaded, packet))
    });
}

#[test]
fn the_interpreter_answers_as_the_corpus_says() {
    engine_answers(Engine::Interpreter);
}

#[test]
fn the_jit_answers_as_the_corpus_says() {
    engine_answers(Engine::Jit);
}

/// Loads every program of the corpus and runs every row.
fn run_all<R: Fn(&[u8]) -> Result<Answer>>(who: &str, load: impl Fn(&Program) -> Result<R>) {
    let (mut wrong, mut rows_run) = (Vec::new(), 0);
    for case in cases() {
        for (program, rows) in case.programs() {
            let run = match load(&program) {
                Ok(run) => run,
                Err(error) => {
                    wrong.push(format!("{} (case {}): {error:#}", case.place, case.name));
                    continue;
                }
            };
            for row in rows {
                let answer = run(&case.packet(row)).with_context(|| format!("{} ({})", row.place, case.name));
                let judged = answer.and_then(|answer| case.judge(row, answer.verdict, &answer.packet));
                wrong.extend(judged.err().map(|error| format!("{error:#}")));
                rows_run += 1;
            }
        }
    }
    let first = wrong[..wrong.len().min(5)].join("\n");
    assert!(wrong.is_empty(), "{who}: {} of {rows_run} wrong, such as\n{first}", wrong.len());
}
