//! What is known after the walk: stack depth over call chains, tail calls, and the finished facts.

use weir_ebpf::Insn;
use weir_ebpf::Program;
use weir_ebpf::abi::{Helper, MAX_CALL_FRAMES, MAX_STACK};

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer, Ground};
use crate::facts::Facts;
use crate::reject::Reject;
use crate::rule::Rule;
use crate::shape::{Shape, Span, order, spread_to_callers};
use crate::value::MapRef;

/// Most stack of the frames above a function that can tail call (`check_max_stack_depth`).
const ABOVE_TAIL_CALL_MAX: u32 = 256;

/// Completes the facts of a walk, and checks what only all of it can tell.
pub(crate) fn finish(ground: &Ground<'_>, explorer: Explorer<'_>) -> Check<Facts> {
    let Ground { program, shape, liveness, .. } = *ground;
    let Explorer { mut facts, stack_used, later, .. } = explorer;
    for (function, used) in facts.functions.iter_mut().zip(&stack_used) {
        function.stack_bytes = used.next_multiple_of(8);
    }
    let mut tail_calls: Vec<bool> = facts.functions.iter().map(|function| function.tail_calls).collect();
    spread_to_callers(shape, &mut tail_calls);
    facts.functions.iter_mut().zip(tail_calls).for_each(|(function, found)| function.tail_calls = found);
    check_depth(program, shape, &facts, &later)
        .map_err(|refused| first_refused(ground, &facts, &later, refused))?;
    for (slot, insn) in facts.insns.iter_mut().enumerate() {
        insn.live_out = liveness.live_out(slot);
    }
    Ok(facts)
}

/// Adds stack up over the deepest call chains: callees come first, so each is known in time.
fn check_depth(program: &Program, shape: &Shape, facts: &Facts, later: &[(usize, MapRef)]) -> Check {
    // What a timer calls has a stack of its own, unless it is called by others too.
    let beneath = |slot: usize, callee: usize| {
        !matches!(program.insns[slot], Insn::LoadImm64 { .. })
            || later.iter().all(|(function, _)| *function != callee)
    };
    let bottom_up = order(program, shape, beneath)?;
    // Walk callers before callees, carrying the most bytes and frames above each function.
    let mut above = vec![(0u32, 1usize, 0u32); shape.functions.len()];
    for &function in bottom_up.iter().rev() {
        let (bytes, frames, before) = above[function];
        let total = bytes + facts.functions[function].stack_bytes.next_multiple_of(16);
        let slot = shape.functions[function].start;
        if total > MAX_STACK as u32 && !seeded(Bug::DepthUnchecked) {
            let message = format!("combined stack size of {frames} calls is {total}. Too large");
            return Err(Box::new(Reject::new(slot, Rule::StackDepth, message)));
        }
        if frames > MAX_CALL_FRAMES {
            let message = format!("the call stack of {} frames is too deep !", frames - 1);
            return Err(Box::new(Reject::new(slot, Rule::CallDepth, message)));
        }
        let deep = before >= ABOVE_TAIL_CALL_MAX && !seeded(Bug::TailCallDepth);
        if deep && frames > 1 && facts.functions[function].tail_calls {
            let message = format!(
                "tail_calls are not allowed when call stack of previous frames is {before} bytes. Too large"
            );
            return Err(Box::new(Reject::new(slot, Rule::TailCallStack, message)));
        }
        for &(_, callee) in shape.calls[function].iter().filter(|(slot, callee)| beneath(*slot, *callee)) {
            let below = &mut above[callee];
            *below = (below.0.max(total), below.1.max(frames + 1), below.2.max(total));
        }
    }
    debug_assert_eq!(program.functions.len(), facts.functions.len());
    Ok(())
}

/// Most calls that are followed to find the chain that the kernel names.
const FOLLOWED_MAX: u32 = 100_000;

/// The refusal that the kernel comes to first, which follows every chain of calls in the order of instructions
/// (`check_max_stack_depth_subprog`): here only for its words, and as long as there are not too many.
fn first_refused(
    ground: &Ground<'_>,
    facts: &Facts,
    later: &[(usize, MapRef)],
    refused: Box<Reject>,
) -> Box<Reject> {
    if !matches!(refused.rule, Rule::StackDepth | Rule::CallDepth | Rule::TailCallStack) {
        return refused;
    }
    let Ground { program, shape, .. } = *ground;
    let asynchronous = |function: usize| later.iter().any(|(other, _)| *other == function);
    let tail_calls = |function: usize| {
        let Span { start, end } = shape.functions[function];
        program.insns[start..end].contains(&Insn::Call { helper: Helper::TailCall as u32 })
    };
    let mut left = FOLLOWED_MAX;
    for root in (0..shape.functions.len()).filter(|root| *root == 0 || asynchronous(*root)) {
        // Functions, how many of their calls were followed, and the bytes above them.
        let mut chain = vec![(root, 0, 0)];
        while let Some(&mut (function, ref mut next, above)) = chain.last_mut() {
            let bytes = above + facts.functions[function].stack_bytes.next_multiple_of(16);
            let (followed, frames) = (*next, chain.len());
            if followed == 0 {
                left = left.saturating_sub(1);
                let start = shape.functions[function].start;
                if let Some((rule, message)) =
                    too_deep(frames, function > 0 && tail_calls(function), above, bytes)
                {
                    return Box::new(Reject::new(start, rule, message));
                }
            }
            let Some(&(slot, callee)) = shape.calls[function].get(followed).filter(|_| left > 0) else {
                chain.pop();
                continue;
            };
            if let Some((_, next, _)) = chain.last_mut() {
                *next += 1;
            }
            let pointed = matches!(program.insns[slot], Insn::LoadImm64 { .. });
            if !(pointed && asynchronous(callee)) {
                chain.push((callee, 0, bytes));
            }
        }
    }
    refused
}

/// What is wrong with a function at the end of so many frames, with so many bytes above it, and with its own.
fn too_deep(frames: usize, tail_calls: bool, above: u32, bytes: u32) -> Option<(Rule, String)> {
    if frames > MAX_CALL_FRAMES {
        let message = format!("the call stack of {} frames is too deep !", frames - 1);
        return Some((Rule::CallDepth, message));
    }
    if tail_calls && above >= ABOVE_TAIL_CALL_MAX {
        let message = format!(
            "tail_calls are not allowed when call stack of previous frames is {above} bytes. Too large"
        );
        return Some((Rule::TailCallStack, message));
    }
    let message = format!("combined stack size of {frames} calls is {bytes}. Too large");
    (bytes > MAX_STACK as u32).then_some((Rule::StackDepth, message))
}
