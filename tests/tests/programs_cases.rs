//! Every program of `programs/` does what its cases say, in both engines; and its object is what its
//! source compiles to.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_ebpf::abi::{TcAction, XdpAction};
use weir_engine::load::put_entry;
use weir_tests::packet_text::packet;
use weir_tests::program::{Bench, Case, ProgramTest, root};
use weir_vm::test_run::Input;
use weir_vm::{Engine, TestEnv};

#[test]
fn programs_do_what_their_cases_say() -> Result<()> {
    let tests = ProgramTest::all()?;
    ensure!(tests.len() >= 7, "only {} programs have a test file", tests.len());
    let mut cases = 0;
    for (name, test) in &tests {
        ensure!(!test.case.is_empty(), "programs/{name} has no case");
        for engine in [Engine::Interpreter, Engine::Jit] {
            let mut bench = None;
            for case in &test.case {
                if !case.keep {
                    bench = None;
                }
                let bench = match &mut bench {
                    Some(bench) => bench,
                    None => {
                        bench.insert(Bench::new(test.image(engine)?, &test.progs[0], TestEnv::default())?)
                    }
                };
                check(case, bench).with_context(|| format!("{name}, {}, {engine:?}", case.name))?;
                cases += 1;
            }
        }
    }
    println!("{cases} cases of {} programs", tests.len());
    Ok(())
}

fn check(case: &Case, bench: &mut Bench) -> Result<()> {
    let given = packet(&case.packet)?;
    let mut input = Input::new(&given);
    input.fields.tstamp = 1_000_000_000;
    input.fields.tc_classid = case.classid;
    let output = bench.run(&input)?;
    let wanted = answer(&case.verdict)?;
    ensure!(output.retval == wanted, "answered {}, wanted {} ({wanted})", output.retval, case.verdict);
    let becomes = case.becomes.as_deref().map_or(Ok(given), packet)?;
    ensure!(output.packet == becomes, "the packet became\n{:02x?}, wanted\n{becomes:02x?}", output.packet);
    for (name, entries) in &case.holds {
        let map = bench.image.map(name).with_context(|| format!("no map {name}"))?;
        for entry in entries {
            // What the entry would be, put into a map of the same shape.
            let like = weir_maps::Map::create(map.spec(), 1)?;
            put_entry(&bench.image.object, &like, entry).map_err(anyhow::Error::msg)?;
            let (key, value) = wanted_entry(&like, entry, &bench.image)?;
            let found = map.control().lookup(&key);
            ensure!(found == Ok(value.clone()), "{name} {entry:?}: found {found:02x?}, wanted {value:02x?}");
        }
    }
    Ok(())
}

/// Key and value of the one entry that was put into a map.
fn wanted_entry(
    map: &weir_maps::Map,
    entry: &weir_engine::config::MapEntry,
    image: &weir_engine::Image,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let key = weir_engine::load::entry_key(&image.object, map, entry).map_err(anyhow::Error::msg)?;
    let value = map.control().lookup(&key)?;
    Ok((key, value))
}

fn answer(verdict: &toml::Value) -> Result<u32> {
    if let Some(number) = verdict.as_integer() {
        return Ok(number as u32);
    }
    let name = verdict.as_str().context("a verdict is a name or a number")?;
    let xdp = XdpAction::ALL.iter().find(|action| action.name() == name).map(|action| *action as u32);
    let tc = TcAction::ALL.iter().find(|action| action.name() == name).map(|action| *action as u32);
    xdp.or(tc).with_context(|| format!("`{name}` is no verdict"))
}

/// Committed objects are what their sources compile to, byte for byte.
#[test]
fn objects_match_their_sources() -> Result<()> {
    if Command::new("clang-19").arg("--version").output().is_err() {
        println!("objects_match_their_sources: skipped: needs clang-19");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let out = folder.path();
    let built = Command::new(root().join("scripts/build-programs.sh")).arg(out).status()?;
    ensure!(built.success(), "scripts/build-programs.sh failed");
    let mut compared = 0;
    for (name, test) in ProgramTest::all()? {
        let committed = std::fs::read(test.folder.join(&test.object))?;
        let fresh = std::fs::read(out.join(&test.object))?;
        ensure!(committed == fresh, "programs/{name}: run scripts/build-programs.sh and commit the object");
        compared += 1;
    }
    for name in ["mark.bpf.o", "mark_wide.bpf.o", "refused.bpf.o", "tell.bpf.o"] {
        let committed = std::fs::read(root().join("tests/corpus/live").join(name))?;
        ensure!(committed == std::fs::read(out.join(name))?, "tests/corpus/live/{name}: the same");
    }
    let bench = [root().join("bench/pass.bpf.o"), out.join("pass.bpf.o")].map(std::fs::read);
    ensure!(matches!(&bench, [Ok(committed), Ok(fresh)] if committed == fresh), "bench/pass.bpf.o: the same");
    for entry in std::fs::read_dir(root().join("tests/corpus/mistakes"))? {
        let path = entry?.path();
        let name = path.file_name().context("a file")?;
        if path.extension().is_some_and(|extension| extension == "o") {
            let same = std::fs::read(&path)? == std::fs::read(out.join(name))?;
            ensure!(same, "{}: run scripts/build-programs.sh and commit the object", path.display());
            compared += 1;
        }
    }
    std::fs::remove_dir_all(out)?;
    println!("{compared} objects match");
    Ok(())
}
