//! Whether the differential test would notice: deliberate bugs in the JIT and in the verifier's
//! numbers, each of which some random program must find.

use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_oracle::differential::{Judge, Outcome};
use weir_oracle::generate::Recipe;
use weir_verifier::scalar;
use weir_vm::mutant::{self, Mutant};

/// Programs that a mutant may survive.
const PATIENCE: u64 = 3_000;

/// The first seed whose program shows the bug: by a disagreement, or by an assertion.
fn caught(judge: &Judge) -> Option<u64> {
    let shows = |seed: &u64| {
        let outcome = catch_unwind(AssertUnwindSafe(|| judge.judge(&Recipe::random(*seed))));
        outcome.map_or(true, |outcome| matches!(outcome, Outcome::Wrong(_)))
    };
    (1..PATIENCE).find(shows)
}

#[test]
fn every_bug_seeded_in_the_jit_is_found() {
    let judge = Judge { kernel: false, containment: false, packets: 2, insns_max: 5_000 };
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
fn every_bug_seeded_in_the_verifiers_numbers_is_found() {
    let judge = Judge { kernel: false, containment: true, packets: 2, insns_max: 5_000 };
    let mut survivors = Vec::new();
    // With this one the walk does not end within its budget of time here. The numbers' own tests
    // (`verifier/src/scalar/tests`) try every bug there is, this one too.
    let ending = scalar::Bug::ALL.iter().filter(|bug| **bug != scalar::Bug::StrictBoundOff);
    for bug in ending {
        match scalar::with(*bug, || caught(&judge)) {
            Some(seed) => println!("{bug:?}: found by seed {seed}"),
            None => survivors.push(bug),
        }
    }
    assert!(survivors.is_empty(), "not found in {PATIENCE} programs: {survivors:?}");
}
