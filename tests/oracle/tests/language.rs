//! The language of today's programs, one object of `tests/corpus/language` for each part of it.
//!
//! Programs called `bad_*` are refused by weir and by the kernel; a comment `NAME: RULE` in the source says by
//! which rule. What a comment calls `weir alone` the kernel refuses. All others are accepted by both, and answer alike: interpreter, JIT and kernel, packet after
//! packet, with the packets and maps they leave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_ebpf::Program;
use weir_ebpf::program::ValueField;
use weir_maps::Map;
use weir_object::Object;
use weir_oracle::kernel::{KernelSet, skip, verdict};
use weir_sys::bpf::TestRun;
use weir_verifier::{Reject, Verified, verify};
use weir_vm::test_run::{Input, test_run};
use weir_vm::timers::{next_due, run_due};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

/// Where the objects lie.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/language")
}

/// An object with what its source says of it.
struct Part {
    path: PathBuf,
    object: Object,
    /// Why programs are refused, by name, or that only the kernel refuses them.
    refusals: BTreeMap<String, String>,
}

impl Part {
    fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.bpf.o"));
        let object = Object::parse(&std::fs::read(&path).unwrap()).unwrap();
        let source = std::fs::read_to_string(path.with_extension("c")).unwrap();
        let said =
            source.lines().filter_map(|line| line.strip_prefix("/* ")?.strip_suffix(" */")?.split_once(": "));
        let refusals = said.map(|(name, rule)| (name.to_owned(), rule.to_owned()));
        Self { path, object, refusals: refusals.collect() }
    }

    fn programs(&self) -> Vec<Arc<Program>> {
        let names = self.object.programs().iter().map(|entry| &entry.name);
        names
            .map(|name| self.object.program(name).unwrap_or_else(|error| panic!("{name}: {error}")))
            .collect()
    }
}

fn verified(program: &Arc<Program>) -> Result<Verified, Box<Reject>> {
    let options = weir_verifier::Options::default();
    verify(Arc::clone(program), &options)
}

/// Packets: an Ethernet frame with UDP over IPv4, the same cut at several places, and one of counting bytes.
fn packets() -> Vec<Vec<u8>> {
    let mut udp = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00];
    udp.extend([0x45, 0, 0, 60, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    udp.extend([0x12, 0x34, 0x00, 0x35, 0, 40, 0, 0]);
    udp.extend(1..=32);
    let counting = (0..120).map(|byte: u8| byte.wrapping_mul(7)).collect();
    let mut options = udp.clone();
    options[14] = 0x47;
    vec![udp.clone(), options, udp[..60].to_vec(), counting]
}

/// What a packet came to: the answer, the packet.
type Outcome = (u32, Vec<u8>);

fn in_weir(program: &Arc<Program>, engine: Engine) -> (Vec<Outcome>, Vec<Arc<Map>>) {
    let maps: Vec<_> = program.maps.iter().map(|spec| Map::create(spec, 1).unwrap()).collect();
    let loaded = verified(program).unwrap_or_else(|reject| panic!("{}: {reject}", program.name));
    let loaded = Arc::new(Loaded::new(loaded, maps.clone(), engine).unwrap());
    let table = ProgramTable::new(vec![Arc::clone(&loaded)]);
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0).with_table(&table);
    let outcomes = packets().into_iter().map(|packet| {
        let output =
            test_run(program.kind, &Input::new(&packet), &mut run, |run, context| loaded.run(run, context));
        assert!(run.fault().is_none(), "{}: {:?}", program.name, run.fault());
        let output = output.unwrap();
        (output.retval, output.packet)
    });
    let outcomes = outcomes.collect();
    wait_in_weir(&mut env, &maps);
    (outcomes, maps)
}

/// How long timers are waited for.
const WAIT: Duration = Duration::from_millis(100);

/// Lets the time of a wait pass, and calls what timers are due for in it.
fn wait_in_weir(env: &mut TestEnv, maps: &[Arc<Map>]) {
    let end = env.now_ns + WAIT.as_nanos() as u64;
    while let Some(next) = next_due(maps, 0).filter(|next| *next <= end) {
        env.now_ns = env.now_ns.max(next);
        let now = env.now_ns;
        let mut run = Run::new(env, 0);
        maps.iter().for_each(|map| assert!(run_due(map, &mut run, now, usize::MAX) < 1000));
        assert!(run.fault().is_none(), "{:?}", run.fault());
    }
}

fn in_kernel(program: &Arc<Program>) -> (Vec<Outcome>, KernelSet) {
    let set = KernelSet::load_one(program).unwrap_or_else(|error| {
        let (_, log) = verdict(program).unwrap();
        let end: Vec<&str> = log.lines().rev().take(6).collect();
        panic!("{}: the kernel refuses it: {error}\n{end:#?}", program.name)
    });
    let outcomes = packets().into_iter().map(|packet| {
        let output = set.programs[0].test_run(&TestRun { data: &packet, ..TestRun::default() }).unwrap();
        (output.retval, output.data)
    });
    let outcomes = outcomes.collect();
    if program.maps.iter().any(|map| map.fields.iter().any(|field| matches!(field, ValueField::Timer { .. })))
    {
        std::thread::sleep(WAIT);
    }
    (outcomes, set)
}

fn same_values(program: &Program, maps: &[Arc<Map>], set: &KernelSet) {
    for (ours, theirs) in maps.iter().zip(&set.maps) {
        if !matches!(ours.spec().kind, weir_ebpf::abi::MapKind::Array) || ours.spec().frozen {
            continue;
        }
        for (key, value) in ours.control().entries() {
            let theirs = theirs.lookup(&key).unwrap();
            assert_eq!(value, theirs, "{}: {} {key:02x?}", program.name, ours.spec().name);
        }
    }
}

fn check(name: &str) {
    let part = Part::read(name);
    let kernel = !skip(name);
    let mut accepted = 0;
    for program in part.programs() {
        if program.name.starts_with("bad_") {
            refused(&part, &program, kernel);
            continue;
        }
        accepted += 1;
        let (slow, slow_maps) = in_weir(&program, Engine::Interpreter);
        let (fast, fast_maps) = in_weir(&program, Engine::Jit);
        assert_eq!(slow, fast, "{}", program.name);
        if kernel && !part.refusals.contains_key(&program.name) {
            let (theirs, set) = in_kernel(&program);
            assert_eq!(fast, theirs, "{}: kernel right", program.name);
            same_values(&program, &slow_maps, &set);
            same_values(&program, &fast_maps, &set);
        }
    }
    assert!(accepted > 0, "{} has no program to run", part.path.display());
}

fn refused(part: &Part, program: &Arc<Program>, kernel: bool) {
    let name = &program.name;
    let wanted = part.refusals.get(name).unwrap_or_else(|| panic!("say why {name} is refused"));
    let (rule, alone) = match wanted.split_once(',') {
        Some((rule, _)) => (rule, true),
        None => (wanted.as_str(), false),
    };
    match verified(program) {
        Ok(_) => panic!("{name} is accepted"),
        Err(reject) => assert_eq!(reject.rule.name(), rule, "{name}: {reject}"),
    }
    if kernel {
        let (accepted, _) = verdict(program).unwrap();
        assert_eq!(accepted, alone, "{name}: whether the kernel accepts it");
    }
}

/// Every object of the corpus has a test here.
#[test]
fn all_are_tried() {
    let source = include_str!("language.rs");
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".bpf.c") else { continue };
        assert!(source.contains(&format!("check(\"{name}\")")), "{name} has no test");
        assert!(Path::new(&path.with_extension("o")).exists(), "{name} was not built");
    }
}

#[test]
fn iterators_count() {
    check("iterator");
}

#[test]
fn dynptrs_view() {
    check("dynptr");
}

#[test]
fn views_are_given_to_functions() {
    check("view");
}

#[test]
fn timers_call_later() {
    check("timer");
}

#[test]
fn global_functions_are_proven_alone() {
    check("global");
}

#[test]
fn maps_say_what_they_are() {
    check("map");
}
