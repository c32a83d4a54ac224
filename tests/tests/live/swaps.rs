//! Programs replaced by the control socket while packets flow: a thousand times, in a storm, by a client that dies.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use weir_control::action::field::Json;
use weir_control::reply::NewValue;
use weir_control::{Action, Client};
use weir_sys::namespace::Signal;
use weir_tests::net::swapping::{self, Swapping};
use weir_tests::net::{Counted, Flood, Marker, Topology, full_scale, skip};
use weir_tests::program::root;

use crate::{FIRST, SECOND, flawless, marked, resumes};

#[test]
fn programs_are_replaced_under_load() -> Result<()> {
    if skip("programs_are_replaced_under_load") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let weir = marked(&topology.weir, &FIRST)?;
    let mut swapping = Swapping::new(&weir, FIRST)?;
    let running = Flood::new(topology.flows(16)?).start((&topology.a, "a0"), (&topology.b, "b0"))?;
    let replacements = if full_scale() { 1000 } else { 30 };
    for number in 0..replacements {
        // Each generation judges some packets at least.
        resumes(&running, 5 * SECOND)?;
        swapping.replace()?;
        if number % 10 == 0 {
            // Also in the middle of things every packet and every frame is somewhere.
            Counted::ask(&weir)?.holds()?;
        }
    }
    resumes(&running, 5 * SECOND)?;
    let outcome = running.stop()?;
    let counted = Counted::ask(&weir)?;
    println!("{}; {}", swapping.line(), outcome.line());
    swapping.judge(&outcome, &counted)?;
    ensure!(outcome.tally.marks().len() == replacements + 1, "{:?}", outcome.tally.marks());
    Ok(())
}

/// The command says what the socket answered, and means it.
#[test]
fn the_command_replaces_too() -> Result<()> {
    if skip("the_command_replaces_too") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let weir = marked(&topology.weir, &FIRST)?;
    let running = Flood::new(topology.flows(8)?).start((&topology.a, "a0"), (&topology.b, "b0"))?;
    for generation in 2..=4 {
        resumes(&running, 5 * SECOND)?;
        let marker = Marker { generation, drop_every: 0, wide: generation % 2 == 0 };
        weir.folder().write("next.bpf.o", marker.object()?)?;
        let said = weir.ask(&["prog", "replace", "mark", "with", "next.bpf.o", "prog", "enter"])?;
        let wanted = format!("swapped generation {} -> {generation} on ", generation - 1);
        ensure!(said.contains(&wanted) && said.contains("; lost 0 (rx "), "{said}");
        println!("{}", said.lines().last().unwrap_or_default());
    }
    resumes(&running, 5 * SECOND)?;
    let outcome = running.stop()?;
    flawless(&outcome)?;
    ensure!(outcome.lost() == 0 && outcome.tally.backwards == 0, "{}", outcome.line());
    ensure!(outcome.tally.marks().len() == 4, "{:?}", outcome.tally.marks());
    Counted::ask(&weir)?.holds()
}

/// The same while a map is written all the time, uploads are refused, clients die in the middle of one, and the
/// whole process stands still.
#[test]
fn replacements_survive_storms() -> Result<()> {
    if skip("replacements_survive_storms") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let mut weir = marked(&topology.weir, &FIRST)?;
    let mut swapping = Swapping::new(&weir, FIRST)?;
    let running = Flood::new(topology.flows(16)?).start((&topology.a, "a0"), (&topology.b, "b0"))?;
    let (stop, socket) = (AtomicBool::new(false), weir.socket());
    let (written, rounds) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| update_storm(&socket, &stop));
        let rounds = (|| -> Result<()> {
            for round in 0..if full_scale() { 100 } else { 6 } {
                refused_upload(&swapping, round)?;
                abandoned_upload(&socket)?;
                let still = round % 3 == 2;
                if still {
                    weir.process()?.signal(Signal::Stop)?;
                    std::thread::sleep(Duration::from_millis(200));
                    weir.process()?.signal(Signal::Continue)?;
                }
                swapping.replace()?;
                resumes(&running, 5 * SECOND)?;
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        (storm.join(), rounds)
    });
    rounds.with_context(|| weir.said())?;
    let written = written.map_err(|_| anyhow!("the storm died"))??;
    let outcome = running.stop()?;
    let counted = Counted::ask(&weir)?;
    println!("{written} map updates; {}; {}", swapping.line(), outcome.line());
    ensure!(written > 20, "a storm of {written} updates is none");
    swapping.judge(&outcome, &counted)
}

/// Writes a map as fast as the socket takes it; how often.
fn update_storm(socket: &Path, stop: &AtomicBool) -> Result<u64> {
    let client = Client::new(socket)?;
    let mut count = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let action = Action::MapUpdate {
            map: "noise".to_owned(),
            key: (count % 64).to_string(),
            entry: Json(NewValue { value: count.into(), flags: None }),
        };
        client.call(&action).with_context(|| format!("update {count}"))?;
        count += 1;
    }
    Ok(count)
}

/// An object that the verifier refuses, or one that is none: nothing changes.
fn refused_upload(swapping: &Swapping, round: usize) -> Result<()> {
    let before: weir_control::reply::Config = swapping.client().get(&Action::Config {})?;
    let mut object = FIRST.object()?;
    if round.is_multiple_of(2) {
        object.truncate(object.len() / 2);
    } else {
        object = std::fs::read(root().join("tests/corpus/live/refused.bpf.o"))?;
    }
    let refused = swapping.client().call(&swapping::replace(object));
    ensure!(refused.is_err(), "it was taken: {refused:?}");
    let after: weir_control::reply::Config = swapping.client().get(&Action::Config {})?;
    ensure!(after.generation == before.generation && after.etag == before.etag, "{after:?}");
    Ok(())
}

/// A client that says it will send an object, sends the half of it, and is gone.
fn abandoned_upload(socket: &Path) -> Result<()> {
    let object = FIRST.object()?;
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "PUT /v1/programs/mark?prog=enter HTTP/1.1\r\nHost: weir\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\n\r\n",
        object.len()
    )?;
    stream.write_all(&object[..object.len() / 2])?;
    Ok(())
}
