//! The shape of a program: functions, jumps, calls, and that every instruction can be reached.
//!
//! What comes after may index by slot and follow jumps and calls without asking again. All walks
//! keep their own list of what is left to do; none recurses over input.

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::helper::Helper;
use weir_ebpf::isa::{Imm64, Insn};
use weir_ebpf::{MapSpec, Program, Reg};

use crate::bugs::{Bug, seeded};
use crate::reject::Reject;
use crate::rule::Rule;
use crate::transfer::alu::OFFSET_MAX;
use crate::transfer::object::is_iteration;

/// A function as slots `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The shape of a checked program.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The functions, by start, as in `Program::functions`.
    pub(crate) functions: Vec<Span>,
    /// Which function each slot belongs to.
    pub(crate) function_of: Vec<usize>,
    /// Slots where a state is compared with those seen before.
    pub(crate) prune_points: Vec<bool>,
    /// By slot: whether a jump leads back to it.
    pub(crate) turns_back: Vec<bool>,
    /// For each function, which it calls and from where (function pointers count as calls).
    pub(crate) calls: Vec<Vec<(usize, usize)>>,
    /// Functions in an order that puts callees before callers.
    pub(crate) bottom_up: Vec<usize>,
    /// Whether a function, or one that it calls, may move the packet.
    pub(crate) moves_packet: Vec<bool>,
}

impl Shape {
    /// The function whose first slot this is.
    pub(crate) fn function_starting(&self, slot: usize) -> Option<usize> {
        self.functions.binary_search_by_key(&slot, |span| span.start).ok()
    }
}

type Check<T = ()> = Result<T, Box<Reject>>;

fn refuse<T>(slot: usize, rule: Rule, message: impl Into<String>) -> Check<T> {
    Err(Box::new(Reject::new(slot, rule, message.into())))
}

/// Checks the shape of a program.
pub(crate) fn check(program: &Program) -> Check<Shape> {
    let insns = &program.insns;
    if insns.is_empty() || insns.len() > 1_000_000 {
        return refuse(0, Rule::ProgramSize, format!("weir proves 1 to 1000000 insns, not {}", insns.len()));
    }
    let functions = spans(program)?;
    let mut function_of = vec![0; insns.len()];
    for (index, span) in functions.iter().enumerate() {
        function_of[span.start..span.end].fill(index);
    }
    let calls = vec![Vec::new(); functions.len()];
    let mut shape = Shape {
        functions,
        function_of,
        prune_points: vec![false; insns.len()],
        turns_back: vec![false; insns.len()],
        calls,
        bottom_up: Vec::new(),
        moves_packet: Vec::new(),
    };
    for slot in 0..insns.len() {
        check_insn(program, &mut shape, slot)?;
    }
    for index in 0..shape.functions.len() {
        let last = shape.functions[index].end - 1;
        let ends = matches!(insns[last], Insn::Exit | Insn::Goto { .. } | Insn::GotoLong { .. });
        if !ends && !seeded(Bug::FallsThrough) {
            return refuse(last, Rule::FallsOffEnd, "last insn is not an exit or jmp");
        }
    }
    all_reached(program, &shape)?;
    shape.bottom_up = callees_first(program, &shape)?;
    shape.moves_packet = moves_packet(program, &shape);
    Ok(shape)
}

/// Which functions may move the packet, as far as their instructions tell
/// (`mark_subprog_changes_pkt_data`).
fn moves_packet(program: &Program, shape: &Shape) -> Vec<bool> {
    let moves = |insn: &Insn| match *insn {
        Insn::Call { helper } => Helper::new(helper).is_none_or(|helper| {
            helper.changes_packet() || matches!(helper, Helper::TailCall | Helper::DynptrWrite)
        }),
        _ => false,
    };
    let mut found: Vec<bool> =
        shape.functions.iter().map(|span| program.insns[span.start..span.end].iter().any(moves)).collect();
    spread_to_callers(shape, &mut found);
    found
}

/// What is true of a function is true of those that call it.
pub(crate) fn spread_to_callers(shape: &Shape, found: &mut [bool]) {
    let mut changed = true;
    while changed {
        changed = false;
        for &function in &shape.bottom_up {
            let called = shape.calls[function].iter().any(|&(_, callee)| found[callee]);
            changed |= called && !found[function];
            found[function] |= called;
        }
    }
}

/// The functions as spans: sorted, starting at slot 0, none empty.
fn spans(program: &Program) -> Check<Vec<Span>> {
    let starts: Vec<usize> = program.functions.iter().map(|f| f.start).collect();
    let sorted = starts.windows(2).all(|pair| pair[0] < pair[1]);
    if starts.first() != Some(&0) || !sorted || starts.last().is_some_and(|&s| s >= program.insns.len()) {
        return refuse(0, Rule::CallTarget, "functions are not listed in order from slot 0");
    }
    let ends = starts.iter().skip(1).copied().chain([program.insns.len()]);
    Ok(starts.iter().copied().zip(ends).map(|(start, end)| Span { start, end }).collect())
}

/// Where a local call or a function pointer standing at `slot` goes.
pub(crate) fn call_target(slot: usize, off: i32) -> i64 {
    slot as i64 + 1 + i64::from(off)
}

fn check_insn(program: &Program, shape: &mut Shape, slot: usize) -> Check {
    let insns = &program.insns;
    let insn = &insns[slot];
    let after_immediate = slot > 0 && matches!(insns[slot - 1], Insn::LoadImm64 { .. });
    if matches!(insn, Insn::SecondHalf) != after_immediate {
        return refuse(slot, Rule::BadInstruction, "invalid bpf_ld_imm64 insn");
    }
    if let Some(target) = insn.jump_target(slot) {
        check_jump(shape, slot, target)?;
    }
    match *insn {
        Insn::LoadImm64 { value, .. } => check_immediate(program, shape, slot, value),
        Insn::CallLocal { off } => note_call(program, shape, slot, off),
        Insn::Call { helper } => {
            // Where a callback comes back to.
            if helper == Helper::Loop as u32 || helper == Helper::ForEachMapElem as u32 {
                shape.prune_points[slot] = true;
            }
            Ok(())
        }
        Insn::CallKfunc { btf_id, .. } => {
            shape.prune_points[slot] |= is_iteration(btf_id);
            Ok(())
        }
        Insn::CallReg { .. } => refuse(slot, Rule::BadInstruction, "unknown opcode 8d"),
        Insn::Branch { .. } | Insn::MayGoto { .. } => {
            shape.prune_points[slot] = true;
            Ok(())
        }
        Insn::Alu { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Neg { .. }
        | Insn::Swap { .. }
        | Insn::SecondHalf
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::LoadPacket { .. }
        | Insn::Goto { .. }
        | Insn::GotoLong { .. }
        | Insn::Exit => Ok(()),
    }
}

/// The register an instruction writes, calls aside.
pub(crate) fn written(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::Mov { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LoadImm64 { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. } => Some(dst),
        Insn::Atomic { op, src, .. } if op.fetches() => {
            Some(if op == weir_ebpf::isa::AtomicOp::CmpXchg { Reg::R0 } else { src })
        }
        Insn::Atomic { .. }
        | Insn::SecondHalf
        | Insn::Store { .. }
        | Insn::StoreRelease { .. }
        | Insn::LoadPacket { .. }
        | Insn::Goto { .. }
        | Insn::GotoLong { .. }
        | Insn::Branch { .. }
        | Insn::MayGoto { .. }
        | Insn::Call { .. }
        | Insn::CallLocal { .. }
        | Insn::CallKfunc { .. }
        | Insn::CallReg { .. }
        | Insn::Exit => None,
    }
}

fn check_jump(shape: &mut Shape, slot: usize, target: i64) -> Check {
    let span = shape.functions[shape.function_of[slot]];
    if target < span.start as i64 || target >= span.end as i64 {
        return refuse(slot, Rule::JumpOutOfRange, format!("jump out of range from insn {slot} to {target}"));
    }
    let target = target as usize;
    shape.prune_points[target] = true;
    shape.turns_back[target] |= target <= slot;
    Ok(())
}

fn check_immediate(program: &Program, shape: &mut Shape, slot: usize, value: Imm64) -> Check {
    match value {
        Imm64::Value(_) => Ok(()),
        Imm64::Map(map) | Imm64::MapValue { map, .. } => match program.maps.get(map as usize) {
            Some(spec) => check_direct_value(slot, value, spec),
            None => refuse(
                slot,
                Rule::BadInstruction,
                format!("fd {} is not pointing to valid bpf_map", map as i32),
            ),
        },
        Imm64::Function(off) => {
            note_call(program, shape, slot, off)?;
            let function = shape.function_starting(call_target(slot, off) as usize);
            if function.is_some_and(|function| program.functions[function].signature.is_some()) {
                return refuse(slot, Rule::CallTarget, "callback function not static");
            }
            Ok(())
        }
        Imm64::Variable { btf_id, .. } => {
            let message = format!("kernel variable btf_id#{btf_id} is not there in user space");
            refuse(slot, Rule::KernelVariable, message)
        }
    }
}

/// Only arrays of one entry have a value whose address is known beforehand (`check_map_prog_compatibility`,
/// `resolve_pseudo_ldimm64`).
fn check_direct_value(slot: usize, value: Imm64, spec: &MapSpec) -> Check {
    let Imm64::MapValue { offset, .. } = value else { return Ok(()) };
    if i64::from(offset) >= OFFSET_MAX {
        let message = format!("direct value offset of {offset} is not allowed");
        return refuse(slot, Rule::PointerOffset, message);
    }
    if spec.kind != MapKind::Array {
        return refuse(slot, Rule::ArgumentType, "no direct value access support for this map type");
    }
    if spec.max_entries != 1 || offset >= spec.value_size {
        let size = spec.value_size;
        let message = format!("invalid access to map value pointer, value_size={size} off={offset}");
        return refuse(slot, Rule::MapValueBounds, message);
    }
    Ok(())
}

fn note_call(program: &Program, shape: &mut Shape, slot: usize, off: i32) -> Check {
    let target = call_target(slot, off);
    let function = usize::try_from(target).ok().and_then(|target| shape.function_starting(target));
    let Some(function) = function else {
        return refuse(slot, Rule::CallTarget, "call to invalid destination");
    };
    shape.calls[shape.function_of[slot]].push((slot, function));
    shape.prune_points[slot] = true;
    if slot + 1 < program.insns.len() {
        shape.prune_points[slot + 1] = !matches!(program.insns[slot + 1], Insn::SecondHalf);
    }
    Ok(())
}

/// Refuses code that nothing reaches.
fn all_reached(program: &Program, shape: &Shape) -> Check {
    let insns = &program.insns;
    let mut seen = vec![false; insns.len()];
    let mut left = vec![0];
    while let Some(slot) = left.pop() {
        if std::mem::replace(&mut seen[slot], true) {
            continue;
        }
        let insn = &insns[slot];
        left.extend(insn.jump_target(slot).map(|target| target as usize));
        if insn.falls_through() {
            left.push(slot + if matches!(insn, Insn::LoadImm64 { .. }) { 2 } else { 1 });
        }
        if let Insn::CallLocal { off } | Insn::LoadImm64 { value: Imm64::Function(off), .. } = *insn {
            left.push(call_target(slot, off) as usize);
        }
    }
    for (slot, (insn, seen)) in insns.iter().zip(seen).enumerate() {
        match (insn, seen) {
            (Insn::SecondHalf, false) => {}
            (Insn::SecondHalf, true) => {
                let message = format!("jump into the middle of ldimm64 insn {}", slot - 1);
                return refuse(slot - 1, Rule::JumpIntoImmediate, message);
            }
            (_, false) if !seeded(Bug::Unreached) => {
                return refuse(slot, Rule::Unreachable, format!("unreachable insn {slot}"));
            }
            _ => {}
        }
    }
    debug_assert_eq!(shape.function_of.len(), insns.len());
    Ok(())
}

/// Orders the functions callees first, and refuses recursion. Functions that timers call may lead back to who
/// set them, and only the walk tells which those are: in programs that set any, function pointers are not followed
/// here ([`order`] is asked again behind the walk).
fn callees_first(program: &Program, shape: &Shape) -> Check<Vec<usize>> {
    let timed = program.insns.contains(&Insn::Call { helper: Helper::TimerSetCallback as u32 });
    order(program, shape, |slot, _| !timed || !matches!(program.insns[slot], Insn::LoadImm64 { .. }))
}

/// Orders the functions callees first, as far as the calls go that are to be followed.
pub(crate) fn order(
    program: &Program,
    shape: &Shape,
    follow: impl Fn(usize, usize) -> bool,
) -> Check<Vec<usize>> {
    let mut marks = vec![Mark::New; shape.functions.len()];
    let mut order = Vec::with_capacity(shape.functions.len());
    for root in 0..shape.functions.len() {
        if marks[root] == Mark::New {
            order_below(program, shape, &follow, root, &mut marks, &mut order)?;
        }
    }
    Ok(order)
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

fn order_below(
    program: &Program,
    shape: &Shape,
    follow: &impl Fn(usize, usize) -> bool,
    root: usize,
    marks: &mut [Mark],
    order: &mut Vec<usize>,
) -> Check {
    // Pairs of a function and how many of its calls were followed already.
    let mut path = vec![(root, 0usize)];
    marks[root] = Mark::Open;
    while let Some((function, next)) = path.last_mut() {
        let Some(&(slot, callee)) = shape.calls[*function].get(*next) else {
            marks[*function] = Mark::Done;
            order.push(*function);
            path.pop();
            continue;
        };
        *next += 1;
        match marks[callee] {
            _ if !follow(slot, callee) => {}
            Mark::Done => {}
            Mark::New => {
                marks[callee] = Mark::Open;
                path.push((callee, 0));
            }
            Mark::Open => {
                let name = |index: usize| program.functions[index].name.as_str();
                let message = format!("recursive call from {}() to {}()", name(*function), name(callee));
                return refuse(slot, Rule::Recursion, message);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_ebpf::isa::{Cond, Source, Width};
    use weir_ebpf::program::ProgramType;

    use super::*;

    fn refusal(insns: Vec<Insn>) -> String {
        let program = Program::from_insns("main", ProgramType::Xdp, insns);
        match check(&program) {
            Ok(_) => "accepted".to_owned(),
            Err(reject) => reject.message,
        }
    }

    fn mov(dst: Reg, imm: i32) -> Insn {
        Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) }
    }

    #[test]
    fn jumps_stay_inside_and_all_code_is_reached() {
        assert_eq!(refusal(vec![mov(Reg::R0, 0), Insn::Exit]), "accepted");
        assert_eq!(refusal(vec![Insn::Goto { off: 5 }, Insn::Exit]), "jump out of range from insn 0 to 6");
        assert_eq!(refusal(vec![Insn::Goto { off: 1 }, mov(Reg::R0, 0), Insn::Exit]), "unreachable insn 1");
        assert_eq!(refusal(vec![mov(Reg::R0, 0)]), "last insn is not an exit or jmp");
        let into =
            Insn::Branch { width: Width::W64, cond: Cond::Eq, dst: Reg::R1, src: Source::Imm(0), off: 1 };
        let wide = Insn::LoadImm64 { dst: Reg::R0, value: Imm64::Value(1) };
        assert_eq!(
            refusal(vec![into, wide, Insn::SecondHalf, Insn::Exit]),
            "jump into the middle of ldimm64 insn 1"
        );
    }

    #[test]
    fn functions_do_not_recurse() {
        let call = Insn::CallLocal { off: 1 };
        let again = Insn::CallLocal { off: -1 };
        assert_eq!(
            refusal(vec![call, Insn::Exit, again, Insn::Exit]),
            "recursive call from sub_2() to sub_2()"
        );
    }
}
