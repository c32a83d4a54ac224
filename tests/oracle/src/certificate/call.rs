//! What helpers ask for, and what they leave.

use weir_ebpf::abi::helper::{Arg, Returns};
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{Helper, MapKind};
use weir_ebpf::isa::{Reg, Size};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, Pointer, Target};

use super::machine::{Machine, each};
use super::memory::{at_start, is_packet};
use super::stack::Stack;
use super::{Step, Verdict, demand, refuse};

/// Sizes given to helpers stay below this (`BPF_MAX_VAR_SIZ`).
const SIZE_MAX: u64 = 1 << 29;
/// Most stack of the frames above one that tail calls.
const ABOVE_TAIL_CALL_MAX: u32 = 256;

/// What a call was given.
#[derive(Default)]
struct Given {
    map: Option<(u32, bool)>,
    /// The index of a tail call, or the key of four bytes.
    index: Option<u32>,
    constant: Option<u64>,
    released: Option<u32>,
    filled: Vec<(usize, i64, i64)>,
}

impl Machine<'_> {
    pub(super) fn call(&mut self, helper: Helper) -> Step {
        let (kind, attach) = (self.program.kind, self.program.attach);
        demand(helper.offered_to(kind, attach), "a helper of other programs")?;
        demand(self.program.gpl_compatible() || !helper.gpl_only(), "a helper for GPL programs")?;
        let mut given = Given::default();
        for at in 0..helper.args_of(kind).len() {
            self.argument(helper, at, &mut given)?;
        }
        self.said(&given)?;
        for (frame, from, to) in given.filled.drain(..) {
            Stack(&mut self.state.frames[frame].stack).forget(from, to, false);
        }
        if let Some(name) = given.released {
            each(&mut self.state, |value| {
                if value
                    .as_pointer()
                    .is_some_and(|found| found.id == name && matches!(found.target, Target::Record { .. }))
                {
                    *value = Abstract::number(Scalar::unknown());
                }
            });
        }
        if helper == Helper::TailCall {
            self.tail_call()?;
        }
        let answer = match helper.returns() {
            Returns::Integer => Abstract::number(Scalar::unknown()),
            Returns::Void => Abstract::NotInit,
            Returns::MapValueOrNull => self.looked_up(helper, &given)?,
            Returns::RecordOrNull => {
                let bytes = given.constant.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0);
                self.found(Target::Record { bytes }, true)
            }
            _ => return Err(Verdict::Outside("dynptrs, iterators and sockets")),
        };
        self.lose_arguments();
        self.set(Reg::R0, answer)?;
        if helper.changes_packet() {
            self.lose_packet();
        }
        Ok(())
    }

    /// That the call is given what it is said to be.
    fn said(&self, given: &Given) -> Step {
        let said = self.facts.insns[self.slot].call;
        let map = said.map.is_none_or(|map| given.map == Some((map, false)));
        let index = said.index.is_none_or(|index| given.index == Some(index));
        demand(map && index, format_args!("is given another map or index than {said:?}"))
    }

    /// A tail call that succeeds ends the function, with any answer and a packet that may have moved.
    fn tail_call(&mut self) -> Step {
        let above = self.state.frames.len() - 1;
        let bytes = (0..above).map(|frame| self.stack_bytes(frame).next_multiple_of(16)).sum::<u32>();
        demand(bytes < ABOVE_TAIL_CALL_MAX, "too much stack above a tail call")?;
        if above > 0 {
            let here = self.state.clone();
            self.lose_packet();
            self.leave(Abstract::number(Scalar::unknown()))?;
            self.state = here;
        }
        Ok(())
    }

    fn lose_packet(&mut self) {
        each(&mut self.state, |value| {
            if value.as_pointer().is_some_and(|pointer| is_packet(pointer.target)) {
                *value = Abstract::number(Scalar::unknown());
            }
        });
    }

    /// A pointer to the start of something new.
    pub(super) fn found(&mut self, target: Target, maybe_null: bool) -> Abstract {
        let (var, id) = (Scalar::constant(0), self.fresh());
        Abstract::Pointer(Pointer { target, maybe_null, off: 0, var, id })
    }

    /// What a lookup answers: null too, unless the map is an array that has this index.
    fn looked_up(&mut self, helper: Helper, given: &Given) -> Step<Abstract> {
        let Some((map, inner)) = given.map else { return refuse("a lookup without a map") };
        let spec = self.spec(map, inner)?;
        let array = match spec.kind {
            MapKind::Array => !inner || spec.flags & create_flags::INNER_MAP == 0,
            MapKind::PercpuArray => !inner,
            _ => false,
        };
        let there = array && given.index.is_some_and(|index| index < spec.max_entries);
        let target = match spec.kind {
            MapKind::ArrayOfMaps | MapKind::HashOfMaps => Target::Map { map, inner: true },
            kind if kind == MapKind::Xskmap || kind.holds_sockets() => Target::Socket,
            _ => Target::MapValue { map, inner },
        };
        Ok(self.found(target, !(there && helper == Helper::MapLookupElem)))
    }

    fn argument(&mut self, helper: Helper, at: usize, given: &mut Given) -> Step {
        let (args, reg) = (helper.args_of(self.program.kind), Reg::ARGS[at]);
        if args[at] == Arg::DontCare {
            return Ok(());
        }
        let value = self.get(reg)?;
        let start = value.as_pointer().filter(at_start);
        let of_map = given.map.map(|(map, inner)| self.spec(map, inner)).transpose()?;
        match (args[at], start.map(|pointer| pointer.target), of_map) {
            (Arg::Anything, ..) => {
                let tail_index = helper == Helper::TailCall && at == 2;
                given.index =
                    given.index.or(value.as_constant().filter(|_| tail_index).map(|index| index as u32));
                Ok(())
            }
            (Arg::Context, Some(Target::Context), _) => Ok(()),
            (Arg::Map, Some(Target::Map { map, inner }), _) => {
                given.map = Some((map, inner));
                Ok(())
            }
            (Arg::MapKey, _, Some(spec)) => {
                let size = spec.key_size;
                let reach = self.reach(&value, 0, size, false)?;
                if let (Target::Stack { frame }, true, 4) = (reach.target, reach.exact, size)
                    && reach.from % 4 == 0
                {
                    let key = Stack(&mut self.state.frames[frame].stack).read(reach.from, Size::W);
                    given.index = key.ok().and_then(|key| key.as_constant()).map(|key| key as u32);
                }
                Ok(())
            }
            (Arg::MapValue, _, Some(spec)) => self.reach(&value, 0, spec.value_size, false).map(|_| ()),
            (Arg::UninitMapValue, _, Some(spec)) => self.fills(&value, spec.value_size, given),
            // Checked with its size, which follows.
            (Arg::Mem | Arg::UninitMem | Arg::MemReadWrite | Arg::MemOrNull, ..) => Ok(()),
            (Arg::Size | Arg::SizeOrZero, ..) => {
                let Some(size) = value.as_number().map(|size| size.range) else { return refuse("no size") };
                let some = args[at] == Arg::SizeOrZero || size.umin() > 0;
                demand(some && size.smin() >= 0 && size.umax() < SIZE_MAX, "a size without bounds")?;
                let (memory, most) = (self.get(Reg::ARGS[at - 1])?, size.umax() as u32);
                match args[at - 1] {
                    _ if most == 0 => Ok(()),
                    Arg::UninitMem | Arg::MemReadWrite => self.fills(&memory, most, given),
                    _ => self.reach(&memory, 0, most, false).map(|_| ()),
                }
            }
            (Arg::ConstSize, ..) => {
                given.constant = value.as_constant();
                demand(given.constant.is_some(), "a constant was wanted")
            }
            (Arg::Record, Some(Target::Record { .. }), _) => {
                given.released = start.map(|record| record.id);
                Ok(())
            }
            (Arg::Long, ..) => self.fills(&value, 8, given),
            (Arg::LongU32, ..) => self.fills(&value, 4, given),
            (Arg::StackOrNull, ..) if value.as_constant() == Some(0) => Ok(()),
            (
                Arg::Context | Arg::Map | Arg::MapKey | Arg::MapValue | Arg::UninitMapValue | Arg::Record,
                ..,
            ) => refuse(format_args!("{:?} was wanted in {reg}, not {value:?}", args[at])),
            _ => Err(Verdict::Outside("locks, callbacks, timers, texts, objects and sockets")),
        }
    }

    /// Memory that a helper writes.
    fn fills(&self, value: &Abstract, size: u32, given: &mut Given) -> Step {
        let reach = self.reach(value, 0, size, true)?;
        if let Target::Stack { frame } = reach.target {
            given.filled.push((frame, reach.from, reach.to));
        }
        Ok(())
    }
}
