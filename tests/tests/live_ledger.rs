//! Every packet and every frame accounted for, whatever goes wrong with the ports, in memory.
//!
//! `WEIR_FULL_SCALE=1 cargo test --release -p weir-tests --test live_ledger -- --nocapture` does it over 10 million packets
//! with 200 losses of the ports.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_engine::live::{Live, What};
use weir_engine::reason::Reason;
use weir_tests::field::Field;
use weir_tests::net::{Marker, full_scale};

const MARKER: Marker = Marker { generation: 1, drop_every: 16, wide: false };

/// What must not be, when all has come to rest.
fn faults(field: &Field, live: &Live) -> Result<Vec<String>> {
    field.quieten(live)?;
    // Figures of now: a busy machine may leave a worker no time to answer.
    let mut stats = live.stats();
    for _ in 0..50 {
        if stats.ledger.silent.is_empty() {
            break;
        }
        stats = live.stats();
    }
    let verdict = field.verdict(|_| true);
    let mut faults = verdict.faults();
    for port in &stats.interfaces {
        if port.conservation_error != 0 {
            faults.push(format!(
                "interface {}: {} packets too many or too few",
                port.name, port.conservation_error
            ));
        }
    }
    let drops = |wanted: Reason| -> u64 {
        let drops = stats.interfaces.iter().flat_map(|port| &port.drops);
        drops.filter(|drop| drop.reason == wanted.name()).map(|drop| drop.packets).sum()
    };
    for (what, found, wanted) in [
        ("received", stats.conservation.rx, verdict.made),
        ("sent", stats.conservation.tx, verdict.arrived),
        ("dropped", stats.conservation.drop, verdict.missing),
        ("without a frame", drops(Reason::RxNoFrame), field.starved.load(Ordering::Relaxed)),
    ] {
        if found != wanted {
            faults.push(format!("{found} packets {what}, and {wanted} were"));
        }
    }
    if stats.conservation.error != 0 || !stats.ledger.holds() {
        faults.push(format!("{}; {:?}", stats.conservation, stats.ledger));
    }
    Ok(faults)
}

#[test]
fn nothing_is_unaccounted_for() -> Result<()> {
    let (flaps, packets) = if full_scale() { (200, 10_000_000) } else { (20, 400_000) };
    for one_sink in [false, true] {
        let field = Field::new(2, one_sink);
        let live = field.start(MARKER, |options| {
            options.limits.reopen = (Duration::from_millis(1), Duration::from_millis(10));
        })?;
        let events = live.subscribe();
        let mut lost = 0;
        for flap in 0..flaps {
            field.let_pass(packets / flaps / 2)?;
            field.wishes.starve.store(50, Ordering::Relaxed);
            field.wishes.stalled.store(flap % 3 == 0, Ordering::Relaxed);
            field.let_pass(packets / flaps / 2)?;
            field.wishes.stalled.store(false, Ordering::Relaxed);
            let ledger = live.stats().ledger;
            ensure!(ledger.holds(), "under load: {ledger:?}");
            field.wishes.flaps.fetch_add(1, Ordering::Relaxed);
            live.look();
            let mut up = 0;
            while up < 2 {
                match events.recv_timeout(Duration::from_secs(10))?.what {
                    What::PortUp { .. } => up += 1,
                    What::PortDown { .. } => lost += 1,
                    other => ensure!(!matches!(other, What::WorkerDied { .. }), "{other:?}"),
                }
            }
        }
        let made = field.made();
        ensure!(made >= packets && lost == 2 * flaps, "{made} packets, {lost} losses");
        let faults = faults(&field, &live)?;
        ensure!(faults.is_empty(), "{faults:#?}");
        let stats = live.stats();
        ensure!(
            stats.interfaces.iter().all(|port| port.up && port.reopened == flaps),
            "{:?}",
            stats.interfaces
        );
        println!(
            "{} with {lost} losses of ports, {} packets without a frame, {} refused: nothing unaccounted for; {} frames: {:?}",
            stats.conservation,
            field.starved.load(Ordering::Relaxed),
            field.refused.load(Ordering::Relaxed),
            stats.ledger.total,
            stats.ledger.places()
        );
        let ended = live.shutdown(Duration::from_secs(5));
        ensure!(ended.frames_lost == 0 && ended.totals.balance() == 0, "{ended:?}");
    }
    Ok(())
}

/// Asked again and again, and given no time to answer, what weir says of itself is exact at every moment.
#[test]
fn no_reading_is_ever_wrong() -> Result<()> {
    for answer in [Duration::from_millis(100), Duration::from_micros(50), Duration::ZERO] {
        let field = Field::new(2, true);
        let live = field.start(MARKER, |options| {
            options.limits.answer = answer;
            options.limits.reopen = (Duration::from_millis(1), Duration::from_millis(10));
        })?;
        let (mut readings, mut silent, mut newest) = (0, 0, 0);
        while field.made() < 100_000 || readings < 300 {
            let stats = live.stats();
            readings += 1;
            silent += usize::from(!stats.ledger.silent.is_empty());
            ensure!(stats.conservation.error == 0 && stats.ledger.holds(), "{readings}: {stats:?}");
            for port in &stats.interfaces {
                ensure!(port.conservation_error == 0, "{readings}: {port:?}");
            }
            ensure!(stats.conservation.rx >= newest, "{newest} packets were counted before: {stats:?}");
            newest = stats.conservation.rx;
            field.let_pass(100)?;
        }
        println!(
            "{answer:?} to answer: {readings} readings, {silent} without a worker's answer, {newest} packets"
        );
        live.shutdown(Duration::from_secs(5));
    }
    Ok(())
}

/// One packet in a million (in so many, in a short run) that a port says it sent, and did not.
#[test]
fn a_packet_that_vanishes_is_found() -> Result<()> {
    let every = if full_scale() { 1_000_000 } else { 20_000 };
    let field = Field::new(2, false);
    field.wishes.swallow_every.store(every, Ordering::Relaxed);
    let live = field.start(MARKER, |_| {})?;
    field.let_pass(every * 5)?;
    let faults = faults(&field, &live)?;
    ensure!(!faults.is_empty(), "a packet in {every} vanished, and nothing showed it");
    println!("one packet in {every} vanished: {faults:?}");
    live.shutdown(Duration::from_secs(5));
    Ok(())
}

/// One frame in as many that a port forgets.
#[test]
fn a_frame_that_is_forgotten_is_found() -> Result<()> {
    let every = if full_scale() { 1_000_000 } else { 20_000 };
    let field = Field::new(2, false);
    field.wishes.leak_every.store(every, Ordering::Relaxed);
    let live = field.start(MARKER, |_| {})?;
    field.let_pass(every * 5)?;
    field.quieten(&live)?;
    let ledger = live.stats().ledger;
    ensure!(ledger.unaccounted.is_some_and(|frames| frames > 0), "{ledger:?}");
    println!("one frame in {every} forgotten: {} unaccounted for", ledger.unaccounted.unwrap_or(0));
    let ended = live.shutdown(Duration::from_secs(5));
    ensure!(ended.frames_lost as i64 == ledger.unaccounted.unwrap_or(0), "{ended:?}");
    field.keep_umem();
    Ok(())
}
