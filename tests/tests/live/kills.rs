//! kill -9 of the real process at random moments, and files that are torn: it starts again with the maps of the
//! newest whole snapshot, and the interfaces are as they were before weir came.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use weir_control::action::field::Json;
use weir_control::reply::{Entries, NewValue};
use weir_control::{Action, Client};
use weir_engine::snapshot::{Newest, Store};
use weir_tests::net::{Counted, Flood, Namespace, Topology, Weir, full_scale, skip};

use crate::{FIRST, MARKED, SECOND, flawless, resumes};

/// Keeps its maps, very often.
const KEPT: &str = r#"
[daemon]
socket = "@FOLDER@/sock"
state_dir = "@FOLDER@/state"
snapshot_every = "20ms"
"#;

/// Keys that are written.
const KEYS: u64 = 64;

type Held = BTreeMap<u64, u64>;

fn config() -> String {
    format!("{MARKED}{KEPT}")
}

fn prepared<'host>(host: &'host Namespace) -> Result<Weir<'host>> {
    let weir = Weir::prepare(host)?;
    weir.folder().write("mark.bpf.o", FIRST.object()?)?;
    Ok(weir)
}

/// Writes numbers into the map until the process is killed or the time is over: number n goes to key n % 64. Answers the next.
fn write(client: &Client, mut n: u64, until: Instant) -> u64 {
    while Instant::now() < until {
        let entry = Json(NewValue { value: n.into(), flags: None });
        let action = Action::MapUpdate { map: "noise".to_owned(), key: (n % KEYS).to_string(), entry };
        // Not there yet: the same once more. What was on its way may have come in.
        match client.call(&action) {
            Ok(_) => n += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    n
}

/// What the running weir's map holds.
fn held(client: &Client) -> Result<Held> {
    let action =
        Action::MapDump { map: "noise".to_owned(), format: None, limit: Some(KEYS as u32), after: None };
    let entries: Entries = client.get(&action)?;
    let number = |value: &serde_json::Value| -> Result<u64> {
        let bytes = value.as_array().with_context(|| format!("{value} are no bytes"))?;
        let byte = |byte: &serde_json::Value| {
            let text = byte.as_str().unwrap_or_default().trim_start_matches("0x");
            u64::from_str_radix(text, 16).with_context(|| format!("{byte} is no byte"))
        };
        bytes.iter().rev().try_fold(0, |number, next| Ok(number << 8 | byte(next)?))
    };
    entries.entries.iter().map(|entry| Ok((number(&entry["key"])?, number(&entry["value"])?))).collect()
}

/// What a weir that is starting begins with, as soon as it answers; `None` when it does not in time.
fn begun(client: &Client, until: Instant) -> Option<Held> {
    while Instant::now() < until {
        match held(client) {
            Ok(held) => return Some(held),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    None
}

/// What the newest whole snapshot holds of the map, and its number; while no weir runs.
fn kept(folder: &Path) -> Result<(Newest, u64, Held)> {
    let (_, newest) = Store::open(&folder.join("state"))?;
    let Some((_, snapshot)) = &newest.snapshot else { return Ok((newest, 0, Held::new())) };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let map = snapshot.maps.iter().find(|map| map.layout().map == "noise");
    let entries = map.into_iter().flat_map(|map| map.entries());
    let (sequence, held) =
        (snapshot.sequence, entries.map(|(key, value)| (number(key), number(value))).collect());
    Ok((newest, sequence, held))
}

/// All that a killed weir might leave behind on the box: links and what is on them, addresses, routes, rules.
fn shown(host: &Namespace) -> Result<String> {
    let words =
        ["-d -o link show", "-o addr show", "route show table all", "-6 route show table all", "rule"];
    let all: Vec<String> =
        words.iter().map(|words| host.run(&format!("ip {words}"))).collect::<Result<_>>()?;
    // How long router advertisements and temporary things still live is no state of ours.
    Ok(all.concat())
}

/// The same when addresses are no longer tentative and all that comes with them is there.
fn settled(host: &Namespace) -> Result<String> {
    let mut before = shown(host)?;
    host.until("addresses are settled", 5 * SECOND, |host| {
        std::thread::sleep(Duration::from_millis(100));
        let now = shown(host)?;
        let same = now == before && !now.contains("tentative");
        before = now;
        Ok(same)
    })?;
    Ok(before)
}

/// Waits until all is as it was found.
fn left_as_found(host: &Namespace, found: &str) -> Result<Duration> {
    let as_found = host.until("the box is as it was found", 2 * SECOND, |host| Ok(shown(host)? == found));
    as_found.with_context(|| format!("now {}\nfound {found}", shown(host).unwrap_or_default()))
}

#[test]
fn killed_at_any_moment_it_starts_again() -> Result<()> {
    if skip("killed_at_any_moment_it_starts_again") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let host = &topology.weir;
    let found = settled(host)?;
    let mut weir = prepared(host)?;
    let client = Client::new(weir.socket())?;
    let running =
        Flood::new(topology.flows(8)?).impatient().start((&topology.a, "a0"), (&topology.b, "b0"))?;
    let kills = if full_scale() { 100 } else { 6 };
    let (mut slowest, mut next, mut sequence, mut early, mut compared) = (Duration::ZERO, 1, 0, 0, 0);
    let (mut held_before, mut seed) = (Held::new(), 0x2545_f491_4f6c_dd1d_u64);
    for kill in 0..kills {
        weir.launch(&config())?;
        // Some die before they are ready.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let until = Instant::now() + Duration::from_millis(seed % 700);
        let first = next;
        // What it began with, before anything is written: exactly what the life before left.
        let begun = begun(&client, until);
        if let Some(begun) = &begun {
            ensure!(*begun == held_before, "kill {kill}: {begun:?} is not {held_before:?}");
            compared += 1;
        }
        next = write(&client, next, until);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        weir.kill()?;
        early += usize::from(next == first);
        slowest = slowest.max(left_as_found(host, &found).with_context(|| format!("kill {kill}"))?);
        let (newest, now, held) = kept(weir.folder().path())?;
        ensure!(newest.torn.is_empty(), "kill {kill}: {:?}", newest.torn);
        ensure!(now >= sequence, "kill {kill}: snapshot {now} after {sequence}");
        // Each key holds something that was written for it, and nothing goes back behind the life before.
        for (key, value) in &held {
            ensure!(value % KEYS == *key && *value <= next, "kill {kill}: key {key} holds {value}");
            let before = held_before.get(key).copied().unwrap_or(0);
            ensure!(*value >= before, "kill {kill}: key {key} went back from {before} to {value}");
        }
        ensure!(held.len() >= held_before.len(), "kill {kill}: {held:?} after {held_before:?}");
        if begun.is_none() {
            // It never answered, so nobody wrote: what it was to begin with is untouched.
            ensure!(held == held_before, "kill {kill}: {held:?} is not {held_before:?}");
        }
        (sequence, held_before) = (now, held);
    }
    let start = Instant::now();
    weir.run(&config())?;
    ensure!(held(&client)? == held_before, "{:?} is not {held_before:?}", held(&client)?);
    resumes(&running, 5 * SECOND)?;
    let back = start.elapsed();
    let outcome = running.stop()?;
    println!(
        "{kills} kills ({early} before it answered), {compared} starts compared, {sequence} snapshots, {next} updates; box as it was found at the \
         latest after {} ms; packets flow {} ms after the last start; {}",
        slowest.as_millis(),
        back.as_millis(),
        outcome.line()
    );
    ensure!(compared > 0, "it never answered before it was killed");
    ensure!(sequence > 0 && held_before.len() == KEYS as usize, "{sequence} snapshots of {held_before:?}");
    flawless(&outcome)?;
    Counted::ask(&weir)?.holds()?;
    weir.stop()?;
    left_as_found(host, &found)?;
    Ok(())
}

/// Cuts a file off, or turns a bit of it over.
fn tear(file: &PathBuf, how: usize) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    match how {
        0 => bytes.truncate(bytes.len() / 2),
        1 => bytes.clear(),
        how => {
            let place = bytes.len() * how / 7 % bytes.len();
            bytes[place] ^= 1 << (how % 8);
        }
    }
    Ok(std::fs::write(file, bytes)?)
}

/// When one of the two files was written last; `None`: there is none.
fn last_written(state: &Path) -> Result<Option<SystemTime>> {
    let files = ["maps.0", "maps.1"].map(|name| state.join(name));
    let times = files.iter().filter(|file| file.exists()).map(|file| file.metadata()?.modified());
    Ok(times.collect::<std::io::Result<Vec<_>>>()?.into_iter().max())
}

#[test]
fn a_torn_snapshot_is_refused_for_the_one_before() -> Result<()> {
    if skip("a_torn_snapshot_is_refused_for_the_one_before") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let mut weir = prepared(&topology.weir)?;
    let client = Client::new(weir.socket())?;
    weir.run(&config())?;
    let mut next = 1;
    let state = weir.folder().path().join("state");
    let mut torn = None;
    for how in 0..if full_scale() { 20 } else { 4 } {
        // The one that is torn already must have been written again, or there will be none before.
        let limit = Instant::now() + 20 * SECOND;
        next = write(&client, next, Instant::now() + Duration::from_millis(150));
        let both = || ["maps.0", "maps.1"].iter().all(|name| state.join(name).exists());
        while last_written(&state)? == torn || !both() {
            ensure!(Instant::now() < limit, "no snapshot was written: {}", weir.said());
            next = write(&client, next, Instant::now() + Duration::from_millis(50));
        }
        weir.kill()?;
        let (newest, latest, _) = kept(weir.folder().path())?;
        let (file, _) = newest.snapshot.context("there is a snapshot")?;
        tear(&file, how)?;
        torn = last_written(&state)?;
        let (newest, before, held_before) = kept(weir.folder().path())?;
        ensure!(newest.torn.len() == 1 && before + 1 == latest, "{:?}, {before} {latest}", newest.torn);
        weir.run(&config())?;
        ensure!(held(&client)? == held_before, "torn by {how}: {:?} is not {held_before:?}", held(&client)?);
        let (said, name) = (weir.said(), file.display().to_string());
        let told = said.lines().find(|line| line.contains("a snapshot is refused: ") && line.contains(&name));
        let told = told.with_context(|| format!("it does not say that {name} is torn: {said}"))?;
        println!("{}", told.replace(&weir.folder().path().display().to_string(), ""));
    }
    // When both are torn it starts with nothing, and says so of both.
    write(&client, next, Instant::now() + Duration::from_millis(150));
    weir.kill()?;
    for name in ["maps.0", "maps.1"] {
        tear(&weir.folder().path().join("state").join(name), 0)?;
    }
    weir.run(&config())?;
    ensure!(held(&client)?.is_empty(), "{:?}", held(&client)?);
    ensure!(weir.said().matches("a snapshot is refused: ").count() == 2, "{}", weir.said());
    Ok(())
}
