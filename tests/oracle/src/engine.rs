//! Our own engines, as tests use them: program in, packet in, answer and packet out.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use weir_ebpf::Program;
use weir_maps::Map;
use weir_verifier::{Options, Verified, verify};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

/// Every engine there is.
pub const ENGINES: [Engine; 2] = [Engine::Interpreter, Engine::Jit];

/// What a run answered and left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The low half of r0.
    pub verdict: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
}

/// Proves a program.
pub fn prove(program: &Program) -> Result<Verified> {
    verify(Arc::new(program.clone()), &Options::default()).map_err(|reject| anyhow!("refused: {reject}"))
}

/// Proves a program and makes it ready with new maps.
pub fn load(program: &Program, engine: Engine) -> Result<Loaded> {
    load_verified(prove(program)?, engine)
}

/// Makes a proven program ready with new maps.
pub fn load_verified(verified: Verified, engine: Engine) -> Result<Loaded> {
    let specs = &verified.program().maps;
    let maps = specs.iter().map(|spec| Map::create(spec, 1)).collect::<Result<Vec<_>, _>>()?;
    Loaded::new(verified, maps, engine).context("loading")
}

/// Runs it once.
pub fn run(loaded: &Loaded, packet: &[u8]) -> Result<Answer> {
    run_with(loaded, packet, None)
}

/// The same with programs to go on in.
pub fn run_with(loaded: &Loaded, packet: &[u8], table: Option<&ProgramTable>) -> Result<Answer> {
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    if let Some(table) = table {
        run = run.with_table(table);
    }
    let kind = loaded.verified().program().kind;
    let output = test_run(kind, &Input::new(packet), &mut run, |run, context| loaded.run(run, context))?;
    match run.fault() {
        Some(fault) => Err(anyhow!("stopped: {fault}")),
        None => Ok(Answer { verdict: output.retval, packet: output.packet }),
    }
}
