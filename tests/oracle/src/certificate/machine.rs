//! What each instruction asks of a state, and what it leaves.

use weir_ebpf::Program;
use weir_ebpf::abi::{Helper, MAX_CALL_FRAMES, MAX_STACK};
use weir_ebpf::isa::{AluOp, AtomicOp, Imm64, Insn, Reg, Size, Source, Width};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, FrameState, Number, Pointer, RecordedState, Target};
use weir_verifier::{Facts, Verified};

use super::branch::Way;
use super::{Step, Verdict, demand, refuse};

/// Takes steps: one state before an instruction, all those after it, and where each goes on.
pub(super) struct Machine<'v> {
    pub(super) program: &'v Program,
    pub(super) facts: &'v Facts,
    pub(super) slot: usize,
    pub(super) state: RecordedState,
    next: Vec<(usize, RecordedState)>,
    names: u32,
}

impl<'v> Machine<'v> {
    pub(super) fn new(verified: &'v Verified) -> Self {
        let (program, facts) = (&**verified.program(), verified.facts());
        // Names of the states count from 1.
        Self { program, facts, slot: 0, state: super::entry(), next: Vec::new(), names: 1 << 31 }
    }

    pub(super) fn fresh(&mut self) -> u32 {
        self.names += 1;
        self.names
    }

    /// The states after the instruction at `slot`, with where each goes on.
    pub(super) fn step(&mut self, slot: usize, before: &RecordedState) -> Step<Vec<(usize, RecordedState)>> {
        (self.slot, self.state) = (slot, before.clone());
        demand(self.facts.insns[slot].reached, "is said not to be reached")?;
        let depth =
            (0..before.frames.len()).map(|frame| self.stack_bytes(frame).next_multiple_of(16)).sum::<u32>();
        let fits = depth <= MAX_STACK as u32 && before.frames.len() <= MAX_CALL_FRAMES;
        demand(fits, "the stacks of all frames are too large")?;
        if let Some(to) = self.insn(self.program.insns[slot])? {
            self.next.push((to, self.state.clone()));
        }
        let next = std::mem::take(&mut self.next);
        let function = |slot| self.program.function_at(slot).map(|function| function.start);
        let stays = |(to, after): &(usize, RecordedState)| {
            after.frames.len() != before.frames.len() || function(*to) == function(slot)
        };
        demand(next.iter().all(stays), "goes into another function")?;
        Ok(next)
    }

    /// Does an instruction; answers where the state goes on.
    fn insn(&mut self, insn: Insn) -> Step<Option<usize>> {
        match insn {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src)?,
            Insn::Mov { width, dst, src } => self.mov(width, dst, src)?,
            Insn::MovSx { width, from, dst, src } => match self.get(src)?.as_number() {
                Some(number) if is_positive(&number.range, from) => {
                    let value = self.copied(Source::Reg(src))?;
                    self.set(dst, value)?;
                }
                _ => self.made(dst, src, |range| range.movsx(width, from))?,
            },
            Insn::Neg { width, dst } => self.made(dst, dst, |range| range.neg(width))?,
            Insn::Swap { kind, size, dst } => self.made(dst, dst, |range| range.swap(kind, size))?,
            Insn::LoadImm64 { dst, value } => {
                let value = self.immediate(value)?;
                self.set(dst, value)?;
                return Ok(Some(self.slot + 2));
            }
            Insn::SecondHalf => return refuse("the middle of an instruction"),
            Insn::Load { size, signed, dst, base, off } => {
                let value = match self.load(base, off, size)? {
                    Abstract::Number(number) if signed && !is_positive(&number.range, size) => {
                        Abstract::number(number.range.movsx(Width::W64, size))
                    }
                    Abstract::Pointer(_) if signed => return refuse("a signed load of a pointer"),
                    value => value,
                };
                self.set(dst, value)?;
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let value = self.load(base, off, size)?;
                self.set(dst, value)?;
            }
            Insn::Store { size, base, off, src } => {
                let value = self.stored(base, size, src)?;
                self.store(base, off, size, value)?;
            }
            Insn::StoreRelease { size, base, off, src } => {
                let value = self.stored(base, size, Source::Reg(src))?;
                self.store(base, off, size, value)?;
            }
            Insn::Atomic { size, op, base, off, src } => self.atomic(size, op, (base, off), src)?,
            Insn::LoadPacket { index, .. } => self.load_packet(index)?,
            Insn::Goto { off } => return Ok(Some(self.target(off.into()))),
            Insn::GotoLong { off } => return Ok(Some(self.target(off.into()))),
            Insn::MayGoto { off } => self.next.push((self.target(off.into()), self.state.clone())),
            Insn::Branch { width, cond, dst, src, off } => {
                let (left, right) = (self.get(dst)?, self.source(src)?);
                let ways = self.facts.insns[self.slot].ways;
                let both = [(true, ways.taken, self.target(off.into())), (false, ways.fallen, self.slot + 1)];
                for (holds, said, to) in both {
                    let way = Way { width, cond, dst, src, holds };
                    if let Some(after) = way.after(&self.state, left, right) {
                        demand(said, "goes a way that it is said not to go")?;
                        self.next.push((to, after));
                    }
                }
                return Ok(None);
            }
            Insn::Call { helper } => match Helper::new(helper) {
                Some(helper) => self.call(helper)?,
                None => return refuse("no such helper"),
            },
            Insn::CallLocal { off } => return self.call_local(self.target(off.into())).map(Some),
            Insn::CallKfunc { .. } => return Err(Verdict::Outside("kernel functions")),
            Insn::CallReg { .. } => return refuse("a call of a register"),
            Insn::Exit => {
                let answer = frame(&mut self.state).regs[Reg::R0.index()];
                demand(self.state.frames.len() > 1 || answer != Abstract::NotInit, "r0 is not set")?;
                return self.leave(answer).map(|()| None);
            }
        }
        Ok(Some(self.slot + 1))
    }

    fn target(&self, off: i64) -> usize {
        (self.slot as i64 + 1 + off) as usize
    }

    pub(super) fn get(&self, reg: Reg) -> Step<Abstract> {
        match self.state.frames.last().map(|frame| frame.regs[reg.index()]) {
            Some(Abstract::NotInit) | None => refuse(format_args!("{reg} is not set")),
            Some(value) => Ok(value),
        }
    }

    pub(super) fn set(&mut self, reg: Reg, value: Abstract) -> Step {
        demand(reg != Reg::R10, "a write of r10")?;
        frame(&mut self.state).regs[reg.index()] = value;
        Ok(())
    }

    fn source(&self, src: Source) -> Step<Abstract> {
        match src {
            Source::Reg(reg) => self.get(reg),
            Source::Imm(imm) => Ok(Abstract::number(Scalar::constant(imm as i64 as u64))),
        }
    }

    /// A number made out of one; of a pointer any may come.
    fn made(&mut self, dst: Reg, src: Reg, make: impl Fn(&Scalar) -> Scalar) -> Step {
        let range = self.get(src)?.as_number().map_or(Scalar::unknown(), |number| number.range);
        self.set(dst, Abstract::number(make(&range)))
    }

    /// A value that is about to be copied: it and its copy get one name.
    fn copied(&mut self, src: Source) -> Step<Abstract> {
        if let Source::Reg(reg) = src {
            let fresh = self.fresh();
            name(&mut frame(&mut self.state).regs[reg.index()], fresh);
        }
        self.source(src)
    }

    /// The value of a store. It leaves a copy that can be named only if it goes whole to the stack; no other ends
    /// the link of a low half.
    fn stored(&mut self, base: Reg, size: Size, src: Source) -> Step<Abstract> {
        let target = self.get(base)?.as_pointer().map(|pointer| pointer.target);
        let whole = |number: Number| number.range.umax() <= u64::MAX >> (64 - 8 * size.bytes());
        match (target, self.source(src)?) {
            (Some(Target::Stack { .. }), Abstract::Number(number)) if whole(number) => self.copied(src),
            (_, value) => Ok(value),
        }
    }

    fn mov(&mut self, width: Width, dst: Reg, src: Source) -> Step {
        let half = |range: Scalar| Abstract::number(range.mov32());
        let value = match (width, self.source(src)?) {
            (Width::W32, Abstract::Pointer(_)) => half(Scalar::unknown()),
            (Width::W32, Abstract::Number(number)) if number.range.umax() > u32::MAX.into() => {
                half(number.range)
            }
            _ => self.copied(src)?,
        };
        self.set(dst, value)
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Source) -> Step {
        let (left, right) = (self.get(dst)?, self.source(src)?);
        let value = match (left, right) {
            (Abstract::Number(number), Abstract::Number(by)) => {
                let range = Scalar::alu(op, width, &number.range, &by.range);
                Abstract::Number(added(op, width, number, &by.range, range))
            }
            (Abstract::Pointer(pointer), Abstract::Number(by)) if width == Width::W64 => {
                self.moved(op, pointer, by.range, true)?
            }
            (Abstract::Number(by), Abstract::Pointer(pointer)) if width == Width::W64 => {
                self.moved(op, pointer, by.range, false)?
            }
            _ if op != AluOp::Sub => return refuse(format_args!("{op:?} on pointers")),
            _ if width == Width::W32 => Abstract::number(Scalar::unknown().mov32()),
            _ => Abstract::number(Scalar::unknown()),
        };
        self.set(dst, value)
    }

    fn immediate(&mut self, value: Imm64) -> Step<Abstract> {
        Ok(match value {
            Imm64::Value(value) => Abstract::number(Scalar::constant(value)),
            Imm64::Map(map) => Abstract::pointer(Target::Map { map, inner: false }),
            Imm64::MapValue { map, offset } => {
                let (target, id) = (Target::MapValue { map, inner: false }, self.fresh());
                let (var, maybe_null) = (Scalar::constant(0), false);
                Abstract::Pointer(Pointer { target, maybe_null, off: offset as i32, var, id })
            }
            Imm64::Function(off) => {
                Abstract::pointer(Target::Function(self.function(self.target(off.into()))?))
            }
            Imm64::Variable { .. } => return refuse("a kernel variable"),
        })
    }

    fn function(&self, start: usize) -> Step<usize> {
        let function = self.program.functions.iter().position(|function| function.start == start);
        function.ok_or_else(|| Verdict::Refused("a call of what is no function".to_owned()))
    }

    fn atomic(&mut self, size: Size, op: AtomicOp, (base, off): (Reg, i16), src: Reg) -> Step {
        self.get(src)?;
        if op == AtomicOp::CmpXchg {
            self.get(Reg::R0)?;
        }
        use Target::{MapValue, Record, Stack};
        let target = self.get(base)?.as_pointer().map(|pointer| pointer.target);
        let plain = matches!(target, Some(Stack { .. } | MapValue { .. } | Record { .. }));
        demand(plain, "an atomic operation on other than plain memory")?;
        let old = self.load(base, off, size)?;
        if op.fetches() {
            self.set(if op == AtomicOp::CmpXchg { Reg::R0 } else { src }, old)?;
        }
        self.store(base, off, size, Abstract::NotInit)
    }

    /// Legacy packet access, which ends the function with 0 when the packet is too short.
    fn load_packet(&mut self, index: Option<Reg>) -> Step {
        index.map_or(Ok(Abstract::NotInit), |index| self.get(index))?;
        let context = self.get(Reg::R6)? == Abstract::pointer(Target::Context);
        demand(context && self.program.kind.reads_legacy(), "r6 is not the context of an skb")?;
        let here = self.state.clone();
        self.leave(Abstract::number(Scalar::constant(0)))?;
        self.state = here;
        self.lose_arguments();
        self.set(Reg::R0, Abstract::number(Scalar::unknown()))
    }

    fn call_local(&mut self, start: usize) -> Step<usize> {
        let (function, depth) = (self.function(start)?, self.state.frames.len());
        if self.program.functions[function].global {
            return Err(Verdict::Outside("global functions"));
        }
        let mut regs = frame(&mut self.state).regs;
        regs[Reg::R0.index()] = Abstract::NotInit;
        regs[Reg::R6.index()..].fill(Abstract::NotInit);
        regs[Reg::R10.index()] = Abstract::pointer(Target::Stack { frame: depth });
        self.lose_arguments();
        self.set(Reg::R0, Abstract::NotInit)?;
        self.state.frames.push(FrameState { function, callsite: self.slot, regs, stack: Vec::new() });
        Ok(start)
    }

    /// Returns to the caller, if there is one.
    pub(super) fn leave(&mut self, answer: Abstract) -> Step {
        let Some(left) = self.state.frames.pop().filter(|_| !self.state.frames.is_empty()) else {
            return Ok(());
        };
        if !matches!(self.program.insns[left.callsite], Insn::CallLocal { .. }) {
            return Err(Verdict::Outside("callbacks"));
        }
        frame(&mut self.state).regs[Reg::R0.index()] = answer;
        let (gone, mut dangling) = (Target::Stack { frame: self.state.frames.len() }, false);
        each(&mut self.state, |value| {
            dangling |= value.as_pointer().is_some_and(|found| found.target == gone)
        });
        demand(!dangling, "a pointer to a frame that is gone")?;
        self.next.push((left.callsite + 1, self.state.clone()));
        Ok(())
    }

    pub(super) fn lose_arguments(&mut self) {
        Reg::ARGS.into_iter().for_each(|reg| frame(&mut self.state).regs[reg.index()] = Abstract::NotInit);
    }
}

/// The function that runs.
pub(super) fn frame(state: &mut RecordedState) -> &mut FrameState {
    let last = state.frames.len() - 1;
    &mut state.frames[last]
}

/// Goes over every register and spilled value.
pub(super) fn each(state: &mut RecordedState, mut change: impl FnMut(&mut Abstract)) {
    for frame in &mut state.frames {
        frame.regs.iter_mut().for_each(&mut change);
        frame.stack.iter_mut().for_each(|slot| change(&mut slot.spilled));
    }
}

/// Names a number that is about to be copied. One that only its low half links begins a link of its own.
pub(super) fn name(value: &mut Abstract, fresh: u32) {
    if let Abstract::Number(number) = value
        && (number.link == 0 || number.half)
        && number.range.as_constant().is_none()
    {
        *number = Number { range: number.range, link: fresh, delta: 0, half: false };
    }
}

/// Whether the sign bit of so many bytes is clear, and all above it.
fn is_positive(range: &Scalar, of: Size) -> bool {
    range.umax() >> (of.bytes() * 8 - 1) == 0
}

/// What stays of a number's link when a constant is added or taken away: all of it, unless the sum may go round in
/// the low half; then that of the low halves.
fn added(op: AluOp, width: Width, number: Number, by: &Scalar, range: Scalar) -> Number {
    let unlinked = Number { range, link: 0, delta: 0, half: false };
    let by = match width {
        Width::W64 => by.as_constant().and_then(|by| i32::try_from(by as i64).ok()),
        Width::W32 => by.as_constant32().map(|by| by as i32),
    };
    let (Some(by), AluOp::Add | AluOp::Sub) = (by, op) else { return unlinked };
    let Some(by) = (if op == AluOp::Sub { by.checked_neg() } else { Some(by) }) else { return unlinked };
    let short = |end: u64| end.checked_add_signed(by.into()).is_some_and(|sum| sum <= u32::MAX.into());
    let half =
        number.half || width == Width::W32 && !(short(number.range.umin()) && short(number.range.umax()));
    match number.delta.checked_add(by) {
        Some(delta) if !half => Number { range, delta, ..number },
        Some(delta) if width == Width::W32 && number.range.umax() <= u32::MAX.into() => {
            Number { range, delta, half, ..number }
        }
        _ => unlinked,
    }
}
