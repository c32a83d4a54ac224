//! How fast counters grow: differences of two looks at a running weir.

use weir_control::reply::{ClassStats, DropStats, ProgramStats, Stats, Traffic, WorkerStats};

/// Packets and bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) packets: f64,
    pub(crate) bits: f64,
}

/// An interface's rates.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceRate {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) received: Rate,
    pub(crate) transmitted: Rate,
    pub(crate) passed: Rate,
    pub(crate) dropped: f64,
}

/// Seconds between two looks; a daemon that was started anew in between counts from its start.
fn between(now: &Stats, before: &Stats) -> f64 {
    let seconds = now.uptime_seconds - before.uptime_seconds;
    if seconds > 0.0 { seconds } else { now.uptime_seconds.max(1e-3) }
}

/// How much a counter grew a second. One that went back began anew.
fn growth(now: u64, before: u64, seconds: f64) -> f64 {
    now.checked_sub(before).unwrap_or(now) as f64 / seconds
}

fn traffic(now: Traffic, before: Traffic, seconds: f64) -> Rate {
    Rate {
        packets: growth(now.packets, before.packets, seconds),
        bits: growth(now.bytes, before.bytes, seconds) * 8.0,
    }
}

/// Every interface's rates.
pub(crate) fn interfaces(now: &Stats, before: &Stats) -> Vec<InterfaceRate> {
    let seconds = between(now, before);
    let each = now.interfaces.iter().map(|interface| {
        let found = before.interfaces.iter().find(|found| found.name == interface.name);
        let old = found.cloned().unwrap_or_default();
        InterfaceRate {
            name: interface.name.clone(),
            state: interface.state.clone(),
            received: traffic(interface.received, old.received, seconds),
            transmitted: traffic(interface.transmitted, old.transmitted, seconds),
            passed: traffic(interface.passed, old.passed, seconds),
            dropped: growth(interface.dropped, old.dropped, seconds),
        }
    });
    each.collect()
}

/// How fast packets are dropped for one reason at one interface.
pub(crate) fn drop_rate(drop: &DropStats, now: &Stats, before: &Stats) -> f64 {
    let same = |other: &&DropStats| {
        other.interface == drop.interface && other.stage == drop.stage && other.reason == drop.reason
    };
    let old = before.drops.iter().find(same).map_or(0, |old| old.packets);
    growth(drop.packets, old, between(now, before))
}

/// How fast a program is asked.
pub(crate) fn program(program: &ProgramStats, now: &Stats, before: &Stats) -> Rate {
    let found = before.programs.iter().find(|old| old.name == program.name);
    let old = found.map(|old| old.judged).unwrap_or_default();
    traffic(program.judged, old, between(now, before))
}

/// How fast a class is left by.
pub(crate) fn class(class: &ClassStats, now: &Stats, before: &Stats) -> Rate {
    let found = before.classes.iter().find(|old| old.classid == class.classid);
    let old = found.map(|old| old.sent).unwrap_or_default();
    traffic(class.sent, old, between(now, before))
}

/// The packets a second that a worker judges, and the share of its time that it is busy.
pub(crate) fn worker(worker: &WorkerStats, now: &Stats, before: &Stats) -> (f64, f64) {
    let seconds = between(now, before);
    let found = before.workers.iter().find(|old| old.worker == worker.worker);
    let (packets, busy) = found.map(|old| (old.packets, old.busy_seconds)).unwrap_or_default();
    let busy = (worker.busy_seconds - busy).max(0.0) / seconds;
    (growth(worker.packets, packets, seconds), busy.min(1.0))
}

/// A part of a whole, 0 when there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A rate as people read it: `1.21 M`.
pub(crate) fn scaled(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} G", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use weir_control::reply::InterfaceStats;

    use super::*;

    fn look(uptime: f64, packets: u64) -> Stats {
        let received = Traffic { packets, bytes: packets * 100 };
        let wan = InterfaceStats { name: "wan".to_owned(), received, ..InterfaceStats::default() };
        Stats { uptime_seconds: uptime, interfaces: vec![wan], ..Stats::default() }
    }

    #[test]
    fn rates_are_differences_by_the_daemons_own_clock() {
        let rate = interfaces(&look(12.0, 5000), &look(10.0, 1000))[0].received;
        assert_eq!(rate, Rate { packets: 2000.0, bits: 1_600_000.0 });
    }

    #[test]
    fn a_daemon_started_anew_counts_from_its_start() {
        let rate = interfaces(&look(2.0, 600), &look(100.0, 1000))[0].received;
        assert_eq!(rate.packets, 300.0);
    }

    #[test]
    fn rates_read_well() {
        assert_eq!(
            [0.0, 999.4, 12_345.0, 1_210_000.0, 2.5e9].map(scaled),
            ["0", "999", "12.3 k", "1.21 M", "2.50 G"]
        );
    }
}
