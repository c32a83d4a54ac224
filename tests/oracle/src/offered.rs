//! Which generated programs are not given to the kernel, since this one crashes on them.
//!
//! Linux 6.18.44 forks a path where a number of -1 or 0 meets a constant in AND or OR (`maybe_fork_scalars`).
//! The fork is the 8193rd path that waits at times: then `push_stack` answers NULL, having let go of the state
//! being walked, and the caller, which asks for an error pointer only, follows it. Seen with near-miss
//! 800422532, of which `tests/DIFFERENCES.md` shows the heart.

use std::sync::Arc;

use weir_ebpf::Program;
use weir_ebpf::isa::{AluOp, Insn};
use weir_verifier::{Options, Rule, verify};

/// Most paths that the kernel lets wait (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const WAITING_MAX: u64 = 8192;

/// Whether the kernel may come to a fork with as many paths waiting as may wait.
///
/// Each that waits was left by an instruction of the path being walked. So no path has that many behind it
/// if a walk that forgets as little as the kernel's ends before it took that many instructions. Where the fork
/// is matters not: a loop before it may have left the others. Nor are numbers asked for: ours may be known
/// better than the kernel's.
pub fn crashes_kernel(program: &Program) -> bool {
    program.insns.iter().any(|insn| matches!(insn, Insn::Alu { op: AluOp::And | AluOp::Or, .. }))
        && waits_long(program)
}

/// Whether a walk that forgets nothing takes as many instructions as paths may wait.
fn waits_long(program: &Program) -> bool {
    let options = Options { forget: false, insns_max: WAITING_MAX, ..Options::default() };
    let refused = verify(Arc::new(program.clone()), &options).err();
    refused.is_some_and(|refused| {
        matches!(refused.rule, Rule::TooLarge | Rule::TooManyBranches | Rule::TooMuchMemory | Rule::TooSlow)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearmiss::NearMiss;

    #[test]
    fn a_fork_in_a_loop_that_counts_on_is_held_back() {
        assert!(crashes_kernel(&NearMiss::random(800_422_532).for_kernel()));
    }

    #[test]
    fn loops_that_end_are_offered() {
        let held = (0..200).filter(|seed| crashes_kernel(&NearMiss::random(*seed).for_kernel())).count();
        assert!(held < 4, "{held} of 200 held back");
    }
}
