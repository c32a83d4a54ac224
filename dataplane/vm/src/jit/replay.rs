//! Machine code for programs that nobody has proven: the second half of a run whose first half was checked.
//!
//! Compiled code checks nothing. But if the checked interpreter ran a program to its end on some input,
//! and the machine code starts from exactly the same state, it does exactly the same, and so may run. The
//! same state means: the same memory at the same address, the same stacks at the same addresses, the same
//! registers, the same values in registers that a call clobbers, and helpers that answer the same. What
//! cannot be the same is refused: maps, functions as values, helpers that take more than plain numbers.
//!
//! The conformance suite goes this way (`weir conformance-plugin --jit`); packets never do.

use std::sync::Arc;

use thiserror::Error;
use weir_ebpf::Program;
use weir_ebpf::abi::Helper;
use weir_ebpf::abi::helper::Arg;

use super::{Compiled, JitError, Link};
use crate::context::Context;
use crate::env::TestEnv;
use crate::helpers;
use crate::interpreter::{self, Code, Fault, Setup, Stacks};
use crate::run::{HelperFn, Run};

/// Instructions that the checked run may take.
const BUDGET: u64 = 1 << 26;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The checked interpreter stopped the program.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is no machine code for it, or none that could be run exactly alike.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// The program has maps.
    #[error("a program with maps is not run by the JIT without being verified")]
    Maps,
    /// The engines do not agree: one of them is wrong.
    #[error("the interpreter answers {interpreted:#x} and the JIT {compiled:#x}, or their memory differs")]
    Differ {
        /// The interpreter's r0.
        interpreted: u64,
        /// The JIT's r0.
        compiled: u64,
    },
}

/// Runs an unproven program, r1 and r2 being the memory and its length, first checked and then as machine
/// code; answers r0, on which both must agree. All helpers of plain numbers may be called, in a world that
/// starts the same each time.
pub fn replay(program: &Arc<Program>, memory: &mut [u8]) -> Result<u64, ReplayError> {
    if !program.maps.is_empty() {
        return Err(ReplayError::Maps);
    }
    let before = memory.to_vec();
    let mut stacks = Stacks::new();
    let interpreted = checked(program, memory, &mut stacks)?;
    let after = memory.to_vec();

    let link = Link { helper: &plain_helper, kfunc: &|_| None, maps: &[], owner: 0, exact: true };
    // SAFETY: it only runs below, where the checked run has just come to its end.
    let code = unsafe { Compiled::unproven(program, &link) }?;
    memory.copy_from_slice(&before);
    stacks.iter_mut().for_each(|stack| stack.fill(0));
    let compiled = compiled(&code, program, memory, &mut stacks);
    if interpreted != compiled || *memory != after {
        return Err(ReplayError::Differ { interpreted, compiled });
    }
    Ok(compiled)
}

fn checked(program: &Arc<Program>, memory: &mut [u8], stacks: &mut Stacks) -> Result<u64, Fault> {
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    let mut context = Context::new(&mut [], 0..0);
    let code = Code::new(program.clone(), Vec::new());
    let start = memory.as_mut_ptr().expose_provenance() as u64;
    let setup = Setup {
        budget: BUDGET,
        any_helper: true,
        granted: Some(start..start + memory.len() as u64),
        stack: Some(stacks),
        observer: None,
        later: None,
    };
    interpreter::run(&code, &mut run, &mut context, setup).0
}

fn compiled(code: &Compiled, program: &Program, memory: &mut [u8], stacks: &mut Stacks) -> u64 {
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    let mut context = Context::new(&mut [], 0..0);
    run.begin(program.kind, &mut context);
    // Where each frame's stack ends; compiled functions step along this list.
    let top = |stack: &mut Box<[u64; _]>| stack.as_mut_ptr_range().end.expose_provenance() as u64;
    let mut tops: Vec<u64> = stacks.iter_mut().map(top).collect();
    run.engine = tops.as_mut_ptr().cast();
    let (start, len) = (memory.as_mut_ptr().expose_provenance() as u64, memory.len() as u64);
    // SAFETY: the entry is compiled to be called like this. The checked run of the same program came to its
    // end from the same state (memory, stacks, registers, helpers: see above), so every access of this one
    // is one that was checked.
    unsafe {
        let enter: HelperFn = std::mem::transmute(code.entry());
        enter(&mut run, start, len, 0, 0, 0)
    }
}

/// The body of a helper that takes and answers nothing but numbers.
fn plain_helper(number: u32) -> Option<usize> {
    let helper = Helper::new(number)?;
    let plain = helper.args().iter().all(|arg| matches!(arg, Arg::Anything));
    plain.then(|| helpers::body(helper) as *const () as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::ProgramType;
    use weir_ebpf::asm::assemble;

    fn run(text: &str, memory: &mut [u8]) -> Result<u64, ReplayError> {
        let insns = assemble(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        replay(&Arc::new(Program::from_insns("test", ProgramType::Xdp, insns)), memory)
    }

    #[test]
    fn memory_is_read_and_written() {
        let mut memory = [1, 2, 3, 4];
        assert_eq!(
            run("r0 = *(u32 *)(r1 + 0)\n *(u8 *)(r1 + 3) = 9\n r0 += r2\n exit", &mut memory).unwrap(),
            0x0403_0205
        );
        assert_eq!(memory, [1, 2, 3, 9]);
    }

    #[test]
    fn what_the_interpreter_stops_never_runs_as_machine_code() {
        assert!(matches!(run("r0 = *(u8 *)(r1 + 4)\n exit", &mut [0; 4]), Err(ReplayError::Fault(_))));
        assert!(matches!(run("r0 = 0\n r10 = 0\n exit", &mut []), Err(ReplayError::Jit(_))));
        let callback = "r2 = 0\n r3 = 0\n r4 = 0\n r1 = 0\n call 181\n r0 = 0\n exit";
        assert!(run(callback, &mut []).is_err());
    }

    #[test]
    fn addresses_and_leftovers_are_the_same() {
        // Answers that depend on the stack's address, on what a call leaves and on registers nobody set.
        for text in [
            "r0 = r10\n exit",
            "call 5\n r0 += r1\n r0 += r5\n exit",
            "r0 += r3\n r0 += r6\n r0 += r9\n exit",
            "r0 = *(u64 *)(r10 - 8)\n exit",
            "*(u64 *)(r10 - 16) = 7\n call pc+1\n exit\n r0 = *(u64 *)(r10 - 16)\n r0 += r10\n r9 = 5\n exit",
            "r6 = 4\n call pc+2\n r0 += r6\n exit\n r6 += 1\n call pc+1\n exit\n r0 = r6\n r6 = 9\n exit",
        ] {
            run(text, &mut [0; 8]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
    }
}
