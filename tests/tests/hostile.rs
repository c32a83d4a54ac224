//! Bytes from outside, as bad as they come: each door gets files cut at every place and mutants of good ones.
//! It may refuse them; it may not panic, hang, or accept a program that then does harm.
//!
//! Mutants are numbered, so that a failure can be repeated. Each door takes as many as fit into a part of a second;
//! `WEIR_HOSTILE_SECONDS=600 WEIR_HOSTILE_FROM=1000000 cargo test -p weir-tests --test hostile` for others
//! and more. `scripts/fuzz.sh` looks at the same doors with coverage as its guide.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ebpf::asm::assemble;
use weir_ebpf::decode::{decode, raw_insns};
use weir_ebpf::encode::{encode, to_bytes};
use weir_ebpf::{Program, ProgramType};
use weir_engine::config::Config;
use weir_engine::load::put_entry;
use weir_io::pcap::{Capture, Info, Limits};
use weir_io::traffic::{Spec, Traffic};
use weir_maps::Map;
use weir_object::{Btf, Object, section_bytes};
use weir_tests::generate::Random;
use weir_tests::program::{ProgramTest, root};
use weir_vm::interpreter::{FaultKind, Options};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Checked, Run, TestEnv};

/// How long a door is tried unless someone says otherwise.
const USUAL: Duration = Duration::from_millis(400);
/// What no door may take longer for.
const SLOW: Duration = Duration::from_secs(10);

fn environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Bytes made of good ones: flipped, overwritten, cut, doubled, mixed with another's, or with these words.
fn mutant(seeds: &[Vec<u8>], words: &[&str], number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let span = at..(at + 1 + random.below(32)).min(bytes.len());
        match random.below(if words.is_empty() { 7 } else { 9 }) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 | 3 => {
                let width = random.pick(&[1, 2, 4, 8]);
                let value = random.value().to_le_bytes();
                bytes.iter_mut().skip(at).take(width).zip(value).for_each(|(byte, new)| *byte = new);
            }
            4 => bytes.truncate(at),
            5 if !span.is_empty() => drop(bytes.drain(span)),
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..(from + 32).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            7 | 8 => drop(bytes.splice(at..at, words[random.below(words.len())].bytes())),
            _ => {}
        }
    }
    bytes
}

/// Shows a door mutants until the time is up, and says which one broke it.
fn attack(door: &str, seeds: &[Vec<u8>], words: &[&str], enter: impl Fn(&[u8])) {
    let seconds = environment("WEIR_HOSTILE_SECONDS", 0);
    let enough = Duration::from_secs(seconds).max(USUAL);
    let first = environment("WEIR_HOSTILE_FROM", 0);
    let begin = Instant::now();
    let mut number = first;
    while begin.elapsed() < enough {
        let bytes = mutant(seeds, words, number);
        let start = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| enter(&bytes))) {
            eprintln!("{door}: mutant {number} panicked (WEIR_HOSTILE_FROM={number} repeats it)");
            resume_unwind(panic);
        }
        assert!(start.elapsed() < SLOW, "{door}: mutant {number} took {:?}", start.elapsed());
        number += 1;
    }
    eprintln!("{door}: {} mutants", number - first);
}

fn committed(ending: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("programs")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "no {ending} in programs/");
    files
}

fn objects() -> Vec<Vec<u8>> {
    committed(".bpf.o").iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn captures() -> Vec<Vec<u8>> {
    let traffic = || Traffic::new(&Spec { packets: 20, malformed: 0.2, ..Spec::default() }).unwrap();
    vec![traffic().write_pcap(Vec::new()).unwrap(), traffic().write_pcapng(Vec::new()).unwrap()]
}

/// Everything an object can give is asked of it.
fn enter_object(bytes: &[u8]) {
    let Ok(mut object) = Object::parse(bytes) else { return };
    for entry in object.programs() {
        let _ = object.program(&entry.name);
        let _ = object.program_as(&entry.name, ProgramType::Xdp);
    }
    for map in object.maps() {
        let (Some(btf), Some(types)) = (object.btf(), object.map_btf(&map.name)) else { continue };
        let size = btf.size_of(types.value_type).unwrap_or(0).min(1 << 12);
        let _ = btf.value(types.value_type, &vec![0x41; size as usize]).map(|value| value.to_string());
    }
    let globals: Vec<String> = object.globals().map(|(name, _)| name.to_owned()).collect();
    for name in globals.iter().take(20) {
        let _ = object.set_global(name, 1u32);
    }
}

/// Every record is accounted for, and trouble has a place.
fn enter_capture(bytes: &[u8]) {
    let limits = Limits { memory_bytes: 64 << 20, keep_truncated: true, ..Limits::default() };
    match Capture::parse("hostile", bytes, &limits) {
        Ok(capture) => {
            assert!(capture.tally().balances());
            assert_eq!(Info::of(&capture).all.packets, capture.tally().frames);
        }
        Err(error) => assert!(error.to_string().starts_with("hostile: "), "{error}"),
    }
}

#[test]
fn an_object_cut_anywhere_is_refused_or_read() {
    let whole = &objects()[0];
    (0..whole.len()).step_by(7).for_each(|end| enter_object(&whole[..end]));
}

#[test]
fn a_capture_cut_anywhere_is_refused_or_read() {
    for whole in captures() {
        (0..whole.len()).for_each(|end| enter_capture(&whole[..end]));
    }
}

#[test]
fn mutants_of_objects() {
    attack("object", &objects(), &[], enter_object);
}

#[test]
fn mutants_of_types() {
    let seeds: Vec<Vec<u8>> =
        objects().iter().map(|object| section_bytes(object, ".BTF").unwrap().unwrap().to_vec()).collect();
    attack("btf", &seeds, &[], |bytes| {
        let Ok(btf) = Btf::parse(bytes) else { return };
        for (id, _) in btf.iter().take(100) {
            let _ = (btf.name(id), btf.size_of(id), btf.special_fields(id));
            let _ = btf.value(id, &[0; 4096]);
        }
    });
}

#[test]
fn mutants_of_captures() {
    attack("capture", &captures(), &[], enter_capture);
}

#[test]
fn mutants_of_assembler_text() {
    let seed = "r0 = 2\nr1 = *(u32 *)(r1 + 4)\nif r1 > 5 goto done\nlock *(u64 *)(r10 - 8) += r1\n\
                r2 = 0x1122334455667788 ll\ncall 1\nr3 s>>= 7\nw4 = be16 w4\ndone:\nexit\n";
    let words =
        ["r11", "goto +32768", "-9223372036854775808", "ll", "s<=", "*(u128 *)", "\u{fffd}", ":", "w0"];
    attack("assembler", &[seed.into()], &words, |bytes| {
        let _ = assemble(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn mutants_of_configurations() {
    let folder = root().join("config");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let files = files.map(|path| std::fs::read(path).unwrap());
    let words = [
        "-1",
        "18446744073709551616",
        "nan",
        "[]",
        "{}",
        "\"\"",
        "[[",
        "= ",
        "\u{fffd}",
        "1e999",
        "ffff:1:1",
    ];
    attack("configuration", &files.collect::<Vec<_>>(), &words, |bytes| {
        if let Err(error) = Config::parse(Path::new("w.toml"), &String::from_utf8_lossy(bytes)) {
            let text = error.to_string();
            assert!(text.starts_with("w.toml:") && text.lines().count() == 1, "{text}");
        }
    });
}

#[test]
fn mutants_of_map_entries() {
    for (name, test) in ProgramTest::all().unwrap() {
        let object = Object::parse(&std::fs::read(test.folder.join(&test.object)).unwrap()).unwrap();
        let maps: Vec<Arc<Map>> = object.maps().iter().map(|spec| Map::create(spec, 1).unwrap()).collect();
        let entries = test.maps.values().flatten();
        let mut seeds: Vec<Vec<u8>> =
            entries.map(|entry| format!("key = {}\nvalue = {}", entry.key, entry.value).into()).collect();
        seeds.push("key = 1\nvalue = \"hex:00\"".into());
        let words = ["{}", "-1", "\"::/129\"", "0xffffffffffffffff", "[1]", "hex:", "\"1:10\"", "."];
        attack(&name, &seeds, &words, |bytes| {
            let Ok(entry) = toml::from_str(&String::from_utf8_lossy(bytes)) else { return };
            for map in &maps {
                let _ = put_entry(&object, map, &entry);
            }
        });
    }
}

/// The programs of an object, each with maps of its own.
fn programs() -> Vec<(Arc<Program>, Vec<Arc<Map>>)> {
    let objects: Vec<Object> = objects().iter().map(|bytes| Object::parse(bytes).unwrap()).collect();
    let all = objects.iter().flat_map(|object| object.programs().iter().map(move |entry| (object, entry)));
    let programs = all.map(|(object, entry)| object.program(&entry.name).unwrap());
    let with_maps = programs.map(|program| {
        let maps = program.maps.iter().map(|spec| Map::create(spec, 1).unwrap()).collect();
        (program, maps)
    });
    with_maps.collect()
}

/// What the verifier accepts does no harm: the checked interpreter, which trusts nobody, finds no fault.
#[test]
fn mutants_of_programs_that_are_proven_do_no_harm() {
    let packets = captures();
    let limits = Limits::default();
    let packets = Capture::parse("made", &packets[0], &limits).unwrap();
    for (program, maps) in programs() {
        let seed = to_bytes(&encode(&program.insns));
        attack(&program.name, &[seed], &[], |bytes| {
            let Some(Ok(insns)) = raw_insns(bytes).map(|raw| decode(&raw)) else { return };
            let mutant = Arc::new(Program { insns, lines: Vec::new(), ..(*program).clone() });
            let Ok(verified) = weir_verifier::verify(mutant, &weir_verifier::Options::default()) else {
                return;
            };
            let checked = Checked::new(Arc::clone(verified.program()), maps.clone()).unwrap();
            for slot in packets.slots().iter().take(4) {
                let mut env = TestEnv::default();
                let mut run = Run::new(&mut env, 0);
                let input = Input::new(packets.bytes(slot));
                let ran = test_run(program.kind, &input, &mut run, |run, context| {
                    let (result, _) =
                        checked.run(run, context, Options { budget: 1 << 20, ..Options::default() });
                    if let Err(fault) = &result {
                        assert!(
                            matches!(fault.kind, FaultKind::Budget { .. }),
                            "accepted, and then: {fault}"
                        );
                    }
                    result.unwrap_or(0)
                });
                ran.unwrap();
            }
        });
    }
}
