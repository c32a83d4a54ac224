//! Proofs are checked a second time, by the states that the verifier exports.

use std::sync::Arc;

use weir_oracle::certificate::{Verdict, certify};
use weir_oracle::generate::Recipe;
use weir_oracle::mutants::accepted_cases;
use weir_verifier::mutant::{Bug, with};
use weir_verifier::{Options, verify};

/// The second opinion on a random program, if the verifier accepts it.
fn opinion(seed: u64) -> Option<Verdict> {
    let options = Options { record_states: true, insns_max: 20_000, ..Options::default() };
    verify(Arc::new(Recipe::random(seed).program()), &options).ok().map(|verified| certify(&verified))
}

#[test]
fn proofs_of_random_programs_are_certified() {
    let (mut certified, mut refused) = (0, Vec::new());
    for seed in 1..400 {
        match opinion(seed) {
            Some(Verdict::Certified { .. }) => certified += 1,
            Some(Verdict::Outside(_)) | None => {}
            Some(Verdict::Refused(_)) => refused.push(seed),
        }
    }
    assert!(certified > 380, "only {certified} of 400 were certified");
    assert!(refused.is_empty(), "refused: {refused:?}");
}

#[test]
fn proofs_of_cases_are_certified() {
    let options = Options { record_states: true, insns_max: 20_000, ..Options::default() };
    let mut certified = 0;
    for (name, program) in accepted_cases() {
        match verify(program, &options).map(|verified| certify(&verified)) {
            Ok(Verdict::Certified { .. }) => certified += 1,
            Ok(Verdict::Outside(_)) | Err(_) => {}
            Ok(Verdict::Refused(why)) => panic!("{name}: {why}"),
        }
    }
    assert!(certified >= 45, "only {certified} cases were certified");
}

#[test]
fn wrong_proofs_are_not() {
    for bug in [Bug::PruneNumbers, Bug::PruneStack, Bug::AtomicKeepsMemory, Bug::PacketRangeKept] {
        let refused = with(bug, || (1..3_000).any(|seed| matches!(opinion(seed), Some(Verdict::Refused(_)))));
        assert!(refused, "{bug:?} was certified");
    }
}
