//! Programs replaced while packets flow, in memory: not one packet lost, doubled, out of order, or judged by a
//! mixture; and the answer to each change is exact.
//!
//! `WEIR_FULL_SCALE=1 cargo test --release -p weir-tests --test live_swap -- --nocapture` makes 1,000 replacements and prints
//! what they took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_engine::live::{Change, ChangeError, How, Live, Mutant, PastState, Probation, Swapped, What};
use weir_engine::report::Conservation;
use weir_tests::field::{Field, judged, replace};
use weir_tests::net::{Marker, full_scale};

/// The program of a generation: every second one drops, every third one has the other scratch map.
fn marker(generation: u32) -> Marker {
    let drop_every = if generation.is_multiple_of(2) { 16 } else { 0 };
    Marker { generation, drop_every, wide: generation.is_multiple_of(3) }
}

fn replacements() -> u32 {
    if full_scale() { 1000 } else { 60 }
}

/// What a round of replacements showed.
struct Round {
    /// What must not be, in words.
    faults: Vec<String>,
    took: Vec<Duration>,
    packets: u64,
    elapsed: Duration,
}

/// Replaces the program so many times under load, and looks at every packet.
fn round(count: u32, workers: usize, one_sink: bool, mutant: Mutant) -> Result<Round> {
    let field = Field::new(workers, one_sink);
    // What one worker cannot take from the others is dropped by name, and here nothing is to be dropped.
    field.wishes.paced.store(one_sink, Ordering::Relaxed);
    let live = field.start(marker(1), |options| options.mutant = mutant)?;
    let mut faults = Vec::new();
    let (mut took, mut cuts) = (Vec::new(), Vec::new());
    field.let_pass(10_000)?;
    let start = Instant::now();
    for generation in 2..=count + 1 {
        let swapped = live.apply(&replace(marker(generation))?, &How::default())?;
        if swapped.cut.balance() != 0 {
            faults.push(swapped.to_string());
        }
        took.push(swapped.took);
        cuts.push(swapped.cut);
        field.let_pass(500)?;
    }
    let elapsed = start.elapsed();
    let packets = field.made();
    field.quieten(&live)?;
    let verdict = field.verdict(|id| id % 16 == 3);
    faults.extend(verdict.faults());
    for (at, cut) in cuts.iter().enumerate() {
        let marked = verdict.marks.get(&(at as u32 + 1)).copied().unwrap_or(0);
        if marked != cut.transmitted.packets {
            faults.push(format!(
                "generation {} sent {marked} packets, and its cut says {}",
                at + 1,
                cut.transmitted.packets
            ));
        }
    }
    let stats = live.stats();
    let Conservation { rx, drop, .. } = stats.conservation;
    let (all, dropped) = judged(&live)?;
    for (what, found, wanted) in [
        ("received", rx, verdict.made),
        ("dropped", drop, verdict.missing),
        ("judged, by the map that carried over", all, verdict.made),
        ("dropped, by the map that carried over", dropped, verdict.missing),
    ] {
        if found != wanted {
            faults.push(format!("{found} packets {what}, and {wanted} were"));
        }
    }
    if !stats.ledger.holds() {
        faults.push(format!("{:?}", stats.ledger));
    }
    let ended = live.shutdown(Duration::from_secs(5));
    if ended.frames_lost != 0 || !ended.stalled.is_empty() {
        faults.push(format!("{ended:?}"));
    }
    Ok(Round { faults, took, packets, elapsed })
}

fn quantile(took: &mut [Duration], share: f64) -> Duration {
    took.sort();
    took[((took.len() - 1) as f64 * share) as usize]
}

#[test]
fn replacements_under_load_lose_nothing() -> Result<()> {
    for (workers, one_sink) in [(2, false), (2, true)] {
        let mut round = round(replacements(), workers, one_sink, Mutant::None)?;
        ensure!(round.faults.is_empty(), "{:#?}", round.faults);
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        println!(
            "{} replacements on {workers} workers{}, {} packets at {:.2} Mpps: 0 lost, 0 doubled, 0 out of order, \
             0 mixed; publish to quiescent median {:.1} us, p99 {:.1} us, longest {:.1} us",
            round.took.len(),
            if one_sink { " that send by one" } else { "" },
            round.packets,
            round.packets as f64 / round.elapsed.as_secs_f64() / 1e6,
            micros(quantile(&mut round.took, 0.5)),
            micros(quantile(&mut round.took, 0.99)),
            micros(quantile(&mut round.took, 1.0)),
        );
    }
    Ok(())
}

/// The same look at every packet finds a weir that does not wait for its workers: by the counts, which were cut
/// before the workers had left, and by packets that met a map that was freed (it is overwritten then).
#[test]
fn freeing_without_waiting_is_found() -> Result<()> {
    for _ in 0..10 {
        let round = round(200, 2, false, Mutant::NoGrace)?;
        ensure!(!round.faults.is_empty(), "the counts are right, though nobody waited for them");
        if let Some(mixed) = round.faults.iter().find(|fault| fault.contains("mixed")) {
            println!(
                "without the grace wait: {} faults, such as: {mixed}; {}",
                round.faults.len(),
                round.faults[1]
            );
            return Ok(());
        }
    }
    anyhow::bail!("a generation was freed under its workers, and no packet showed it")
}

fn start() -> Result<(Arc<Field>, Arc<Live>)> {
    let field = Field::new(2, false);
    let live = field.start(marker(1), |_| {})?;
    field.let_pass(1000)?;
    Ok((field, live))
}

/// Ends a field, every packet of which must be accounted for.
fn settle(field: &Field, live: &Live) -> Result<()> {
    field.quieten(live)?;
    let verdict = field.verdict(|id| id % 16 == 3);
    ensure!(verdict.faults().is_empty(), "{:#?}", verdict.faults());
    let stats = live.stats();
    ensure!(stats.conservation.drop == verdict.missing, "{verdict:?} {:?}", stats.conservation);
    ensure!(stats.ledger.holds(), "{:?}", stats.ledger);
    let ended = live.shutdown(Duration::from_secs(5));
    ensure!(ended.frames_lost == 0 && ended.stalled.is_empty(), "{ended:?}");
    Ok(())
}

fn exact(swapped: &Swapped) -> Result<()> {
    ensure!(swapped.cut.balance() == 0 && swapped.stalled.is_empty(), "{swapped}");
    Ok(())
}

#[test]
fn the_answer_says_what_was_done() -> Result<()> {
    let (field, live) = start()?;
    let plan = live.plan(&replace(marker(3))?, &How::default())?;
    ensure!((plan.from, plan.to, live.current().number) == (1, 2, 1), "a plan changes nothing: {plan:?}");
    let swapped = live.apply(&replace(marker(3))?, &How::default())?;
    exact(&swapped)?;
    let text = swapped.to_string();
    ensure!(text.starts_with("swapped generation 1 -> 2 on 2 workers in "), "{text}");
    ensure!(text.contains(" us; lost 0 (rx ") && text.contains(" = tx "), "{text}");
    let words: Vec<String> = swapped.plan.maps.iter().map(ToString::to_string).collect();
    ensure!(words.contains(&"judged kept 2".to_owned()), "{words:?}");
    ensure!(words.contains(&"between starts empty".to_owned()), "{words:?}");
    println!("{}\n{swapped}", swapped.plan);
    settle(&field, &live)
}

#[test]
fn a_change_that_is_refused_changes_nothing() -> Result<()> {
    let (field, live) = start()?;
    let events = live.subscribe();
    let before = live.current();
    let garbage = Change::Replace { program: "mark".into(), object: vec![0x7f; 5000].into(), prog: None };
    ensure!(matches!(live.apply(&garbage, &How::default()), Err(ChangeError::Build(_))));
    let unknown = Change::Unload { program: "mork".into() };
    let error = live.apply(&unknown, &How::default()).unwrap_err().to_string();
    ensure!(error == "there is no program `mork`; there is `mark`", "{error}");
    let stale = How { if_match: Some("\"7-0\"".into()), ..How::default() };
    ensure!(matches!(live.apply(&replace(marker(2))?, &stale), Err(ChangeError::Stale { .. })));
    let text =
        before.desired.text.replace("interface.out", "interface.outside").replace("\"out\"", "\"outside\"");
    let interfaces = Change::Config { text, objects: before.desired.objects.clone() };
    let error = live.apply(&interfaces, &How::default()).unwrap_err().to_string();
    ensure!(error.contains("restart weir"), "{error}");
    let now = live.current();
    ensure!(now.number == 1 && now.etag == before.etag && live.history().len() == 1);
    ensure!(events.try_iter().filter(|event| matches!(event.what, What::Refused { .. })).count() == 4);
    settle(&field, &live)
}

#[test]
fn changes_beside_each_other_and_a_storm_of_map_updates() -> Result<()> {
    let (field, live) = start()?;
    let over = AtomicBool::new(false);
    let updates = std::thread::scope(|scope| -> Result<u64> {
        let storm = scope.spawn(|| {
            let mut updates = 0u64;
            while !over.load(Ordering::Relaxed) {
                let current = live.current();
                for (_, _, map) in current.find_maps("mark.judged") {
                    let values = vec![updates.to_le_bytes().to_vec(); map.cpus()];
                    let key = (updates as u32 % 2).to_le_bytes();
                    updates += u64::from(map.control().update_percpu(&key, &values, 0).is_ok());
                }
            }
            updates
        });
        let changers: Vec<_> = (0..2)
            .map(|which| {
                let live = &live;
                scope.spawn(move || -> Result<()> {
                    for number in 0..10 {
                        // Numbers grow in the order of publishing only within one changer, so all are the same.
                        let marker =
                            Marker { generation: 9, drop_every: 16, wide: (number + which) % 2 == 0 };
                        exact(&live.apply(&replace(marker)?, &How::default())?)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for changer in changers {
            changer.join().ok().context("a changer panicked")??;
        }
        over.store(true, Ordering::Relaxed);
        storm.join().ok().context("the storm panicked")
    })?;
    ensure!(live.current().number == 21 && updates > 0);
    settle(&field, &live)
}

#[test]
fn a_worker_that_stops_for_a_while_is_waited_for() -> Result<()> {
    let (field, live) = start()?;
    field.wishes.block_ms.store(200, Ordering::Relaxed);
    while field.wishes.block_ms.load(Ordering::Relaxed) != 0 {
        std::hint::spin_loop();
    }
    let swapped = live.apply(&replace(marker(2))?, &How::default())?;
    exact(&swapped)?;
    ensure!(swapped.took > Duration::from_millis(100), "{swapped}");
    settle(&field, &live)
}

#[test]
fn a_worker_that_stops_for_long_is_named_and_catches_up() -> Result<()> {
    let field = Field::new(2, false);
    let live = field.start(marker(1), |options| {
        options.limits.grace = Duration::from_millis(30);
        options.limits.stall = Duration::from_millis(50);
    })?;
    let events = live.subscribe();
    field.let_pass(1000)?;
    field.wishes.block_ms.store(1500, Ordering::Relaxed);
    while field.wishes.block_ms.load(Ordering::Relaxed) != 0 {
        std::hint::spin_loop();
    }
    let first = live.apply(&replace(marker(2))?, &How::default())?;
    ensure!(first.stalled == [0] && first.workers == 1 && first.cut.balance() == 0, "{first}");
    let ledger = live.stats().ledger;
    ensure!(ledger.silent == [0] && ledger.unaccounted == Some(0), "{ledger:?}");
    let faults = |wanted: &[&str]| -> Result<()> {
        let start = Instant::now();
        while live.faults() != wanted || live.alive() != wanted.is_empty() {
            ensure!(start.elapsed() < Duration::from_secs(10), "{:?}", live.faults());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    };
    faults(&["worker 0 is stalled"])?;
    faults(&[])?;
    let second = live.apply(&replace(marker(3))?, &How::default())?;
    exact(&second)?;
    let told: Vec<What> = events.try_iter().map(|event| event.what).collect();
    ensure!(told.iter().any(|what| matches!(what, What::WorkerStalled { worker: 0, .. })), "{told:?}");
    ensure!(told.iter().any(|what| matches!(what, What::WorkerBack { worker: 0 })), "{told:?}");
    settle(&field, &live)
}

#[test]
fn one_goes_back_to_what_was_good() -> Result<()> {
    let (field, live) = start()?;
    ensure!(matches!(live.rollback(None), Err(ChangeError::NoPast { .. })));
    live.apply(&replace(Marker { generation: 1, drop_every: 16, wide: true })?, &How::default())?;
    let back = live.rollback(None)?;
    exact(&back)?;
    ensure!((back.from, back.to) == (2, 3));
    let history = live.history();
    let states: Vec<(u64, PastState)> = history.iter().map(|past| (past.generation, past.state)).collect();
    ensure!(
        states == [(3, PastState::Live), (2, PastState::RolledBack), (1, PastState::Kept)],
        "{history:?}"
    );
    ensure!(history[0].restores == Some(1));
    ensure!(live.rollback(Some(2))?.to == 4, "also to one that was given up, by its number");
    settle(&field, &live)
}

#[test]
fn a_generation_that_does_badly_is_given_up_by_itself() -> Result<()> {
    let (field, live) = start()?;
    let events = live.subscribe();
    let probation = Probation { for_: Duration::from_secs(20), drop_rate: 0.01, ..Probation::default() };
    let how = How { probation: Some(probation), ..How::default() };
    let bad = Marker { generation: 1, drop_every: 16, wide: false };
    let swapped = live.apply(&replace(bad)?, &how)?;
    let wait = |wanted: &dyn Fn(&What) -> bool| loop {
        match events.recv_timeout(Duration::from_secs(10)) {
            Ok(event) if wanted(&event.what) => return Ok(event.what),
            Ok(_) => {}
            Err(_) => anyhow::bail!("nothing happened"),
        }
    };
    let what = wait(&|what| matches!(what, What::RolledBack { .. }))?;
    let What::RolledBack { from, to, restored, reason } = what else { unreachable!("just looked") };
    ensure!((from, to, restored) == (swapped.to, 3, 1) && reason.contains("were dropped ("), "{reason}");
    let short = Probation { for_: Duration::from_millis(50), ..Probation::default() };
    live.apply(&replace(marker(1))?, &How { probation: Some(short), ..How::default() })?;
    ensure!(live.history()[0].state == PastState::Probation);
    wait(&|what| *what == What::Kept { generation: 4 })?;
    ensure!(live.history()[0].state == PastState::Live && live.current().number == 4);
    ensure!(live.stats().swaps.tripped == 1);
    settle(&field, &live)
}
