//! The door for programs that nobody has proven.

use std::ops::Range;
use std::sync::Arc;

use weir_ebpf::Program;
use weir_maps::Map;

use super::{Code, Fault, Observer, Setup};
use crate::context::Context;
use crate::loaded::LoadError;
use crate::run::Run;

/// Instructions that a run may take unless someone says otherwise.
const BUDGET: u64 = 1 << 26;

/// A program that may be anything, in the interpreter that lets it do no harm: for `--no-verify`, the
/// conformance suite, and the tests that judge the verifier.
#[derive(Debug)]
pub struct Checked {
    code: Arc<Code>,
}

/// How a checked run is made.
pub struct Options<'o> {
    /// Instructions it may take, callbacks included.
    pub budget: u64,
    /// Lets the program call every helper there is, whatever its type.
    pub any_helper: bool,
    /// Memory in the context's place: r1 is its address, r2 its length, and there is no context.
    pub memory: Option<&'o mut [u8]>,
    /// Is called before each instruction.
    pub observer: Option<&'o mut dyn Observer>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { budget: BUDGET, any_helper: false, memory: None, observer: None }
    }
}

impl Checked {
    /// A program with one map for each that it names.
    pub fn new(program: Arc<Program>, maps: Vec<Arc<Map>>) -> Result<Self, LoadError> {
        LoadError::check_maps(&program, &maps)?;
        let code = Code::new(program, maps);
        code.enter_maps();
        Ok(Self { code })
    }

    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.code.program
    }

    /// Runs it and answers r0, or what it did wrong; and how many instructions it took.
    pub fn run(
        &self,
        run: &mut Run<'_>,
        context: &mut Context<'_>,
        options: Options<'_>,
    ) -> (Result<u64, Fault>, u64) {
        let setup = Setup {
            budget: options.budget,
            any_helper: options.any_helper,
            granted: options.memory.map(exposed),
            stack: None,
            observer: options.observer,
            later: None,
        };
        super::run(&self.code, run, context, setup)
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.code.leave_maps();
    }
}

/// The addresses of memory that a program may touch until its borrow ends.
pub(crate) fn exposed(memory: &mut [u8]) -> Range<u64> {
    let start = memory.as_mut_ptr().expose_provenance() as u64;
    start..start + memory.len() as u64
}
