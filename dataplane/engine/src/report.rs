//! What a replay came to, as figures to print: the same for people and for `-j`.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_ebpf::ProgramType;
use weir_ebpf::abi::TcAction;
use weir_sys::clock;

use crate::counters::{ANSWERS, Totals, TrafficTotal, quantile};
use crate::generation::{FilterMode, Generation, ProgramSlot};
use crate::load::is_shown;
use crate::replay::Outcome;

/// Everything that a replay's last table says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `weir.v1.replay`.
    pub schema: &'static str,
    /// Cores that workers ran on.
    pub cores: Vec<usize>,
    /// From the first turn to the last, in seconds.
    pub seconds: f64,
    /// Packets that came in.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Millions of packets a second, all workers together.
    pub mpps: f64,
    /// Gigabits a second, counting frame bytes.
    pub gbit_per_second: f64,
    /// Programs that were asked, in order.
    pub programs: Vec<ProgramReport>,
    /// Classes that packets left in.
    pub classes: Vec<ClassReport>,
    /// Drops by reason, most frequent first.
    pub drops: Vec<DropReport>,
    /// Ports.
    pub interfaces: Vec<InterfaceReport>,
    /// Maps that hold something of interest.
    pub maps: Vec<MapReport>,
    /// Where all packets went.
    pub conservation: Conservation,
    /// Records of the captures that could not be played, by reason.
    pub capture_refused: BTreeMap<&'static str, u64>,
}

/// A program's figures.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramReport {
    /// Its name in the configuration.
    pub name: String,
    /// `xdp`, `sched_cls` …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Packets it was asked about.
    pub packets: u64,
    /// Its answers by name, or by number where there is no name; in JSON an object.
    #[serde(serialize_with = "as_object")]
    pub verdicts: Vec<(String, u64)>,
    /// Median time of a run in nanoseconds, tail calls included; `None` when none was timed.
    pub ns_per_packet: Option<f64>,
    /// The time that one run in a hundred takes or exceeds, in nanoseconds.
    pub ns_per_packet_p99: Option<f64>,
}

/// Names and numbers as an object, in their order.
fn as_object<S: serde::Serializer>(pairs: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, count)| (name, count)))
}

/// A class's figures.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// `MAJOR:MINOR`.
    pub classid: String,
    /// Its name.
    pub name: String,
    /// What left in it.
    #[serde(flatten)]
    pub sent: TrafficTotal,
}

/// Drops for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct DropReport {
    /// Name of the reason.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
    /// What it means.
    pub meaning: &'static str,
}

/// A port's figures.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Came in.
    pub received: TrafficTotal,
    /// Went out.
    pub transmitted: TrafficTotal,
}

/// A map's figures.
#[derive(Clone, Debug, Serialize)]
pub struct MapReport {
    /// Its name.
    pub name: String,
    /// bpftool's word for its kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Entries now.
    pub entries: usize,
    /// Entries at most.
    pub max_entries: u32,
    /// Bytes of memory it holds.
    pub bytes: usize,
    /// Entries that made room for others.
    pub evictions: u64,
}

/// Where all packets went: `rx + cloned = tx + pass + consumed + drop`, or packets were lost.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct Conservation {
    /// Came in.
    pub rx: u64,
    /// Copies that programs made.
    pub cloned: u64,
    /// Went out.
    pub tx: u64,
    /// Went to the host.
    pub pass: u64,
    /// Kept by programs and actions.
    pub consumed: u64,
    /// Made by weir itself, or given to it by the host.
    pub originated: u64,
    /// Waiting for a neighbour.
    pub held: u64,
    /// Dropped, for a named reason.
    pub drop: u64,
    /// What is left over: must be 0.
    pub error: i64,
    /// Frames that were never given back: must be 0.
    pub frames_lost: usize,
}

impl Conservation {
    /// As these totals say.
    pub fn new(totals: &Totals, frames_lost: usize) -> Self {
        Self {
            rx: totals.received.packets,
            cloned: totals.cloned.packets,
            tx: totals.sent(),
            originated: totals.originated.packets,
            held: totals.held,
            pass: totals.passed.packets,
            consumed: totals.consumed.packets,
            drop: totals.dropped_packets(),
            error: totals.balance(),
            frames_lost,
        }
    }

    /// Whether every packet is accounted for.
    pub fn holds(&self) -> bool {
        self.error == 0 && self.frames_lost == 0
    }
}

impl std::fmt::Display for Conservation {
    /// `rx 100 = tx 90 + pass 4 + drop 6`: parts that are 0 are left out, but for the usual three.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rx {}", self.rx)?;
        if self.cloned > 0 {
            write!(f, " + cloned {}", self.cloned)?;
        }
        if self.originated > 0 {
            write!(f, " + made {}", self.originated)?;
        }
        write!(f, " = tx {} + pass {} + drop {}", self.tx, self.pass, self.drop)?;
        if self.consumed > 0 {
            write!(f, " + consumed {}", self.consumed)?;
        }
        if self.held > 0 {
            write!(f, " + held {}", self.held)?;
        }
        if self.error != 0 {
            write!(f, " + UNACCOUNTED {}", self.error)?;
        }
        if self.frames_lost != 0 {
            write!(f, "; {} frames were never given back", self.frames_lost)?;
        }
        Ok(())
    }
}

impl Report {
    /// The figures of a replay that has ended.
    pub fn new(outcome: &Outcome) -> Self {
        let totals = outcome.totals();
        let generation = &outcome.built.generation;
        let seconds = outcome.elapsed.as_secs_f64();
        let rate = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let ports = generation.ports.iter().enumerate();
        let mut capture_refused = BTreeMap::new();
        for (reason, count) in outcome.tally.iter().flat_map(|tally| tally.each_refused()) {
            *capture_refused.entry(reason.name()).or_default() += count;
        }
        Self {
            schema: "weir.v1.replay",
            cores: outcome.cores.clone(),
            seconds,
            packets: totals.received.packets,
            bytes: totals.received.bytes,
            mpps: rate(totals.received.packets) / 1e6,
            gbit_per_second: rate(totals.received.bytes * 8) / 1e9,
            programs: programs(generation),
            classes: classes(generation),
            drops: totals
                .drops()
                .into_iter()
                .map(|(reason, packets)| DropReport {
                    reason: reason.name(),
                    packets,
                    meaning: reason.sentence(),
                })
                .collect(),
            interfaces: ports
                .map(|(number, port)| {
                    let totals = outcome.port_totals(number);
                    InterfaceReport {
                        name: port.name.clone(),
                        received: totals.received,
                        transmitted: totals.transmitted,
                    }
                })
                .collect(),
            maps: generation.maps.iter().filter(|map| is_shown(map)).map(|map| map_report(map)).collect(),
            conservation: Conservation::new(&totals, outcome.frames_lost),
            capture_refused,
        }
    }
}

/// The programs that were asked, each with its figures.
fn programs(generation: &Generation) -> Vec<ProgramReport> {
    let filters = || generation.ports.iter().flat_map(|port| port.ingress.iter().chain(&port.egress));
    let classifies = |number: usize| {
        filters().any(|filter| filter.program == number && matches!(filter.mode, FilterMode::Classifier(_)))
    };
    let slots = generation.programs.iter().enumerate();
    let all = slots.map(|(number, slot)| program(slot, classifies(number)));
    // Those that were never asked are tail calls' targets.
    all.filter(|report| report.packets > 0).collect()
}

/// A program's figures over all workers.
pub(crate) fn program(slot: &ProgramSlot, classifies: bool) -> ProgramReport {
    let sum = |of: &dyn Fn(&crate::counters::ProgramCounters) -> u64| -> u64 {
        slot.counters.iter().map(|counters| of(counters)).sum()
    };
    let packets = sum(&|counters| counters.judged.packets.get());
    let kind = slot.loaded.verified().program().kind;
    let mut verdicts: Vec<(String, u64)> = Vec::new();
    for answer in 0..ANSWERS {
        let count = sum(&|counters| counters.answers[answer].get());
        let name = if classifies { class_answer(answer) } else { answer_name(kind, answer) };
        match verdicts.last_mut() {
            _ if count == 0 => {}
            Some((last, sum)) if *last == name => *sum += count,
            _ => verdicts.push((name, count)),
        }
    }
    let rate = clock::tick_rate();
    let times = slot.counters.iter().map(|counters| &counters.times);
    let nanoseconds = |ticks: f64| ((ticks - rate.overhead) / rate.per_ns).max(0.0);
    ProgramReport {
        name: slot.name.clone(),
        kind: kind.name(),
        packets,
        verdicts,
        ns_per_packet: quantile(times.clone(), 0.5).map(nanoseconds),
        ns_per_packet_p99: quantile(times, 0.99).map(nanoseconds),
    }
}

/// What a classifier means by the answer that is counted at this place.
fn class_answer(place: usize) -> String {
    match place {
        0 => "own class",
        1 => "no match",
        _ => "class",
    }
    .to_owned()
}

/// The name of the answer that is counted at this place.
fn answer_name(kind: ProgramType, place: usize) -> String {
    let number = place as i32 - 1;
    let last = place == ANSWERS - 1 && TcAction::new(number).is_none();
    match kind.answer_name(number) {
        Some(name) => name.to_owned(),
        None if place == 0 => "negative".to_owned(),
        None if last => format!("{number} or more"),
        None => number.to_string(),
    }
}

/// Classes that packets left in.
pub(crate) fn classes(generation: &Generation) -> Vec<ClassReport> {
    let classes = generation.classes.iter().map(|class| {
        let mut sent = TrafficTotal::default();
        class.sent.iter().for_each(|worker| sent += worker.get());
        ClassReport { classid: class.id.to_string(), name: class.name.clone(), sent }
    });
    classes.filter(|class| class.sent.packets > 0).collect()
}

fn map_report(map: &weir_maps::Map) -> MapReport {
    let spec = map.spec();
    MapReport {
        name: spec.name.clone(),
        kind: spec.kind.name(),
        entries: map.entries(),
        max_entries: spec.max_entries,
        bytes: map.bytes(),
        evictions: map.evictions(),
    }
}
