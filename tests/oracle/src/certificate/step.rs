//! What each instruction asks of a state, and what it leaves.

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::helper::{Arg, Helper, Returns};
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::isa::{AluOp, AtomicOp, Imm64, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, FrameState, RecordedState, Target};

use super::memory::{Stack, constant, context, each, field_value, reach, spec};
use super::{Step, Stop, number, pointer, refuse};

/// Takes steps.
pub(super) struct Machine<'p> {
    program: &'p Program,
    names: u32,
}

type Next = Vec<(usize, RecordedState)>;

impl<'p> Machine<'p> {
    pub(super) fn new(program: &'p Program) -> Self {
        // Names of the states count from 1.
        Self { program, names: 1 << 31 }
    }

    pub(super) fn fresh(&mut self) -> u32 {
        self.names += 1;
        self.names
    }

    /// The states after the instruction at `slot`, with where each goes on.
    pub(super) fn step(&mut self, slot: usize, before: &RecordedState) -> Step<Next> {
        let mut state = before.clone();
        let after = |off: i64| (slot as i64 + 1 + off) as usize;
        let insn = self.program.insns[slot];
        match insn {
            Insn::Alu { width, op, dst, src } => self.alu(&mut state, width, op, dst, src)?,
            Insn::Mov { width, dst, src } => self.mov(&mut state, width, dst, src)?,
            Insn::MovSx { width, from, dst, src } => {
                let range = range_of(get(&state, src)?).movsx(width, from);
                set(&mut state, dst, number(range))?;
            }
            Insn::Neg { width, dst } => {
                let range = range_of(get(&state, dst)?).neg(width);
                set(&mut state, dst, number(range))?;
            }
            Insn::Swap { kind, size, dst } => {
                let range = range_of(get(&state, dst)?).swap(kind, size);
                set(&mut state, dst, number(range))?;
            }
            Insn::LoadImm64 { dst, value } => {
                let value = self.immediate(slot, value)?;
                set(&mut state, dst, value)?;
                return Ok(vec![(slot + 2, state)]);
            }
            Insn::SecondHalf => return Ok(Vec::new()),
            Insn::Load { size, signed, dst, base, off } => {
                let value = self.load(&mut state, base, off, size)?;
                let value = match value {
                    Abstract::Number { range, .. } if signed => number(range.movsx(Width::W64, size)),
                    Abstract::Pointer { .. } if signed => return refuse("a signed load of a pointer"),
                    other => other,
                };
                set(&mut state, dst, value)?;
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let value = self.load(&mut state, base, off, size)?;
                set(&mut state, dst, value)?;
            }
            Insn::Store { size, base, off, src } => {
                let value = self.copied(&mut state, src)?;
                self.store(&mut state, base, off, size, value)?;
            }
            Insn::StoreRelease { size, base, off, src } => {
                let value = self.copied(&mut state, Source::Reg(src))?;
                self.store(&mut state, base, off, size, value)?;
            }
            Insn::Atomic { size, op, base, off, src } => {
                self.atomic(&mut state, size, op, (base, off), src)?
            }
            Insn::LoadPacket { index, .. } => {
                if let Some(index) = index {
                    get(&state, index)?;
                }
                if !matches!(get(&state, Reg::R6)?, Abstract::Pointer { target: Target::Context, .. }) {
                    return refuse("r6 is not the context");
                }
                lose_arguments(&mut state);
                set(&mut state, Reg::R0, number(Scalar::unknown()))?;
            }
            Insn::Goto { off } => return Ok(vec![(after(off.into()), state)]),
            Insn::GotoLong { off } => return Ok(vec![(after(off.into()), state)]),
            Insn::MayGoto { off } => return Ok(vec![(after(off.into()), state.clone()), (slot + 1, state)]),
            Insn::Branch { width, cond, dst, src, off } => {
                let sides = (get(&state, dst)?, source(&state, src)?);
                let branch = (width, cond, dst, src);
                let taken = self.way(&state, branch, true, sides).map(|state| (after(off.into()), state));
                let fallen = self.way(&state, branch, false, sides).map(|state| (slot + 1, state));
                return Ok(taken.into_iter().chain(fallen).collect());
            }
            Insn::Call { helper } => match Helper::new(helper) {
                Some(helper) => self.call(&mut state, helper)?,
                None => return refuse("no such helper"),
            },
            Insn::CallLocal { off } => return self.call_local(slot, after(off.into()), state),
            Insn::CallKfunc { .. } => return Err(Stop::Outside("kernel functions")),
            Insn::CallReg { .. } => return refuse("a call of a register"),
            Insn::Exit => return self.exit(state),
        }
        Ok(vec![(slot + 1, state)])
    }

    /// A value that is about to be copied: it and its copy get one name.
    fn copied(&mut self, state: &mut RecordedState, src: Source) -> Step<Abstract> {
        let mut value = source(state, src)?;
        if let (Source::Reg(reg), Abstract::Number { range, link, .. }) = (src, &mut value)
            && *link == 0
            && range.as_constant().is_none()
        {
            *link = self.fresh();
            frame(state).regs[reg.index()] = value;
        }
        Ok(value)
    }

    fn mov(&mut self, state: &mut RecordedState, width: Width, dst: Reg, src: Source) -> Step<()> {
        let value = match (source(state, src)?, width, src) {
            (_, Width::W32, Source::Imm(imm)) => number(Scalar::constant(u64::from(imm as u32))),
            (Abstract::Number { range, .. }, Width::W32, _) if range.umax() > u64::from(u32::MAX) => {
                number(range.mov32())
            }
            (Abstract::Pointer { .. }, Width::W32, _) => number(Scalar::unknown().mov32()),
            _ => self.copied(state, src)?,
        };
        set(state, dst, value)
    }

    fn alu(&mut self, state: &mut RecordedState, width: Width, op: AluOp, dst: Reg, src: Source) -> Step<()> {
        let (left, right) = (get(state, dst)?, source(state, src)?);
        let value = match (left, right) {
            (Abstract::Number { range, link, delta }, Abstract::Number { range: by, .. }) => {
                let result = Scalar::alu(op, width, &range, &by);
                let kept = (op, width) == (AluOp::Add, Width::W64) && link != 0;
                let apart = by.as_constant().filter(|_| kept);
                let apart = apart.and_then(|by| i64::from(delta).checked_add(by as i64));
                match apart.and_then(|apart| i32::try_from(apart).ok()) {
                    Some(delta) => Abstract::Number { range: result, link, delta },
                    None => number(result),
                }
            }
            (Abstract::Pointer { .. }, _) | (_, Abstract::Pointer { .. }) if width == Width::W32 => {
                match op {
                    AluOp::Sub => number(Scalar::unknown().mov32()),
                    _ => return refuse("32-bit arithmetic on a pointer"),
                }
            }
            (Abstract::Pointer { .. }, Abstract::Pointer { .. }) if op == AluOp::Sub => {
                number(Scalar::unknown())
            }
            (Abstract::Pointer { .. }, Abstract::Number { range, .. }) => {
                self.moved(op, left, range, false)?
            }
            (Abstract::Number { range, .. }, Abstract::Pointer { .. }) => {
                self.moved(op, right, range, true)?
            }
            _ => return refuse(format!("{op:?} on two pointers")),
        };
        set(state, dst, value)
    }

    fn immediate(&mut self, slot: usize, value: Imm64) -> Step<Abstract> {
        Ok(match value {
            Imm64::Value(value) => number(Scalar::constant(value)),
            Imm64::Map(map) => pointer(Target::Map { map, inner: false }),
            Imm64::MapValue { map, offset } => {
                let (var, id) = (Scalar::constant(0), self.fresh());
                let target = Target::MapValue { map, inner: false };
                Abstract::Pointer { target, maybe_null: false, off: offset as i32, var, id }
            }
            Imm64::Function(off) => {
                let start = (slot as i64 + 1 + i64::from(off)) as usize;
                pointer(Target::Function(self.function_at(start)?))
            }
            Imm64::Variable { .. } => return refuse("a kernel variable"),
        })
    }

    fn function_at(&self, start: usize) -> Step<usize> {
        match self.program.functions.iter().position(|function| function.start == start) {
            Some(function) => Ok(function),
            None => refuse("a call of what is no function"),
        }
    }

    fn load(&mut self, state: &mut RecordedState, base: Reg, off: i16, size: Size) -> Step<Abstract> {
        let value = get(state, base)?;
        if let Abstract::Pointer { target: Target::Context, .. } = value {
            let kind = context(self.program, &value, off, size, false)?;
            return field_value(kind, size, self.fresh());
        }
        let reach = reach(self.program, &value, off.into(), size.bytes(), false)?;
        if let Target::Stack { frame } = reach.target {
            let stack = &mut Stack(&mut state.frames[frame].stack);
            return match reach.exact {
                true => stack.read(reach.from, size),
                false if stack.zeros(reach.from, reach.to) => Ok(number(Scalar::constant(0))),
                false => Ok(number(Scalar::from_load(size, false))),
            };
        }
        Ok(constant(self.program, &reach, size).unwrap_or(number(Scalar::from_load(size, false))))
    }

    fn store(
        &mut self,
        state: &mut RecordedState,
        base: Reg,
        off: i16,
        size: Size,
        value: Abstract,
    ) -> Step<()> {
        let at = get(state, base)?;
        if let Abstract::Pointer { target: Target::Context, .. } = at {
            return context(self.program, &at, off, size, true).map(|_| ());
        }
        let reach = reach(self.program, &at, off.into(), size.bytes(), true)?;
        let current = state.frames.len() - 1;
        match reach.target {
            Target::Stack { frame } => {
                let escapes = matches!(value, Abstract::Pointer { target: Target::Stack { .. }, .. });
                if escapes && reach.exact && frame != current {
                    return refuse("a pointer into a frame is left in a caller's");
                }
                let mut stack = Stack(&mut state.frames[frame].stack);
                match reach.exact {
                    true => stack.write(reach.from, size, value),
                    false => {
                        stack.smear(reach.from, reach.to, super::cover::is_zero(&value));
                        Ok(())
                    }
                }
            }
            Target::Packet { .. } | Target::PacketMeta { .. }
                if self.program.kind == ProgramType::SocketFilter =>
            {
                refuse("a write to the packet")
            }
            _ => Ok(()),
        }
    }

    fn atomic(
        &mut self,
        state: &mut RecordedState,
        size: Size,
        op: AtomicOp,
        (base, off): (Reg, i16),
        src: Reg,
    ) -> Step<()> {
        get(state, src)?;
        if op == AtomicOp::CmpXchg {
            get(state, Reg::R0)?;
        }
        let plain = |value: &Abstract| match value {
            Abstract::Pointer { target, .. } => {
                matches!(target, Target::Stack { .. } | Target::MapValue { .. } | Target::Record { .. })
            }
            _ => false,
        };
        if !plain(&get(state, base)?) {
            return refuse("an atomic operation on other than plain memory");
        }
        let old = self.load(state, base, off, size)?;
        if op.fetches() {
            set(state, if op == AtomicOp::CmpXchg { Reg::R0 } else { src }, old)?;
        }
        self.store(state, base, off, size, Abstract::NotInit)
    }

    fn call_local(&mut self, slot: usize, start: usize, mut state: RecordedState) -> Step<Next> {
        let (function, depth) = (self.function_at(start)?, state.frames.len());
        if self.program.functions[function].global {
            return Err(Stop::Outside("global functions"));
        }
        let mut regs = [Abstract::NotInit; Reg::COUNT];
        let caller = frame(&mut state);
        for reg in Reg::ARGS {
            regs[reg.index()] = std::mem::replace(&mut caller.regs[reg.index()], Abstract::NotInit);
        }
        caller.regs[0] = Abstract::NotInit;
        regs[Reg::R10.index()] = pointer(Target::Stack { frame: depth });
        state.frames.push(FrameState { function, callsite: slot, regs, stack: Vec::new() });
        Ok(vec![(start, state)])
    }

    fn exit(&mut self, mut state: RecordedState) -> Step<Next> {
        if state.frames.len() == 1 {
            return get(&state, Reg::R0).map(|_| Vec::new());
        }
        let Some(left) = state.frames.pop() else { return refuse("no frame") };
        if !matches!(self.program.insns[left.callsite], Insn::CallLocal { .. }) {
            return Err(Stop::Outside("callbacks"));
        }
        frame(&mut state).regs[0] = left.regs[0];
        let (gone, mut dangling) = (state.frames.len(), false);
        each(&mut state, |value| {
            dangling |=
                matches!(value, Abstract::Pointer { target: Target::Stack { frame }, .. } if *frame == gone);
        });
        if dangling {
            return refuse("a pointer to a frame that is gone");
        }
        Ok(vec![(left.callsite + 1, state)])
    }

    fn call(&mut self, state: &mut RecordedState, helper: Helper) -> Step<()> {
        let mut given = Given::default();
        for at in 0..helper.args().len() {
            self.argument(state, helper, at, &mut given)?;
        }
        for (frame, from, to) in given.filled.drain(..) {
            Stack(&mut state.frames[frame].stack).forget(from, to);
        }
        if helper == Helper::TailCall && state.frames.len() > 1 {
            return Err(Stop::Outside("tail calls of functions"));
        }
        if let Some(name) = given.released {
            each(state, |value| {
                if matches!(value, Abstract::Pointer { target: Target::Record { .. }, id, .. } if *id == name)
                {
                    *value = number(Scalar::unknown());
                }
            });
        }
        let answer = match helper.returns() {
            Returns::Integer => number(Scalar::unknown()),
            Returns::Void => Abstract::NotInit,
            Returns::MapValueOrNull => self.found(helper, &given)?,
            Returns::RecordOrNull => {
                let bytes = u32::try_from(given.constant.unwrap_or_default()).unwrap_or_default();
                self.perhaps(Target::Record { bytes }, true)
            }
            _ => return Err(Stop::Outside("dynptrs and iterators")),
        };
        lose_arguments(state);
        set(state, Reg::R0, answer)?;
        if helper.changes_packet() {
            each(state, |value| {
                let packet = matches!(
                    value,
                    Abstract::Pointer {
                        target: Target::Packet { .. } | Target::PacketMeta { .. } | Target::PacketEnd,
                        ..
                    }
                );
                if packet {
                    *value = number(Scalar::unknown());
                }
            });
        }
        Ok(())
    }

    fn perhaps(&mut self, target: Target, maybe_null: bool) -> Abstract {
        Abstract::Pointer { target, maybe_null, off: 0, var: Scalar::constant(0), id: self.fresh() }
    }

    /// What a lookup answers: null too, unless the map is an array that has this index.
    fn found(&mut self, helper: Helper, given: &Given) -> Step<Abstract> {
        let Some((map, inner)) = given.map else { return refuse("a lookup without a map") };
        let Some(spec) = spec(self.program, map, inner) else { return refuse("a map that is not declared") };
        let array = match spec.kind {
            MapKind::Array => !inner || spec.flags & create_flags::INNER_MAP == 0,
            MapKind::PercpuArray => !inner,
            _ => false,
        };
        let there = given.key.is_some_and(|key| key < u64::from(spec.max_entries));
        let sure = helper == Helper::MapLookupElem && array && there;
        let target = match spec.kind {
            MapKind::ArrayOfMaps | MapKind::HashOfMaps => Target::Map { map, inner: true },
            MapKind::Xskmap => Target::Socket,
            _ => Target::MapValue { map, inner },
        };
        Ok(self.perhaps(target, !sure))
    }

    fn argument(
        &mut self,
        state: &mut RecordedState,
        helper: Helper,
        at: usize,
        given: &mut Given,
    ) -> Step<()> {
        let (arg, reg) = (helper.args()[at], Reg::ARGS[at]);
        if arg == Arg::DontCare {
            return Ok(());
        }
        let value = get(state, reg)?;
        let of_map = |size: fn(&weir_ebpf::MapSpec) -> u32| match given.map {
            Some((map, inner)) => spec(self.program, map, inner).map(size),
            None => None,
        };
        let null = super::cover::is_zero(&value);
        match arg {
            Arg::Anything => Ok(()),
            Arg::Context => match value {
                Abstract::Pointer { target: Target::Context, maybe_null: false, off: 0, var, .. }
                    if var.as_constant() == Some(0) =>
                {
                    Ok(())
                }
                _ => refuse("the context was wanted"),
            },
            Arg::Map => match value {
                Abstract::Pointer { target: Target::Map { map, inner }, maybe_null: false, .. } => {
                    given.map = Some((map, inner));
                    Ok(())
                }
                _ => refuse("a map was wanted"),
            },
            Arg::MapKey => {
                let Some(size) = of_map(|spec| spec.key_size) else { return refuse("a key of no map") };
                let reach = reach(self.program, &value, 0, size, false)?;
                if let (Target::Stack { frame }, true, 4) = (reach.target, reach.exact, size)
                    && reach.from % 4 == 0
                {
                    let key = Stack(&mut state.frames[frame].stack).read(reach.from, Size::W);
                    given.key = key.ok().and_then(|key| constant_of(&key)).map(|key| key & 0xffff_ffff);
                }
                Ok(())
            }
            Arg::MapValue => match of_map(|spec| spec.value_size) {
                Some(size) => reach(self.program, &value, 0, size, false).map(|_| ()),
                None => refuse("a value of no map"),
            },
            Arg::UninitMapValue => match of_map(|spec| spec.value_size) {
                Some(size) => self.fills(&value, size, given),
                None => refuse("a value of no map"),
            },
            // Checked with its size, which follows.
            Arg::Mem | Arg::UninitMem | Arg::MemReadWrite | Arg::MemOrNull => Ok(()),
            Arg::Size | Arg::SizeOrZero => {
                let Abstract::Number { range, .. } = value else { return refuse("a size was wanted") };
                let most = range.umax();
                if range.smin() < 0 || most >= 1 << 29 || arg == Arg::Size && range.umin() == 0 {
                    return refuse("a size without bounds");
                }
                let (memory, kind) = (get(state, Reg::ARGS[at - 1])?, helper.args()[at - 1]);
                if most == 0 {
                    return Ok(());
                }
                match kind {
                    Arg::UninitMem | Arg::MemReadWrite => self.fills(&memory, most as u32, given),
                    _ => reach(self.program, &memory, 0, most as u32, false).map(|_| ()),
                }
            }
            Arg::ConstSize => {
                given.constant = constant_of(&value);
                if given.constant.is_some() { Ok(()) } else { refuse("a constant was wanted") }
            }
            Arg::Record => match value {
                Abstract::Pointer {
                    target: Target::Record { .. },
                    maybe_null: false,
                    off: 0,
                    id,
                    var,
                    ..
                } if var.as_constant() == Some(0) => {
                    given.released = Some(id);
                    Ok(())
                }
                _ => refuse("a record was wanted"),
            },
            Arg::Long => self.fills(&value, 8, given),
            Arg::LongU32 => self.fills(&value, 4, given),
            Arg::StackOrNull if null => Ok(()),
            Arg::SpinLock => Err(Stop::Outside("locks")),
            Arg::Callback | Arg::StackOrNull => Err(Stop::Outside("callbacks")),
            Arg::ConstStr => Err(Stop::Outside("texts")),
            _ => Err(Stop::Outside("dynptrs and iterators")),
        }
    }

    /// Memory that a helper writes.
    fn fills(&self, value: &Abstract, size: u32, given: &mut Given) -> Step<()> {
        let reach = reach(self.program, value, 0, size, true)?;
        if let Target::Stack { frame } = reach.target {
            given.filled.push((frame, reach.from, reach.to));
        }
        Ok(())
    }
}

/// What a call was given.
#[derive(Default)]
struct Given {
    map: Option<(u32, bool)>,
    key: Option<u64>,
    constant: Option<u64>,
    released: Option<u32>,
    filled: Vec<(usize, i64, i64)>,
}

fn frame(state: &mut RecordedState) -> &mut FrameState {
    let last = state.frames.len() - 1;
    &mut state.frames[last]
}

fn get(state: &RecordedState, reg: Reg) -> Step<Abstract> {
    match state.frames.last().map(|frame| frame.regs[reg.index()]) {
        Some(Abstract::NotInit) | None => refuse(format!("{reg} is not set")),
        Some(value) => Ok(value),
    }
}

fn set(state: &mut RecordedState, reg: Reg, value: Abstract) -> Step<()> {
    if reg == Reg::R10 {
        return refuse("a write of r10");
    }
    frame(state).regs[reg.index()] = value;
    Ok(())
}

fn source(state: &RecordedState, src: Source) -> Step<Abstract> {
    match src {
        Source::Reg(reg) => get(state, reg),
        Source::Imm(imm) => Ok(number(Scalar::constant(imm as i64 as u64))),
    }
}

fn range_of(value: Abstract) -> Scalar {
    match value {
        Abstract::Number { range, .. } => range,
        Abstract::Pointer { .. } | Abstract::NotInit => Scalar::unknown(),
    }
}

fn constant_of(value: &Abstract) -> Option<u64> {
    match value {
        Abstract::Number { range, .. } => range.as_constant(),
        Abstract::Pointer { .. } | Abstract::NotInit => None,
    }
}

fn lose_arguments(state: &mut RecordedState) {
    for reg in Reg::ARGS {
        frame(state).regs[reg.index()] = Abstract::NotInit;
    }
}
