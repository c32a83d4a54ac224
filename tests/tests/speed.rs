//! How long a run takes as machine code, beside the kernel's test run of the same program.
//!
//! Figures, not verdicts: `cargo test --release -p weir-tests --test speed -- --ignored --nocapture`. Both
//! sides run one program on one packet again and again, so branches are predicted and caches warm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ebpf::abi::MapKind;
use weir_ebpf::asm::assemble_with;
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_maps::Map;
use weir_sys::bpf::TestRun;
use weir_tests::engine::prove;
use weir_tests::kernel::{KernelSet, skip};
use weir_vm::{Context, Engine, Loaded, ProgramTable, Run, TestEnv};

/// Runs of one trial, and trials; the shortest counts, since what else the machine does only adds.
const RUNS: u32 = 20_000;
const TRIALS: usize = 100;

/// What is measured: a name, maps, and programs of which the first is run.
struct Subject {
    name: &'static str,
    specs: Vec<Arc<MapSpec>>,
    programs: Vec<Arc<Program>>,
}

impl Subject {
    fn new(name: &'static str, specs: Vec<MapSpec>, texts: &[(&str, String)]) -> Self {
        let specs: Vec<_> = specs.into_iter().map(Arc::new).collect();
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let programs = texts.iter().map(|(title, text)| {
            let insns = assemble_with(text, &names).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            let mut program = Program::from_insns(title, ProgramType::Xdp, insns);
            program.maps = specs.clone();
            Arc::new(program)
        });
        Self { name, programs: programs.collect(), specs }
    }

    fn one(name: &'static str, specs: Vec<MapSpec>, text: &str) -> Self {
        Self::new(name, specs, &[("main", text.to_owned())])
    }

    fn ours(&self) -> f64 {
        let maps: Vec<_> = self.specs.iter().map(|spec| Map::create(spec, 1).unwrap()).collect();
        let load = |program: &Arc<Program>| {
            Arc::new(Loaded::new(prove(program).unwrap(), maps.clone(), Engine::Jit).unwrap())
        };
        let programs: Vec<_> = self.programs.iter().map(load).collect();
        for (map, spec) in maps.iter().zip(&self.specs) {
            let Initial::Programs(slots) = &spec.initial else { continue };
            for (index, name) in slots {
                let number = self.programs.iter().position(|program| program.name == *name).unwrap();
                map.control().set_program(*index, number as u32).unwrap();
            }
        }
        let table = ProgramTable::new(programs.clone());
        let mut env = TestEnv::default();
        let mut room = vec![0u8; 1024];
        let mut context = Context::new(&mut room, 256..320);
        let mut run = Run::new(&mut env, 0).with_table(&table);
        let mut best = Duration::MAX;
        for _ in 0..TRIALS {
            let start = Instant::now();
            for _ in 0..RUNS {
                std::hint::black_box(programs[0].run(&mut run, &mut context));
            }
            best = best.min(start.elapsed());
        }
        best.as_nanos() as f64 / f64::from(RUNS)
    }

    fn kernel(&self) -> f64 {
        let set = KernelSet::load(&self.specs, &self.programs).unwrap_or_else(|error| panic!("{error:?}"));
        let test = TestRun { data: &[0; 64], repeat: RUNS, ..TestRun::default() };
        let runs = (0..TRIALS).map(|_| set.programs[0].test_run(&test).unwrap().duration);
        runs.min().unwrap().as_nanos() as f64
    }
}

fn map(kind: MapKind, value: u32) -> MapSpec {
    MapSpec::new("m", kind, 4, value, 1024)
}

fn lookup(value: i32, then: &str) -> String {
    format!(
        "*(u32 *)(r10 - 4) = {value}\n r2 = r10\n r2 += -4\n r1 = m ll\n call 1\n \
         if r0 == 0 goto out\n {then}\n out:\n r0 = 2\n exit"
    )
}

const COUNT: &str = "r1 = *(u64 *)(r0 + 0)\n r1 += 1\n *(u64 *)(r0 + 0) = r1";

fn tail(index: usize) -> String {
    format!("r2 = m ll\n r3 = {index}\n call 12\n r0 = 2\n exit")
}

fn subjects() -> Vec<Subject> {
    let parse = "r2 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r0 = 1\n r3 = r1\n r3 += 34\n \
        if r3 > r2 goto out\n r4 = *(u16 *)(r1 + 12)\n r5 = *(u8 *)(r1 + 23)\n r0 = *(u32 *)(r1 + 26)\n \
        r0 += r4\n r0 += r5\n out:\n exit";
    let fnv = "r2 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r0 = 1\n r3 = r1\n r3 += 64\n \
        if r3 > r2 goto out\n r0 = 0xcbf29ce484222325 ll\n r4 = 0x100000001b3 ll\n r5 = 0\n again:\n \
        r3 = *(u8 *)(r1 + 0)\n r0 ^= r3\n r0 *= r4\n r1 += 1\n r5 += 1\n if r5 < 64 goto again\n out:\n exit";
    let divide = "r0 = -1\n r1 = 3\n r5 = 0\n again:\n r0 /= r1\n r0 += 0x7fffffff\n r1 += 2\n r5 += 1\n \
        if r5 < 100 goto again\n exit";
    let function = "call f\n r6 = r0\n call f\n r0 += r6\n exit\n f:\n r0 = 1\n exit";
    let key = "r6 = r1\n r2 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r3 = r1\n r3 += 64\n if r3 > r2 goto out\n \
        r2 = *(u32 *)(r1 + 26)\n *(u32 *)(r10 - 16) = r2\n r2 = *(u32 *)(r1 + 30)\n *(u32 *)(r10 - 12) = r2\n \
        r2 = *(u16 *)(r1 + 34)\n *(u16 *)(r10 - 8) = r2\n r2 = *(u16 *)(r1 + 36)\n *(u16 *)(r10 - 6) = r2\n \
        r2 = *(u8 *)(r1 + 23)\n *(u8 *)(r10 - 4) = r2\n *(u8 *)(r10 - 3) = 0\n *(u16 *)(r10 - 2) = 0\n \
        r2 = r10\n r2 += -16\n r1 = m ll\n call 1\n out:\n r0 = 2\n exit";
    let mut flows = map(MapKind::Hash, 8);
    flows.key_size = 16;
    let mut programs = map(MapKind::ProgArray, 4);
    let names: Vec<String> = (0..9).map(|index| format!("p{index}")).collect();
    programs.initial = Initial::Programs(
        names.iter().enumerate().map(|(index, name)| (index as u32, name.clone())).collect(),
    );
    let mut chain: Vec<(&str, String)> =
        names.iter().take(8).enumerate().map(|(index, name)| (name.as_str(), tail(index + 1))).collect();
    chain.push(("p8", "r0 = 2\n exit".to_owned()));
    vec![
        Subject::one("empty", vec![], "r0 = 2\n exit"),
        Subject::one("parse", vec![], parse),
        Subject::one("fnv of 64 bytes", vec![], fnv),
        Subject::one("100 divisions", vec![], divide),
        Subject::one("two function calls", vec![], function),
        Subject::one("array, count", vec![map(MapKind::Array, 8)], &lookup(3, COUNT)),
        Subject::one("per-cpu array, count", vec![map(MapKind::PercpuArray, 8)], &lookup(3, COUNT)),
        Subject::one("hash, miss", vec![map(MapKind::Hash, 8)], &lookup(3, COUNT)),
        Subject::one("hash, key in 7 stores", vec![flows], key),
        Subject::one("ktime", vec![], "call 5\n r0 = 2\n exit"),
        Subject::new("8 tail calls", vec![programs], &chain),
    ]
}

#[test]
#[ignore = "prints figures; takes seconds"]
fn beside_the_kernel() {
    let kernel = !skip("beside_the_kernel");
    println!("{:<24}{:>10}{:>10}{:>9}", "ns per run", "weir", "kernel", "ratio");
    for subject in subjects() {
        let ours = subject.ours();
        let theirs = if kernel { subject.kernel() } else { f64::NAN };
        println!("{:<24}{ours:>10.1}{theirs:>10.1}{:>9.2}", subject.name, ours / theirs);
    }
}
