//! Whether a run agrees with what machine code is made by: which instructions are reached, which ways branches
//! go, where accesses go, what calls are given ([`weir_verifier::Facts`]).

use weir_ebpf::abi::helper::{Arg, Helper};
use weir_ebpf::{Insn, Reg};
use weir_verifier::{Access, Facts};
use weir_vm::{Place, Step};

/// What a step has that the facts say it has not. `maps` are [`weir_maps::Map::id`] of the program's maps,
/// `last` is the slot of the step before in this program.
pub(crate) fn denied(
    facts: &Facts,
    maps: &[u32],
    step: &Step<'_, '_>,
    last: Option<usize>,
) -> Option<String> {
    let slot = step.slot();
    let known = facts.insns.get(slot)?;
    let insn = step.program().insns[slot];
    if !known.reached {
        return Some(format!("insn {slot}: is said not to be reached"));
    }
    if let Some(why) = last.and_then(|last| went(facts, step.program().insns[last], last, slot)) {
        return Some(why);
    }
    match insn {
        Insn::Load { base, off, .. }
        | Insn::Store { base, off, .. }
        | Insn::Atomic { base, off, .. }
        | Insn::LoadAcquire { base, off, .. }
        | Insn::StoreRelease { base, off, .. } => {
            let place = step.place(step.register(base).wrapping_add(off as i64 as u64))?;
            let there = goes(known.access, maps, place);
            (!there).then(|| format!("insn {slot}: {place:?} is not {:?}", known.access))
        }
        Insn::Call { helper } => {
            let helper = Helper::new(helper)?;
            let at = helper.args().iter().position(|arg| *arg == Arg::Map);
            let map = at.and_then(|at| step.place(step.register(Reg::ARGS[at])));
            let wanted = known.call.map.map(|map| maps.get(map as usize).copied());
            if let (Some(wanted), Some(Place::Map { map })) = (wanted, map)
                && wanted != Some(map)
            {
                return Some(format!("insn {slot}: another map than {:?}", known.call.map));
            }
            let (wanted, found) = (known.call.index?, index(helper, step)?);
            (wanted != found).then(|| format!("insn {slot}: index {found}, not {wanted}"))
        }
        _ => None,
    }
}

/// Whether the branch before may come here.
fn went(facts: &Facts, insn: Insn, from: usize, to: usize) -> Option<String> {
    let Insn::Branch { .. } = insn else { return None };
    let ways = facts.insns[from].ways;
    let taken = insn.jump_target(from) == Some(to as i64);
    let fallen = to == from + 1;
    let known = taken && ways.taken || fallen && ways.fallen;
    (!known).then(|| format!("insn {from}: does not go to insn {to}, by {ways:?}"))
}

fn goes(access: Access, maps: &[u32], place: Place) -> bool {
    match access {
        Access::None => false,
        Access::Context { offset, .. } => place == Place::Context { offset: offset.into() },
        Access::Stack => matches!(place, Place::Stack { .. }),
        Access::Packet => matches!(place, Place::Packet { .. }),
        Access::MapValue { map: None } => matches!(place, Place::MapValue { .. }),
        Access::MapValue { map: Some(map) } => match place {
            Place::MapValue { map: id } => maps.get(map as usize) == Some(&id),
            _ => false,
        },
        Access::Memory => !matches!(place, Place::Context { .. }),
    }
}

/// The index of a tail call, or the key of a lookup that stands on the stack.
fn index(helper: Helper, step: &Step<'_, '_>) -> Option<u32> {
    if helper == Helper::TailCall {
        return Some(step.register(Reg::R3) as u32);
    }
    let Place::Stack { frame, offset } = step.place(step.register(Reg::R2))? else { return None };
    let word = step.stack_word(frame, offset.div_euclid(8) * 8)?;
    Some((word >> (8 * offset.rem_euclid(8))) as u32)
}
