//! Judges the verifier with random programs.
//!
//!     judge soundness  [--programs N] [--seed S] [--threads T]
//!     judge near-misses [--programs N] [--seed S] [--threads T] [--no-kernel]
//!     judge mutants
//!     judge operators [--one-of N] [--threads T]
//!     judge show --seed S
//!     judge show-miss --seed S
//!
//! `soundness`: generated programs run in the checked interpreter, every step beside the verifier's states;
//! it ends with seed, acceptance rate and the share of instruction forms that were run. `near-misses`:
//! programs wrong by one edit, with the kernel's verdict beside ours. `mutants`: every deliberate bug of
//! the verifier, and what found it. `operators`: every abstract operator on every number of a small word, or on
//! one pair of N. `show`, `show-miss`: a program of either.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use weir_oracle::certificate::{Verdict, certify};
use weir_oracle::coverage::Coverage;
use weir_oracle::differential::{Judge, Outcome, report};
use weir_oracle::generate::{Recipe, shrink, version};
use weir_oracle::kernel::{create_maps, skip};
use weir_oracle::nearmiss::{self, Edit, NearMiss, explained};
use weir_verifier::mutant::{Bug, CLASSES};
use weir_verifier::scalar::exhaustive::{Numbers, Operator, Tally};
use weir_verifier::{Options, verify};

/// What the command line says.
#[derive(Clone, Copy)]
struct Asked {
    programs: u64,
    one_of: usize,
    seed: u64,
    threads: u64,
    kernel: bool,
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().context("soundness, near-misses, mutants, operators or show?")?;
    let mut asked = Asked { programs: 1_000_000, one_of: 1, seed: 1, threads: 2, kernel: true };
    while let Some(flag) = arguments.next() {
        let mut number = || -> Result<u64> { Ok(arguments.next().context("a number")?.parse()?) };
        match flag.as_str() {
            "--programs" => asked.programs = number()?,
            "--seed" => asked.seed = number()?,
            "--threads" => asked.threads = number()?.max(1),
            "--one-of" => asked.one_of = number()?.max(1) as usize,
            "--no-kernel" => asked.kernel = false,
            other => bail!("what is {other}?"),
        }
    }
    let good = match what.as_str() {
        "soundness" => soundness(asked),
        "near-misses" => near_misses(asked),
        "mutants" => mutants(),
        "operators" => operators(asked),
        "show-miss" => {
            let miss = NearMiss::random(asked.seed);
            let answer = nearmiss::judge(&miss, None, 20_000);
            println!("{answer:?}\n{}", nearmiss::report(&miss));
            true
        }
        "version" => {
            println!("generator {:016x}", version());
            true
        }
        "show" => {
            println!("{}", weir_oracle::mutants::show(asked.seed));
            true
        }
        other => bail!("soundness, near-misses, mutants, operators or show, not {other}"),
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does a part of the seeds on each thread.
fn divided<T: Send>(asked: Asked, part: impl Fn(&mut dyn Iterator<Item = u64>) -> T + Sync) -> Vec<T> {
    let part = &part;
    std::thread::scope(|scope| {
        let seeds =
            |thread| (asked.seed + thread..asked.seed + asked.programs).step_by(asked.threads as usize);
        let threads = (0..asked.threads).map(|thread| scope.spawn(move || part(&mut seeds(thread))));
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[derive(Default)]
struct Soundness {
    accepted: u64,
    refused: BTreeMap<String, u64>,
    checks: u64,
    coverage: Coverage,
    wrong: Vec<u64>,
    certified: u64,
    not_certified: Vec<(u64, String)>,
}

/// The second opinion on a proof; `None` when the program has what that does not check.
fn certificate(recipe: &Recipe) -> Option<Result<(), String>> {
    let options = Options { record_states: true, insns_max: 20_000, ..Options::default() };
    match certify(&verify(Arc::new(recipe.program()), &options).ok()?) {
        Verdict::Certified { .. } => Some(Ok(())),
        Verdict::Refused(why) => Some(Err(why)),
        Verdict::Outside(_) => None,
    }
}

fn soundness(asked: Asked) -> bool {
    let start = Instant::now();
    let judge =
        Judge { kernel: false, machine_code: false, containment: true, packets: 2, insns_max: 20_000 };
    let parts = divided(asked, |seeds| {
        let mut found = Soundness::default();
        for seed in seeds {
            let recipe = Recipe::random(seed);
            match judge.judge(&recipe) {
                Outcome::Agreed { checks } => {
                    found.accepted += 1;
                    found.checks += checks;
                    found.coverage.add(&recipe.insns());
                    match certificate(&recipe) {
                        Some(Ok(())) => found.certified += 1,
                        Some(Err(why)) => found.not_certified.push((seed, why)),
                        None => {}
                    }
                }
                Outcome::Refused(why) => {
                    let first = why.lines().next().unwrap_or_default().to_owned();
                    *found.refused.entry(first).or_default() += 1;
                }
                Outcome::Wrong(_) | Outcome::KernelRefused(_) | Outcome::KnownKernelBug(_) => {
                    found.wrong.push(seed);
                }
            }
        }
        found
    });
    let mut all = Soundness::default();
    for part in parts {
        all.accepted += part.accepted;
        all.checks += part.checks;
        all.coverage.join(part.coverage);
        all.certified += part.certified;
        all.not_certified.extend(part.not_certified);
        all.wrong.extend(part.wrong);
        for (why, count) in part.refused {
            *all.refused.entry(why).or_default() += count;
        }
    }
    for (why, count) in &all.refused {
        println!("refused {count:8}: {why}");
    }
    for seed in all.wrong.iter().take(3) {
        let wrong = |recipe: &Recipe| matches!(judge.judge(recipe), Outcome::Wrong(_));
        let small = shrink(&Recipe::random(*seed), 2_000, wrong);
        println!("{}", report(&small, &judge.judge(&small)));
    }
    for (seed, why) in all.not_certified.iter().take(3) {
        println!("NOT CERTIFIED {seed}: {why}");
    }
    let (met, forms) = all.coverage.share();
    let rate = 100.0 * all.accepted as f64 / asked.programs.max(1) as f64;
    println!(
        "soundness: generator {:016x}, seeds {}..{}, {} programs in {:.0} s, {rate:.2}% accepted, {} steps inside the states, \
         {met} of {forms} instruction forms, {} certified, {} not, {} violations {:?}",
        version(),
        asked.seed,
        asked.seed + asked.programs,
        asked.programs,
        start.elapsed().as_secs_f64(),
        all.checks,
        all.certified,
        all.not_certified.len(),
        all.wrong.len(),
        &all.wrong[..all.wrong.len().min(10)],
    );
    let missing = all.coverage.missing();
    if !missing.is_empty() {
        println!("forms not run: {missing:?}");
    }
    // A run that refuses much or leaves forms out says nothing.
    let void = rate < 95.0 || !missing.is_empty();
    all.wrong.is_empty() && all.not_certified.is_empty() && !void
}

#[derive(Default)]
struct Misses {
    /// By edit: accepted by both, refused by both, too large.
    rows: BTreeMap<Edit, [u64; 3]>,
    checks: u64,
    /// The kernel alone refuses: by the reason we know and what it says, how many and the first seed.
    sharper: BTreeMap<(&'static str, String), (u64, u64)>,
    unexplained: Vec<(u64, String)>,
    /// We alone refuse, by rule.
    stricter: BTreeMap<String, (u64, u64)>,
    wrong: Vec<(u64, String)>,
}

fn near_misses(asked: Asked) -> bool {
    let start = Instant::now();
    let kernel = asked.kernel && !skip("near-misses in the kernel");
    let parts = divided(asked, |seeds| {
        let specs: Vec<_> = weir_oracle::generate::specs().into_iter().map(Arc::new).collect();
        let maps = kernel.then(|| create_maps(&specs).expect("the maps of near-misses"));
        let mut found = Misses::default();
        for seed in seeds {
            let miss = NearMiss::random(seed);
            let row = found.rows.entry(miss.edit).or_default();
            match nearmiss::judge(&miss, maps.as_deref(), 20_000) {
                nearmiss::Outcome::Accepted { checks } => {
                    row[0] += 1;
                    found.checks += checks;
                }
                nearmiss::Outcome::Refused(_) => row[1] += 1,
                nearmiss::Outcome::TooLarge => row[2] += 1,
                nearmiss::Outcome::KernelRefuses(why) => match explained(&why) {
                    Some(reason) => {
                        found.sharper.entry((reason, wordless(&why))).or_insert((0, seed)).0 += 1;
                    }
                    None => found.unexplained.push((seed, why)),
                },
                nearmiss::Outcome::KernelAccepts(rule, message) => {
                    let key = format!("{rule}: {}", wordless(&message));
                    let row = found.stricter.entry(key).or_insert((0, seed));
                    row.0 += 1;
                }
                nearmiss::Outcome::Wrong(why) => found.wrong.push((seed, why)),
            }
        }
        found
    });
    let mut all = Misses::default();
    for part in parts {
        for (edit, row) in part.rows {
            let sum = all.rows.entry(edit).or_default();
            sum.iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
        }
        all.checks += part.checks;
        for (why, (count, seed)) in part.sharper {
            all.sharper.entry(why).or_insert((0, seed)).0 += count;
        }
        for (why, (count, seed)) in part.stricter {
            all.stricter.entry(why).or_insert((0, seed)).0 += count;
        }
        all.unexplained.extend(part.unexplained);
        all.wrong.extend(part.wrong);
    }
    show_misses(asked, &all, start.elapsed().as_secs_f64())
}

/// A message without its numbers.
fn wordless(message: &str) -> String {
    message.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn show_misses(asked: Asked, all: &Misses, seconds: f64) -> bool {
    println!("{:26} {:>10} {:>10} {:>10}", "edit", "accepted", "refused", "too large");
    for (edit, [accepted, refused, large]) in &all.rows {
        println!("{edit:26} {accepted:10} {refused:10} {large:10}");
    }
    for ((why, says), (count, seed)) in &all.sharper {
        println!("only weir accepts {count:6} (seed {seed}), {why}: {says}");
    }
    for (why, (count, seed)) in &all.stricter {
        println!("only weir refuses {count:6} (seed {seed}): {why}");
    }
    for (seed, why) in all.unexplained.iter().take(5) {
        println!("UNEXPLAINED {seed}: the kernel says {why}\n{}", nearmiss::report(&NearMiss::random(*seed)));
    }
    for (seed, why) in all.wrong.iter().take(5) {
        println!("WRONG {seed}: {why}\n{}", nearmiss::report(&NearMiss::random(*seed)));
    }
    let stricter: u64 = all.stricter.values().map(|(count, _)| count).sum();
    let sharper: u64 = all.sharper.values().map(|(count, _)| count).sum();
    println!(
        "near-misses: generator {:016x}, seeds {}..{}, {} programs in {seconds:.0} s, {} steps inside the states, {} runs gone wrong, \
         {sharper} accepted by weir alone for a known reason, {} for none, {stricter} refused by weir alone ({:.3}%)",
        version(),
        asked.seed,
        asked.seed + asked.programs,
        asked.programs,
        all.checks,
        all.wrong.len(),
        all.unexplained.len(),
        100.0 * stricter as f64 / asked.programs.max(1) as f64,
    );
    all.wrong.is_empty() && all.unexplained.is_empty()
}

/// Most seconds that finding a bug may take.
const MUTANT_SECONDS: f64 = 60.0;

fn mutants() -> bool {
    let (mut survivors, mut slowest, mut certificate) = (Vec::new(), (0.0, None), 0);
    println!("{:22} {:>7}  {:11} found by, and [class: where it was made]", "bug", "time", "certificate");
    for bug in weir_oracle::mutants::all() {
        let start = Instant::now();
        let found = weir_oracle::mutants::caught(bug);
        let took = start.elapsed().as_secs_f64();
        let refused = weir_oracle::mutants::uncertified(bug).is_some();
        certificate += usize::from(refused);
        if took > slowest.0 {
            slowest = (took, Some(bug));
        }
        if found.is_none() || took >= MUTANT_SECONDS {
            survivors.push(bug);
        }
        let (by, refused) = (found.unwrap_or("NOT FOUND".to_owned()), if refused { "refuses" } else { "-" });
        println!("{:22} {took:5.2} s  {refused:11} {by}   [{}]", format!("{bug:?}"), class_of(bug));
    }
    let all = weir_oracle::mutants::all().count();
    println!(
        "mutants: {} of {all} bugs found, the slowest ({}) in {:.2} s; the certificate alone refuses {certificate}; \
         not found: {survivors:?}",
        all - survivors.len(),
        slowest.1.map_or("none".to_owned(), |bug: Bug| format!("{bug:?}")),
        slowest.0,
    );
    survivors.is_empty()
}

/// Every operator, on as many threads as are asked for.
fn operators(asked: Asked) -> bool {
    let start = Instant::now();
    let (numbers, all) = (Numbers::default(), Operator::all());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tallies = Vec::new();
        while let Some(operator) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            tallies.push((*operator, operator.tally(&numbers, asked.one_of)));
        }
        tallies
    };
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    println!("{:20} {:>5} {:>10} {:>8} {:>9}", "operator", "bits", "pairs", "unsound", "optimal");
    let (mut unsound, mut cases) = (0, 0);
    for operator in &all {
        let Some((_, tally)) = tallies.iter().find(|(found, _)| found == operator) else { continue };
        let Tally { bits, cases: tried, optimal, unsound: wrong, example } = tally;
        let share = 100.0 * *optimal as f64 / (*tried).max(1) as f64;
        println!("{:20} {bits:5} {tried:10} {wrong:8} {share:8.2}%", operator.name());
        if let Some(example) = example {
            println!("  {example}");
        }
        (unsound, cases) = (unsound + wrong, cases + tried);
    }
    println!(
        "operators: {} of them, {} numbers of 4 bits, {cases} cases in {:.0} s, {unsound} unsound",
        all.len(),
        numbers.count(),
        start.elapsed().as_secs_f64()
    );
    unsound == 0
}

/// The class of a bug, and where it was made.
fn class_of(bug: Bug) -> String {
    let (class, known) = bug.class();
    format!("{class} {}: {known}", CLASSES[class - 1])
}
