//! `weir stats`: everything that is counted, and how fast it grows.

mod ethtool;

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use weir_control::Action;
use weir_control::reply::Stats;

use super::doctor::running::losses;
use super::prog::{equation, seconds};
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Colour, Output, bytes, grouped, table};
use crate::rates::{self, Rate};

/// Arguments of `weir stats`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// An interface (as `ethtool -S` prints it), or drops, programs, workers, rings, classes, maps, routes
    #[arg(value_name = "IF|WHAT")]
    what: Option<String>,
    /// Again every so many seconds, with what came in between
    #[arg(short, long, value_name = "SECS", value_parser = period)]
    watch: Option<Duration>,
    /// With --watch: end after so many times
    #[arg(short = 'n', long, value_name = "N", requires = "watch")]
    count: Option<u64>,
}

/// A period in seconds that is worth waiting for.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "wanted seconds".to_owned())?;
    match (0.1..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("wanted 0.1 to 86400 seconds".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    let what = arguments.what.as_deref();
    let first: Stats = daemon.get(&Action::Stats {})?;
    say(&first, None, what, output)?;
    let Some(every) = arguments.watch else { return Ok(Code::Ok) };
    let mut before = first;
    for _ in 1..arguments.count.unwrap_or(u64::MAX) {
        std::thread::sleep(every);
        let now: Stats = daemon.get(&Action::Stats {})?;
        say(&now, Some(&before), what, output)?;
        before = now;
    }
    Ok(Code::Ok)
}

/// Prints one look, with rates when there is one before it.
fn say(now: &Stats, before: Option<&Stats>, what: Option<&str>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return part(now, what, output);
    }
    if before.is_some() {
        output.text("")?;
    }
    let text = match what {
        None => format!("{}\n\n{}", interfaces(now, before), ledger(now, output)),
        Some("drops") => drops(now, before),
        Some("programs") => programs(now, before, output),
        Some("workers") => workers(now, before),
        Some("rings") => rings(now),
        Some("classes") => classes(now, before),
        Some("maps") => maps(now),
        Some("routes") => routes(now),
        Some(interface) => ethtool::statistics(now, interface).ok_or_else(|| no_such(now, interface))?,
    };
    Ok(output.text(text)?)
}

/// The part of the answer that was asked for, as JSON.
fn part(now: &Stats, what: Option<&str>, output: &Output) -> Result<(), Failure> {
    match what {
        None => output.json(now)?,
        Some("drops") => output.json(&now.drops)?,
        Some("programs") => output.json(&now.programs)?,
        Some("workers") => output.json(&now.workers)?,
        Some("rings") => output.json(&now.queues)?,
        Some("classes") => output.json(&now.classes)?,
        Some("maps") => output.json(&now.maps)?,
        Some("routes") => output.json(&now.routes)?,
        Some(name) => {
            let found = now.interfaces.iter().find(|interface| interface.name == name);
            output.json(found.ok_or_else(|| no_such(now, name))?)?;
        }
    }
    Ok(())
}

fn no_such(now: &Stats, name: &str) -> Failure {
    let names: Vec<&str> = now.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let what = anyhow!("there is no interface `{name}`; there is {}", names.join(", "));
    Failure::new(Code::Failed, what).hint("weir stats [IF|drops|programs|workers|rings|classes|maps|routes]")
}

/// Totals; or what came in between, per second.
fn interfaces(now: &Stats, before: Option<&Stats>) -> String {
    let Some(before) = before else {
        let rows = now.interfaces.iter().map(|interface| {
            vec![
                interface.name.clone(),
                interface.state.clone(),
                grouped(interface.received.packets),
                bytes(interface.received.bytes),
                grouped(interface.transmitted.packets),
                bytes(interface.transmitted.bytes),
                grouped(interface.passed.packets),
                grouped(interface.dropped),
            ]
        });
        let headers =
            ["interface", "state", "rx packets", "rx bytes", "tx packets", "tx bytes", "passed", "dropped"];
        return table(&headers, 2, rows.collect());
    };
    let rows = rates::interfaces(now, before).into_iter().map(|row| {
        vec![
            row.name,
            row.state,
            rates::scaled(row.received.packets),
            rates::scaled(row.received.bits),
            rates::scaled(row.transmitted.packets),
            rates::scaled(row.transmitted.bits),
            rates::scaled(row.passed.packets),
            rates::scaled(row.dropped),
        ]
    });
    table(
        &["interface", "state", "rx pps", "rx bit/s", "tx pps", "tx bit/s", "passed pps", "dropped pps"],
        2,
        rows.collect(),
    )
}

/// Where everything is, in two equations.
fn ledger(now: &Stats, output: &Output) -> String {
    let ledger = &now.ledger;
    let places = ledger.frames.places.iter().filter(|(_, frames)| **frames != 0);
    let minus = |frames: i64| if frames < 0 { "-" } else { "" };
    let place = |(place, frames): (&String, &i64)| {
        format!("{place} {}{}", minus(*frames), grouped(frames.unsigned_abs()))
    };
    let places: Vec<String> = places.map(place).collect();
    let verdict = match ledger.holds {
        true if !ledger.silent.is_empty() => {
            let silent: Vec<String> = ledger.silent.iter().map(u32::to_string).collect();
            let counted = "everything is accounted for, as of what workers said last";
            format!(
                "{}; no time to answer: worker {}",
                output.paint(Colour::Green, counted),
                silent.join(", ")
            )
        }
        true => output.paint(Colour::Green, "everything is accounted for"),
        false => output.paint(Colour::Red, "something is NOT accounted for"),
    };
    format!(
        "packets  {}\nframes   lost {} ({} = {})\n{verdict}",
        equation(&ledger.packets),
        ledger.frames.lost,
        grouped(ledger.frames.total),
        if places.is_empty() { "0".to_owned() } else { places.join(" + ") },
    )
}

fn drops(now: &Stats, before: Option<&Stats>) -> String {
    let rows = now.drops.iter().map(|drop| {
        let packets = match before {
            None => grouped(drop.packets),
            Some(before) => rates::scaled(rates::drop_rate(drop, now, before)),
        };
        vec![drop.interface.clone(), drop.stage.clone(), drop.reason.clone(), packets, drop.meaning.clone()]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "no packet was dropped".to_owned();
    }
    let count = if before.is_some() { "packets/s" } else { "packets" };
    table(&["interface", "stage", "reason", count, "meaning"], 5, rows)
}

fn programs(now: &Stats, before: Option<&Stats>, output: &Output) -> String {
    let rows = now.programs.iter().map(|program| {
        let verdicts = program.verdicts.iter().filter(|(_, packets)| **packets > 0);
        let verdicts =
            verdicts.map(|(name, packets)| format!("{} {}", output.verdict(name), grouped(*packets)));
        let judged = match before.map(|before| rates::program(program, now, before)) {
            None => grouped(program.judged.packets),
            Some(Rate { packets, .. }) => rates::scaled(packets),
        };
        let time = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1}"));
        vec![
            program.name.clone(),
            program.kind.clone(),
            verdicts.collect::<Vec<_>>().join("  "),
            judged,
            time(program.ns_per_packet),
            time(program.ns_per_packet_p99),
        ]
    });
    let judged = if before.is_some() { "packets/s" } else { "packets" };
    table(&["program", "type", "verdicts", judged, "ns/packet", "p99"], 3, rows.collect())
}

fn workers(now: &Stats, before: Option<&Stats>) -> String {
    let rows = now.workers.iter().map(|worker| {
        let [packets, busy] = match before.map(|before| rates::worker(worker, now, before)) {
            None => [grouped(worker.packets), seconds(worker.busy_seconds)],
            Some((packets, busy)) => [rates::scaled(packets), format!("{:.0}%", busy * 100.0)],
        };
        vec![
            worker.worker.to_string(),
            worker.core.map_or("-".to_owned(), |core| core.to_string()),
            if worker.alive { "alive" } else { "STUCK" }.to_owned(),
            packets,
            busy,
            grouped(worker.turns),
            format!("{:.1}%", rates::share(worker.empty_turns, worker.turns) * 100.0),
            grouped(worker.rests),
            seconds(worker.quiet_seconds),
        ]
    });
    let packets = if before.is_some() { "packets/s" } else { "packets" };
    let headers = ["worker", "core", "state", packets, "busy", "turns", "empty", "rests", "last turn ago"];
    table(&headers, 3, rows.collect())
}

fn rings(now: &Stats) -> String {
    let frames = |queue: &weir_control::reply::QueueStats, ring: &str| {
        queue.frames.get(ring).map_or("-".to_owned(), |frames| grouped(*frames))
    };
    let rows = now.queues.iter().map(|queue| {
        let troubles = losses(&queue.xsk).map(|(name, count)| format!("{name} {}", grouped(count)));
        vec![
            queue.interface.clone(),
            queue.queue.to_string(),
            queue.worker.to_string(),
            frames(queue, "fill"),
            frames(queue, "rx"),
            frames(queue, "tx"),
            frames(queue, "completion"),
            troubles.collect::<Vec<_>>().join("  "),
        ]
    });
    let headers = ["interface", "queue", "worker", "fill", "rx", "tx", "completion", "losses"];
    table(&headers, 8, rows.collect())
}

fn classes(now: &Stats, before: Option<&Stats>) -> String {
    let rows = now.classes.iter().map(|class| {
        let sent = match before {
            None => [grouped(class.sent.packets), bytes(class.sent.bytes)],
            Some(before) => {
                let rate = rates::class(class, now, before);
                [rates::scaled(rate.packets), rates::scaled(rate.bits)]
            }
        };
        let [packets, bytes] = sent;
        vec![class.classid.clone(), class.name.clone(), packets, bytes]
    });
    let headers = match before.is_some() {
        true => ["class", "name", "packets/s", "bit/s"],
        false => ["class", "name", "packets", "bytes"],
    };
    table(&headers, 2, rows.collect())
}

fn maps(now: &Stats) -> String {
    let rows = now.maps.iter().map(|map| {
        let failures: u64 = map.update_failures.values().sum();
        vec![
            map.program.clone(),
            map.name.clone(),
            map.kind.clone(),
            grouped(map.entries),
            grouped(map.max_entries),
            bytes(map.memory_bytes),
            grouped(map.evictions),
            grouped(failures),
        ]
    });
    let headers =
        ["program", "map", "type", "entries", "max entries", "memory", "evictions", "failed updates"];
    table(&headers, 3, rows.collect())
}

fn routes(now: &Stats) -> String {
    let mut rows = Vec::new();
    for (what, families) in [("routes", &now.routes.routes), ("neighbours", &now.routes.neighbors)] {
        for (family, kinds) in families {
            let each = kinds
                .iter()
                .map(|(kind, count)| vec![what.to_owned(), family.clone(), kind.clone(), grouped(*count)]);
            rows.extend(each);
        }
    }
    format!(
        "{}\n{} routes were found to differ from the kernel's, and were mended",
        table(&["what", "family", "protocol or state", "number"], 3, rows),
        now.routes.drift_total
    )
}
