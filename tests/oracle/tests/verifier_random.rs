//! Random programs, ours against the kernel's verdict. What we accept, the kernel must accept; what
//! only we refuse is counted, since it is not unsafe.
//!
//! `WEIR_RANDOM_PROGRAMS=1000000 cargo test -p weir-tests --test verifier_random` for more.

use std::sync::Arc;

use weir_ebpf::abi::{Helper, MapKind};
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, SwapKind, Width};
use weir_ebpf::program::{Initial, MapSpec, Program, ProgramType};
use weir_oracle::kernel::{create_maps, load_program, skip};
use weir_oracle::offered::crashes_kernel;
use weir_verifier::{Options, Rule, verify};

/// A small generator of numbers (splitmix64), so that a seed names a program.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];

/// Operations of which the kernel knows about as much as we do: it knows nothing of a quotient.
const OPS: [AluOp; 9] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Or,
    AluOp::And,
    AluOp::Xor,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
];

/// Grows a program: a start that makes pointers of all kinds, then random steps, then an end.
struct Grower {
    random: Random,
    insns: Vec<Insn>,
    /// Calls whose functions are still to be appended.
    calls: Vec<usize>,
    functions: usize,
    depth: usize,
}

impl Grower {
    fn mov(&mut self, dst: Reg, src: Source) {
        self.insns.push(Insn::Mov { width: Width::W64, dst, src });
    }

    fn reg(&mut self) -> Reg {
        Reg::ALL[self.random.below(10) as usize]
    }

    fn any_reg(&mut self) -> Reg {
        if self.random.chance(8) { Reg::R10 } else { self.reg() }
    }

    /// Mostly a register that holds a number.
    fn number(&mut self) -> Reg {
        if self.random.chance(90) {
            self.random.pick(&[Reg::R0, Reg::R1, Reg::R4, Reg::R5])
        } else {
            self.reg()
        }
    }

    /// Mostly a register that holds a pointer.
    fn pointer(&mut self) -> Reg {
        if self.random.chance(92) {
            self.random.pick(&[Reg::R10, Reg::R7, Reg::R9, Reg::R2, Reg::R3])
        } else {
            self.any_reg()
        }
    }

    fn imm(&mut self) -> i32 {
        match self.random.below(6) {
            0 => self.random.below(16) as i32,
            1 => self.random.pick(&[0, 1, -1, 7, 8, 15, 16, 31, 32, 63, 64, 255, 256, 4096, 65535]),
            2 => self.random.pick(&[i32::MIN, i32::MAX, -8, -16, -512, 0x1000_0000]),
            3 => self.random.next() as i32,
            _ => self.random.below(64) as i32,
        }
    }

    fn source(&mut self) -> Source {
        if self.random.chance(50) { Source::Reg(self.number()) } else { Source::Imm(self.imm()) }
    }

    fn width(&mut self) -> Width {
        if self.random.chance(60) { Width::W64 } else { Width::W32 }
    }

    fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.insns.push(Insn::Load { size, signed: false, dst, base, off });
    }

    fn start(&mut self) {
        self.mov(Reg::R6, Source::Reg(Reg::R1));
        self.load(Size::W, Reg::R7, Reg::R1, 0);
        self.load(Size::W, Reg::R8, Reg::R1, 4);
        if self.random.chance(50) {
            self.lookup();
        } else {
            self.insns.push(Insn::Call { helper: Helper::GetPrandomU32 as u32 });
        }
        self.mov(Reg::R9, Source::Reg(Reg::R0));
        // A packet check of a random length, in one of its forms; a lookup may have failed above.
        let length = self.random.below(40) as i32;
        self.mov(Reg::R2, Source::Reg(Reg::R7));
        self.insns.push(Insn::Alu {
            width: Width::W64,
            op: AluOp::Add,
            dst: Reg::R2,
            src: Source::Imm(length),
        });
        let cond = self.random.pick(&[Cond::Gt, Cond::Ge, Cond::Lt, Cond::Le]);
        let inside = matches!(cond, Cond::Lt | Cond::Le);
        let (dst, src) = if inside { (Reg::R2, Reg::R8) } else { (Reg::R8, Reg::R2) };
        let off = if self.random.chance(90) { 2 } else { 0 };
        self.insns.push(Insn::Branch { width: Width::W64, cond, dst, src: Source::Reg(src), off });
        self.mov(Reg::R0, Source::Imm(1));
        self.insns.push(Insn::Exit);
        self.load(Size::B, Reg::R5, Reg::R7, 0);
        self.load(Size::W, Reg::R1, Reg::R6, 12);
        self.mov(Reg::R0, Source::Imm(length));
        self.mov(Reg::R3, Source::Reg(Reg::R10));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: Reg::R3, src: Source::Imm(-32) });
        let number = self.imm();
        self.mov(Reg::R4, Source::Imm(number));
    }

    fn lookup(&mut self) {
        self.insns.push(Insn::Store { size: Size::W, base: Reg::R10, off: -4, src: Source::Imm(0) });
        self.mov(Reg::R2, Source::Reg(Reg::R10));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: Reg::R2, src: Source::Imm(-4) });
        let map = self.random.below(2) as u32;
        self.insns.push(Insn::LoadImm64 { dst: Reg::R1, value: Imm64::Map(map) });
        self.insns.push(Insn::SecondHalf);
        self.insns.push(Insn::Call { helper: Helper::MapLookupElem as u32 });
        if self.random.chance(70) {
            self.insns.push(Insn::Branch {
                width: Width::W64,
                cond: Cond::Ne,
                dst: Reg::R0,
                src: Source::Imm(0),
                off: 2,
            });
            self.mov(Reg::R0, Source::Imm(0));
            self.insns.push(Insn::Exit);
        }
    }

    fn step(&mut self) {
        let (width, dst) = (self.width(), self.number());
        match self.random.below(34) {
            0..=4 => {
                let op = self.random.pick(&OPS);
                let src = self.source();
                self.insns.push(Insn::Alu { width, op, dst, src });
            }
            5..=6 => {
                let src = self.source();
                self.insns.push(Insn::Mov { width, dst, src });
            }
            7 => {
                let from = self.random.pick(&SIZES[..2]);
                let src = self.number();
                self.insns.push(Insn::MovSx { width, from, dst, src });
            }
            8 => {
                let kind = self.random.pick(&[SwapKind::ToBe, SwapKind::ToLe, SwapKind::Bswap]);
                let size = self.random.pick(&SIZES[1..]);
                self.insns.push(Insn::Swap { kind, size, dst });
            }
            9..=12 => {
                let (base, size) = (self.pointer(), self.random.pick(&SIZES));
                let off = self.offset(base, size);
                let signed = size != Size::DW && self.random.chance(20);
                self.insns.push(Insn::Load { size, signed, dst, base, off });
            }
            13..=15 => {
                let (base, size) = (self.pointer(), self.random.pick(&SIZES));
                let off = self.offset(base, size);
                let src = self.source();
                self.insns.push(Insn::Store { size, base, off, src });
            }
            16..=19 => {
                let cond = self.random.pick(Cond::ALL);
                let src = self.source();
                let off = self.random.below(5) as i16;
                self.insns.push(Insn::Branch { width, cond, dst, src, off });
            }
            20 => {
                let (op, base) = (self.random.pick(AtomicOp::ALL), self.pointer());
                let size = self.random.pick(&SIZES[2..]);
                let off = self.offset(base, size);
                let src = self.number();
                self.insns.push(Insn::Atomic { size, op, base, off, src });
            }
            21 => {
                // Bounds a number and moves a pointer by it.
                let bound = self.random.pick(&[1, 3, 7, 15, 31]);
                let by = self.number();
                self.insns.push(Insn::Alu { width, op: AluOp::And, dst: by, src: Source::Imm(bound) });
                let pointer = self.random.pick(&[Reg::R7, Reg::R9, Reg::R2, Reg::R3]);
                self.insns.push(Insn::Alu {
                    width: Width::W64,
                    op: AluOp::Add,
                    dst: pointer,
                    src: Source::Reg(by),
                });
            }
            22 => {
                // A stack pointer somewhere, perhaps variable.
                let off = -(self.random.below(5) as i32) * 8;
                self.mov(dst, Source::Reg(Reg::R10));
                self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst, src: Source::Imm(off) });
            }
            23 => self.mov(dst, Source::Imm(0)),
            24..=26 => {
                // Spills something, or fills what may have been spilled.
                let off = -8 * (1 + self.random.below(4) as i16);
                let reg = if self.random.chance(50) { self.any_reg() } else { self.number() };
                if self.random.chance(50) {
                    self.insns.push(Insn::Store {
                        size: Size::DW,
                        base: Reg::R10,
                        off,
                        src: Source::Reg(reg),
                    });
                } else if reg != Reg::R10 {
                    self.load(Size::DW, reg, Reg::R10, off);
                }
            }
            27 | 28 => self.counted_loop(),
            29 | 30 if self.functions < 3 => {
                self.calls.push(self.insns.len());
                self.functions += 1;
                self.insns.push(Insn::CallLocal { off: 0 });
            }
            31 => self.look_again(),
            32 => {
                let size = self.random.pick(&[4, 8, 12, 16]);
                let by = self.random.pick(&[Reg::R3, Reg::R7, Reg::R9, Reg::R10]);
                self.mov(Reg::R1, Source::Reg(by));
                self.mov(Reg::R2, Source::Imm(size));
                self.mov(Reg::R3, Source::Imm(0));
                self.mov(Reg::R4, Source::Imm(0));
                self.mov(Reg::R5, Source::Imm(0));
                self.insns.push(Insn::Call { helper: Helper::CsumDiff as u32 });
                self.settle();
            }
            _ => self.mov(dst, Source::Imm(1)),
        }
    }

    /// After a call: r1 to r5 hold something again.
    fn settle(&mut self) {
        for reg in [Reg::R1, Reg::R4, Reg::R5] {
            let number = self.imm();
            self.mov(reg, Source::Imm(number));
        }
        self.mov(Reg::R2, Source::Reg(Reg::R7));
        self.mov(Reg::R3, Source::Reg(Reg::R10));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: Reg::R3, src: Source::Imm(-32) });
    }

    /// Some steps, a few times over.
    fn counted_loop(&mut self) {
        if self.depth > 1 {
            return;
        }
        self.depth += 1;
        let counter = self.random.pick(&[Reg::R4, Reg::R5, Reg::R9]);
        self.mov(counter, Source::Imm(0));
        let start = self.insns.len();
        for _ in 0..1 + self.random.below(3) {
            self.step();
        }
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: counter, src: Source::Imm(1) });
        let cond = self.random.pick(&[Cond::Lt, Cond::Ne, Cond::SLt]);
        let turns = self.random.pick(&[1, 2, 5, 20]);
        let off = start as i64 - self.insns.len() as i64 - 1;
        let src = Source::Imm(turns);
        self.insns.push(Insn::Branch { width: Width::W64, cond, dst: counter, src, off: off as i16 });
        self.depth -= 1;
    }

    /// A lookup whose answer is checked, perhaps.
    fn look_again(&mut self) {
        let off = self.random.pick(&[-4, -8, -16]);
        self.mov(Reg::R2, Source::Reg(Reg::R10));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: Reg::R2, src: Source::Imm(off) });
        let map = self.random.below(2) as u32;
        self.insns.push(Insn::LoadImm64 { dst: Reg::R1, value: Imm64::Map(map) });
        self.insns.push(Insn::SecondHalf);
        self.insns.push(Insn::Call { helper: Helper::MapLookupElem as u32 });
        self.settle();
        if self.random.chance(80) {
            let width = if self.random.chance(90) { Width::W64 } else { Width::W32 };
            let cond = self.random.pick(&[Cond::Eq, Cond::Eq, Cond::Ne]);
            self.insns.push(Insn::Branch { width, cond, dst: Reg::R0, src: Source::Imm(0), off: 1 });
            let off = self.random.pick(&[0, 8, 12]);
            self.load(Size::W, Reg::R1, Reg::R0, off);
        }
        self.mov(Reg::R0, Source::Imm(3));
    }

    /// Appends the functions that were called.
    fn finish(&mut self) {
        self.end();
        let mut done = 0;
        while done < self.calls.len() {
            let call = self.calls[done];
            done += 1;
            let off = self.insns.len() as i64 - call as i64 - 1;
            self.insns[call] = Insn::CallLocal { off: off as i32 };
            self.mov(Reg::R6, Source::Reg(Reg::R1));
            self.mov(Reg::R7, Source::Reg(Reg::R2));
            self.mov(Reg::R9, Source::Reg(Reg::R3));
            self.mov(Reg::R0, Source::Imm(0));
            for _ in 0..self.random.below(6) {
                self.step();
            }
            self.end();
        }
    }

    fn end(&mut self) {
        for _ in 0..5 {
            self.mov(Reg::R0, Source::Imm(2));
        }
        self.insns.push(Insn::Exit);
    }

    fn offset(&mut self, base: Reg, size: Size) -> i16 {
        let bytes = size.bytes() as i16;
        match base {
            Reg::R10 => -bytes * (1 + self.random.below(6) as i16),
            _ => bytes * (self.random.below(6) as i16 - i16::from(self.random.chance(20))),
        }
    }
}

fn maps() -> Vec<Arc<MapSpec>> {
    let mut data = MapSpec::new("data", MapKind::Array, 4, 32, 1);
    data.flags = weir_ebpf::abi::map_kind::create_flags::RDONLY_PROG;
    (data.initial, data.frozen) = (Initial::Data((0..32).collect()), true);
    vec![
        Arc::new(MapSpec::new("values", MapKind::Array, 4, 32, 4)),
        Arc::new(MapSpec::new("table", MapKind::Hash, 4, 16, 4)),
        Arc::new(data),
    ]
}

fn program(seed: u64) -> Program {
    let mut grower =
        Grower { random: Random(seed), insns: Vec::new(), calls: Vec::new(), functions: 0, depth: 0 };
    grower.start();
    for _ in 0..grower.random.below(14) + 1 {
        grower.step();
    }
    grower.finish();
    let mut program = Program::from_insns("main", ProgramType::Xdp, grower.insns);
    program.maps = maps();
    program
}

/// The last instruction the kernel walked before it refused.
fn refused_at(program: &Program, maps: &[weir_sys::bpf::KernelMap]) -> Option<usize> {
    let error = load_program(program, maps, 2).err()?;
    let log = &error.downcast_ref::<weir_sys::bpf::LoadError>()?.log;
    log.lines().rev().find_map(|line| {
        let (slot, rest) = line.split_once(": (")?;
        rest.get(2..3).filter(|&close| close == ")")?;
        slot.trim().parse().ok()
    })
}

/// Whether the kernel refused it for a number it knows less of. Our numbers are checked against
/// arithmetic itself elsewhere.
fn by_bounds(program: &Program, maps: &[weir_sys::bpf::KernelMap]) -> bool {
    const BOUNDS: [&str; 10] = [
        "math between",
        "min value",
        "max value",
        "unbounded",
        "be out of bounds",
        "invalid access to",
        "offset",
        "misaligned",
        "infinite loop",
        "too large",
    ];
    let Err(error) = load_program(program, maps, 1) else { return false };
    let Some(error) = error.downcast_ref::<weir_sys::bpf::LoadError>() else { return false };
    BOUNDS.iter().any(|text| error.log.contains(text))
}

/// What weir is stricter about, with the reason.
fn known(reject: &weir_verifier::Reject) -> bool {
    // The kernel lets `bpf_csum_diff` read a looked-up value that was not compared with null.
    let unchecked = reject.rule == Rule::MaybeNull && reject.message.starts_with("R1 type=map_value_or_null");
    unchecked || reject.rule == Rule::Unsupported
}

#[test]
fn what_we_accept_the_kernel_accepts() {
    if skip("what_we_accept_the_kernel_accepts") {
        return;
    }
    let count: u64 =
        std::env::var("WEIR_RANDOM_PROGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    let first: u64 = std::env::var("WEIR_RANDOM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let options = Options { insns_max: 20_000, ..Options::default() };
    let kernel_maps = create_maps(&maps()).expect("the maps");
    let (mut accepted, mut stricter, mut worded, mut sharper, mut wrong) = (0, Vec::new(), 0, 0, Vec::new());
    let mut held_back = 0;
    for seed in first..first + count {
        let program = Arc::new(program(seed));
        let ours = verify(program.clone(), &options);
        if ours.as_ref().is_err_and(|reject| reject.rule == Rule::TooLarge) {
            // The kernel would walk a million instructions to say the same.
            continue;
        }
        if crashes_kernel(&program) {
            held_back += 1;
            continue;
        }
        let theirs = load_program(&program, &kernel_maps, 0).is_ok();
        match (&ours, theirs) {
            (Ok(_), true) => accepted += 1,
            (Ok(verified), false) => match refused_at(&program, &kernel_maps) {
                Some(slot) if !verified.facts().insns[slot].reached => sharper += 1,
                _ if by_bounds(&program, &kernel_maps) => sharper += 1,
                _ => wrong.push(seed),
            },
            (Err(reject), true) if !known(reject) => stricter.push((seed, reject.message.clone())),
            (Err(reject), _) => {
                worded += u64::from(!reject.message.is_empty());
            }
        }
    }
    println!(
        "{count} programs: {accepted} accepted by both, {worded} refused by both, {} by us alone, {sharper} by the kernel alone for bounds we know better, {held_back} not offered",
        stricter.len()
    );
    for (seed, message) in stricter.iter().take(20) {
        println!("  only we refuse {seed}: {message}");
    }
    let asked = std::env::var("WEIR_RANDOM_SHOW").ok().and_then(|text| text.parse().ok());
    for &seed in wrong.iter().take(5).chain(asked.as_ref()) {
        let program = program(seed);
        let log = match load_program(&program, &kernel_maps, 2) {
            Ok(_) => String::new(),
            Err(error) => {
                error.downcast_ref::<weir_sys::bpf::LoadError>().map(|e| e.log.clone()).unwrap_or_default()
            }
        };
        println!("only we accept {seed}:\n{}\n{log}", weir_ebpf::asm::disassemble(&program.insns));
    }
    assert!(
        wrong.is_empty(),
        "{} programs that only we accept: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
}

#[test]
fn pruning_accepts_nothing_that_walking_all_would_not() {
    let count: u64 =
        std::env::var("WEIR_RANDOM_PROGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500);
    let all = Options { prune: false, insns_max: 20_000, ..Options::default() };
    let mut wrong = Vec::new();
    let (mut accepted, mut large) = (0, 0);
    for seed in 5_000_000..5_000_000 + count {
        let program = Arc::new(program(seed));
        if verify(program.clone(), &Options::default()).is_err() {
            continue;
        }
        match verify(program, &all) {
            Ok(_) => accepted += 1,
            Err(reject) if matches!(reject.rule, Rule::TooLarge | Rule::TooManyBranches) => large += 1,
            Err(reject) => wrong.push((seed, reject.message)),
        }
    }
    println!("{accepted} accepted both ways, {large} too large without pruning");
    assert!(wrong.is_empty(), "{wrong:?}");
}
