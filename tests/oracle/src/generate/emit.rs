//! Recipes to instructions.

use weir_ebpf::ProgramType;
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, Width};

use super::{Guard, PROVEN, Recipe, Step, Turn};

/// Numbers of the main function, which the epilogue writes out.
const NUMBERS: [Reg; 8] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R8, Reg::R9];
/// Numbers on the main function's stack.
pub(super) const SLOTS: i16 = 16;
/// Where keys stand.
pub(super) const KEY: i16 = -136;
/// Where r7 is spilled.
pub(super) const SPILL: i16 = -144;
/// Where a callback keeps its context.
const CONTEXT: i16 = -40;

/// The whole program: main, then its functions.
pub(super) fn emit(recipe: &Recipe) -> Vec<Insn> {
    let extended = recipe.extended;
    let mut out = Emitter {
        kind: recipe.kind,
        insns: Vec::new(),
        bails: Vec::new(),
        calls: Vec::new(),
        visits: Vec::new(),
        extended,
    };
    out.prologue();
    out.steps(&recipe.main);
    out.epilogue();
    let called: Vec<usize> = out.calls.iter().map(|(_, function)| *function).collect();
    for (index, function) in recipe.functions.iter().enumerate() {
        // The kernel refuses functions that nobody calls.
        if called.contains(&index) {
            out.function(index, function);
        }
    }
    let visited: Vec<usize> = out.visits.iter().map(|(_, callback)| *callback).collect();
    for (index, (turn, steps)) in recipe.callbacks.iter().enumerate() {
        if visited.contains(&index) {
            out.callback(index, *turn, steps);
        }
    }
    out.insns
}

pub(super) struct Emitter {
    pub(super) kind: ProgramType,
    insns: Vec<Insn>,
    /// Jumps to the end of the program.
    bails: Vec<usize>,
    /// Calls and which function they are of.
    calls: Vec<(usize, usize)>,
    /// Loads of function addresses and of which callback.
    pub(super) visits: Vec<(usize, usize)>,
    /// [`Recipe::extended`].
    extended: bool,
}

pub(super) const fn slot(index: i16) -> i16 {
    -8 * (index + 1)
}

impl Emitter {
    pub(super) fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
        if insn.slots() == 2 {
            self.insns.push(Insn::SecondHalf);
        }
        if self.extended && matches!(insn, Insn::Atomic { size: Size::W, op: AtomicOp::CmpXchg, .. }) {
            let r0 = Source::Reg(Reg::R0);
            self.insns.push(Insn::Mov { width: Width::W32, dst: Reg::R0, src: r0 });
        }
    }

    pub(super) fn mov(&mut self, dst: Reg, src: Reg) {
        self.push(Insn::Mov { width: Width::W64, dst, src: Source::Reg(src) });
    }

    pub(super) fn set(&mut self, dst: Reg, imm: i32) {
        self.push(Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) });
    }

    pub(super) fn alu(&mut self, op: AluOp, dst: Reg, src: Source) {
        self.push(Insn::Alu { width: Width::W64, op, dst, src });
    }

    pub(super) fn load(&mut self, dst: Reg, base: Reg, off: i16) {
        self.push(Insn::Load { size: Size::DW, signed: false, dst, base, off });
    }

    pub(super) fn store(&mut self, base: Reg, off: i16, src: Reg) {
        self.push(Insn::Store { size: Size::DW, base, off, src: Source::Reg(src) });
    }

    pub(super) fn field(&mut self, dst: Reg, off: i16) {
        self.push(Insn::Load { size: Size::W, signed: false, dst, base: Reg::R6, off });
    }

    /// A branch whose target comes later.
    pub(super) fn branch(&mut self, width: Width, cond: Cond, dst: Reg, src: Source) -> usize {
        self.push(Insn::Branch { width, cond, dst, src, off: 0 });
        self.insns.len() - 1
    }

    /// Lets an earlier branch come here.
    pub(super) fn land(&mut self, at: usize) {
        let to = (self.insns.len() - at - 1) as i32;
        self.insns[at] = match self.insns[at] {
            Insn::Goto { .. } => Insn::Goto { off: to as i16 },
            Insn::GotoLong { .. } => Insn::GotoLong { off: to },
            Insn::MayGoto { .. } => Insn::MayGoto { off: to as i16 },
            Insn::CallLocal { .. } => Insn::CallLocal { off: to },
            Insn::LoadImm64 { dst, value: Imm64::Function(_) } => {
                Insn::LoadImm64 { dst, value: Imm64::Function(to) }
            }
            Insn::Branch { width, cond, dst, src, .. } => {
                Insn::Branch { width, cond, dst, src, off: to as i16 }
            }
            other => other,
        };
    }

    /// Sets numbers again, from the stack.
    pub(super) fn restore(&mut self, regs: &[Reg]) {
        for reg in regs {
            self.load(*reg, Reg::R10, slot(reg.index() as i16));
        }
    }

    /// Where the context says where the packet is; its end stands behind.
    fn data(&self) -> i16 {
        if self.kind == ProgramType::Xdp { 0 } else { 76 }
    }

    /// How many slots there are.
    pub(super) fn next(&self) -> usize {
        self.insns.len()
    }

    /// Bounds an index; answers the branches that leave when it is out of bounds.
    pub(super) fn guard(&mut self, index: Reg, guard: Guard) -> Vec<usize> {
        match guard {
            Guard::Mask(mask) => {
                self.alu(AluOp::And, index, Source::Imm(mask));
                Vec::new()
            }
            Guard::Below { width, most } => {
                if width == Width::W32 {
                    self.push(Insn::Mov { width, dst: index, src: Source::Reg(index) });
                }
                vec![self.branch(width, Cond::Gt, index, Source::Imm(most))]
            }
            Guard::Between { most } => {
                let above = self.branch(Width::W64, Cond::SGt, index, Source::Imm(most));
                vec![above, self.branch(Width::W64, Cond::SLt, index, Source::Imm(0))]
            }
            Guard::Shift { bits } => {
                self.alu(AluOp::Rsh, index, Source::Imm(64 - bits));
                Vec::new()
            }
        }
    }

    /// Reads the packet's bounds and proves [`PROVEN`] bytes. Uses r3 and r4.
    pub(super) fn prove_packet(&mut self) {
        self.field(Reg::R7, self.data());
        self.field(Reg::R4, self.data() + 4);
        self.mov(Reg::R3, Reg::R7);
        self.alu(AluOp::Add, Reg::R3, Source::Imm(i32::from(PROVEN)));
        let bail = self.branch(Width::W64, Cond::Gt, Reg::R3, Source::Reg(Reg::R4));
        self.bails.push(bail);
    }

    fn prologue(&mut self) {
        self.mov(Reg::R6, Reg::R1);
        self.prove_packet();
        for index in 0..SLOTS {
            self.load(Reg::R0, Reg::R7, 8 * index);
            self.store(Reg::R10, slot(index), Reg::R0);
        }
        for (index, reg) in NUMBERS.into_iter().enumerate() {
            self.load(reg, Reg::R7, 8 * (SLOTS + index as i16));
        }
    }

    fn epilogue(&mut self) {
        for (index, reg) in NUMBERS.into_iter().enumerate() {
            self.store(Reg::R7, 8 * index as i16, reg);
        }
        for index in 0..SLOTS {
            self.load(Reg::R0, Reg::R10, slot(index));
            self.store(Reg::R7, 8 * (NUMBERS.len() as i16 + index), Reg::R0);
        }
        self.set(Reg::R0, 2);
        self.push(Insn::Exit);
        for bail in std::mem::take(&mut self.bails) {
            self.land(bail);
        }
        self.set(Reg::R0, 1);
        self.push(Insn::Exit);
    }

    fn function(&mut self, index: usize, steps: &[Step]) {
        for (call, _) in self.calls.clone().into_iter().filter(|(_, callee)| *callee == index) {
            self.land(call);
        }
        self.mov(Reg::R0, Reg::R5);
        for (arg, kept) in [(Reg::R1, Reg::R6), (Reg::R2, Reg::R7), (Reg::R3, Reg::R8), (Reg::R4, Reg::R9)] {
            self.mov(kept, arg);
            self.store(Reg::R10, slot(arg.index() as i16 - 1), arg);
        }
        self.steps(steps);
        self.push(Insn::Exit);
    }

    /// A callback: two numbers of the caller's stack go in and out through the context.
    fn callback(&mut self, index: usize, turn: Turn, steps: &[Step]) {
        for (visit, _) in self.visits.clone().into_iter().filter(|(_, callback)| *callback == index) {
            self.land(visit);
        }
        match turn {
            Turn::Loop => self.mov(Reg::R0, Reg::R1),
            Turn::Element => {
                self.load(Reg::R0, Reg::R3, 8);
                self.push(Insn::Load { size: Size::W, signed: false, dst: Reg::R1, base: Reg::R2, off: 0 });
                self.store(Reg::R3, 16, Reg::R1);
                self.mov(Reg::R2, Reg::R4);
            }
        }
        self.store(Reg::R10, CONTEXT, Reg::R2);
        self.load(Reg::R3, Reg::R2, 0);
        self.load(Reg::R4, Reg::R2, 8);
        self.mov(Reg::R5, Reg::R0);
        self.mov(Reg::R2, Reg::R1);
        let kept = [(Reg::R1, Reg::R6), (Reg::R3, Reg::R7), (Reg::R4, Reg::R8), (Reg::R5, Reg::R9)];
        for (at, (arg, kept)) in kept.into_iter().enumerate() {
            self.mov(kept, arg);
            self.store(Reg::R10, slot(at as i16), arg);
        }
        self.steps(steps);
        self.load(Reg::R2, Reg::R10, CONTEXT);
        self.store(Reg::R2, 0, Reg::R1);
        self.store(Reg::R2, 8, Reg::R4);
        self.alu(AluOp::And, Reg::R0, Source::Imm(1));
        self.push(Insn::Exit);
    }

    fn steps(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Plain(insn) => self.push(*insn),
            Step::If { width, cond, dst, src, then, other, long } => {
                let taken = self.branch(*width, *cond, *dst, *src);
                self.steps(then);
                if other.is_empty() {
                    return self.land(taken);
                }
                self.push(if *long { Insn::GotoLong { off: 0 } } else { Insn::Goto { off: 0 } });
                let over = self.insns.len() - 1;
                self.land(taken);
                self.steps(other);
                self.land(over);
            }
            Step::Loop { times, may, body } => self.repeat(*times, *may, body),
            Step::Packet { index, guard, off, access } => {
                self.mov(Reg::R5, *index);
                let mut out = self.guard(Reg::R5, *guard);
                self.alu(AluOp::Add, Reg::R5, Source::Reg(Reg::R7));
                self.field(Reg::R4, self.data() + 4);
                self.mov(Reg::R3, Reg::R5);
                self.alu(AluOp::Add, Reg::R3, Source::Imm(i32::from(*off) + 8));
                out.push(self.branch(Width::W64, Cond::Gt, Reg::R3, Source::Reg(Reg::R4)));
                self.push(access.at(Reg::R5, *off));
                out.into_iter().for_each(|outside| self.land(outside));
                self.restore(&[Reg::R3, Reg::R4, Reg::R5]);
            }
            Step::Stack { index, access } => {
                self.mov(Reg::R5, *index);
                self.alu(AluOp::And, Reg::R5, Source::Imm(8 * i32::from(SLOTS) - 8));
                self.alu(AluOp::Add, Reg::R5, Source::Reg(Reg::R10));
                self.push(access.whole().at(Reg::R5, slot(SLOTS - 1)));
                self.restore(&[Reg::R5]);
            }
            Step::Small { width, op, dst, first, from: (from, mask) } => {
                self.mov(Reg::R5, *from);
                if let Some(first) = first {
                    self.push(Insn::LoadImm64 { dst: *dst, value: Imm64::Value(*first) });
                }
                self.alu(AluOp::And, Reg::R5, Source::Imm(*mask));
                self.push(Insn::Alu { width: *width, op: *op, dst: *dst, src: Source::Reg(Reg::R5) });
            }
            Step::Exchange { size, off, src } => {
                self.load(Reg::R0, Reg::R10, *off);
                let (op, base) = (AtomicOp::CmpXchg, Reg::R10);
                self.push(Insn::Atomic { size: *size, op, base, off: *off, src: *src });
            }
            Step::Lookup { .. } | Step::Update { .. } | Step::Delete { .. } => self.map_step(step),
            Step::Call { function } => {
                self.push(Insn::CallLocal { off: 0 });
                self.calls.push((self.insns.len() - 1, *function));
                self.restore(&Reg::ARGS);
            }
            Step::Spill { value, body } => {
                self.store(Reg::R10, SPILL, Reg::R7);
                self.set(Reg::R7, *value);
                self.steps(body);
                self.load(Reg::R7, Reg::R10, SPILL);
            }
            Step::Field { dst, off } => self.field(*dst, *off),
            Step::Extent { dst } => {
                self.field(Reg::R5, self.data() + 4);
                self.alu(AluOp::Sub, Reg::R5, Source::Reg(Reg::R7));
                self.mov(*dst, Reg::R5);
                self.restore(&[Reg::R5]);
            }
            Step::SetField { off, src } => {
                self.push(Insn::Store { size: Size::W, base: Reg::R6, off: *off, src: Source::Reg(*src) });
            }
            Step::Global { off, access } => {
                let value = Imm64::MapValue { map: super::maps::DATA, offset: 0 };
                self.push(Insn::LoadImm64 { dst: Reg::R5, value });
                self.push(access.at(Reg::R5, *off));
                self.restore(&[Reg::R5]);
            }
            Step::Legacy { size, index, at } => {
                if let Some(index) = index {
                    self.mov(Reg::R5, *index);
                    self.alu(AluOp::And, Reg::R5, Source::Imm(0x7f));
                }
                self.push(Insn::LoadPacket { size: *size, index: index.map(|_| Reg::R5), offset: *at });
                self.restore(&Reg::ARGS);
            }
            Step::Adjust { .. }
            | Step::Bytes { .. }
            | Step::Checksum { .. }
            | Step::Length
            | Step::Ring { .. }
            | Step::Visit { .. }
            | Step::Tail { .. }
            | Step::Sized { .. } => self.helper_step(step),
        }
    }

    fn repeat(&mut self, times: i32, may: bool, body: &[Step]) {
        self.set(Reg::R9, 0);
        let head = self.insns.len();
        let out = may.then(|| {
            self.push(Insn::MayGoto { off: 0 });
            self.insns.len() - 1
        });
        self.steps(body);
        self.alu(AluOp::Add, Reg::R9, Source::Imm(1));
        let again = self.branch(Width::W64, Cond::Lt, Reg::R9, Source::Imm(times));
        if let Insn::Branch { off, .. } = &mut self.insns[again] {
            *off = (head as i64 - again as i64 - 1) as i16;
        }
        if let Some(out) = out {
            self.land(out);
        }
    }
}
