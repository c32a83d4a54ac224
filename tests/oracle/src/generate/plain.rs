//! Single instructions that are always allowed: on numbers, on the numbers of the stack, and on the
//! proven part of the packet.

use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, SwapKind, Width};

use super::random::Random;
use super::{PROVEN, Step};

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];
const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

/// What is done at an address that a step has computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Load {
        /// Bytes.
        size: Size,
        /// Sign-extends.
        signed: bool,
        /// Result.
        dst: Reg,
    },
    /// Writes.
    Store {
        /// Bytes.
        size: Size,
        /// What.
        src: Source,
    },
}

impl Access {
    /// The instruction.
    pub fn at(self, base: Reg, off: i16) -> Insn {
        match self {
            Access::Load { size, signed, dst } => Insn::Load { size, signed, dst, base, off },
            Access::Store { size, src } => Insn::Store { size, base, off, src },
        }
    }

    /// The same on all eight bytes: the stack is accessed whole when the index is not known.
    pub fn whole(self) -> Self {
        match self {
            Access::Load { dst, .. } => Access::Load { size: Size::DW, signed: false, dst },
            Access::Store { src, .. } => Access::Store { size: Size::DW, src },
        }
    }
}

/// Which registers and memory an instruction may use.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    main: bool,
    packet: bool,
    looping: bool,
}

impl Scope {
    pub(super) fn main() -> Self {
        Self { main: true, packet: true, looping: false }
    }

    pub(super) fn function() -> Self {
        Self { main: false, packet: false, looping: false }
    }

    pub(super) fn in_loop(self) -> Self {
        Self { looping: true, ..self }
    }

    pub(super) fn without_packet(self) -> Self {
        Self { packet: false, ..self }
    }

    pub(super) fn is_main(self) -> bool {
        self.main && self.packet
    }

    pub(super) fn may_loop(self) -> bool {
        !self.looping
    }

    fn numbers(self) -> &'static [Reg] {
        const MAIN: [Reg; 8] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R8, Reg::R9];
        if self.main { &MAIN } else { &Reg::ALL[..10] }
    }

    fn slots(self) -> usize {
        if self.main { 16 } else { 4 }
    }

    /// A number to read.
    pub(super) fn any(self, random: &mut Random) -> Reg {
        random.pick(self.numbers())
    }

    /// A number to write: not the counter of a loop.
    pub(super) fn target(self, random: &mut Random) -> Reg {
        let numbers = self.numbers();
        random.pick(&numbers[..numbers.len() - usize::from(self.looping)])
    }

    pub(super) fn source(self, random: &mut Random) -> Source {
        if random.percent(50) { Source::Reg(self.any(random)) } else { Source::Imm(random.immediate()) }
    }

    pub(super) fn comparison(self, random: &mut Random) -> (Width, Cond) {
        (random.pick(&WIDTHS), random.pick(Cond::ALL))
    }

    /// An access that keeps off the registers that steps compute addresses in (r3, r4, r5).
    pub(super) fn access(self, random: &mut Random) -> Access {
        self.access_with(random, &[Reg::R0, Reg::R1, Reg::R2, Reg::R8, Reg::R9])
    }

    /// An access that uses only registers which calls keep.
    pub(super) fn kept(self, random: &mut Random) -> Access {
        self.access_with(random, &[Reg::R8, Reg::R9])
    }

    fn access_with(self, random: &mut Random, from: &[Reg]) -> Access {
        let size = random.pick(&SIZES);
        if random.percent(50) {
            let dst = random.pick(&from[..from.len() - usize::from(self.looping)]);
            return Access::Load { size, signed: size != Size::DW && random.percent(30), dst };
        }
        let src =
            if random.percent(60) { Source::Reg(random.pick(from)) } else { Source::Imm(random.immediate()) };
        Access::Store { size, src }
    }

    /// An instruction.
    pub(super) fn plain(self, random: &mut Random) -> Insn {
        let (width, dst) = (random.pick(&WIDTHS), self.target(random));
        match random.below(100) {
            0..45 => self.alu(random, width, dst),
            45..53 => Insn::Mov { width, dst, src: self.source(random) },
            53..58 => {
                let from = random.pick(if width == Width::W64 { &SIZES[..3] } else { &SIZES[..2] });
                Insn::MovSx { width, from, dst, src: self.any(random) }
            }
            58..61 => Insn::Neg { width, dst },
            61..65 => {
                let kind = random.pick(&[SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap]);
                Insn::Swap { kind, size: random.pick(&SIZES[1..]), dst }
            }
            65..69 => Insn::LoadImm64 { dst, value: Imm64::Value(random.value()) },
            69..79 => self.stack(random, dst),
            79..86 => self.atomic(random, dst),
            _ if self.packet => {
                let size = random.pick(&SIZES);
                let off = random.below((PROVEN as u32 - size.bytes()) as usize + 1) as i16;
                self.memory(random, dst, size, Reg::R7, off)
            }
            _ => self.alu(random, width, dst),
        }
    }

    /// Division, remainder or shift by a small number: where zero and large quotients meet.
    pub(super) fn small(self, random: &mut Random) -> Step {
        let ops = [
            AluOp::Div,
            AluOp::SDiv,
            AluOp::Mod,
            AluOp::SMod,
            AluOp::Lsh,
            AluOp::Rsh,
            AluOp::Arsh,
            AluOp::Mul,
        ];
        let first = random.percent(60).then(|| random.value());
        let from = (self.any(random), random.pick(&[1, 2, 3, 7, 15]));
        let dst = match self.target(random) {
            Reg::R5 => Reg::R0,
            other => other,
        };
        Step::Small { width: random.pick(&WIDTHS), op: random.pick(&ops), dst, first, from }
    }

    /// A `cmpxchg` that finds what it expects.
    pub(super) fn exchange(self, random: &mut Random) -> Step {
        let size = random.pick(&SIZES[2..]);
        let off = -8 * (1 + random.below(self.slots()) as i16);
        Step::Exchange { size, off, src: self.any(random) }
    }

    fn alu(self, random: &mut Random, width: Width, dst: Reg) -> Insn {
        let op = random.pick(AluOp::ALL);
        let mut src = self.source(random);
        if let Source::Imm(imm) = &mut src {
            match op {
                // The verifier refuses what no compiler writes.
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => *imm &= width.bits() as i32 - 1,
                AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod if *imm == 0 => *imm = -1,
                _ => {}
            }
        }
        Insn::Alu { width, op, dst, src }
    }

    /// A place in the numbers of the stack, aligned to the size.
    fn slot(self, random: &mut Random, size: Size) -> i16 {
        let bytes = size.bytes() as usize;
        -((1 + random.below(self.slots() * 8 / bytes)) as i16) * bytes as i16
    }

    fn stack(self, random: &mut Random, dst: Reg) -> Insn {
        let size = random.pick(&SIZES);
        let off = self.slot(random, size);
        self.memory(random, dst, size, Reg::R10, off)
    }

    fn memory(self, random: &mut Random, dst: Reg, size: Size, base: Reg, off: i16) -> Insn {
        match random.below(10) {
            0..5 => Insn::Load { size, signed: size != Size::DW && random.percent(30), dst, base, off },
            _ => Insn::Store { size, base, off, src: self.source(random) },
        }
    }

    fn atomic(self, random: &mut Random, dst: Reg) -> Insn {
        match random.below(8) {
            0 => {
                let size = random.pick(&SIZES);
                Insn::LoadAcquire { size, dst, base: Reg::R10, off: self.slot(random, size) }
            }
            1 => {
                let size = random.pick(&SIZES);
                let off = self.slot(random, size);
                Insn::StoreRelease { size, base: Reg::R10, off, src: self.any(random) }
            }
            _ => {
                let size = random.pick(&SIZES[2..]);
                let op = random.pick(AtomicOp::ALL);
                let off = self.slot(random, size);
                Insn::Atomic { size, op, base: Reg::R10, off, src: dst }
            }
        }
    }
}

impl From<Insn> for Step {
    fn from(insn: Insn) -> Self {
        Step::Plain(insn)
    }
}
