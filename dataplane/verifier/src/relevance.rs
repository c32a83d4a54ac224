//! What of a state later instructions can tell apart (a backward data flow, function by function).
//!
//! A number matters only if it may reach an address, a size, a branch or such; a stack slot only if
//! it is read again. `prune` forgets the rest, so that more states are covered by others. To forget
//! is always sound: a wrong answer here costs precision, never safety. The kernel finds the same out
//! backwards from where a number was needed (`mark_chain_precision`); doing it once, ahead, is
//! simpler and keeps every state true as it stands.

use weir_ebpf::abi::helper::{Arg, Helper, Returns};
use weir_ebpf::abi::kfunc::{Callee, Kfunc};
use weir_ebpf::isa::{AluOp, AtomicOp, Imm64, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};

use crate::facts::RegSet;
use crate::liveness::{Liveness, PASSES_MAX};
use crate::shape::{Shape, call_target, written};

/// A set of eight-byte stack slots; bit 0 is the one just below r10.
type Slots = u64;

/// What matters at one point of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// Registers whose number matters.
    pub(crate) numbers: RegSet,
    /// Stack slots that are read again.
    pub(crate) slots: Slots,
    /// Stack slots whose number matters.
    pub(crate) slot_numbers: Slots,
}

/// A guess at what a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Guess {
    /// Not reached yet.
    #[default]
    Never,
    /// A number.
    Number,
    /// The context.
    Context,
    /// r10 plus this.
    Stack(i32),
    /// Somewhere in the stack.
    SomeStack,
    /// Anything else.
    Other,
}

impl Guess {
    fn join(self, other: Guess) -> Guess {
        match (self, other) {
            (Guess::Never, guess) | (guess, Guess::Never) => guess,
            (one, two) if one == two => one,
            (one, two) if one.on_stack() || two.on_stack() => Guess::SomeStack,
            _ => Guess::Other,
        }
    }

    fn on_stack(self) -> bool {
        matches!(self, Guess::Stack(_) | Guess::SomeStack)
    }
}

type Guesses = [Guess; Reg::COUNT];

/// What matters, by slot.
pub(crate) struct Relevance {
    before: Vec<Needs>,
    after: Vec<Needs>,
    guesses: Vec<Guesses>,
    /// For each function, whether it stores pointers to its stack somewhere.
    escapes: Vec<bool>,
    kind: ProgramType,
    /// Whether the program's answer is asked to be some number.
    answers: bool,
}

/// The stack slots of an access.
fn slots_of(guess: Guess, off: i32) -> Slots {
    match guess {
        Guess::Stack(base) => {
            let below = -(i64::from(base) + i64::from(off)) - 1;
            if (0..512).contains(&below) { 1 << (below / 8) } else { 0 }
        }
        Guess::SomeStack => !0,
        Guess::Never | Guess::Number | Guess::Context | Guess::Other => 0,
    }
}

impl Relevance {
    pub(crate) fn of(program: &Program, shape: &Shape, liveness: &Liveness) -> Self {
        let slots = program.insns.len();
        let mut found = Self {
            before: vec![Needs::default(); slots],
            after: vec![Needs::default(); slots],
            guesses: vec![[Guess::Never; Reg::COUNT]; slots],
            escapes: vec![false; shape.functions.len()],
            kind: program.kind,
            answers: program.kind.answers(program.attach).is_some(),
        };
        for &function in &shape.bottom_up {
            found.guess(program, shape, function);
            let settled = (0..PASSES_MAX).any(|_| !found.pass(program, shape, liveness, function));
            if !settled {
                let span = shape.functions[function];
                found.before[span.start..span.end].fill(Needs::ALL);
                found.after[span.start..span.end].fill(Needs::ALL);
            }
        }
        found
    }

    /// What matters from this instruction on.
    pub(crate) fn before(&self, slot: usize) -> &Needs {
        &self.before[slot]
    }

    /// What matters of a caller's frame while the call at this slot runs.
    pub(crate) fn across(&self, slot: usize) -> Needs {
        Needs { slots: self.after[slot].slots | self.passed(slot), ..self.after[slot] }
            .with_numbers(self.passed(slot))
    }

    /// The slots of a function's stack that may be read again, of those that are known to be at a point of it.
    /// Pointers that it stored somewhere may lead to any.
    pub(crate) fn read_again(&self, function: usize, needs: &Needs) -> Slots {
        if self.escapes[function] { !0 } else { needs.slots }
    }

    /// Slots that a call at this slot may reach through pointers.
    fn passed(&self, slot: usize) -> Slots {
        let given = Reg::ARGS.iter().any(|reg| self.guesses[slot][reg.index()].on_stack());
        if given { !0 } else { 0 }
    }

    /// Guesses what registers hold, forwards, until nothing changes.
    fn guess(&mut self, program: &Program, shape: &Shape, function: usize) {
        let span = shape.functions[function];
        let mut entry = [Guess::Other; Reg::COUNT];
        entry[Reg::R10.index()] = Guess::Stack(0);
        if function == 0 {
            entry[Reg::R1.index()] = Guess::Context;
        }
        self.guesses[span.start] = entry;
        let mut changed = true;
        let mut passes = 0;
        // Left unsettled, guesses are worse guesses; nothing relies on them.
        while changed && passes < PASSES_MAX {
            changed = false;
            passes += 1;
            for slot in span.start..span.end {
                let insn = &program.insns[slot];
                let after = self.guess_after(insn, slot);
                let next =
                    (insn.falls_through() && slot + insn.slots() < span.end).then_some(slot + insn.slots());
                let target = insn.jump_target(slot).map(|target| target as usize);
                for to in next.into_iter().chain(target) {
                    for (old, new) in self.guesses[to].iter_mut().zip(&after) {
                        let joined = old.join(*new);
                        changed |= joined != *old;
                        *old = joined;
                    }
                }
            }
        }
        self.escapes[function] = (span.start..span.end).any(|slot| match program.insns[slot] {
            Insn::Store { src: Source::Reg(src), .. }
            | Insn::StoreRelease { src, .. }
            | Insn::Atomic { src, .. } => self.guesses[slot][src.index()].on_stack(),
            _ => false,
        });
    }

    fn guess_after(&self, insn: &Insn, slot: usize) -> Guesses {
        let mut after = self.guesses[slot];
        let of = |src: Source| match src {
            Source::Reg(reg) => self.guesses[slot][reg.index()],
            Source::Imm(_) => Guess::Number,
        };
        let guess = match *insn {
            Insn::Alu { width: Width::W64, op: AluOp::Add, dst, src: Source::Imm(by) } => {
                match self.guesses[slot][dst.index()] {
                    Guess::Stack(off) => Guess::Stack(off.saturating_add(by)),
                    other => other,
                }
            }
            Insn::Alu { width: Width::W64, dst, src, .. } => match (self.guesses[slot][dst.index()], of(src))
            {
                (Guess::Number, Guess::Number) => Guess::Number,
                (one, two) if one.on_stack() || two.on_stack() => Guess::SomeStack,
                _ => Guess::Other,
            },
            Insn::Mov { width: Width::W64, src, .. } => of(src),
            Insn::LoadImm64 { value: Imm64::Value(_), .. } => Guess::Number,
            Insn::Load { size: Size::B | Size::H, .. } => Guess::Number,
            Insn::Load { size: Size::W, base, .. } if self.guesses[slot][base.index()] != Guess::Context => {
                Guess::Number
            }
            Insn::Alu { .. }
            | Insn::Mov { .. }
            | Insn::MovSx { .. }
            | Insn::Neg { .. }
            | Insn::Swap { .. } => Guess::Number,
            Insn::Call { helper } => {
                for reg in &Reg::ALL[..6] {
                    after[reg.index()] = Guess::Other;
                }
                if Helper::new(helper).is_some_and(|helper| helper.returns() == Returns::Integer) {
                    after[0] = Guess::Number;
                }
                return after;
            }
            Insn::CallLocal { .. } | Insn::CallKfunc { .. } | Insn::LoadPacket { .. } => {
                for reg in &Reg::ALL[..6] {
                    after[reg.index()] = Guess::Other;
                }
                return after;
            }
            _ => Guess::Other,
        };
        if let Some(reg) = written(insn) {
            after[reg.index()] = guess;
        }
        after
    }

    /// Goes over a function once, last instruction first; answers whether something changed.
    fn pass(&mut self, program: &Program, shape: &Shape, liveness: &Liveness, function: usize) -> bool {
        let span = shape.functions[function];
        let mut changed = false;
        for slot in (span.start..span.end).rev() {
            let insn = &program.insns[slot];
            let mut after = Needs::default();
            if insn.falls_through() && slot + 1 < span.end {
                after = after.and(&self.before[slot + 1]);
            }
            if let Some(target) = insn.jump_target(slot) {
                after = after.and(&self.before[target as usize]);
            }
            let before = self.needs_before(insn, slot, after, liveness, function, shape);
            changed |= before != self.before[slot] || after != self.after[slot];
            (self.before[slot], self.after[slot]) = (before, after);
        }
        changed
    }

    fn needs_before(
        &self,
        insn: &Insn,
        slot: usize,
        after: Needs,
        liveness: &Liveness,
        function: usize,
        shape: &Shape,
    ) -> Needs {
        let guess = |reg: Reg| self.guesses[slot][reg.index()];
        let guess_of = |src: Source| match src {
            Source::Reg(reg) => guess(reg),
            Source::Imm(_) => Guess::Number,
        };
        let mut needs = after;
        match *insn {
            Insn::Alu { width, op, dst, src } => {
                let moves = width == Width::W64
                    && matches!(op, AluOp::Add | AluOp::Sub)
                    && liveness.live_out(slot).contains(dst)
                    && (guess(dst) != Guess::Number || guess_of(src) != Guess::Number);
                if after.numbers.contains(dst) || moves {
                    needs.number(dst);
                    needs.number_of(src);
                }
            }
            Insn::Mov { dst, src, .. } => {
                needs.numbers.remove(dst);
                if after.numbers.contains(dst) {
                    needs.number_of(src);
                }
            }
            Insn::MovSx { dst, src, .. } => {
                needs.numbers.remove(dst);
                if after.numbers.contains(dst) {
                    needs.number(src);
                }
            }
            Insn::Neg { .. } | Insn::Swap { .. } => {}
            Insn::LoadImm64 { dst, .. } => needs.numbers.remove(dst),
            Insn::Load { dst, base, off, .. } | Insn::LoadAcquire { dst, base, off, .. } => {
                needs.numbers.remove(dst);
                needs.read(slots_of(guess(base), off.into()), after.numbers.contains(dst));
            }
            Insn::Store { size, base, off, src } => {
                let slots = slots_of(guess(base), off.into());
                needs.written(slots, size, guess(base), src, &after);
            }
            Insn::StoreRelease { size, base, off, src } => {
                let slots = slots_of(guess(base), off.into());
                needs.written(slots, size, guess(base), Source::Reg(src), &after);
            }
            Insn::Atomic { op, base, off, src, .. } => {
                let slots = slots_of(guess(base), off.into());
                let result = if op == AtomicOp::CmpXchg { Reg::R0 } else { src };
                let exact = op.fetches() && after.numbers.contains(result);
                needs.read(slots, exact || after.slot_numbers & slots != 0);
            }
            Insn::LoadPacket { .. } => needs.lose_arguments(),
            Insn::Branch { dst, src, .. } => {
                needs.number(dst);
                needs.number_of(src);
            }
            Insn::Call { helper } => {
                self.call_needs(Helper::new(helper).map(Callee::Helper), slot, function, &mut needs);
            }
            Insn::CallKfunc { btf_id, .. } => {
                self.call_needs(Kfunc::new(btf_id).map(Callee::Kfunc), slot, function, &mut needs);
            }
            Insn::CallLocal { off } => {
                needs.lose_arguments();
                let target = call_target(slot, off) as usize;
                let callee = self.before.get(target).copied().unwrap_or(Needs::ALL);
                for reg in Reg::ARGS {
                    if callee.numbers.contains(reg) {
                        needs.number(reg);
                    }
                }
                if self.passed(slot) != 0 || self.escapes[function] {
                    (needs.slots, needs.slot_numbers) = (!0, !0);
                }
            }
            Insn::CallReg { .. } => return Needs::ALL,
            Insn::Exit if function != 0 || self.answers => needs.number(Reg::R0),
            Insn::SecondHalf
            | Insn::Goto { .. }
            | Insn::GotoLong { .. }
            | Insn::MayGoto { .. }
            | Insn::Exit => {}
        }
        debug_assert!(shape.functions.len() > function);
        needs
    }

    fn call_needs(&self, callee: Option<Callee>, slot: usize, function: usize, needs: &mut Needs) {
        needs.lose_arguments();
        let Some(callee) = callee else { return };
        for (reg, arg) in Reg::ARGS.iter().zip(callee.args(self.kind)) {
            let object = self.guesses[slot][reg.index()];
            match arg {
                Arg::Dynptr | Arg::RecordDynptr => {
                    needs.read(slots_of(object, 0) | slots_of(object, 8), false);
                }
                Arg::Iterator | Arg::EndedIterator => needs.read(slots_of(object, 0), false),
                _ => {}
            }
            let number = match arg {
                Arg::Size | Arg::SizeOrZero | Arg::BufferSize | Arg::ConstSize | Arg::ConstBufferSize => true,
                // That it is 0 makes it null.
                Arg::MemOrNull
                | Arg::UninitMemOrNull
                | Arg::Buffer
                | Arg::StackOrNull
                | Arg::BufferOrNull
                | Arg::ContextOrNull
                | Arg::MapValueOrNull
                | Arg::SocketOrNull
                | Arg::FullSocketOrNull => true,
                Arg::Anything => {
                    callee.is(Helper::GetLocalStorage)
                        || callee.is(Helper::TailCall) && *reg == Reg::R3
                        || callee.is(Helper::Loop) && *reg == Reg::R1
                }
                _ => false,
            };
            if number {
                needs.number(*reg);
            }
        }
        let calls_back = callee.is(Helper::Loop) || callee.is(Helper::ForEachMapElem);
        if calls_back && (self.passed(slot) != 0 || self.escapes[function]) {
            (needs.slots, needs.slot_numbers) = (!0, !0);
        }
    }
}

impl Needs {
    /// Everything matters.
    pub(crate) const ALL: Needs = Needs { numbers: RegSet(0x7ff), slots: !0, slot_numbers: !0 };

    fn and(self, other: &Needs) -> Needs {
        Needs {
            numbers: RegSet(self.numbers.0 | other.numbers.0),
            slots: self.slots | other.slots,
            slot_numbers: self.slot_numbers | other.slot_numbers,
        }
    }

    fn with_numbers(self, slots: Slots) -> Needs {
        Needs { slot_numbers: self.slot_numbers | slots, ..self }
    }

    fn number(&mut self, reg: Reg) {
        self.numbers.insert(reg);
    }

    fn number_of(&mut self, src: Source) {
        if let Source::Reg(reg) = src {
            self.number(reg);
        }
    }

    fn lose_arguments(&mut self) {
        Reg::ALL[..6].iter().for_each(|&reg| self.numbers.remove(reg));
    }

    /// Slots are read; their number matters if that of the result does.
    fn read(&mut self, slots: Slots, exact: bool) {
        self.slots |= slots;
        if exact {
            self.slot_numbers |= slots;
        }
    }

    /// Slots are written: a whole one forgets what it held.
    fn written(&mut self, slots: Slots, size: Size, base: Guess, src: Source, after: &Needs) {
        if after.slot_numbers & slots != 0 {
            self.number_of(src);
        }
        if size == Size::DW && matches!(base, Guess::Stack(_)) {
            self.slots &= !slots;
            self.slot_numbers &= !slots;
        }
    }
}
