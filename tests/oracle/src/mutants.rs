//! Deliberate bugs of the verifier, and who finds them: the cases of the corpus, random programs in the
//! checked interpreter, or their near-misses.

#[path = "../../../dataplane/verifier/tests/case/mod.rs"]
mod case;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use weir_verifier::mutant::{Bug, with};
use weir_verifier::{Options, verify};

use crate::differential::{Judge, Outcome, report};
use crate::generate::Recipe;
use crate::nearmiss::{self, NearMiss};

/// Programs and near-misses that a bug may survive.
const PATIENCE: u64 = 3_000;

/// Every bug.
pub fn all() -> impl Iterator<Item = Bug> {
    Bug::NUMBERS.iter().chain(Bug::WALK).copied()
}

/// What found the bug, if something did.
pub fn caught(bug: Bug) -> Option<String> {
    with(bug, || by_cases().or_else(by_programs).or_else(by_near_misses))
}

/// Whether something goes wrong, by its own answer or by an assertion.
fn goes_wrong(run: impl FnOnce() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
}

fn by_programs() -> Option<String> {
    let judge = Judge { kernel: false, machine_code: false, containment: true, packets: 2, insns_max: 5_000 };
    let wrong = |seed: &u64| goes_wrong(|| matches!(judge.judge(&Recipe::random(*seed)), Outcome::Wrong(_)));
    (1..PATIENCE).find(wrong).map(|seed| format!("program {seed}"))
}

fn by_near_misses() -> Option<String> {
    let wrong = |seed: &u64| {
        let miss = NearMiss::random(*seed);
        goes_wrong(|| matches!(nearmiss::judge(&miss, None, 5_000), nearmiss::Outcome::Wrong(_)))
    };
    (1..PATIENCE).find(wrong).map(|seed| format!("near-miss {seed}"))
}

fn by_cases() -> Option<String> {
    static CASES: OnceLock<Vec<case::Case>> = OnceLock::new();
    let cases = CASES.get_or_init(case::all);
    let options = Options { insns_max: 200_000, ..Options::default() };
    let wrong = |case: &&case::Case| {
        let accepted = case.answer == case::Answer::Accept;
        goes_wrong(|| verify(case.program.clone(), &options).is_ok() != accepted)
    };
    cases.iter().find(wrong).map(|case| format!("case `{}` of {}", case.name, case.file))
}

/// A program of the differential test as its reader wants it.
pub fn show(seed: u64) -> String {
    let recipe = Recipe::random(seed);
    let judge = Judge { kernel: false, machine_code: false, containment: true, packets: 2, insns_max: 5_000 };
    report(&recipe, &judge.judge(&recipe))
}
