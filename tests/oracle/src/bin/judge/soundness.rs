//! Random programs beside the verifier's states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use weir_oracle::certificate::{Verdict, certify};
use weir_oracle::coverage::Coverage;
use weir_oracle::differential::{Judge, Outcome, report};
use weir_oracle::generate::{Recipe, shrink};
use weir_verifier::{Options, verify};

use crate::{Asked, divided};

/// Share of programs that must be accepted, in percent.
const ACCEPTED_MIN: f64 = 95.0;

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

pub(crate) fn soundness(asked: Asked) -> bool {
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
    show(asked, &all, start.elapsed().as_secs_f64());
    for seed in all.wrong.iter().take(3) {
        let wrong = |recipe: &Recipe| matches!(judge.judge(recipe), Outcome::Wrong(_));
        let small = shrink(&Recipe::random(*seed), 2_000, wrong);
        println!("WRONG {seed}:\n{}", report(&small, &judge.judge(&small)));
    }
    // A run that refuses much or leaves forms out says nothing.
    let void = share(all.accepted, asked.programs) < ACCEPTED_MIN || !all.coverage.missing().is_empty();
    all.wrong.is_empty() && all.not_certified.is_empty() && !void
}

fn share(part: u64, all: u64) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

fn show(asked: Asked, all: &Soundness, seconds: f64) {
    println!("Random programs, each run beside the states that the verifier proved");
    asked.head(seconds);
    let accepted = share(all.accepted, asked.programs);
    println!("  accepted                {accepted:.2}% (below {ACCEPTED_MIN}% the run would say nothing)");
    for (why, count) in &all.refused {
        println!("    {count:6} refused: {why}");
    }
    let (met, forms) = all.coverage.share();
    println!("  instruction forms       {met} of {forms} (opcode and kind of operand; all must be run)");
    let missing = all.coverage.missing();
    if !missing.is_empty() {
        println!("    not run: {missing:?}");
    }
    println!(
        "  steps compared          {}: registers and stacks of all frames, and what machine code is made by",
        all.checks
    );
    let (certified, refused) = (all.certified, all.not_certified.len() as u64);
    let others = all.accepted - certified - refused;
    println!("  certificates            {certified} proved again by the second checker, {refused} refused,");
    println!("                          {others} with callbacks or other things that it does not check");
    for (seed, why) in all.not_certified.iter().take(3) {
        println!("    NOT CERTIFIED {seed}: {why}");
    }
    println!("  violations              {} {:?}", all.wrong.len(), &all.wrong[..all.wrong.len().min(10)]);
}
