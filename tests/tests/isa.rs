//! The instruction corpus on each engine.

use std::collections::HashSet;
use std::mem::discriminant;

use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Insn, Source};
use weir_sys::bpf::TestRun;
use weir_tests::case::{self, Case};
use weir_tests::kernel::{self, KernelSet};

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
    let mut wrong = Vec::new();
    for case in cases() {
        for (program, rows) in case.programs() {
            let set = match KernelSet::load_one(&program) {
                Ok(set) => set,
                Err(error) => {
                    wrong.push(format!("{} (case {}): {error:#}", case.place, case.name));
                    continue;
                }
            };
            for row in rows {
                let packet = case.packet(row);
                let run = TestRun { data: &packet, ..TestRun::default() };
                let output = set.programs[0].test_run(&run).unwrap_or_else(|error| panic!("{error}"));
                wrong.extend(
                    case.judge(row, output.retval, &output.data).err().map(|error| error.to_string()),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong, such as\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
}
