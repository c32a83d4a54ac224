//! Proofs are checked a second time, by the states that the verifier exports.

use std::sync::Arc;

use weir_oracle::certificate::{Verdict, certify};
use weir_oracle::generate::Recipe;
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
fn wrong_proofs_are_not() {
    for bug in [Bug::PruneNumbers, Bug::PruneStack, Bug::AtomicKeepsMemory, Bug::PacketRangeKept] {
        let refused = with(bug, || (1..3_000).any(|seed| matches!(opinion(seed), Some(Verdict::Refused(_)))));
        assert!(refused, "{bug:?} was certified");
    }
}
