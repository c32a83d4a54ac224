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
    let (mut certified, mut outside, mut refused) = (0, 0, Vec::new());
    for seed in 1..400 {
        match opinion(seed) {
            Some(Verdict::Certified { .. }) => certified += 1,
            Some(Verdict::Outside(_)) | None => outside += 1,
            Some(Verdict::Refused(_)) => refused.push(seed),
        }
    }
    println!("{certified} certified, {outside} outside, {} not", refused.len());
    assert!(certified > 320, "only {certified} of 400 were certified");
    // Numbers that turned out not to matter are forgotten in the states that are kept, here and not there,
    // so that one state does not always lead into another. None does before such numbers are forgotten.
    assert!(refused.len() < 40, "{} were refused, such as {:?}", refused.len(), &refused[..5]);
}

#[test]
fn wrong_proofs_are_not() {
    for bug in [Bug::PruneNumbers, Bug::PruneStack, Bug::AtomicKeepsMemory, Bug::PacketRangeKept] {
        let refused = with(bug, || (1..3_000).any(|seed| matches!(opinion(seed), Some(Verdict::Refused(_)))));
        assert!(refused, "{bug:?} was certified");
    }
}
