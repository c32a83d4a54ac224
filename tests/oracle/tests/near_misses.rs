//! Programs that are wrong by one edit: none that we accept goes wrong, and the kernel says nothing else for
//! a reason that has no name. `cargo run -p weir-oracle --bin judge -- near-misses` does a million.

use std::sync::Arc;

use weir_oracle::generate::specs;
use weir_oracle::kernel::{create_maps, skip};
use weir_oracle::nearmiss::{NearMiss, Outcome, explained, judge, report};

const PROGRAMS: u64 = 1_000;

#[test]
fn near_misses_that_we_accept_go_right() {
    let specs: Vec<_> = specs().into_iter().map(Arc::new).collect();
    let kernel = (!skip("near-misses in the kernel")).then(|| create_maps(&specs).expect("the maps"));
    let (mut accepted, mut refused, mut stricter) = (0, 0, Vec::new());
    for seed in 10_000_000..10_000_000 + PROGRAMS {
        let miss = NearMiss::random(seed);
        match judge(&miss, kernel.as_deref(), 20_000) {
            Outcome::Accepted { .. } => accepted += 1,
            Outcome::Refused(_) | Outcome::TooLarge | Outcome::NotOffered => refused += 1,
            Outcome::KernelRefuses(why) => {
                assert!(explained(&why).is_some(), "the kernel says {why}\n{}", report(&miss));
            }
            Outcome::KernelAccepts(rule, message) => stricter.push((seed, rule, message)),
            Outcome::Wrong(why) => panic!("{why}\n{}", report(&miss)),
        }
    }
    println!("{accepted} accepted, {refused} refused, {} by us alone: {stricter:?}", stricter.len());
    assert!(accepted > PROGRAMS / 10 && refused > PROGRAMS / 10, "{accepted} accepted, {refused} refused");
    assert!(stricter.len() as u64 * 100 <= PROGRAMS, "more than 1% refused by us alone");
}
