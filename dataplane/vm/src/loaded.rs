//! A proven program with its maps, ready to run.

use std::sync::Arc;

use thiserror::Error;
use weir_ebpf::abi::{Helper, Support};
use weir_ebpf::{Insn, MapSpec, Program};
use weir_maps::Map;
use weir_verifier::Verified;

use crate::context::Context;
use crate::interpreter::{self, Code, Setup};
use crate::jit::{Compiled, JitError};
use crate::run::Run;

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Engine {
    /// The checked interpreter: slow, and watches over itself.
    Interpreter,
    /// Machine code.
    #[default]
    Jit,
}

/// A program that may run. Only a [`Verified`] becomes one.
#[derive(Debug)]
pub struct Loaded {
    verified: Verified,
    code: Arc<Code>,
    /// Workers that every per-worker map has values for.
    workers: usize,
}

/// Why a program cannot be made ready.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not as many maps as the program names.
    #[error("program {program} names {wanted} maps and was given {found}")]
    Count {
        /// The program.
        program: String,
        /// Maps it names.
        wanted: usize,
        /// Maps it was given.
        found: usize,
    },
    /// A program that is proven only, for its type or for what it calls.
    #[error("program {program} is proven, and not run: weir has no {what}")]
    NotRun {
        /// The program.
        program: String,
        /// What is missing.
        what: String,
    },
    /// A map that is not what the program was proven with.
    #[error("map {index} ({name}) of program {program} is not what it was proven with")]
    Shape {
        /// The program.
        program: String,
        /// Index into the program's maps.
        index: usize,
        /// The declared name.
        name: String,
    },
    /// No machine code could be made of it.
    #[error("program {program}: {source}")]
    Jit {
        /// The program.
        program: String,
        /// Why.
        source: Box<JitError>,
    },
}

impl LoadError {
    /// Whether there is here what the program works on, and bodies of all that it calls.
    fn check_runs(program: &Program) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::NotRun { program: program.name.clone(), what });
        if program.kind.support() == Support::Proven {
            return refuse(format!("hook for programs of type {}", program.kind));
        }
        let calls = program.insns.iter().filter_map(|insn| match insn {
            Insn::Call { helper } => Helper::new(*helper),
            _ => None,
        });
        match calls.filter(|helper| helper.proven_only()).map(Helper::name).next() {
            Some(name) => refuse(format!("body for {name}")),
            None => Ok(()),
        }
    }

    /// Whether these are the maps that the program names, as far as its proof depends on it.
    pub(crate) fn check_maps(program: &Program, maps: &[Arc<Map>]) -> Result<(), LoadError> {
        let (wanted, found) = (program.maps.len(), maps.len());
        if wanted != found {
            return Err(LoadError::Count { program: program.name.clone(), wanted, found });
        }
        for (index, (declared, map)) in program.maps.iter().zip(maps).enumerate() {
            if !fits(declared, map) {
                let name = declared.name.clone();
                return Err(LoadError::Shape { program: program.name.clone(), index, name });
            }
        }
        Ok(())
    }
}

/// Whether a map is what a program was proven with. The contents of a frozen map may have been taken as
/// constants, so they count.
fn fits(declared: &MapSpec, map: &Map) -> bool {
    let spec = map.spec();
    let constant = !declared.frozen || (spec.frozen && spec.initial == declared.initial);
    constant && same_shape(declared, spec)
}

fn same_shape(declared: &MapSpec, map: &MapSpec) -> bool {
    let shape = |spec: &MapSpec| (spec.kind, spec.key_size, spec.value_size, spec.max_entries, spec.flags);
    let inner = match (&declared.inner, &map.inner) {
        (Some(declared), Some(map)) => same_shape(declared, map),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    inner && shape(declared) == shape(map) && declared.fields == map.fields
}

impl Loaded {
    /// Makes a proven program ready, with one map for each of `Program::maps`.
    pub fn new(verified: Verified, maps: Vec<Arc<Map>>, engine: Engine) -> Result<Self, LoadError> {
        let program = verified.program().clone();
        LoadError::check_runs(&program)?;
        LoadError::check_maps(&program, &maps)?;
        let percpu = maps.iter().filter(|map| map.spec().kind.is_percpu() || map.timers().is_some());
        let workers = percpu.map(|map| map.cpus()).min().unwrap_or(usize::MAX);
        let code = Code::new(program, maps);
        if engine == Engine::Jit {
            let refused = |source| {
                let program = code.program.name.clone();
                LoadError::Jit { program, source: Box::new(source) }
            };
            let compiled = Compiled::new(&verified, &code).map_err(refused)?;
            code.compiled.get_or_init(|| compiled);
        }
        code.enter_maps();
        Ok(Self { verified, code, workers })
    }

    /// What was proven, and of which program.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The maps, in the program's order.
    pub fn maps(&self) -> &[Arc<Map>] {
        &self.code.maps
    }

    /// Judges a packet: answers the program's r0.
    ///
    /// Where the packet shall go, if r0 says so, is in [`Run::redirect`]. If the interpreter catches the
    /// program at something that was proven impossible, r0 is 0 and [`Run::fault`] says what it was: a
    /// fault of the verifier, never of a packet.
    ///
    /// # Panics
    /// When the run's worker number is not below the number of workers that the maps were made for: a lookup
    /// that cannot fail, as far as the verifier knows, would answer null.
    pub fn run(&self, run: &mut Run<'_>, context: &mut Context<'_>) -> u64 {
        assert!((run.cpu as usize) < self.workers, "maps have values for {} workers", self.workers);
        if let Some(compiled) = self.compiled() {
            run.begin(self.code.program.kind, context);
            let r0 = compiled.run(run, context);
            run.finish();
            return r0;
        }
        let (result, _) = interpreter::run(&self.code, run, context, Setup::default());
        result.unwrap_or_else(|fault| {
            run.set_fault(fault);
            0
        })
    }

    /// How many workers its per-worker maps have values for.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Where compiled code enters after a tail call; `None` when this one is interpreted.
    pub(crate) fn tail_entry(&self) -> Option<*const u8> {
        self.compiled().map(Compiled::entry)
    }

    /// The machine code, when it runs as that.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.code.compiled.get()
    }

    /// The program and its maps.
    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.code.leave_maps();
    }
}
