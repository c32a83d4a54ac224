//! Links that flap, a peer that vanishes, rings that starve, a weir that stands still: packets are lost then, and
//! each of them is counted where it went.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_sys::namespace::Signal;
use weir_tests::net::{Counted, Flood, Marker, Namespace, Outcome, Topology, Weir, full_scale, skip};

use crate::{FIRST, MARKED, SECOND, balance, flawless, marked, resumes};

/// Control: a program that drops one packet in a thousand is not taken for one that drops none.
#[test]
fn a_lossy_program_is_caught() -> Result<()> {
    if skip("a_lossy_program_is_caught") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let marker = Marker { generation: 1, drop_every: 1000, wide: false };
    let weir = marked(&topology.weir, &marker)?;
    let outcome = Flood::new(topology.flows(8)?).run((&topology.a, "a0"), (&topology.b, "b0"), 20_000)?;
    println!("lossy program: {}", outcome.line());
    flawless(&outcome)?;
    ensure!(outcome.lost() == 20, "{}", outcome.line());
    ensure!(outcome.tally.missing(outcome.sent).all(|id| marker.drops(id)));
    let counted = Counted::ask(&weir)?;
    ensure!(counted.dropped("xdp-drop") == 20, "{}", counted.line());
    ensure!(counted.interface("wan", "received.packets")? >= 20_000);
    counted.holds()
}

#[test]
fn links_flap_and_nothing_is_unaccounted() -> Result<()> {
    if skip("links_flap_and_nothing_is_unaccounted") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let weir = marked(&topology.weir, &FIRST)?;
    let running =
        Flood::new(topology.flows(8)?).impatient().start((&topology.a, "a0"), (&topology.b, "b0"))?;
    let (flaps, packets) = if full_scale() { (200, 10_000_000) } else { (6, 60_000) };
    let mut slowest = Duration::ZERO;
    for flap in 0..flaps {
        let (host, device) = match flap % 4 {
            0 => (&topology.weir, "wan"),
            1 => (&topology.a, "a0"),
            2 => (&topology.weir, "lan"),
            _ => (&topology.b, "b0"),
        };
        host.run(&format!("ip link set {device} down"))?;
        std::thread::sleep(Duration::from_millis(10 + flap * 7 % 40));
        host.run(&format!("ip link set {device} up"))?;
        slowest =
            slowest.max(resumes(&running, 5 * SECOND).with_context(|| format!("flap {flap} of {device}"))?);
        while running.sent() < packets / flaps * (flap + 1) {
            ensure!(running.runs(), "the flood ended early");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let outcome = running.stop()?;
    let counted = Counted::ask(&weir)?;
    println!(
        "{flaps} flaps, slowest recovery {} ms; {}; missed {}; {}",
        slowest.as_millis(),
        outcome.line(),
        counted.missed("wan"),
        counted.line(),
    );
    flawless(&outcome)?;
    counted.holds()?;
    ensure!(counted.is_up("wan") && counted.is_up("lan"), "{}", counted.0["interfaces"]);
    each_is_somewhere(&topology, &outcome, &counted)
}

/// Follows all packets from counter to counter: the sender's, the kernel's of each device, weir's, the receiver's.
fn each_is_somewhere(topology: &Topology, outcome: &Outcome, counted: &Counted) -> Result<()> {
    let Topology { a, weir, .. } = topology;
    let kernel = |host: &Namespace, device: &str, name: &str| host.counter(device, name);
    let received = counted.interface("wan", "received.packets")?;
    let transmitted = counted.interface("lan", "transmitted.packets")?;
    let steps = [
        // What a0 dropped was sent once more.
        ("sent, and taken by a0", outcome.sent, kernel(a, "a0", "tx.packets")?),
        (
            "taken by a0, and received or missed by weir",
            kernel(a, "a0", "tx.packets")?,
            received + counted.missed("wan"),
        ),
        (
            "transmitted by weir, and taken or dropped by lan",
            transmitted,
            kernel(weir, "lan", "tx.packets")? + kernel(weir, "lan", "tx.dropped")?,
        ),
        ("taken by lan, and arrived", kernel(weir, "lan", "tx.packets")?, outcome.tally.distinct()),
    ];
    println!("{steps:?}");
    for (what, before, after) in steps {
        // The hosts themselves say a word now and then: neighbours are asked for, links announce themselves.
        ensure!(before.abs_diff(after) < 100 + outcome.sent / 10_000, "{what}: {before}, {after}");
    }
    Ok(())
}

/// Also with a peer that is deleted under traffic, device and all, and made again.
#[test]
fn a_peer_that_vanishes_may_come_back() -> Result<()> {
    if skip("a_peer_that_vanishes_may_come_back") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let mut weir = marked(&topology.weir, &FIRST)?;
    for round in 0..if full_scale() { 20 } else { 2 } {
        let flood = Flood::new(topology.flows(8)?).impatient();
        flawless(&flood.run((&topology.a, "a0"), (&topology.b, "b0"), 2000)?)?;
        topology.b.run("ip link del b0")?;
        topology
            .weir
            .until("weir says that lan is down", 3 * SECOND, |_| Ok(!Counted::ask(&weir)?.is_up("lan")))?;
        topology.wire("b0", "lan", 1500)?;
        let took = topology
            .weir
            .until("weir has lan again", 5 * SECOND, |_| Ok(Counted::ask(&weir)?.is_up("lan")))
            .with_context(|| {
                format!("round {round}: {:?}", Counted::ask(&weir).map(|now| now.0["faults"].clone()))
            })
            .with_context(|| weir.said())?;
        let outcome = flood.run((&topology.a, "a0"), (&topology.b, "b0"), 2000)?;
        println!("round {round}: up again {} ms after the peer; {}", took.as_millis(), outcome.line());
        ensure!(outcome.lost() == 0, "{}", outcome.line());
        ensure!(weir.process()?.runs()?);
        Counted::ask(&weir)?.holds()?;
    }
    Ok(())
}

/// So few frames and such short rings that the fill ring runs dry under any burst.
#[test]
fn a_starved_fill_ring_loses_no_frame() -> Result<()> {
    if skip("a_starved_fill_ring_loses_no_frame") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let mut weir = Weir::prepare(&topology.weir)?;
    weir.folder().write("mark.bpf.o", FIRST.object()?)?;
    let config = MARKED.replace("device =", "ring = 64\ndevice =");
    weir.run(&format!("{config}\n[workers]\nframes = 320\n"))?;
    let flood = Flood { window: 4096, ..Flood::new(topology.flows(8)?).impatient() };
    let packets = if full_scale() { 2_000_000 } else { 100_000 };
    let outcome = flood.run((&topology.a, "a0"), (&topology.b, "b0"), packets)?;
    let counted = Counted::ask(&weir)?;
    println!("starved: {}; missed {}; {}", outcome.line(), counted.missed("wan"), counted.line());
    flawless(&outcome)?;
    ensure!(counted.missed("wan") > 0, "it did not starve: {}", outcome.line());
    counted.holds()?;
    balance(&outcome, &counted)
}

#[test]
fn a_weir_that_stands_still_accounts_for_what_it_missed() -> Result<()> {
    if skip("a_weir_that_stands_still_accounts_for_what_it_missed") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let mut weir = marked(&topology.weir, &FIRST)?;
    // More on the way than all rings hold.
    let flood = Flood { window: 16384, ..Flood::new(topology.flows(8)?).impatient() };
    let running = flood.start((&topology.a, "a0"), (&topology.b, "b0"))?;
    for _ in 0..if full_scale() { 20 } else { 3 } {
        resumes(&running, 5 * SECOND)?;
        weir.process()?.signal(Signal::Stop)?;
        std::thread::sleep(Duration::from_millis(200));
        weir.process()?.signal(Signal::Continue)?;
    }
    resumes(&running, 5 * SECOND)?;
    let outcome = running.stop()?;
    let counted = Counted::ask(&weir)?;
    println!("stopped: {}; missed {}; {}", outcome.line(), counted.missed("wan"), counted.line());
    flawless(&outcome)?;
    ensure!(outcome.lost() > 0, "standing still for 200 ms was not noticed: {}", outcome.line());
    counted.holds()?;
    balance(&outcome, &counted)
}
