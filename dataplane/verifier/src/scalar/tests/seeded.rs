//! Each deliberate bug must be found: a check that finds none of them would prove nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::exhaustive::BITS;
use super::laws::{Finding, sampled, sampled_conversions};
use super::small::{tiny_pairs, tnum_pairs};
use crate::bugs::{Bug, switch};

/// Everything that the other tests check, in brief.
fn all_checks() -> Finding {
    for op in BITS {
        tnum_pairs(op, 3)?;
    }
    sampled_conversions(1, 2_000)?;
    sampled::<64, 32>(2, 2_000)?;
    tiny_pairs(20_011)
}

#[test]
fn each_seeded_bug_is_found() {
    all_checks().unwrap();
    for &bug in Bug::NUMBERS {
        // An assertion that fails inside is a finding too.
        let outcome = switch::with(bug, || catch_unwind(AssertUnwindSafe(all_checks)));
        assert!(!matches!(outcome, Ok(Ok(()))), "{bug:?} was not found");
    }
}
