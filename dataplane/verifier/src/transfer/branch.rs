//! Branches: which way they go, and what is known on either way (`check_cond_jmp_op`).

use weir_ebpf::isa::{AluOp, Cond, Reg, Source, Width};

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer, Step};
use crate::precision::Roots;
use crate::scalar::Scalar;
use crate::state::State;
use crate::value::{Id, Kind, Moved, Number, Pointer, Value};

/// Packet ranges are only proven up to here (`MAX_PACKET_OFF`).
const PACKET_OFFSET_MAX: u64 = 0xffff;

impl Explorer<'_> {
    pub(crate) fn branch(
        &mut self,
        width: Width,
        cond: Cond,
        dst: Reg,
        src: Source,
        off: i16,
    ) -> Check<Step> {
        self.jumps += 1;
        let left = self.read(dst)?;
        let right = self.source(src)?;
        let target = (self.slot as i64 + 1 + i64::from(off)) as usize;
        let same = src == Source::Reg(dst);
        let decided = decide(width, cond, &left, &right);
        let mut deciding = if decided.is_some() { left.roots().with(right.roots()) } else { Roots::NONE };
        let hole = seeded(Bug::ComparisonHole) && cond == Cond::SLt && matches!(src, Source::Reg(_));
        let mut taken = (decided != Some(false) && !hole).then(|| self.state.clone());
        let mut fallen = (decided != Some(true)).then(|| self.state.clone());
        for (way, holds) in [(&mut taken, true), (&mut fallen, false)] {
            let Some(state) = way else { continue };
            let possible = match (left, right) {
                _ if same => true,
                (Value::Number(l), Value::Number(r)) => {
                    let sides = (dst, l, src, r);
                    learn_numbers(state, width, cond, holds, sides)
                }
                (Value::Pointer(_), _) | (_, Value::Pointer(_)) if width == Width::W64 => {
                    learn_pointers(state, cond, holds, (left, right), src);
                    true
                }
                _ => true,
            };
            if !possible {
                *way = None;
                deciding = deciding.with(self.state.roots_linked(&left, &right));
            }
        }
        if !seeded(Bug::DecisionForgotten) {
            self.seen.demand(deciding);
        }
        let ways = &mut self.facts.insns[self.slot].ways;
        if seeded(Bug::WaysOfLast) {
            (ways.taken, ways.fallen) = (false, false);
        }
        ways.taken |= taken.is_some();
        ways.fallen |= fallen.is_some();
        match (taken, fallen) {
            (Some(taken), Some(fallen)) => {
                self.push(target, taken)?;
                self.state = fallen;
                Ok(Step::To(self.slot + 1))
            }
            (Some(taken), None) => {
                self.state = taken;
                Ok(Step::To(target))
            }
            (None, Some(fallen)) => {
                self.state = fallen;
                Ok(Step::To(self.slot + 1))
            }
            // No value is left: the path itself is impossible.
            (None, None) => Ok(Step::End),
        }
    }
}

/// Which way a branch goes, when all values agree (`is_branch_taken`).
fn decide(width: Width, cond: Cond, left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Scalar::decide(cond, width, &left.range, &right.range),
        (Value::Pointer(pointer), other) | (other, Value::Pointer(pointer))
            if width == Width::W64 && other.is_null() && pointer.never_null() =>
        {
            match cond {
                Cond::Eq => Some(false),
                Cond::Ne => Some(true),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Narrows both sides, and what is linked to them. `false`: it cannot go this way.
fn learn_numbers(
    state: &mut State,
    width: Width,
    cond: Cond,
    holds: bool,
    (dst, left, src, right): (Reg, Number, Source, Number),
) -> bool {
    let Some((l, r)) = Scalar::refine(cond, width, holds, &left.range, &right.range) else {
        return false;
    };
    let roots = left.roots.with(right.roots);
    let (l, r) = (narrowed(&left, l, roots), narrowed(&right, r, roots));
    state.set(dst, Value::Number(l));
    if let Source::Reg(src) = src {
        state.set(src, Value::Number(r));
    }
    spread(state, l) && spread(state, r)
}

/// A number of which more is known, by what these had a part in.
fn narrowed(number: &Number, range: Scalar, roots: Roots) -> Number {
    let roots = if seeded(Bug::RootsOfComparison) { number.roots } else { roots };
    if number.range == range { *number } else { Number { range, roots, ..*number } }
}

/// Carries what is known of a number to those linked to it. `false`: they contradict each other.
fn spread(state: &mut State, known: Number) -> bool {
    if known.id == 0 {
        return true;
    }
    let mut possible = true;
    state.for_each(|value| {
        let Value::Number(number) = value else { return };
        if number.id != known.id {
            return;
        }
        let Some(width) = linked_by(known.moved, number.moved) else { return };
        let apart = i64::from(number.delta) - i64::from(known.delta);
        let apart = if seeded(Bug::LinkDelta) { 0 } else { apart };
        let range = Scalar::alu(AluOp::Add, width, &known.range, &Scalar::constant(apart as u64));
        match number.range.meet(&range) {
            Some(range) => *number = narrowed(number, range, number.roots.with(known.roots)),
            None => possible = false,
        }
    });
    possible
}

/// How much of two numbers of one id differs by the difference of their deltas, and is all there is of them; none,
/// if one was moved whole and the other by its half.
fn linked_by(known: Moved, other: Moved) -> Option<Width> {
    if seeded(Bug::LinkOfSum) {
        return Some(Width::W64);
    }
    match (known, other) {
        (Moved::Not, Moved::Not | Moved::Whole) | (Moved::Whole, Moved::Not | Moved::Whole) => {
            Some(Width::W64)
        }
        (Moved::Half { .. }, Moved::Not | Moved::Half { .. }) | (Moved::Not, Moved::Half { .. }) => {
            Some(Width::W32)
        }
        (Moved::Whole, Moved::Half { .. }) | (Moved::Half { .. }, Moved::Whole) => None,
    }
}

/// What comparing pointers tells: null checks and packet ranges.
fn learn_pointers(state: &mut State, cond: Cond, holds: bool, (left, right): (Value, Value), src: Source) {
    let equal = match cond {
        Cond::Eq => Some(holds),
        Cond::Ne => Some(!holds),
        _ => None,
    };
    if let (Value::Pointer(pointer), Some(equal), Source::Imm(0)) = (left, equal, src)
        && pointer.maybe_null
    {
        return settle_null(state, pointer.id, equal != seeded(Bug::NullWrongWay));
    }
    if let (Value::Pointer(l), Value::Pointer(r)) = (left, right) {
        if equal == Some(true) {
            // Equal to something that is not null.
            match (l.maybe_null, r.maybe_null) {
                (true, false) if is_solid(&r) => settle_null(state, l.id, false),
                (false, true) if is_solid(&l) => settle_null(state, r.id, false),
                _ => {}
            }
        }
        learn_packet(state, cond, holds, &l, &r);
    }
}

/// Whether a pointer is never null, for comparing with others: those to structures of the kernel may be.
fn is_solid(pointer: &Pointer) -> bool {
    !pointer.maybe_null && !matches!(pointer.kind, Kind::Kernel(_) | Kind::Function(_))
}

/// Settles a null check for all pointers of this id (`mark_ptr_or_null_regs`).
pub(crate) fn settle_null(state: &mut State, id: Id, null: bool) {
    if null {
        state.references.retain(|reference| reference.id != id);
    }
    state.for_each(|value| {
        let Value::Pointer(pointer) = value else { return };
        if !pointer.maybe_null || pointer.id != id && !seeded(Bug::NullOfOthers) {
            return;
        }
        if null {
            *value = Value::constant(0);
        } else {
            pointer.maybe_null = false;
        }
    });
}

/// Orders a comparison as `pointer <= end` or `pointer < end`, if that is what it says.
fn learn_packet(state: &mut State, cond: Cond, holds: bool, left: &Pointer, right: &Pointer) {
    // What holds, as a relation between left and right.
    let relation = if holds != seeded(Bug::PacketRangeWrongWay) { cond } else { negated(cond) };
    let (pointer, end, strict) = match relation {
        Cond::Lt => (left, right, true),
        Cond::Le => (left, right, false),
        Cond::Gt => (right, left, true),
        Cond::Ge => (right, left, false),
        _ => return,
    };
    let fits = match (pointer.kind, end.kind) {
        (Kind::Packet { .. }, Kind::PacketEnd) => true,
        (Kind::PacketMeta { .. }, Kind::Packet { .. }) => end.off == 0 && end.var.as_constant() == Some(0),
        _ => false,
    };
    if fits {
        prove_range(state, pointer, strict);
    }
    // The other way round, the pointer has nothing behind it (`mark_pkt_end`).
    if let (Kind::Packet { .. }, Kind::PacketEnd) = (end.kind, pointer.kind) {
        let past = *end;
        state.frame_mut().regs.iter_mut().for_each(|value| match value {
            Value::Pointer(other) if *other == past => other.past_end = true,
            _ => {}
        });
    }
}

fn negated(cond: Cond) -> Cond {
    match cond {
        Cond::Lt => Cond::Ge,
        Cond::Le => Cond::Gt,
        Cond::Gt => Cond::Le,
        Cond::Ge => Cond::Lt,
        other => other,
    }
}

/// The bytes before this pointer are inside the packet (`find_good_pkt_pointers`); and if it is
/// strictly before the end, one more is.
fn prove_range(state: &mut State, pointer: &Pointer, strict: bool) {
    let Ok(off) = u64::try_from(pointer.off) else { return };
    if off == 0 && strict {
        // Kept as in the kernel: the byte at the very start is not taken as proven.
        return;
    }
    let most = match seeded(Bug::PacketNegative) {
        true => pointer.var.smax().max(0) as u64,
        false => pointer.var.umax(),
    };
    let far = most > PACKET_OFFSET_MAX || most + off > PACKET_OFFSET_MAX;
    if far && !seeded(Bug::PacketFar) {
        return;
    }
    let proven = (off + u64::from(strict || seeded(Bug::PacketRangeOffByOne))).min(PACKET_OFFSET_MAX) as u16;
    state.for_each_pointer(|other| {
        if other.id != pointer.id && !seeded(Bug::PacketRangeOfOthers) {
            return;
        }
        match (&mut other.kind, pointer.kind) {
            (Kind::Packet { range }, Kind::Packet { .. })
            | (Kind::PacketMeta { range }, Kind::PacketMeta { .. }) => *range = (*range).max(proven),
            _ => {}
        }
    });
}
