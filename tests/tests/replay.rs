//! The demo, end to end: every packet accounted for, the same verdicts from both engines and from one
//! worker or two, flows in order, and configurations in the tree that all load.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use weir_engine::config::Config;
use weir_engine::replay::{Options, Outcome, Replay};
use weir_engine::report::Report;
use weir_packet::FlowKey;
use weir_tests::program::root;
use weir_vm::Engine;

const PACKETS: u64 = 20_000;

fn demo() -> Result<Config> {
    let mut config = Config::read(&root().join("config/demo.toml"))?;
    let wan = config.interface.get_mut("wan").context("the demo has a wan")?;
    wan.generate.as_mut().context("the demo makes its traffic up")?.packets = PACKETS;
    Ok(config)
}

fn play(config: &Config, options: Options) -> Result<Outcome> {
    Ok(Replay::prepare(config, options)?.run(|_| true)?)
}

/// What must not depend on who ran it.
fn figures(outcome: &Outcome) -> BTreeMap<String, u64> {
    let report = Report::new(outcome);
    let programs = report.programs.iter().flat_map(|program| {
        program.verdicts.iter().map(move |(verdict, count)| (format!("{} {verdict}", program.name), *count))
    });
    let classes = report.classes.iter().map(|class| (format!("class {}", class.classid), class.sent.bytes));
    let drops = report.drops.iter().map(|drop| (format!("drop {}", drop.reason), drop.packets));
    let ports = report.interfaces.iter().map(|port| (format!("out {}", port.name), port.transmitted.bytes));
    programs.chain(classes).chain(drops).chain(ports).collect()
}

#[test]
fn every_packet_is_accounted_for_whoever_runs_the_programs() -> Result<()> {
    let config = demo()?;
    let mut first = None;
    for (engine, workers) in [(Engine::Jit, 1), (Engine::Jit, 2), (Engine::Interpreter, 2)] {
        let outcome = play(&config, Options { engine, workers: Some(workers), ..Options::default() })?;
        let report = Report::new(&outcome);
        ensure!(report.conservation.holds(), "{engine:?}, {workers} workers: {}", report.conservation);
        ensure!(report.packets == PACKETS, "{} packets of {PACKETS}", report.packets);
        let figures = figures(&outcome);
        ensure!(figures.len() > 12, "hardly anything happened: {figures:?}");
        match &first {
            None => first = Some(figures),
            Some(first) => ensure!(*first == figures, "{engine:?}, {workers}: {first:?} became {figures:?}"),
        }
    }
    Ok(())
}

#[test]
fn recorded_packets_are_all_there_and_flows_stay_in_order() -> Result<()> {
    let outcome = play(&demo()?, Options { record: true, ..Options::default() })?;
    let records: Vec<u32> = outcome.recorded.iter().map(|recorded| recorded.record).collect();
    ensure!(records == (0..PACKETS as u32).collect::<Vec<_>>(), "not each record once and in order");
    let mut flows: BTreeMap<_, u64> = BTreeMap::new();
    for recorded in &outcome.recorded {
        let key = FlowKey::of(&recorded.bytes);
        let last = flows.entry(format!("{key:?}")).or_default();
        ensure!(recorded.stamp_ns >= *last, "record {} is older than its flow", recorded.record);
        *last = recorded.stamp_ns;
    }
    ensure!(flows.len() > 100, "only {} flows", flows.len());
    Ok(())
}

#[test]
fn loops_and_time_limits_count_whole_packets() -> Result<()> {
    let outcome = play(&demo()?, Options { loops: Some(3), ..Options::default() })?;
    let report = Report::new(&outcome);
    ensure!(report.packets == 3 * PACKETS && report.conservation.holds(), "{}", report.conservation);
    let limit = Some(std::time::Duration::from_millis(50));
    let outcome = play(&demo()?, Options { loops: None, limit, ..Options::default() })?;
    let report = Report::new(&outcome);
    ensure!(report.packets > 0 && report.conservation.holds(), "{}", report.conservation);
    Ok(())
}

#[test]
fn every_configuration_in_the_tree_loads() -> Result<()> {
    let mut loaded = 0;
    for entry in std::fs::read_dir(root().join("config"))? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = Config::read(&path)?;
            weir_engine::build::build(&config, 1, 1, Engine::Jit)
                .with_context(|| path.display().to_string())?;
            loaded += 1;
        }
    }
    ensure!(loaded > 0, "no configuration found");
    Ok(())
}
