//! Deliberate bugs of the verifier, and who finds them: the cases of the corpus, random programs in the
//! checked interpreter, or their near-misses.

#[path = "../../../dataplane/verifier/tests/case/mod.rs"]
mod case;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use weir_ebpf::Program;
use weir_verifier::mutant::{Bug, with};
use weir_verifier::{Options, Verified, verify};

use crate::certificate::{Verdict, certify};
use crate::differential::{Judge, Outcome, report};
use crate::generate::Recipe;
use crate::nearmiss::{self, NearMiss};

/// Programs and near-misses that a bug may survive.
const PATIENCE: u64 = 3_000;
/// As many of either whose proofs are checked again.
const PROOFS: u64 = 200;

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

/// The cases of the corpus that are accepted.
pub fn accepted_cases() -> impl Iterator<Item = (String, Arc<Program>)> {
    let accepted = cases().iter().filter(|case| case.answer == case::Answer::Accept);
    accepted.map(|case| (case.name.clone(), case.program.clone()))
}

fn cases() -> &'static [case::Case] {
    static CASES: OnceLock<Vec<case::Case>> = OnceLock::new();
    CASES.get_or_init(case::all)
}

fn by_cases() -> Option<String> {
    let options = Options { insns_max: 200_000, ..Options::default() };
    let wrong = |case: &&case::Case| {
        let accepted = case.answer == case::Answer::Accept;
        goes_wrong(|| verify(case.program.clone(), &options).is_ok() != accepted)
    };
    cases().iter().find(wrong).map(|case| format!("case `{}` of {}", case.name, case.file))
}

/// The program whose wrong proof the certificate checker alone refuses, if there is one among the cases and so many
/// programs and near-misses. Nothing is run, and no
/// right answer is known: the verifier has the bug, and the checker reads what it says. The checker itself has no
/// bug, in the numbers' operators neither.
pub fn uncertified(bug: Bug) -> Option<String> {
    let cases =
        cases().iter().map(|case| (format!("case `{}` of {}", case.name, case.file), case.program.clone()));
    let programs =
        (1..PROOFS).map(|seed| (format!("program {seed}"), Arc::new(Recipe::random(seed).program())));
    let misses =
        (1..PROOFS).map(|seed| (format!("near-miss {seed}"), Arc::new(NearMiss::random(seed).program())));
    let mut all = cases.chain(programs).chain(misses);
    all.find_map(|(name, program)| {
        let why = with(bug, || proof(&program)).and_then(refused)?;
        // What it refuses anyway, it does not refuse for the bug.
        proof(&program).and_then(refused).is_none().then(|| format!("{name}: {why}"))
    })
}

/// What the verifier proves, unless it stops at an assertion.
fn proof(program: &Arc<Program>) -> Option<Verified> {
    let options = Options { record_states: true, insns_max: 20_000, ..Options::default() };
    catch_unwind(AssertUnwindSafe(|| verify(program.clone(), &options))).ok()?.ok()
}

fn refused(proof: Verified) -> Option<String> {
    match certify(&proof) {
        Verdict::Refused(why) => Some(why),
        Verdict::Certified { .. } | Verdict::Outside(_) => None,
    }
}

/// A program of the differential test as its reader wants it.
pub fn show(seed: u64) -> String {
    let recipe = Recipe::random(seed);
    let judge = Judge { kernel: false, machine_code: false, containment: true, packets: 2, insns_max: 5_000 };
    report(&recipe, &judge.judge(&recipe))
}
