//! `weir run` as people run it: the process on veth between hosts in network namespaces.
//!
//! `WEIR_FULL_SCALE=1` runs the long versions; `scripts/live.sh` does so, one after the other, and prints the figures.

mod kills;
mod losses;
mod router;
mod routes;
mod swaps;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_tests::net::flood::Running;
use weir_tests::net::{Counted, Marker, Namespace, Outcome, Weir};

const SECOND: Duration = Duration::from_secs(1);

/// A wire from wan to lan and back, whose packets a marking program judges.
const MARKED: &str = r#"
version = 1

[interface.wan]
device = "wan"

[interface.lan]
device = "lan"

[[program]]
name = "mark"
object = "mark.bpf.o"
prog = "enter"
attach = { hook = "xdp", interface = "wan" }
scratch = ["between"]

[forward]
connect = { wan = "lan", lan = "wan" }
"#;

/// Drops nothing.
const FIRST: Marker = Marker { generation: 1, drop_every: 0, wide: false };

/// Starts it with a marker.
fn marked<'host>(host: &'host Namespace, marker: &Marker) -> Result<Weir<'host>> {
    let mut weir = Weir::prepare(host)?;
    weir.folder().write("mark.bpf.o", marker.object()?)?;
    weir.run(MARKED)?;
    Ok(weir)
}

/// Each fault that packets show and that no test here expects.
fn flawless(outcome: &Outcome) -> Result<()> {
    let tally = &outcome.tally;
    ensure!(outcome.unread == 0, "void: the receiver itself was too slow: {}", outcome.line());
    ensure!(tally.duplicated + tally.reordered + tally.alien == 0, "{}", outcome.line());
    ensure!(tally.mixed == 0, "judged by a mixture of generations: {}", outcome.line());
    Ok(())
}

/// Waits until packets arrive again; how long that took.
fn resumes(running: &Running, limit: Duration) -> Result<Duration> {
    let (start, before) = (Instant::now(), running.progress());
    // A stalled sender moves on without news, so that a full window more is proof.
    while running.progress() < before + 2048 {
        ensure!(running.runs(), "the flood ended early");
        ensure!(start.elapsed() < limit, "no packet arrives for {limit:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(start.elapsed())
}

/// Sent = received by weir + what the kernel could not give it; received by weir = arrived + dropped.
/// Sender, kernel and weir count on their own.
fn balance(outcome: &Outcome, counted: &Counted) -> Result<()> {
    let received = counted.interface("wan", "received.packets")?;
    let missed = counted.missed("wan");
    // A few packets of the hosts' own (neighbour discovery) come too.
    let others = (received + missed).checked_sub(outcome.sent);
    let others = others.with_context(|| {
        format!("sent {}, weir received {received} and missed {missed}: some are nowhere", outcome.sent)
    })?;
    ensure!(others < 100, "{others} packets that nobody sent");
    let transmitted = counted.interface("lan", "transmitted.packets")?;
    let arrived = outcome.tally.distinct();
    let extra = transmitted.checked_sub(arrived).context("more arrived than weir transmitted")?;
    ensure!(extra < 100, "{extra} of {transmitted} transmitted packets did not arrive");
    Ok(())
}
