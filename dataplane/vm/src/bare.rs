//! Bare programs: no packet and no context, only memory, its address in r1 and its length in r2, and all
//! 64 bits of r0 as the answer. This is what instruction-set suites speak of (bpf_conformance).
//!
//! The checked interpreter runs any of them. Machine code runs what the verifier accepts as a function that
//! an XDP program calls with its packet ([`as_xdp`]). What it refuses (the suite shifts by more than the
//! width, and calls helpers by register) must run to its end in the interpreter first, and then runs from
//! exactly the same state ([`replay`]).

use std::sync::Arc;

use thiserror::Error;
use weir_ebpf::isa::{AluOp, Cond, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_verifier::{Reject, verify};

use crate::context::Context;
use crate::env::TestEnv;
use crate::interpreter::{Checked, Fault, Options};
use crate::jit::{ReplayError, replay};
use crate::loaded::{Engine, LoadError, Loaded};
use crate::run::Run;
use crate::test_run::{Input, InputError, test_run};

/// Bytes of the packet before a wrapped program's memory: its r0 comes there.
pub const RESULT_BYTES: usize = 8;
/// Least bytes of such a packet (an Ethernet frame's).
const PACKET_BYTES_MIN: usize = 64;

/// Why a bare program was not run, or was stopped.
#[derive(Debug, Error)]
pub enum BareError {
    /// It did what it must not.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot be run again as machine code.
    #[error("not run as machine code, since it is not proven ({reject}): {source}")]
    Replay {
        /// Why the verifier refused it.
        reject: Box<Reject>,
        /// Why it was not run all the same.
        source: ReplayError,
    },
    /// Its memory is too long for a packet.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Runs a program on memory; answers r0.
pub fn run(insns: &[Insn], memory: &mut [u8], engine: Engine) -> Result<u64, BareError> {
    match engine {
        Engine::Interpreter => interpret(insns, memory),
        Engine::Jit => {
            let wrapped = Program::from_insns("bare", ProgramType::Xdp, as_xdp(insns, memory.len()));
            match verify(Arc::new(wrapped), &weir_verifier::Options::default()) {
                Ok(verified) => run_proven(Loaded::new(verified, Vec::new(), engine)?, memory),
                Err(reject) => {
                    let program = Program::from_insns("bare", ProgramType::Xdp, insns.to_vec());
                    let answer = replay(&Arc::new(program), memory);
                    answer.map_err(|source| BareError::Replay { reject, source })
                }
            }
        }
    }
}

fn interpret(insns: &[Insn], memory: &mut [u8]) -> Result<u64, BareError> {
    let program = Program::from_insns("bare", ProgramType::Xdp, insns.to_vec());
    let checked = Checked::new(Arc::new(program), Vec::new())?;
    let mut env = TestEnv::default();
    let mut context = Context::new(&mut [], 0..0);
    let options = Options { any_helper: true, memory: Some(memory), ..Options::default() };
    Ok(checked.run(&mut Run::new(&mut env, 0), &mut context, options).0?)
}

fn run_proven(loaded: Loaded, memory: &mut [u8]) -> Result<u64, BareError> {
    let mut packet = vec![0; RESULT_BYTES];
    packet.extend_from_slice(memory);
    packet.resize(packet.len().max(PACKET_BYTES_MIN), 0);
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    let judge = |run: &mut Run<'_>, context: &mut Context<'_>| loaded.run(run, context);
    let output = test_run(ProgramType::Xdp, &Input::new(&packet), &mut run, judge)?;
    memory.copy_from_slice(&output.packet[RESULT_BYTES..][..memory.len()]);
    Ok(output.packet.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// The XDP program that calls another with its packet, less the first [`RESULT_BYTES`], in r1 and with
/// `length` in r2, keeps r0 in those bytes and answers `XDP_PASS`. A shorter packet is passed untouched.
pub fn as_xdp(insns: &[Insn], length: usize) -> Vec<Insn> {
    let mov = |dst, src| Insn::Mov { width: Width::W64, dst, src };
    let add = |dst, imm| Insn::Alu { width: Width::W64, op: AluOp::Add, dst, src: Source::Imm(imm) };
    let field = |dst, off| Insn::Load { size: Size::W, signed: false, dst, base: Reg::R1, off };
    let (data, end) = (Source::Reg(Reg::R6), Source::Reg(Reg::R2));
    let mut wrapped = vec![
        field(Reg::R6, 0),
        field(Reg::R2, 4),
        mov(Reg::R3, data),
        add(Reg::R3, (RESULT_BYTES + length) as i32),
        Insn::Branch { width: Width::W64, cond: Cond::Gt, dst: Reg::R3, src: end, off: 5 },
        mov(Reg::R1, data),
        add(Reg::R1, RESULT_BYTES as i32),
        mov(Reg::R2, Source::Imm(length as i32)),
        Insn::CallLocal { off: 3 },
        Insn::Store { size: Size::DW, base: Reg::R6, off: 0, src: Source::Reg(Reg::R0) },
        mov(Reg::R0, Source::Imm(2)),
        Insn::Exit,
    ];
    wrapped.extend(insns);
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::asm::assemble;

    fn both(text: &str, memory: &mut [u8]) -> [Result<u64, String>; 2] {
        let insns = assemble(text).unwrap();
        let mut copy = memory.to_vec();
        let answers = [
            run(&insns, &mut copy, Engine::Interpreter).map_err(|error| error.to_string()),
            run(&insns, memory, Engine::Jit).map_err(|error| error.to_string()),
        ];
        assert!(answers.iter().any(Result::is_err) || copy == memory, "{text}");
        answers
    }

    #[test]
    fn memory_is_read_and_written() {
        let mut memory = [1, 2, 3];
        let answers = both("r0 = *(u8 *)(r1 + 2); *(u8 *)(r1 + 0) = 9; r0 += r2; exit", &mut memory);
        assert_eq!((answers, memory), ([Ok(6), Ok(6)], [9, 2, 3]));
    }

    #[test]
    fn what_the_verifier_refuses_runs_after_a_checked_run() {
        let text = "r0 = 1 ; r0 <<= 65; r1 = 5; callx r1; r0 = 3; r0 <<= 65; r0 += r9; exit";
        assert_eq!(both(text, &mut []), [Ok(6), Ok(6)]);
    }

    #[test]
    fn what_the_interpreter_stops_is_not_run_as_machine_code() {
        let [interpreted, compiled] = both("r0 = *(u8 *)(r1 + 3); exit", &mut [0; 3]);
        assert!(interpreted.unwrap_err().contains("read of 1 bytes"));
        assert!(compiled.unwrap_err().contains("[packet-past-end]"));
        let [interpreted, compiled] = both("r1 = 1000; r0 = *(u8 *)(r1 + 3); exit", &mut []);
        assert!(interpreted.is_err() && compiled.is_err());
    }

    /// What nobody wrote is zero, in a function that is called over the remains of another too, and in both engines.
    #[test]
    fn unwritten_stack_is_clear() {
        const DIRTY: &str = "
            dirty:
                r1 = -1
                *(u64 *)(r10 - 8) = r1
                *(u64 *)(r10 - 16) = r1
                *(u64 *)(r10 - 24) = r1
                *(u64 *)(r10 - 32) = r1
                r0 = 0
                exit
        ";
        // Parts of words that were never written.
        let parts = "
                call dirty
                call reader
                r6 = r0
                call dirty
                call reader
                r0 |= r6
                r1 = *(u64 *)(r10 - 64)
                r0 |= r1
                exit
            reader:
                r0 = *(u64 *)(r10 - 8)
                r1 = *(u32 *)(r10 - 20)
                r0 |= r1
                r1 = *(u8 *)(r10 - 31)
                r0 |= r1
                exit
        ";
        // Written on one way, and not on the other, which ends where the first was.
        let ways = "
                r6 = r2
                call dirty
                r2 = r6
                call reader
                exit
            reader:
                if r2 != 0 goto unwritten
                r3 = *(u64 *)(r10 - 8)
                *(u64 *)(r10 - 16) = r2
                goto on
            unwritten:
                r3 = 0
            on:
                r0 = *(u64 *)(r10 - 16)
                exit
        ";
        // Through a pointer that was kept in the stack.
        let kept = "
                r6 = r2
                call dirty
                r2 = r6
                call reader
                exit
            reader:
                r1 = r10
                r1 += -16
                *(u64 *)(r10 - 32) = r1
                if r2 != 0 goto on
                *(u64 *)(r10 - 16) = r2
            on:
                r1 = *(u64 *)(r10 - 32)
                r0 = *(u64 *)(r1 + 0)
                exit
        ";
        for text in [parts, ways, kept] {
            assert_eq!(both(&format!("{text}{DIRTY}"), &mut [1, 2]), [Ok(0), Ok(0)], "{text}");
        }
    }
}
