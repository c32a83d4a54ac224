//! What branches teach, and arithmetic on pointers.

use weir_ebpf::isa::{AluOp, Cond, Reg, Source, Width};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, RecordedState, Target};

use super::cover::is_zero;
use super::memory::each;
use super::step::Machine;
use super::{Step, number, refuse};

/// Offsets stay below this, so that no sum of two overflows.
const FAR: i64 = 1 << 29;
/// Largest unknown offset of a packet pointer that a check proves anything of.
const PACKET_FAR: u64 = 0xffff;

impl Machine<'_> {
    /// A pointer and a number added, or the number taken away.
    pub(super) fn moved(&mut self, op: AluOp, from: Abstract, by: Scalar, reversed: bool) -> Step<Abstract> {
        let Abstract::Pointer { target, maybe_null, off, var, id } = from else {
            return refuse("moves what is no pointer");
        };
        let movable = match target {
            Target::Context
            | Target::Stack { .. }
            | Target::Packet { .. }
            | Target::PacketMeta { .. }
            | Target::MapValue { .. }
            | Target::MapKey { .. }
            | Target::Record { .. }
            | Target::Memory { .. } => true,
            Target::Map { .. } => by.as_constant() == Some(0),
            Target::PacketEnd | Target::Function(_) | Target::Socket | Target::ConstDynptr => false,
        };
        if maybe_null || !movable || !matches!(op, AluOp::Add | AluOp::Sub) || op == AluOp::Sub && reversed {
            return refuse(format!("{op:?} on {target:?}"));
        }
        let step =
            by.as_constant().map(|by| if op == AluOp::Sub { (by as i64).wrapping_neg() } else { by as i64 });
        if let Some(off) = step.and_then(|step| i32::try_from(i64::from(off).checked_add(step)?).ok()) {
            if i64::from(off).abs() >= FAR {
                return refuse("a pointer moved too far");
            }
            return Ok(Abstract::Pointer { target, maybe_null, off, var, id });
        }
        let var = Scalar::alu(op, Width::W64, &var, &by);
        if var.smin() <= -FAR || i64::from(off).abs() >= FAR {
            return refuse("a pointer moved too far");
        }
        let (target, id) = match target {
            Target::Packet { .. } => (Target::Packet { range: 0 }, self.fresh()),
            Target::PacketMeta { .. } => (Target::PacketMeta { range: 0 }, self.fresh()),
            other => (other, id),
        };
        Ok(Abstract::Pointer { target, maybe_null, off, var, id })
    }

    /// The state on one way of a branch; `None` when no run goes it.
    pub(super) fn way(
        &self,
        state: &RecordedState,
        (width, cond, dst, src): (Width, Cond, Reg, Source),
        holds: bool,
        (left, right): (Abstract, Abstract),
    ) -> Option<RecordedState> {
        let mut after = state.clone();
        if src == Source::Reg(dst) {
            let known = match left {
                Abstract::Number { range, .. } => Scalar::decide(cond, width, &range, &range),
                _ => None,
            };
            return (known != Some(!holds)).then_some(after);
        }
        match (left, right) {
            (
                Abstract::Number { range: l, link, delta },
                Abstract::Number { range: r, link: other, delta: apart },
            ) => {
                if Scalar::decide(cond, width, &l, &r) == Some(!holds) {
                    return None;
                }
                let (l, r) = Scalar::refine(cond, width, holds, &l, &r)?;
                let frame = after.frames.last_mut()?;
                frame.regs[dst.index()] = Abstract::Number { range: l, link, delta };
                if let Source::Reg(src) = src {
                    frame.regs[src.index()] = Abstract::Number { range: r, link: other, delta: apart };
                }
                (spread(&mut after, link, delta, l) && spread(&mut after, other, apart, r)).then_some(after)
            }
            _ if width == Width::W32 => Some(after),
            _ => compared(after, cond, holds, (left, right), src),
        }
    }
}

/// Carries a number's range to those linked to it; `false` when nothing is left.
fn spread(state: &mut RecordedState, link: u32, delta: i32, range: Scalar) -> bool {
    let mut possible = true;
    if link == 0 {
        return true;
    }
    each(state, |value| {
        if let Abstract::Number { range: other, link: name, delta: at } = value
            && *name == link
        {
            let apart = Scalar::constant((i64::from(*at) - i64::from(delta)) as u64);
            match other.meet(&Scalar::alu(AluOp::Add, Width::W64, &range, &apart)) {
                Some(meet) => *other = meet,
                None => possible = false,
            }
        }
    });
    possible
}

fn never_null(value: &Abstract) -> bool {
    matches!(
        value,
        Abstract::Pointer {
            target: Target::MapValue { .. }
                | Target::MapKey { .. }
                | Target::Map { .. }
                | Target::Record { .. }
                | Target::Memory { .. }
                | Target::Socket,
            maybe_null: false,
            ..
        }
    )
}

/// Comparisons with pointers: with null, and of packet pointers with the packet's end.
fn compared(
    mut after: RecordedState,
    cond: Cond,
    holds: bool,
    (left, right): (Abstract, Abstract),
    src: Source,
) -> Option<RecordedState> {
    let equal = match cond {
        Cond::Eq => Some(holds),
        Cond::Ne => Some(!holds),
        _ => None,
    };
    let solid = never_null(&left) && is_zero(&right) || never_null(&right) && is_zero(&left);
    if solid && equal == Some(true) {
        return None;
    }
    if let (Abstract::Pointer { maybe_null: true, id, .. }, Some(equal), Source::Imm(0)) = (left, equal, src)
    {
        settle(&mut after, id, equal);
        return Some(after);
    }
    if equal == Some(true) {
        for (unsure, sure) in [(left, right), (right, left)] {
            if let Abstract::Pointer { maybe_null: true, id, .. } = unsure
                && never_null(&sure)
            {
                settle(&mut after, id, false);
            }
        }
    }
    let relation = match (cond, holds) {
        (Cond::Lt, true) | (Cond::Ge, false) => Some((left, right, true)),
        (Cond::Le, true) | (Cond::Gt, false) => Some((left, right, false)),
        (Cond::Gt, true) | (Cond::Le, false) => Some((right, left, true)),
        (Cond::Ge, true) | (Cond::Lt, false) => Some((right, left, false)),
        _ => None,
    };
    if let Some((low, high, strict)) = relation {
        prove(&mut after, &low, &high, strict);
    }
    Some(after)
}

/// Every pointer of this name is null, or none is.
fn settle(state: &mut RecordedState, name: u32, null: bool) {
    each(state, |value| {
        if let Abstract::Pointer { maybe_null, id, .. } = value
            && *maybe_null
            && *id == name
        {
            if null {
                *value = number(Scalar::constant(0));
            } else {
                *maybe_null = false;
            }
        }
    });
}

/// `low` is at or before `high`: if that is the packet's end, so many bytes are there.
fn prove(state: &mut RecordedState, low: &Abstract, high: &Abstract, strict: bool) {
    let (
        Abstract::Pointer { target, off, var, id, .. },
        Abstract::Pointer { target: end, off: at, var: by, .. },
    ) = (low, high)
    else {
        return;
    };
    let meta = match (target, end) {
        (Target::Packet { .. }, Target::PacketEnd) => false,
        (Target::PacketMeta { .. }, Target::Packet { .. }) if *at == 0 && by.as_constant() == Some(0) => true,
        _ => return,
    };
    let Ok(bytes) = u64::try_from(*off) else { return };
    if bytes == 0 && strict || var.umax().saturating_add(bytes) > PACKET_FAR {
        return;
    }
    let bytes = (bytes + u64::from(strict)).min(PACKET_FAR) as u16;
    each(state, |value| {
        if let Abstract::Pointer { target, id: name, .. } = value
            && name == id
        {
            match target {
                Target::Packet { range } if !meta => *range = (*range).max(bytes),
                Target::PacketMeta { range } if meta => *range = (*range).max(bytes),
                _ => {}
            }
        }
    });
}
