//! One random program through everything: verifier, checked interpreter with the verifier's states
//! beside it, machine code, kernel. All must leave the same packet (which holds registers and stack)
//! and the same maps.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use weir_ebpf::{Program, asm};
use weir_maps::Map;
use weir_sys::bpf::TestRun;
use weir_verifier::{Options, Verified, verify};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Checked, Engine, Loaded, Run, TestEnv, interpreter};

use crate::containment::Containment;
use crate::engine::Answer;
use crate::generate::{KEYS, Recipe};
use crate::kernel::KernelSet;

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
    /// Asks the kernel too.
    pub kernel: bool,
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
        let kernel = match self.kernel.then(|| KernelSet::load_one(&program)).transpose() {
            Ok(kernel) => kernel,
            Err(error) => return Outcome::KernelRefused(format!("{error:#}")),
        };
        match self.compare(verified, kernel, &recipe.packets(self.packets)) {
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

    fn compare(&self, verified: Verified, kernel: Option<KernelSet>, packets: &[Vec<u8>]) -> Result<u64> {
        let (reference, checks) = interpret(&verified, packets).context("checked interpreter")?;
        let compiled = compile(verified, packets).context("machine code")?;
        same("the interpreter", &reference, "machine code", &compiled)?;
        if let Some(kernel) = kernel {
            let traces = ask_kernel(&kernel, packets).context("kernel")?;
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

fn interpret(verified: &Verified, packets: &[Vec<u8>]) -> Result<(Traces, u64)> {
    let program = verified.program();
    let maps = create_maps(program)?;
    let checked = Checked::new(program.clone(), maps.clone())?;
    let mut checks = 0;
    let mut answers = Vec::new();
    for packet in packets {
        let mut env = TestEnv::default();
        let mut run = Run::new(&mut env, 0);
        let mut observer =
            verified.states().map(|states| Containment::new(states, maps.iter().map(Arc::as_ref)));
        let mut fault = None;
        let output = test_run(program.kind, &Input::new(packet), &mut run, |run, context| {
            let observer = observer.as_mut().map(|observer| observer as &mut dyn weir_vm::Observer);
            let options =
                interpreter::Options { budget: BUDGET, observer, ..interpreter::Options::default() };
            let (result, _) = checked.run(run, context, options);
            result.unwrap_or_else(|error| {
                fault = Some(error);
                0
            })
        })?;
        if let Some(fault) = fault {
            anyhow::bail!("accepted, and yet: {fault}");
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
    Ok((Traces { answers, maps: contents(&maps) }, checks))
}

fn compile(verified: Verified, packets: &[Vec<u8>]) -> Result<Traces> {
    let maps = create_maps(verified.program())?;
    let loaded = Loaded::new(verified, maps.clone(), Engine::Jit)?;
    let answers = packets.iter().map(|packet| crate::engine::run(&loaded, packet)).collect::<Result<_>>()?;
    Ok(Traces { answers, maps: contents(&maps) })
}

fn create_maps(program: &Program) -> Result<Vec<Arc<Map>>> {
    program.maps.iter().map(|spec| Ok(Map::create(spec, 1)?)).collect()
}

/// What stands under each key that programs use.
fn contents(maps: &[Arc<Map>]) -> Vec<Vec<Option<Vec<u8>>>> {
    let of = |map: &Arc<Map>| {
        let keys = (0..KEYS).map(|key| key.to_le_bytes()[..map.spec().key_size as usize].to_vec());
        keys.map(|key| map.control().lookup(&key).ok()).collect()
    };
    maps.iter().map(of).collect()
}

fn ask_kernel(set: &KernelSet, packets: &[Vec<u8>]) -> Result<Traces> {
    let mut answers = Vec::new();
    for packet in packets {
        let output = set.programs[0].test_run(&TestRun { data: packet, ..TestRun::default() })?;
        answers.push(Answer { verdict: output.retval, packet: output.data });
    }
    let key_sizes = [4, 8];
    let of = |(map, key_size): (&weir_sys::bpf::KernelMap, usize)| {
        (0..KEYS).map(|key| map.lookup(&key.to_le_bytes()[..key_size]).ok()).collect()
    };
    Ok(Traces { answers, maps: set.maps.iter().zip(key_sizes).map(of).collect() })
}

/// A failing program as its reader wants it: why, and the text.
pub fn report(recipe: &Recipe, outcome: &Outcome) -> String {
    let text = asm::Listing(&recipe.program()).to_string();
    format!("seed {}: {outcome:?}\n{recipe:?}\n{text}", recipe.seed)
}
