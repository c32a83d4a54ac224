//! Whether the judges would notice: deliberate bugs in the JIT and in the verifier, each of which must be
//! found. `cargo run -p weir-oracle --bin judge -- mutants` prints what finds each, and how long it takes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_oracle::differential::{Judge, Outcome};
use weir_oracle::generate::Recipe;
use weir_oracle::mutants;
use weir_verifier::mutant::CLASSES;
use weir_vm::mutant::{self, Mutant};

/// Programs that a mutant of the JIT may survive.
const PATIENCE: u64 = 3_000;

/// The first seed whose program shows the bug: by a disagreement, or by an assertion.
fn caught(judge: &Judge) -> Option<u64> {
    let shows = |recipe: Recipe| {
        let outcome = catch_unwind(AssertUnwindSafe(|| judge.judge(&recipe)));
        outcome.map_or(true, |outcome| matches!(outcome, Outcome::Wrong(_)))
    };
    (1..PATIENCE)
        .find(|seed| shows(Recipe::plain(*seed)))
        .or_else(|| (1..PATIENCE).find(|seed| shows(Recipe::random(*seed))))
}

#[test]
fn every_bug_seeded_in_the_jit_is_found() {
    let judge = Judge { kernel: false, machine_code: true, containment: false, packets: 2, insns_max: 5_000 };
    let mut survivors = Vec::new();
    for bug in Mutant::ALL {
        match mutant::with(*bug, || caught(&judge)) {
            Some(seed) => println!("{bug:?}: found by seed {seed}"),
            None => survivors.push(bug),
        }
    }
    assert!(survivors.is_empty(), "not found in {PATIENCE} programs: {survivors:?}");
}

#[test]
fn every_bug_seeded_in_the_verifier_is_found() {
    let survivors: Vec<_> = mutants::all().filter(|bug| mutants::caught(*bug).is_none()).collect();
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}

/// Bugs that the certificate checker finds alone, at the least. Of the thirteen others, which `judge mutants --each`
/// names, three make the verifier refuse too much or stop at an assertion; three are of ends, of which a
/// certificate says nothing; five are in what it does not check: callbacks, kinds of maps, objects on the stack;
/// one shows in one program of a thousand, more than are tried here; and code that nothing reaches harms no run.
const BY_CERTIFICATE_ALONE: usize = 107;

#[test]
fn the_certificate_alone_refuses_most_bugs() {
    let missed: Vec<_> = mutants::all().filter(|bug| mutants::uncertified(*bug).is_none()).collect();
    let refused = mutants::all().count() - missed.len();
    println!("{refused} bugs refused by the certificate alone, not {missed:?}");
    assert!(refused >= BY_CERTIFICATE_ALONE, "only {refused}, not {missed:?}");
}

#[test]
fn every_class_of_mistakes_has_a_bug() {
    let shown = |class: usize| mutants::all().any(|bug| bug.class().0 == class);
    let without: Vec<_> = (1..=CLASSES.len()).filter(|class| !shown(*class)).collect();
    // See there why these have none.
    assert_eq!(without, [16, 19]);
}
