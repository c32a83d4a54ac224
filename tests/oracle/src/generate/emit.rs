//! Recipes to instructions.

use weir_ebpf::abi::Helper;
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, Width};

use super::{PROVEN, Recipe, Step};

/// Numbers of the main function, which the epilogue writes out.
const NUMBERS: [Reg; 8] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R8, Reg::R9];
/// Numbers on the main function's stack.
const SLOTS: i16 = 16;
/// Where keys stand.
const KEY: i16 = -136;
/// Where r7 is spilled.
const SPILL: i16 = -144;

/// The whole program: main, then its functions.
pub(super) fn emit(recipe: &Recipe) -> Vec<Insn> {
    let extended = recipe.extended;
    let mut out = Emitter { insns: Vec::new(), bails: Vec::new(), calls: Vec::new(), extended };
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
    out.insns
}

struct Emitter {
    insns: Vec<Insn>,
    /// Jumps to the end of the program.
    bails: Vec<usize>,
    /// Calls and which function they are of.
    calls: Vec<(usize, usize)>,
    /// [`Recipe::extended`].
    extended: bool,
}

const fn slot(index: i16) -> i16 {
    -8 * (index + 1)
}

impl Emitter {
    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
        if insn.slots() == 2 {
            self.insns.push(Insn::SecondHalf);
        }
        if self.extended && matches!(insn, Insn::Atomic { size: Size::W, op: AtomicOp::CmpXchg, .. }) {
            let r0 = Source::Reg(Reg::R0);
            self.insns.push(Insn::Mov { width: Width::W32, dst: Reg::R0, src: r0 });
        }
    }

    fn mov(&mut self, dst: Reg, src: Reg) {
        self.push(Insn::Mov { width: Width::W64, dst, src: Source::Reg(src) });
    }

    fn set(&mut self, dst: Reg, imm: i32) {
        self.push(Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) });
    }

    fn alu(&mut self, op: AluOp, dst: Reg, src: Source) {
        self.push(Insn::Alu { width: Width::W64, op, dst, src });
    }

    fn load(&mut self, dst: Reg, base: Reg, off: i16) {
        self.push(Insn::Load { size: Size::DW, signed: false, dst, base, off });
    }

    fn store(&mut self, base: Reg, off: i16, src: Reg) {
        self.push(Insn::Store { size: Size::DW, base, off, src: Source::Reg(src) });
    }

    fn field(&mut self, dst: Reg, off: i16) {
        self.push(Insn::Load { size: Size::W, signed: false, dst, base: Reg::R6, off });
    }

    /// A branch whose target comes later.
    fn branch(&mut self, width: Width, cond: Cond, dst: Reg, src: Source) -> usize {
        self.push(Insn::Branch { width, cond, dst, src, off: 0 });
        self.insns.len() - 1
    }

    /// Lets an earlier branch come here.
    fn land(&mut self, at: usize) {
        let to = (self.insns.len() - at - 1) as i32;
        self.insns[at] = match self.insns[at] {
            Insn::Goto { .. } => Insn::Goto { off: to as i16 },
            Insn::GotoLong { .. } => Insn::GotoLong { off: to },
            Insn::MayGoto { .. } => Insn::MayGoto { off: to as i16 },
            Insn::CallLocal { .. } => Insn::CallLocal { off: to },
            Insn::Branch { width, cond, dst, src, .. } => {
                Insn::Branch { width, cond, dst, src, off: to as i16 }
            }
            other => other,
        };
    }

    /// Sets numbers again, from the stack.
    fn restore(&mut self, regs: &[Reg]) {
        for reg in regs {
            self.load(*reg, Reg::R10, slot(reg.index() as i16));
        }
    }

    /// Reads the packet's bounds and proves [`PROVEN`] bytes. Uses r3 and r4.
    fn prove_packet(&mut self) {
        self.field(Reg::R7, 0);
        self.field(Reg::R4, 4);
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
            Step::Packet { index, mask, off, access } => {
                self.mov(Reg::R5, *index);
                self.alu(AluOp::And, Reg::R5, Source::Imm(*mask));
                self.alu(AluOp::Add, Reg::R5, Source::Reg(Reg::R7));
                self.field(Reg::R4, 4);
                self.mov(Reg::R3, Reg::R5);
                self.alu(AluOp::Add, Reg::R3, Source::Imm(i32::from(*off) + 8));
                let outside = self.branch(Width::W64, Cond::Gt, Reg::R3, Source::Reg(Reg::R4));
                self.push(access.at(Reg::R5, *off));
                self.land(outside);
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
                self.field(Reg::R5, 4);
                self.alu(AluOp::Sub, Reg::R5, Source::Reg(Reg::R7));
                self.mov(*dst, Reg::R5);
                self.restore(&[Reg::R5]);
            }
            Step::Adjust { .. } | Step::Bytes { .. } | Step::Checksum { .. } | Step::Length => {
                self.helper_step(step);
            }
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

    fn call(&mut self, helper: Helper) {
        self.push(Insn::Call { helper: helper as u32 });
    }

    fn stack_pointer(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Reg::R10);
        self.alu(AluOp::Add, dst, Source::Imm(i32::from(off)));
    }

    /// Puts the key on the stack, the map into r1 and the key's address into r2.
    fn key(&mut self, map: u32, key: Source) {
        let size = if map == 0 { Size::W } else { Size::DW };
        match key {
            Source::Reg(reg) => {
                self.mov(Reg::R2, reg);
                self.alu(AluOp::And, Reg::R2, Source::Imm(super::KEYS as i32 - 1));
                self.push(Insn::Store { size, base: Reg::R10, off: KEY, src: Source::Reg(Reg::R2) });
            }
            imm => self.push(Insn::Store { size, base: Reg::R10, off: KEY, src: imm }),
        }
        self.push(Insn::LoadImm64 { dst: Reg::R1, value: Imm64::Map(map) });
        self.stack_pointer(Reg::R2, KEY);
    }

    fn map_step(&mut self, step: &Step) {
        match step {
            Step::Lookup { map, key, index, accesses } => {
                if let Some((index, mask)) = index {
                    self.mov(Reg::R5, *index);
                    self.alu(AluOp::And, Reg::R5, Source::Imm(*mask));
                    self.store(Reg::R10, SPILL, Reg::R5);
                }
                self.key(*map, *key);
                self.call(Helper::MapLookupElem);
                let null = self.branch(Width::W64, Cond::Eq, Reg::R0, Source::Imm(0));
                if let Some((_, mask)) = index {
                    self.load(Reg::R5, Reg::R10, SPILL);
                    self.alu(AluOp::And, Reg::R5, Source::Imm(*mask));
                    self.alu(AluOp::Add, Reg::R0, Source::Reg(Reg::R5));
                }
                for (off, access) in accesses {
                    self.push(access.at(Reg::R0, *off));
                }
                self.land(null);
                self.restore(&[Reg::R0]);
            }
            Step::Update { map, key, flags } => {
                self.key(*map, *key);
                self.stack_pointer(Reg::R3, slot(SLOTS - 1));
                self.set(Reg::R4, *flags);
                self.call(Helper::MapUpdateElem);
            }
            Step::Delete { map, key } => {
                self.key(*map, *key);
                self.call(Helper::MapDeleteElem);
            }
            other => unreachable!("{other:?} does not touch a map"),
        }
        self.restore(&Reg::ARGS);
    }

    fn helper_step(&mut self, step: &Step) {
        match step {
            Step::Adjust { tail, delta } => {
                self.mov(Reg::R1, Reg::R6);
                self.set(Reg::R2, *delta);
                self.call(if *tail { Helper::XdpAdjustTail } else { Helper::XdpAdjustHead });
                self.prove_packet();
            }
            Step::Bytes { store, at, bytes } => {
                self.mov(Reg::R1, Reg::R6);
                self.set(Reg::R2, *at);
                self.stack_pointer(Reg::R3, slot(7));
                self.set(Reg::R4, *bytes);
                self.call(if *store { Helper::XdpStoreBytes } else { Helper::XdpLoadBytes });
            }
            Step::Checksum { bytes } => {
                self.stack_pointer(Reg::R1, slot(7));
                self.stack_pointer(Reg::R3, slot(SLOTS - 1));
                self.set(Reg::R2, *bytes);
                self.set(Reg::R4, *bytes);
                self.call(Helper::CsumDiff);
            }
            Step::Length => {
                self.mov(Reg::R1, Reg::R6);
                self.call(Helper::XdpGetBuffLen);
            }
            other => unreachable!("{other:?} calls no helper"),
        }
        self.restore(&Reg::ARGS);
    }
}
