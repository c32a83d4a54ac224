//! Random programs: accepted by the verifier, inside its states at every step, and the same on the
//! interpreter, as machine code and in the kernel.
//!
//! `WEIR_DIFF_PROGRAMS` says how many (3000), `WEIR_DIFF_SEED` where seeds begin (1).

use std::collections::BTreeMap;

use weir_oracle::differential::{Judge, Outcome, report};
use weir_oracle::generate::{Recipe, shrink};
use weir_oracle::kernel;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The failure of a recipe made small, as text.
fn smallest(judge: &Judge, recipe: &Recipe) -> String {
    let wrong = |recipe: &Recipe| matches!(judge.judge(recipe), Outcome::Wrong(_));
    let small = shrink(recipe, 2_000, wrong);
    report(&small, &judge.judge(&small))
}

#[test]
fn random_programs_are_the_same_everywhere() {
    let (programs, first) = (number("WEIR_DIFF_PROGRAMS", 3_000), number("WEIR_DIFF_SEED", 1));
    let kernel = !kernel::skip("random programs in the kernel");
    let judge = Judge { kernel, machine_code: true, containment: true, packets: 3, insns_max: 1_000_000 };
    let (mut checks, mut refused, mut kernel_refused) = (0, BTreeMap::new(), BTreeMap::new());
    let mut known = BTreeMap::new();
    for seed in first..first + programs {
        let recipe = Recipe::random(seed);
        match judge.judge(&recipe) {
            Outcome::Agreed { checks: more } => checks += more,
            Outcome::Refused(why) => {
                refused.insert(seed, why);
            }
            Outcome::KernelRefused(why) => {
                kernel_refused.insert(seed, why);
            }
            Outcome::KnownKernelBug(bug) => *known.entry(bug).or_insert(0) += 1,
            Outcome::Wrong(_) => panic!("{}", smallest(&judge, &recipe)),
        }
    }
    println!(
        "seeds {first}..{}: {} refused, {} refused by the kernel only, {checks} steps inside the states; kernel bugs met: {known:?}",
        first + programs,
        refused.len(),
        kernel_refused.len()
    );
    let share = |refusals: &BTreeMap<u64, String>| refusals.len() as u64 * 20 <= programs;
    assert!(share(&refused), "more than 5% were refused, such as {:#?}", refused.first_key_value());
    assert!(
        share(&kernel_refused),
        "the kernel refused more than 5%: {:#?}",
        kernel_refused.first_key_value()
    );
}
