//! Interpreter and JIT on the objects of `programs/`: the same packets, in the same order, with the same
//! map contents, must be answered alike, change the packets alike and leave the same maps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_ebpf::program::Initial;
use weir_maps::Map;
use weir_object::Object;
use weir_tests::engine::prove;
use weir_vm::env::PortInfo;
use weir_vm::test_run::{Input, Output, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

/// Packets for each program; `WEIR_PACKETS` asks for another number.
fn packets() -> u64 {
    std::env::var("WEIR_PACKETS").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000)
}

/// A reproducible source of numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll() as u8).collect()
    }

    /// A number that other rolls are likely to meet.
    fn few(&mut self) -> u8 {
        self.below(4) as u8
    }
}

/// A packet that a parser has something to do with: mostly IPv4 or IPv6 with TCP, UDP or ICMP between a few
/// hosts, sometimes tagged, cut or wrong.
fn packet(dice: &mut Dice) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for _ in 0..dice.below(8).saturating_sub(5) {
        packet.extend([0x81, 0x00, 0, dice.few()]);
    }
    let protocol = [6, 17, 1, 58, 6, 17, 17, 50][dice.below(8) as usize];
    let payload = dice.below(80) as usize;
    match dice.below(8) {
        0..5 => {
            packet.extend([0x08, 0x00, 0x45, 0, 0, (40 + payload) as u8, 0, 1]);
            let fragment = if dice.below(16) == 0 { 0x20 } else { 0x40 };
            packet.extend([fragment, 0, 1 + dice.few() * 30, protocol, 0, 0]);
            packet.extend([10, 0, 0, dice.few(), 10, 1, 0, dice.few()]);
        }
        5..7 => {
            packet.extend([
                0x86,
                0xdd,
                0x60,
                0,
                0,
                0,
                0,
                (20 + payload) as u8,
                protocol,
                1 + dice.few() * 30,
            ]);
            for subnet in [1, 2] {
                packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, subnet, 0, 0, 0, 0, 0, 0, 0, dice.few()]);
            }
        }
        _ => packet.extend([dice.roll() as u8, dice.roll() as u8]),
    }
    let port = [22, 53, 80, 443][usize::from(dice.few())];
    packet.extend([0x10, dice.few(), (port >> 8) as u8, port as u8, 0, 0, 0, 1, 0, 0, 0, 1]);
    packet.extend([0x50, dice.roll() as u8 & 0x17, 0x20, 0, 0, 0, 0, 0]);
    packet.extend(dice.bytes(payload));
    if dice.below(10) == 0 {
        packet.truncate(14 + dice.below(40) as usize);
    }
    for _ in 0..dice.below(10).saturating_sub(8) {
        let at = dice.below(packet.len() as u64) as usize;
        packet[at] = dice.roll() as u8;
    }
    packet.resize(packet.len().max(15), 0);
    packet
}

/// An object loaded in one engine.
struct Side {
    maps: Vec<Arc<Map>>,
    programs: Vec<Arc<Loaded>>,
    table: ProgramTable,
    env: TestEnv,
}

impl Side {
    fn new(object: &Object, engine: Engine, seed: u64) -> Result<Self> {
        let maps = object.maps().iter().map(|spec| Map::create(spec, 2)).collect::<Result<Vec<_>, _>>()?;
        let mut programs = Vec::new();
        for entry in object.programs() {
            let program = object.program(&entry.name)?;
            let verified = prove(&program).with_context(|| entry.name.clone())?;
            programs.push(Arc::new(Loaded::new(verified, maps.clone(), engine)?));
        }
        for (spec, map) in object.maps().iter().zip(&maps) {
            fill(spec, map, object, &mut Dice(seed));
        }
        let ports =
            (1..5).map(|port| (port, PortInfo { mtu: 1500, up: true, ..PortInfo::default() })).collect();
        let env = TestEnv { now_ns: 1_000_000, ports, ..TestEnv::default() };
        Ok(Self { table: ProgramTable::new(programs.clone()), maps, programs, env })
    }

    fn run(&mut self, program: usize, input: &Input) -> Output {
        let loaded = &self.programs[program];
        let mut run = Run::new(&mut self.env, 1).with_table(&self.table);
        let kind = loaded.verified().program().kind;
        let output = test_run(kind, input, &mut run, |run, context| loaded.run(run, context)).unwrap();
        assert!(run.fault().is_none(), "{}", run.fault().unwrap());
        Output { duration: std::time::Duration::ZERO, ..output }
    }

    fn contents(&self) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
        let sorted = |map: &Arc<Map>| {
            let mut entries: Vec<_> = map.control().entries().collect();
            entries.sort();
            entries
        };
        self.maps.iter().map(sorted).collect()
    }
}

/// Puts something into maps that a user would fill, the same for the same dice.
fn fill(spec: &MapSpec, map: &Map, object: &Object, dice: &mut Dice) {
    if let Initial::Programs(slots) = &spec.initial {
        for (index, name) in slots {
            let number = object.programs().iter().position(|entry| entry.name == *name).unwrap();
            map.control().set_program(*index, number as u32).unwrap();
        }
    }
    if matches!(spec.initial, Initial::Data(_)) || spec.frozen {
        return;
    }
    for index in 0..spec.max_entries.min(64) {
        let key = match spec.kind {
            MapKind::Array | MapKind::PercpuArray | MapKind::Devmap => index.to_ne_bytes().to_vec(),
            _ => (0..spec.key_size).map(|_| dice.few()).collect(),
        };
        let value: Vec<u8> = (0..map.control().value_bytes()).map(|_| dice.few()).collect();
        // What a kind refuses stays out, in both engines alike.
        let _ = map.control().update(&key, &value, 0);
    }
}

fn objects() -> Vec<PathBuf> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let folders = std::fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|path| std::fs::read_dir(path).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let mut objects: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "o")).collect();
    objects.sort();
    objects
}

fn compare(path: &Path) -> Result<()> {
    let object = Object::parse(&std::fs::read(path)?)?;
    let seed = 0x5eed;
    let mut interpreter = Side::new(&object, Engine::Interpreter, seed)?;
    let mut jit = Side::new(&object, Engine::Jit, seed)?;
    let mut dice = Dice(seed);
    let mut verdicts = std::collections::BTreeMap::new();
    for number in 0..packets() {
        let input = Input::new(&packet(&mut dice));
        for (program, entry) in object.programs().iter().enumerate() {
            let wanted = interpreter.run(program, &input);
            let found = jit.run(program, &input);
            assert_eq!(found, wanted, "{}, packet {number}: {:x?}", entry.name, input.packet);
            *verdicts.entry((entry.name.as_str(), wanted.retval)).or_insert(0) += 1;
        }
        if number % 500 == 0 {
            assert_eq!(jit.contents(), interpreter.contents(), "{}, packet {number}", path.display());
        }
    }
    assert_eq!(jit.contents(), interpreter.contents(), "{}, at the end", path.display());
    println!("{}: {verdicts:?}", path.display());
    Ok(())
}

#[test]
fn on_every_program_of_ours() {
    let objects = objects();
    assert!(objects.len() >= 7, "{objects:?}");
    for path in objects {
        compare(&path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    }
}
