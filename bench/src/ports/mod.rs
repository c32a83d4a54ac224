//! Ports beside their peers: the same packets, the same devices, the same cores, in turns.
//!
//! The generator makes XDP frames in the kernel (`BPF_PROG_TEST_RUN`, live frames) and puts them on a veth, whose
//! peer's receive work runs on the generator's core too: so the subject's core has its own work alone. What is
//! counted is what the veth counts: packets handed to the subject's socket, or packets that came to the sink.
//! After each run of weir its counts are held against those of the devices before and behind it.

mod bed;
pub(crate) mod part;
mod subject;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use self::bed::{Account, Bed, sentence};
use self::subject::{Running, SUBJECTS, Scenario, Subject};
use crate::machine::Machine;
use crate::table;

/// From the start of the packets to the first look, and between the looks.
const WARM: Duration = Duration::from_millis(400);
const MEASURED: Duration = Duration::from_millis(1500);

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    schema: &'static str,
    machine: Machine,
    rounds: usize,
    rows: Vec<Row>,
    load_after: String,
}

/// One subject's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub scenario: &'static str,
    pub subject: &'static str,
    /// Millions of packets a second: median, least and most of the rounds.
    pub mpps: f64,
    pub least: f64,
    pub most: f64,
    /// weir's median divided by this one's.
    pub weir_ratio: Option<f64>,
    /// Where all packets of all rounds went; for `weir run`.
    pub account: Option<Account>,
}

/// What the rounds gave of one subject.
#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    account: Option<Account>,
}

impl Found {
    fn median(&self) -> Option<f64> {
        self.rates.get(self.rates.len() / 2).copied()
    }
}

/// Measures every subject that can be had and whose name or scenario holds `only`, in rounds.
pub(crate) fn compare(rounds: usize, peers: &Path, only: &str) -> Result<Results> {
    let machine = Machine::here();
    let [generating, measured, ..] = machine.cores[..] else {
        bail!("ports are measured on two cores: one generates, one is measured");
    };
    let _first = First::take()?;
    let mut found: Vec<Found> = SUBJECTS.iter().map(|_| Found::default()).collect();
    for round in 0..rounds {
        for (subject, found) in SUBJECTS.iter().zip(&mut found) {
            let name = format!("{}, {}", subject.scenario.name(), subject.name);
            if !name.contains(only) {
                continue;
            }
            if let Some(why) = subject.missing(peers) {
                if round == 0 {
                    eprintln!("{name}: left out: {why}");
                }
                continue;
            }
            match once(subject, (generating, measured), peers) {
                Ok((rate, account)) => found.add(rate, account),
                Err(why) => eprintln!("{name}: {why:#}"),
            }
        }
    }
    let load_after = std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    Ok(Results { schema: "weir.v1.bench-ports", machine, rounds, rows: rows(&mut found), load_after })
}

/// The figures for people.
pub(crate) fn text(results: &Results) -> String {
    let mut out = table::heading(&results.machine, results.rounds, &results.load_after);
    out += "\nports on veth, 60-byte frames, one core: Mpps, and those of `weir run` divided by them\n\n";
    let mut line = |words: [&str; 6]| {
        let [scenario, subject, mpps, least, most, ratio] = words;
        // Writing to a String does not fail.
        let _ = writeln!(out, "{scenario:<28}{subject:<26}{mpps:>8}{least:>8}{most:>8}{ratio:>10}");
    };
    line(["scenario", "subject", "Mpps", "least", "most", "weir ÷"]);
    for row in &results.rows {
        let [mpps, least, most] = [row.mpps, row.least, row.most].map(|rate| format!("{rate:.2}"));
        let ratio = row.weir_ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        line([row.scenario, row.subject, &mpps, &least, &most, &ratio]);
    }
    for row in &results.rows {
        let Some(account) = &row.account else { continue };
        let _ = writeln!(out, "\n{}, {}: {}", row.scenario, row.subject, sentence(account));
    }
    out
}

impl Found {
    fn add(&mut self, rate: f64, account: Option<Account>) {
        self.rates.push(rate);
        match (&mut self.account, account) {
            (Some(all), Some(one)) => *all += one,
            (all, one) => *all = one.or(*all),
        }
    }
}

/// Puts this session before all others on the machine (autogroups, sched(7)), and this process before others of
/// it: what they run would otherwise be measured with every subject.
struct First;

const AUTOGROUP: &str = "/proc/self/autogroup";

impl First {
    fn take() -> Result<Self> {
        // Without autogroups the niceness of the process does it alone.
        let _ = std::fs::write(AUTOGROUP, "-20");
        let own = std::process::id().to_string();
        let renice = std::process::Command::new("renice").args(["-n", "-20", "-p", &own]).output();
        ensure!(renice.context("renice")?.status.success(), "ports are measured by root");
        Ok(Self)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let _ = std::fs::write(AUTOGROUP, "0");
    }
}

fn rows(found: &mut [Found]) -> Vec<Row> {
    for each in found.iter_mut() {
        each.rates.sort_by(f64::total_cmp);
    }
    let weir = |scenario: Scenario| {
        let first = SUBJECTS.iter().position(|subject| subject.scenario == scenario)?;
        found[first].median()
    };
    let row = |(subject, found): (&Subject, &Found)| {
        let mpps = found.median()?;
        Some(Row {
            scenario: subject.scenario.name(),
            subject: subject.name,
            mpps,
            least: *found.rates.first()?,
            most: *found.rates.last()?,
            weir_ratio: weir(subject.scenario).map(|weir| weir / mpps),
            account: found.account,
        })
    };
    SUBJECTS.iter().zip(found.iter()).filter_map(row).collect()
}

/// One measurement, with devices of its own: millions of packets a second, and weir's account.
fn once(
    subject: &Subject,
    (generating, measured): (usize, usize),
    peers: &Path,
) -> Result<(f64, Option<Account>)> {
    let bed = Bed::lay(generating)?;
    let mut running = subject.start(&bed.host, measured, peers)?;
    bed.ready(subject, &running)?;
    let mut generator = bed.generate()?;
    std::thread::sleep(WARM);
    let (before, start) = (bed.count(subject)?, Instant::now());
    std::thread::sleep(MEASURED);
    let (after, took) = (bed.count(subject)?, start.elapsed());
    running.check()?;
    ensure!(generator.runs()?, "no more packets: {}", generator.said());
    generator.end();
    let account = match &running {
        Running::Weir(weir) => Some(bed.account(weir)?),
        Running::Process(_) | Running::Nothing => None,
    };
    if let Some(account) = &account {
        ensure!(account.unaccounted() == 0, "packets are missing: {}", sentence(account));
    }
    Ok(((after - before) as f64 / took.as_secs_f64() / 1e6, account))
}
