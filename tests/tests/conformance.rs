//! The public conformance suite: its text assembles to its bits, and its programs answer as it says.

use weir_ebpf::{asm, encode};
use weir_tests::conformance::{self, Case, dialect};
use weir_vm::{Engine, bare};

fn cases() -> Vec<Case> {
    conformance::cases().unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn the_suites_text_assembles_to_its_bits() {
    let mut assembled = 0;
    for case in cases() {
        let Some(text) = &case.asm else { continue };
        let insns = dialect::assemble(text).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        assert_eq!(insns, case.insns, "{}", case.name);
        assembled += 1;
    }
    assert!(assembled >= conformance::CASES - 1, "only {assembled} cases have text");
}

#[test]
fn our_own_text_says_the_same() {
    for case in cases() {
        let text = asm::disassemble(&case.insns);
        let again = asm::assemble(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", case.name));
        assert_eq!(encode::encode(&again), encode::encode(&case.insns), "{}", case.name);
    }
}

/// Runs every case; each counts, none is left out.
fn run_all(engine: Engine) {
    let (mut passed, mut wrong) = (0, Vec::new());
    for case in cases() {
        match bare::run(&case.insns, &mut case.memory.clone(), engine) {
            Ok(r0) if r0 == case.r0 => passed += 1,
            Ok(r0) => wrong.push(format!("{}: r0 is {r0:#x}, wanted {:#x}", case.name, case.r0)),
            Err(error) => wrong.push(format!("{}: {error:#}", case.name)),
        }
    }
    assert_eq!(passed, conformance::CASES, "{engine:?}: {}", wrong.join("\n"));
}

#[test]
fn the_interpreter_passes_the_suite() {
    run_all(Engine::Interpreter);
}

#[test]
fn the_jit_passes_the_suite() {
    run_all(Engine::Jit);
}
