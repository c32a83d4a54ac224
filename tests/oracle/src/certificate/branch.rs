//! What branches teach, and arithmetic on pointers.

use weir_ebpf::isa::{AluOp, Cond, Reg, Source, Width};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, Number, Pointer, RecordedState, Target};

use super::machine::{Machine, each, frame};
use super::memory::{at_start, is_solid, moves};
use super::{Step, demand};

/// Offsets stay below this, so that no sum of two overflows.
const FAR: i64 = 1 << 29;
/// Largest unknown offset of a packet pointer that a check proves anything of.
const PACKET_FAR: u64 = 0xffff;

/// A comparison and which way it went.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) width: Width,
    pub(super) cond: Cond,
    pub(super) dst: Reg,
    pub(super) src: Source,
    pub(super) holds: bool,
}

impl Machine<'_> {
    /// A pointer with a number added or, where it stands on the left, taken away.
    pub(super) fn moved(&mut self, op: AluOp, from: Pointer, by: Scalar, on_left: bool) -> Step<Abstract> {
        let (target, still) =
            (from.target, matches!(from.target, Target::Map { .. }) && by.as_constant() == Some(0));
        let possible = op == AluOp::Add || op == AluOp::Sub && on_left;
        demand(
            !from.maybe_null && possible && (moves(target) || still),
            format_args!("{op:?} on {target:?}"),
        )?;
        let near = |off: i32| demand(i64::from(off).abs() < FAR, "a pointer moved too far");
        let step = by.as_constant().map(|by| by as i64);
        let step = step.map(|step| if op == AluOp::Sub { step.wrapping_neg() } else { step });
        if let Some(off) = step.and_then(|step| i32::try_from(i64::from(from.off).checked_add(step)?).ok()) {
            near(off)?;
            return Ok(Abstract::Pointer(Pointer { off, ..from }));
        }
        near(from.off)?;
        let var = Scalar::alu(op, Width::W64, &from.var, &by);
        demand(var.smin() > -FAR, "a pointer moved too far")?;
        let (target, id) = match target {
            Target::Packet { .. } => (Target::Packet { range: 0 }, self.fresh()),
            Target::PacketMeta { .. } => (Target::PacketMeta { range: 0 }, self.fresh()),
            other => (other, from.id),
        };
        Ok(Abstract::Pointer(Pointer { target, var, id, ..from }))
    }
}

impl Way {
    /// The state on this way of a branch; `None` when no run goes it.
    pub(super) fn after(
        self,
        state: &RecordedState,
        left: Abstract,
        right: Abstract,
    ) -> Option<RecordedState> {
        let Way { width, cond, dst, src, holds } = self;
        let mut after = state.clone();
        match (left, right) {
            (Abstract::Number(l), _) if src == Source::Reg(dst) => {
                let never = Scalar::decide(cond, width, &l.range, &l.range) == Some(!holds);
                (!never).then_some(after)
            }
            (Abstract::Number(mut l), Abstract::Number(mut r)) => {
                (l.range, r.range) = Scalar::refine(cond, width, holds, &l.range, &r.range)?;
                frame(&mut after).regs[dst.index()] = Abstract::Number(l);
                if let Source::Reg(src) = src {
                    frame(&mut after).regs[src.index()] = Abstract::Number(r);
                }
                let linked = [l, r].into_iter().filter(|number| number.link != 0);
                linked.into_iter().try_for_each(|known| spread(&mut after, known))?;
                Some(after)
            }
            _ if width == Width::W32 || src == Source::Reg(dst) => Some(after),
            _ => self.compared(after, left, right),
        }
    }

    /// Comparisons with pointers: with null, and of packet pointers with the packet's end.
    fn compared(self, mut after: RecordedState, left: Abstract, right: Abstract) -> Option<RecordedState> {
        let equal = match self.cond {
            Cond::Eq => Some(self.holds),
            Cond::Ne => Some(!self.holds),
            _ => None,
        };
        if let (Some(Pointer { maybe_null: true, id, .. }), Some(null), Source::Imm(0)) =
            (left.as_pointer(), equal, self.src)
        {
            settle(&mut after, id, null);
            return Some(after);
        }
        for (one, other) in [(left, right), (right, left)].into_iter().filter(|_| equal == Some(true)) {
            let Some(pointer) = one.as_pointer() else { continue };
            let sure = other.as_pointer().filter(|other| !other.maybe_null).map(|other| other.target);
            match sure {
                // Equal to something that is there.
                Some(target)
                    if pointer.maybe_null && !matches!(target, Target::Socket | Target::Function(_)) =>
                {
                    settle(&mut after, pointer.id, false);
                }
                None if !pointer.maybe_null && is_solid(pointer.target) && other.as_constant() == Some(0) => {
                    return None;
                }
                _ => {}
            }
        }
        if let (Some(left), Some(right)) = (left.as_pointer(), right.as_pointer()) {
            match (self.cond, self.holds) {
                (Cond::Lt, true) | (Cond::Ge, false) => prove(&mut after, &left, &right, true),
                (Cond::Le, true) | (Cond::Gt, false) => prove(&mut after, &left, &right, false),
                (Cond::Gt, true) | (Cond::Le, false) => prove(&mut after, &right, &left, true),
                (Cond::Ge, true) | (Cond::Lt, false) => prove(&mut after, &right, &left, false),
                _ => {}
            }
        }
        Some(after)
    }
}

/// Carries a number's range to those linked to it; `None` when nothing is left.
fn spread(state: &mut RecordedState, known: Number) -> Option<()> {
    let mut possible = Some(());
    each(state, |value| {
        let Abstract::Number(number) = value else { return };
        // Of a half only so much is known of the other as fits in one.
        let half = known.half || number.half;
        if number.link == known.link && (!half || number.range.umax() <= u32::MAX.into()) {
            let apart = Scalar::constant((i64::from(number.delta) - i64::from(known.delta)) as u64);
            let width = if half { Width::W32 } else { Width::W64 };
            match number.range.meet(&Scalar::alu(AluOp::Add, width, &known.range, &apart)) {
                Some(meet) => number.range = meet,
                None => possible = None,
            }
        }
    });
    possible
}

/// Every pointer of this name is null, or none is.
fn settle(state: &mut RecordedState, name: u32, null: bool) {
    // What has no name is nothing else.
    if name == 0 {
        return;
    }
    each(state, |value| match value {
        Abstract::Pointer(Pointer { maybe_null: true, id, .. }) if *id == name && null => {
            *value = Abstract::number(Scalar::constant(0));
        }
        Abstract::Pointer(pointer) if pointer.id == name => pointer.maybe_null = false,
        _ => {}
    });
}

/// `low` is at or before `high`: if that is the packet's end, so many bytes are there.
fn prove(state: &mut RecordedState, low: &Pointer, high: &Pointer, strict: bool) {
    let meta = match (low.target, high.target) {
        (Target::Packet { .. }, Target::PacketEnd) => false,
        (Target::PacketMeta { .. }, Target::Packet { .. }) if at_start(high) => true,
        _ => return,
    };
    let Ok(bytes) = u64::try_from(low.off) else { return };
    if bytes == 0 && strict || low.var.umax().saturating_add(bytes) > PACKET_FAR {
        return;
    }
    let proven = (bytes + u64::from(strict)).min(PACKET_FAR) as u16;
    each(state, |value| {
        let Abstract::Pointer(Pointer { target, id, .. }) = value else { return };
        match target {
            Target::Packet { range } if !meta && *id == low.id => *range = (*range).max(proven),
            Target::PacketMeta { range } if meta && *id == low.id => *range = (*range).max(proven),
            _ => {}
        }
    });
}
