//! Which generated programs are not given to the kernel, since this one crashes on them.
//!
//! Linux 6.18.44 forks a path where a number of -1 or 0 meets a constant in AND or OR (`maybe_fork_scalars`).
//! The fork is the 8193rd path that waits at times: then `push_stack` answers NULL, having let go of the state
//! being walked, and the caller, which asks for an error pointer only, follows it. Seen with near-miss
//! 800422532, of which `tests/DIFFERENCES.md` shows the heart.

use std::sync::Arc;

use weir_ebpf::Program;
use weir_ebpf::isa::{AluOp, Insn};
use weir_verifier::{Options, verify};

/// Most paths that the kernel lets wait (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const WAITING_MAX: u64 = 8192;
/// How many times as far as ours the kernel's walk may go, which keeps its states otherwise.
const FARTHER: u64 = 4;

/// Whether the kernel may come to a fork with as many paths waiting as may wait.
///
/// Each that waits was left by an instruction of the path being walked. So no path has that many behind it
/// if a walk of all ways that forgets as little as the kernel's ends before it took that many instructions. Where the
/// fork is matters not: a loop before it may have left the others. Nor are numbers asked for: ours may be known
/// better than the kernel's. Nor is what we refuse: the kernel may take another way first.
pub fn crashes_kernel(program: &Program) -> bool {
    program.insns.iter().any(|insn| matches!(insn, Insn::Alu { op: AluOp::And | AluOp::Or, .. }))
        && waits_long(program)
}

/// Whether a walk that forgets nothing takes too many instructions over all ways, or none is possible. The fork may make
/// a loop's turns differ that are the same to us, so that one without an end goes on there (near-miss 1200323912, as
/// far as the registers of a crash tell).
fn waits_long(program: &Program) -> bool {
    let insns_max = WAITING_MAX / FARTHER;
    let options = Options { forget: false, to_the_end: true, insns_max, ..Options::default() };
    match verify(Arc::new(program.clone()), &options) {
        Ok(_) => false,
        Err(refused) => refused.rule.is_endless() || refused.stats.processed == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearmiss::NearMiss;

    #[test]
    fn a_fork_in_a_loop_that_counts_on_is_held_back() {
        assert!(crashes_kernel(&NearMiss::random(800_422_532).for_kernel()));
        assert!(crashes_kernel(&NearMiss::random(1_200_323_912).for_kernel()));
        assert!(crashes_kernel(&NearMiss::random(1_200_327_548).for_kernel()));
    }

    #[test]
    fn loops_that_end_are_offered() {
        let held = (0..200).filter(|seed| crashes_kernel(&NearMiss::random(*seed).for_kernel())).count();
        assert!(held < 4, "{held} of 200 held back");
    }
}
