//! The tables of `weir top`: what is in them, as text and as numbers to sort by.

use weir_control::reply::Stats;

use crate::commands::doctor::running::losses;
use crate::commands::prog::{equation, seconds};
use crate::output::bytes;
use crate::rates::{self, scaled};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Programs,
    Interfaces,
    Drops,
    Workers,
    Queues,
    Maps,
}

/// A line of a table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What tells it from the others, from look to look.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
}

/// A field of a line.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What to sort by; texts have none.
    pub(super) number: Option<f64>,
}

fn word(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), number: None }
}

fn number(number: f64, text: String) -> Cell {
    Cell { text, number: Some(number) }
}

fn rate(rate: f64) -> Cell {
    number(rate, scaled(rate))
}

fn count(count: u64) -> Cell {
    number(count as f64, crate::output::grouped(count))
}

fn percent(share: f64) -> Cell {
    number(share, format!("{:.1}%", share * 100.0))
}

fn nanoseconds(time: Option<f64>) -> Cell {
    Cell { text: time.map_or("-".to_owned(), |time| format!("{time:.1}")), number: time }
}

impl View {
    pub(super) const ALL: [View; 6] =
        [View::Programs, View::Interfaces, View::Drops, View::Workers, View::Queues, View::Maps];

    /// What it is called on the screen.
    pub(super) fn title(self) -> &'static str {
        match self {
            View::Programs => "programs",
            View::Interfaces => "interfaces",
            View::Drops => "drops",
            View::Workers => "workers",
            View::Queues => "queues",
            View::Maps => "maps",
        }
    }

    /// Names of its columns.
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            View::Programs => &["program", "type", "packets/s", "bit/s", "ns/packet", "p99", "core"],
            View::Interfaces => {
                &["interface", "state", "rx pps", "rx bit/s", "tx pps", "tx bit/s", "host pps", "dropped pps"]
            }
            View::Drops => &["interface", "stage", "reason", "packets/s", "packets"],
            View::Workers => &["worker", "core", "state", "packets/s", "busy", "empty", "rests", "last turn"],
            View::Queues => &["interface", "queue", "worker", "fill", "rx", "tx", "completion", "lost"],
            View::Maps => &["program", "map", "type", "entries", "full", "memory", "evictions", "failures"],
        }
    }

    /// How many of its columns, from the first, are words.
    pub(super) fn texts(self) -> usize {
        match self {
            View::Programs | View::Interfaces => 2,
            View::Queues => 1,
            View::Drops | View::Workers | View::Maps => 3,
        }
    }

    /// The column of the figure that is drawn as a graph.
    pub(super) fn graphed(self) -> usize {
        match self {
            View::Programs | View::Interfaces => 2,
            View::Drops | View::Workers | View::Queues | View::Maps => 3,
        }
    }

    /// Its lines, from two looks.
    pub(super) fn rows(self, now: &Stats, before: &Stats) -> Vec<Row> {
        match self {
            View::Programs => programs(now, before),
            View::Interfaces => interfaces(now, before),
            View::Drops => drops(now, before),
            View::Workers => workers(now, before),
            View::Queues => queues(now),
            View::Maps => maps(now),
        }
    }
}

fn programs(now: &Stats, before: &Stats) -> Vec<Row> {
    let rows = now.programs.iter().map(|program| {
        let judged = rates::program(program, now, before);
        // A median stands for the mean here: what the program takes of one core, about.
        let core = judged.packets * program.ns_per_packet.unwrap_or_default() * 1e-9;
        let cells = vec![
            word(&program.name),
            word(&program.kind),
            rate(judged.packets),
            rate(judged.bits),
            nanoseconds(program.ns_per_packet),
            nanoseconds(program.ns_per_packet_p99),
            percent(core),
        ];
        Row { key: program.name.clone(), cells }
    });
    rows.collect()
}

fn interfaces(now: &Stats, before: &Stats) -> Vec<Row> {
    let rows = rates::interfaces(now, before).into_iter().map(|found| {
        let cells = vec![
            word(&found.name),
            word(found.state),
            rate(found.received.packets),
            rate(found.received.bits),
            rate(found.transmitted.packets),
            rate(found.transmitted.bits),
            rate(found.passed.packets),
            rate(found.dropped),
        ];
        Row { key: found.name, cells }
    });
    rows.collect()
}

fn drops(now: &Stats, before: &Stats) -> Vec<Row> {
    let rows = now.drops.iter().map(|drop| {
        let cells = vec![
            word(&drop.interface),
            word(&drop.stage),
            word(&drop.reason),
            rate(rates::drop_rate(drop, now, before)),
            count(drop.packets),
        ];
        Row { key: format!("{} {} {}", drop.interface, drop.stage, drop.reason), cells }
    });
    rows.collect()
}

fn workers(now: &Stats, before: &Stats) -> Vec<Row> {
    let rows = now.workers.iter().map(|worker| {
        let (packets, busy) = rates::worker(worker, now, before);
        let cells = vec![
            word(worker.worker.to_string()),
            word(worker.core.map_or("-".to_owned(), |core| core.to_string())),
            word(if worker.alive { "alive" } else { "STUCK" }),
            rate(packets),
            percent(busy),
            percent(rates::share(worker.empty_turns, worker.turns)),
            count(worker.rests),
            number(worker.quiet_seconds, seconds(worker.quiet_seconds)),
        ];
        Row { key: worker.worker.to_string(), cells }
    });
    rows.collect()
}

fn queues(now: &Stats) -> Vec<Row> {
    let rows = now.queues.iter().map(|queue| {
        let frames = |ring: &str| count(queue.frames.get(ring).copied().unwrap_or_default());
        let cells = vec![
            word(&queue.interface),
            number(f64::from(queue.queue), queue.queue.to_string()),
            number(f64::from(queue.worker), queue.worker.to_string()),
            frames("fill"),
            frames("rx"),
            frames("tx"),
            frames("completion"),
            count(losses(&queue.xsk).map(|(_, count)| count).sum()),
        ];
        Row { key: format!("{} {}", queue.interface, queue.queue), cells }
    });
    rows.collect()
}

fn maps(now: &Stats) -> Vec<Row> {
    let rows = now.maps.iter().map(|map| {
        let cells = vec![
            word(&map.program),
            word(&map.name),
            word(&map.kind),
            count(map.entries),
            percent(rates::share(map.entries, map.max_entries)),
            number(map.memory_bytes as f64, bytes(map.memory_bytes)),
            count(map.evictions),
            count(map.update_failures.values().sum()),
        ];
        Row { key: format!("{} {}", map.program, map.name), cells }
    });
    rows.collect()
}

/// The first line: which weir, how much in all, and whether anything is lost.
pub(super) fn headline(now: &Stats, before: &Stats) -> String {
    let all = rates::interfaces(now, before);
    let sum = |figure: fn(&rates::InterfaceRate) -> f64| {
        scaled(all.iter().map(figure).fold(0.0, |all, one| all + one))
    };
    let up = std::time::Duration::from_secs(now.uptime_seconds.max(0.0) as u64);
    format!(
        "weir  generation {}  up {}  rx {} pps {} bit/s  tx {} pps {} bit/s  dropped {} pps\n{}",
        now.generation,
        humantime::format_duration(up),
        sum(|found| found.received.packets),
        sum(|found| found.received.bits),
        sum(|found| found.transmitted.packets),
        sum(|found| found.transmitted.bits),
        sum(|found| found.dropped),
        equation(&now.ledger.packets),
    )
}
