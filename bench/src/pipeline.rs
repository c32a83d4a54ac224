//! Millions of packets a second through whole pipelines, by the same replay that `weir replay` is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use weir_engine::config::Config;
use weir_engine::replay::{Options, Replay};
use weir_engine::report::Report;
use weir_sys::clock::{Clock, now_ns};
use weir_tests::program::root;

use crate::programs::median;

/// How long each pipeline runs in each round.
const RUN: Duration = Duration::from_secs(1);

/// What a pipeline does on so many workers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub pipeline: &'static str,
    pub workers: usize,
    /// All workers together, by the clock on the wall: what else runs on the machine takes from it.
    pub mpps: f64,
    /// For each second of processor time that the workers had.
    pub mpps_per_core: f64,
    /// The slowest and the fastest round of it.
    pub mpps_per_core_range: (f64, f64),
    /// Processor time of a packet.
    pub ns_per_packet: f64,
}

/// A pipeline: its name, and what is done to the configuration of the demonstration to get it.
type Pipeline = (&'static str, fn(&mut Config));

const PIPELINES: &[Pipeline] = &[
    ("demo: firewall, classes, police, stages, router", |_| {}),
    ("XDP firewall alone, then to the host", |config| alone(config, "firewall")),
    ("XDP_PASS alone, then to the host", pass_alone),
    ("no program, all to the host", |config| alone(config, "")),
];

/// Takes out all programs but one, and with them what they need.
fn alone(config: &mut Config, keep: &str) {
    config.program.retain(|program| program.name == keep);
    config.forward.program = None;
    config.route.clear();
    config.neighbor.clear();
}

/// `return XDP_PASS` where the firewall was.
fn pass_alone(config: &mut Config) {
    alone(config, "firewall");
    for program in &mut config.program {
        program.name = "pass".to_owned();
        program.object = root().join("bench/pass.bpf.o");
        program.rodata.clear();
        program.maps.clear();
    }
}

/// One run: millions of packets a second by the clock on the wall, and for each second of processor time.
fn run(config: &Config, workers: usize) -> Result<(f64, f64)> {
    let options = Options { loops: None, limit: Some(RUN), workers: Some(workers), ..Options::default() };
    let replay = Replay::prepare(config, options)?;
    let start = now_ns(Clock::Process);
    let outcome = replay.run(|_| true)?;
    // Workers never sleep, and the thread that waits for them hardly works.
    let spent_ns = (now_ns(Clock::Process) - start) as f64;
    let report = Report::new(&outcome);
    ensure!(report.conservation.holds(), "packets were lost: {}", report.conservation);
    Ok((report.mpps, report.packets as f64 * 1000.0 / spent_ns))
}

/// Measures every pipeline on one worker and on all, alternately.
pub(crate) fn measure(rounds: usize, cores: usize) -> Result<Vec<Row>> {
    let mut plans = Vec::new();
    for (name, change) in PIPELINES {
        let mut config = Config::read(&root().join("config/demo.toml"))?;
        change(&mut config);
        plans.push((*name, 1, config.clone(), Vec::new()));
        if cores > 1 {
            plans.push((*name, cores, config, Vec::new()));
        }
    }
    for _ in 0..rounds {
        for (name, workers, config, found) in &mut plans {
            found.push(run(config, *workers).with_context(|| (*name).to_owned())?);
        }
    }
    Ok(plans.into_iter().map(|(pipeline, workers, _, found)| Row::of(pipeline, workers, &found)).collect())
}

impl Row {
    fn of(pipeline: &'static str, workers: usize, found: &[(f64, f64)]) -> Self {
        let (walls, cores): (Vec<f64>, Vec<f64>) = found.iter().copied().unzip();
        let mpps_per_core = median(&cores);
        let low = cores.iter().copied().fold(f64::INFINITY, f64::min);
        let high = cores.iter().copied().fold(0.0, f64::max);
        Self {
            pipeline,
            workers,
            mpps: median(&walls),
            mpps_per_core,
            mpps_per_core_range: (low, high),
            ns_per_packet: 1000.0 / mpps_per_core,
        }
    }
}
