//! Replacing marking programs under a flood, through the control socket, and what must be true afterwards.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use weir_control::reply::Applied;
use weir_control::{Action, Client};

use super::flood::Outcome;
use super::ledger::Counted;
use super::mark::Marker;
use super::weir::Weir;

/// The replacements of one run.
#[derive(Debug)]
pub struct Swapping {
    client: Client,
    /// Every marker that was in force, by its generation's mark.
    pub markers: BTreeMap<u32, Marker>,
    /// From publishing until quiescent, of each.
    pub times: Vec<f64>,
}

impl Swapping {
    /// None yet; `first` is in force.
    pub fn new(weir: &Weir, first: Marker) -> Result<Self> {
        let client = Client::new(weir.socket())?;
        Ok(Self { client, markers: BTreeMap::from([(first.generation, first)]), times: Vec::new() })
    }

    /// The client, for other questions.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for the next marker, which differs from the last in its verdicts and in its scratch map's layout.
    pub fn replace(&mut self) -> Result<Applied> {
        let last = self.markers.keys().next_back().copied().unwrap_or(0);
        let wide = last % 2 == 1;
        let marker = Marker { generation: last + 1, drop_every: if wide { 16 } else { 0 }, wide };
        let applied: Applied = self.client.get(&replace(marker.object()?))?;
        // Also when the reply says something bad: it is in force.
        self.markers.insert(marker.generation, marker);
        self.times.push(applied.swap_seconds);
        ensure!(applied.cut.lost == 0, "generation {}: {:?}", marker.generation, applied.cut);
        Ok(applied)
    }

    /// No packet lost but by a program that drops it, none doubled, none out of order, none judged by two.
    pub fn judge(&self, outcome: &Outcome, counted: &Counted) -> Result<()> {
        let tally = &outcome.tally;
        ensure!(outcome.unread == 0, "void: the receiver itself was too slow: {}", outcome.line());
        ensure!(tally.duplicated + tally.reordered + tally.alien == 0, "{}", outcome.line());
        ensure!(tally.mixed == 0, "judged by a mixture of generations: {}", outcome.line());
        ensure!(tally.backwards == 0, "an earlier generation came back: {}", outcome.line());
        let marks = tally.marks();
        ensure!(marks.keys().all(|mark| self.markers.contains_key(mark)), "unknown marks: {marks:?}");
        let stray = tally.missing(outcome.sent).filter(|id| id % 16 != 3).count();
        ensure!(stray == 0, "{stray} lost that no program drops; {}; {}", outcome.line(), counted.line());
        let dropped = counted.dropped("xdp-drop");
        ensure!(dropped == outcome.lost(), "{dropped} dropped by programs, {}", outcome.line());
        counted.holds()
    }

    /// The figures in a line: how many, and the times in microseconds.
    pub fn line(&self) -> String {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len() - 1));
        let micros = |share: f64| at(share).copied().unwrap_or(f64::NAN) * 1e6;
        format!(
            "{} replacements, publish to quiescent p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            times.len(),
            micros(0.5),
            micros(0.99),
            micros(1.0)
        )
    }
}

/// The request that replaces the program `mark`.
pub fn replace(object: Vec<u8>) -> Action {
    Action::ProgramReplace {
        program: "mark".to_owned(),
        prog: Some("enter".to_owned()),
        if_match: None,
        dry_run: false,
        scratch: Vec::new(),
        probation: None,
        abort_rate: None,
        drop_rate: None,
        object: object.into(),
    }
}
