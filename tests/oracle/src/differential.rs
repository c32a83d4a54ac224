//! One random program through everything: verifier, checked interpreter with the verifier's states
//! beside it, machine code, kernel. All must leave the same packet (which holds registers and stack)
//! and the same maps.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, asm};
use weir_maps::Map;
use weir_sys::bpf::TestRun;
use weir_verifier::{Options, Verified, verify};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Checked, Engine, Loaded, ProgramTable, Run, TestEnv, interpreter};

use crate::containment::Containment;
use crate::engine::Answer;
use crate::generate::{KEYS, Recipe};
use crate::kernel::KernelSet;
use crate::offered::crashes_kernel;
use weir_ebpf::abi::MapKind;

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everyone agreed.
    Agreed {
        /// Steps compared with the verifier's states.
        checks: u64,
    },
    /// Our verifier refused it.
    Refused(String),
    /// Our verifier accepted it, the kernel's did not.
    KernelRefused(String),
    /// All of ours agreed, and the kernel is known to be wrong about such programs.
    KnownKernelBug(&'static str),
    /// Someone disagreed, or a run left the verifier's states.
    Wrong(String),
}

/// How to judge.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Asks the kernel too, but for programs that it may crash on (`offered`).
    pub kernel: bool,
    /// Runs machine code too. Not beside a verifier that is known to lie: what it says of loops ends them.
    pub machine_code: bool,
    /// Compares every step with the verifier's states.
    pub containment: bool,
    /// Packets for each program.
    pub packets: usize,
    /// Instructions that the verifier may walk.
    pub insns_max: u64,
}

/// Instructions that a program may take; none that the generator writes takes as many.
const BUDGET: u64 = 100_000;

/// The answers to all packets, and what the maps hold at the end.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    answers: Vec<Answer>,
    maps: Vec<Vec<Option<Vec<u8>>>>,
}

impl Judge {
    /// Runs a recipe everywhere.
    pub fn judge(&self, recipe: &Recipe) -> Outcome {
        let program = Arc::new(recipe.program());
        let options =
            Options { record_states: self.containment, insns_max: self.insns_max, ..Options::default() };
        let verified = match verify(program.clone(), &options) {
            Ok(verified) => verified,
            Err(reject) => return Outcome::Refused(reject.to_string()),
        };
        let landing = Arc::new(recipe.landing(&program));
        let ask = || KernelSet::load(&program.maps, &[program.clone(), landing.clone()]);
        let offered = self.kernel && !crashes_kernel(&program);
        let kernel = match offered.then(ask).transpose() {
            Ok(kernel) => kernel,
            Err(error) => return Outcome::KernelRefused(format!("{error:#}")),
        };
        match self.compare(verified, &landing, kernel, &recipe.packets(self.packets)) {
            Ok(checks) => Outcome::Agreed { checks },
            Err(error) => match self.known(recipe) {
                Some(bug) => Outcome::KnownKernelBug(bug),
                None => Outcome::Wrong(format!("{error:#}")),
            },
        }
    }

    /// The known bug of the kernel that explains a disagreement, if ours agree among themselves.
    ///
    /// CVE-2026-98869: after a 32-bit `cmpxchg`, r0 keeps its upper half on some paths. With
    /// `w0 = w0` behind each, which changes nothing by the standard, all agree. (Found here by seed
    /// 1011857: the exchange before a branch that joins itself, r0 read after the join.)
    fn known(&self, recipe: &Recipe) -> Option<&'static str> {
        if !self.kernel || recipe.extended || !recipe.exchanges_words() {
            return None;
        }
        let ours = Judge { kernel: false, ..*self }.judge(recipe);
        let extended = self.judge(&Recipe { extended: true, ..recipe.clone() });
        let explained = [ours, extended].iter().all(|outcome| matches!(outcome, Outcome::Agreed { .. }));
        explained.then_some("CVE-2026-98869: cmpxchg of 32 bits")
    }

    fn compare(
        &self,
        verified: Verified,
        landing: &Arc<Program>,
        kernel: Option<KernelSet>,
        packets: &[Vec<u8>],
    ) -> Result<u64> {
        let specs = verified.program().maps.clone();
        let (reference, checks) = interpret(&verified, landing, packets).context("checked interpreter")?;
        if self.machine_code {
            let compiled = compile(verified, landing, packets).context("machine code")?;
            same("the interpreter", &reference, "machine code", &compiled)?;
        }
        if let Some(kernel) = kernel {
            let traces = ask_kernel(&kernel, &specs, packets).context("kernel")?;
            same("the interpreter", &reference, "the kernel", &traces)?;
        }
        Ok(checks)
    }
}

fn same(left: &str, a: &Traces, right: &str, b: &Traces) -> Result<()> {
    for (index, (a, b)) in a.answers.iter().zip(&b.answers).enumerate() {
        ensure!(
            a.verdict == b.verdict,
            "packet {index}: {left} answers {}, {right} {}",
            a.verdict,
            b.verdict
        );
        let lengths = (a.packet.len(), b.packet.len());
        ensure!(
            lengths.0 == lengths.1,
            "packet {index}: {left} leaves {} bytes, {right} {}",
            lengths.0,
            lengths.1
        );
        if let Some(at) = a.packet.iter().zip(&b.packet).position(|(a, b)| a != b) {
            let word = at / 8 * 8;
            let of = |packet: &[u8]| {
                packet
                    .get(word..word + 8)
                    .map_or(0, |bytes| bytes.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b)))
            };
            let (x, y) = (of(&a.packet), of(&b.packet));
            anyhow::bail!("packet {index}: {} is {x:#x} by {left}, {y:#x} by {right}", name_of(word));
        }
    }
    ensure!(a.maps == b.maps, "{left} and {right} leave different maps:\n  {:?}\n  {:?}", a.maps, b.maps);
    Ok(())
}

/// What the epilogue stored at a byte of the packet.
fn name_of(at: usize) -> String {
    match at / 8 {
        index @ 0..8 => ["r0", "r1", "r2", "r3", "r4", "r5", "r8", "r9"][index].to_owned(),
        index @ 8..24 => format!("stack r10-{}", 8 * (index - 7)),
        _ => format!("byte {at}"),
    }
}

/// Runs a proven program in the checked interpreter, beside its states if they were recorded; answers what
/// each packet became, and the number of steps compared.
fn interpret(verified: &Verified, landing: &Arc<Program>, packets: &[Vec<u8>]) -> Result<(Traces, u64)> {
    let maps = create_maps(verified.program())?;
    let (answers, checks) = run_checked(verified, landing, &maps, packets, BUDGET)?;
    Ok((Traces { answers, maps: contents(&maps) }, checks))
}

/// The same with maps that the caller has.
pub fn run_checked(
    verified: &Verified,
    landing: &Arc<Program>,
    maps: &[Arc<Map>],
    packets: &[Vec<u8>],
    budget: u64,
) -> Result<(Vec<Answer>, u64)> {
    let program = verified.program();
    let checked = Checked::new(program.clone(), maps.to_vec())?;
    let table = ProgramTable::checked([&checked, &Checked::new(landing.clone(), maps.to_vec())?]);
    let mut checks = 0;
    let mut answers = Vec::new();
    for packet in packets {
        let mut env = TestEnv::default();
        let mut run = Run::new(&mut env, 0).with_table(&table);
        let mut observer = verified
            .states()
            .map(|states| Containment::new(states, verified.facts(), maps.iter().map(Arc::as_ref)));
        let mut fault = None;
        let output = test_run(program.kind, &Input::new(packet), &mut run, |run, context| {
            let observer = observer.as_mut().map(|observer| observer as &mut dyn weir_vm::Observer);
            let options = interpreter::Options { budget, observer, ..interpreter::Options::default() };
            let (result, _) = checked.run(run, context, options);
            result.unwrap_or_else(|error| {
                fault = Some(error);
                0
            })
        })?;
        if let Some(fault) = fault {
            return Err(anyhow::Error::new(fault).context("accepted, and yet it was stopped"));
        }
        if let Some(observer) = observer {
            ensure!(
                observer.outside.is_none(),
                "outside of the verifier's states: {}",
                observer.outside.unwrap_or_default()
            );
            checks += observer.checks;
        }
        answers.push(Answer { verdict: output.retval, packet: output.packet });
    }
    Ok((answers, checks))
}

fn compile(verified: Verified, landing: &Arc<Program>, packets: &[Vec<u8>]) -> Result<Traces> {
    let maps = create_maps(verified.program())?;
    let landing =
        verify(landing.clone(), &Options::default()).map_err(|reject| anyhow::anyhow!("{reject}"))?;
    let loaded = [verified, landing]
        .into_iter()
        .map(|verified| Ok(Arc::new(Loaded::new(verified, maps.clone(), Engine::Jit)?)))
        .collect::<Result<Vec<_>>>()?;
    let table = ProgramTable::new(loaded.clone());
    let run = |packet: &Vec<u8>| crate::engine::run_with(&loaded[0], packet, Some(&table));
    let answers = packets.iter().map(run).collect::<Result<_>>()?;
    Ok(Traces { answers, maps: contents(&maps) })
}

/// New maps; prog arrays name the program that tail calls go on in, which is number 1.
pub fn create_maps(program: &Program) -> Result<Vec<Arc<Map>>> {
    let create = |spec: &Arc<MapSpec>| {
        let map = Map::create(spec, 1)?;
        if let Initial::Programs(slots) = &spec.initial {
            for (slot, _) in slots {
                map.control().set_program(*slot, 1)?;
            }
        }
        Ok(map)
    };
    program.maps.iter().map(create).collect()
}

/// Whether what stands in a map can be compared between us and the kernel: it has keys, one value for
/// each, and these are bytes.
fn is_compared(spec: &MapSpec) -> bool {
    matches!(spec.kind, MapKind::Array | MapKind::Hash | MapKind::LruHash)
}

/// What stands under each key that programs use.
fn contents(maps: &[Arc<Map>]) -> Vec<Vec<Option<Vec<u8>>>> {
    let of = |map: &Arc<Map>| {
        let keys = (0..KEYS).map(|key| key.to_le_bytes()[..map.spec().key_size as usize].to_vec());
        keys.map(|key| map.control().lookup(&key).ok()).collect()
    };
    maps.iter().filter(|map| is_compared(map.spec())).map(of).collect()
}

fn ask_kernel(set: &KernelSet, specs: &[Arc<MapSpec>], packets: &[Vec<u8>]) -> Result<Traces> {
    let mut answers = Vec::new();
    for packet in packets {
        let output = set.programs[0].test_run(&TestRun { data: packet, ..TestRun::default() })?;
        answers.push(Answer { verdict: output.retval, packet: output.data });
    }
    let of = |(map, spec): (&weir_sys::bpf::KernelMap, &Arc<MapSpec>)| {
        (0..KEYS).map(|key| map.lookup(&key.to_le_bytes()[..spec.key_size as usize]).ok()).collect()
    };
    let compared = set.maps.iter().zip(specs).filter(|(_, spec)| is_compared(spec));
    Ok(Traces { answers, maps: compared.map(of).collect() })
}

/// A failing program as its reader wants it: why, and the text.
pub fn report(recipe: &Recipe, outcome: &Outcome) -> String {
    let text = asm::Listing(&recipe.program()).to_string();
    format!("seed {}: {outcome:?}\n{recipe:?}\n{text}", recipe.seed)
}
