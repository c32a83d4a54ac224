//! Random programs that a verifier should accept.
//!
//! A [`Recipe`] is a tree of [`Step`]s, each of which keeps what the next relies on, so that steps can
//! be taken out and the rest is still a program: that is how a failing one is made small. Registers
//! have fixed parts in the main function:
//!
//! ```text
//! r6  the context         r7  the packet, PROVEN bytes of it checked
//! r0 r1 r2 r3 r4 r5 r8 r9  numbers, always initialised (r9 counts the loop it is in)
//! r10-8 .. r10-128  16 numbers   r10-136  a key   r10-144  a spilled pointer
//! ```
//!
//! What a step clobbers it sets again from the stack. The epilogue writes all numbers, registers and
//! stack, into the packet, so whoever compares packets compares the whole state.

mod emit;
mod plain;
mod random;
mod shrink;

use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Insn, Reg, Size, Source, Width};
use weir_ebpf::{MapSpec, Program, ProgramType};

pub use plain::Access;
pub use random::Random;
pub use shrink::shrink;

use plain::Scope;

/// Bytes of the packet that the prologue proves.
pub const PROVEN: i16 = 256;
/// Bytes of the packets that programs are given.
pub const PACKET_BYTES: usize = 320;
/// Bytes of a map's value.
pub const VALUE_BYTES: i16 = 64;
/// Keys that programs use, of which maps hold the first four or any four.
pub const KEYS: u64 = 8;

/// A part of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One instruction on numbers, the stack, or the proven packet.
    Plain(Insn),
    /// A branch over one of two bodies.
    If {
        /// Compares 32 or 64 bits.
        width: Width,
        /// How.
        cond: Cond,
        /// Left side.
        dst: Reg,
        /// Right side.
        src: Source,
        /// What is run when the condition fails.
        then: Vec<Step>,
        /// What is run when it holds.
        other: Vec<Step>,
        /// Leaves the first body with `gotol`.
        long: bool,
    },
    /// A body that is run a few times; r9 counts.
    Loop {
        /// How often.
        times: i32,
        /// With a `may_goto` at its head.
        may: bool,
        /// What is run.
        body: Vec<Step>,
    },
    /// An access to the packet at an index that is masked and checked against the packet's end.
    Packet {
        /// The index.
        index: Reg,
        /// Its mask.
        mask: i32,
        /// Offset beyond the index.
        off: i16,
        /// What is done.
        access: Access,
    },
    /// An access to one of the 16 numbers on the stack, by index.
    Stack {
        /// The index.
        index: Reg,
        /// What is done.
        access: Access,
    },
    /// A lookup in a map, and accesses to the value if there is one.
    Lookup {
        /// Index into the program's maps.
        map: u32,
        /// The key.
        key: Source,
        /// An index into the value, and its mask.
        index: Option<(Reg, i32)>,
        /// Offsets and what is done there.
        accesses: Vec<(i16, Access)>,
    },
    /// An operation whose second operand is a small number, perhaps zero, after a number for the first.
    Small {
        /// 32 or 64 bits.
        width: Width,
        /// Which operation.
        op: AluOp,
        /// First operand and result.
        dst: Reg,
        /// What it is set to before.
        first: Option<u64>,
        /// Where the small number comes from, and its mask.
        from: (Reg, i32),
    },
    /// A `cmpxchg` that finds what it expects: r0 is read from the place before.
    Exchange {
        /// Bytes exchanged.
        size: Size,
        /// Offset from r10.
        off: i16,
        /// What is stored.
        src: Reg,
    },
    /// A map update with 64 bytes of the stack.
    Update {
        /// Index into the program's maps.
        map: u32,
        /// The key.
        key: Source,
        /// `BPF_ANY`, `BPF_NOEXIST` or `BPF_EXIST`.
        flags: i32,
    },
    /// A map deletion.
    Delete {
        /// Index into the program's maps.
        map: u32,
        /// The key.
        key: Source,
    },
    /// A call of one of the recipe's functions with r1 to r5.
    Call {
        /// Which.
        function: usize,
    },
    /// `bpf_xdp_adjust_head` or `bpf_xdp_adjust_tail`, and the bounds proven again.
    Adjust {
        /// The tail.
        tail: bool,
        /// Bytes.
        delta: i32,
    },
    /// `bpf_xdp_load_bytes` onto the stack, or `bpf_xdp_store_bytes` from it.
    Bytes {
        /// Stores.
        store: bool,
        /// Where in the packet.
        at: i32,
        /// How many, at most 64.
        bytes: i32,
    },
    /// `bpf_csum_diff` of two parts of the stack, with r5 as seed.
    Checksum {
        /// Bytes of each part.
        bytes: i32,
    },
    /// `bpf_xdp_get_buff_len`.
    Length,
    /// A field of the context into a register.
    Field {
        /// Result.
        dst: Reg,
        /// Byte of `struct xdp_md`.
        off: i16,
    },
    /// The packet's length, as its end less its start.
    Extent {
        /// Result.
        dst: Reg,
    },
    /// r7 goes to the stack while a body uses the register, and comes back.
    Spill {
        /// What r7 is meanwhile.
        value: i32,
        /// What is run.
        body: Vec<Step>,
    },
}

/// A program as a tree of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it was made from.
    pub seed: u64,
    /// The main function.
    pub main: Vec<Step>,
    /// The functions it may call, and what they are made of.
    pub functions: Vec<Vec<Step>>,
    /// Whether the program has maps.
    pub maps: bool,
    /// Whether every 32-bit `cmpxchg` is followed by `w0 = w0`, which changes nothing but what compilers
    /// that forget to zero-extend r0 make of it.
    pub extended: bool,
}

impl Recipe {
    /// The recipe of a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let functions = (0..random.below(3)).map(|_| {
            let mut author = Author { random: &mut random, branches: 2, functions: 0, maps: false };
            author.steps(Scope::function(), 3, 10, 1)
        });
        let functions: Vec<_> = functions.collect();
        let maps = random.percent(40);
        let length = 6 + random.below(34);
        let mut author = Author { random: &mut random, branches: 6, functions: functions.len(), maps };
        let main = author.steps(Scope::main(), 4, length, 2);
        Self { seed, main, functions, maps, extended: false }
    }

    /// The program.
    pub fn program(&self) -> Program {
        let mut program =
            Program::from_insns(&format!("seed_{}", self.seed), ProgramType::Xdp, emit::emit(self));
        if self.maps {
            let value = VALUE_BYTES as u32;
            program.maps.push(Arc::new(MapSpec::new("array", MapKind::Array, 4, value, 4)));
            program.maps.push(Arc::new(MapSpec::new("hash", MapKind::Hash, 8, value, 4)));
        }
        program
    }

    /// Whether it has a 32-bit `cmpxchg`.
    pub fn exchanges_words(&self) -> bool {
        let word = |insn: &Insn| matches!(insn, Insn::Atomic { size: Size::W, op: AtomicOp::CmpXchg, .. });
        self.program().insns.iter().any(word)
    }

    /// Packets to run it on.
    pub fn packets(&self, count: usize) -> Vec<Vec<u8>> {
        let mut random = Random::new(!self.seed);
        let mut packet =
            || -> Vec<u8> { (0..PACKET_BYTES / 8).flat_map(|_| random.value().to_le_bytes()).collect() };
        (0..count).map(|_| packet()).collect()
    }
}

/// Writes steps.
struct Author<'r> {
    random: &'r mut Random,
    /// Branches that may still be made: paths double with each.
    branches: usize,
    functions: usize,
    maps: bool,
}

impl Author<'_> {
    fn steps(&mut self, scope: Scope, least: usize, most: usize, depth: usize) -> Vec<Step> {
        let count = least + self.random.below(most - least + 1);
        (0..count).map(|_| self.step(scope, depth)).collect()
    }

    fn step(&mut self, scope: Scope, depth: usize) -> Step {
        match self.random.below(100) {
            0..10 if depth > 0 && self.branches > 0 => self.branch(scope, depth),
            10..14 if depth > 0 && scope.may_loop() => self.repeat(scope, depth),
            14..18 => self.stack_access(scope),
            18..22 => scope.small(self.random),
            22..24 => scope.exchange(self.random),
            24..44 if scope.is_main() => self.world(scope, depth),
            _ => Step::Plain(scope.plain(self.random)),
        }
    }

    fn branch(&mut self, scope: Scope, depth: usize) -> Step {
        self.branches -= 1;
        let (width, cond) = scope.comparison(self.random);
        let dst = scope.any(self.random);
        let src = scope.source(self.random);
        let then = self.steps(scope, 1, 4, depth - 1);
        let other = if self.random.percent(50) { self.steps(scope, 1, 4, depth - 1) } else { Vec::new() };
        Step::If { width, cond, dst, src, then, other, long: self.random.percent(20) }
    }

    fn repeat(&mut self, scope: Scope, depth: usize) -> Step {
        let body = self.steps(scope.in_loop(), 1, 5, depth - 1);
        Step::Loop { times: 1 + self.random.below(4) as i32, may: self.random.percent(25), body }
    }

    fn stack_access(&mut self, scope: Scope) -> Step {
        if !scope.is_main() {
            return Step::Plain(scope.plain(self.random));
        }
        Step::Stack { index: scope.any(self.random), access: scope.access(self.random) }
    }

    /// What only the main function can do: it has the packet and the context.
    fn world(&mut self, scope: Scope, depth: usize) -> Step {
        let random = &mut *self.random;
        match random.below(16) {
            0..4 => {
                let (index, mask) = (scope.any(random), random.pick(&[1, 7, 0x1f, 0x7f, 0xff]));
                Step::Packet { index, mask, off: random.below(64) as i16, access: scope.access(random) }
            }
            4..8 if self.maps => self.map_step(scope),
            8 if self.functions > 0 => Step::Call { function: random.below(self.functions) },
            9 => {
                let delta = random.pick(&[-64, -8, -1, 1, 4, 14, 16, -300]);
                Step::Adjust { tail: random.percent(40), delta }
            }
            10 => {
                let (at, bytes) = (random.below(300) as i32, 1 + random.below(64) as i32);
                Step::Bytes { store: random.percent(50), at, bytes }
            }
            11 => Step::Checksum { bytes: 4 * (1 + random.below(16) as i32) },
            12 => Step::Length,
            13 => Step::Field { dst: scope.target(random), off: random.pick(&[12, 16]) },
            14 => Step::Extent { dst: scope.target(random) },
            15 if depth > 0 => {
                let value = random.immediate();
                Step::Spill { value, body: self.steps(scope.without_packet(), 1, 3, 0) }
            }
            _ => Step::Plain(scope.plain(random)),
        }
    }

    fn map_step(&mut self, scope: Scope) -> Step {
        let random = &mut *self.random;
        let map = random.below(2) as u32;
        let key = match random.percent(50) {
            true => Source::Imm(random.below(KEYS as usize) as i32),
            false => Source::Reg(scope.any(random)),
        };
        match random.below(6) {
            0 | 1 => Step::Update { map, key, flags: random.pick(&[0, 0, 0, 1, 2]) },
            2 => Step::Delete { map, key },
            _ => {
                let index = random.percent(40).then(|| (scope.any(random), random.pick(&[1, 7, 0x18, 0x1f])));
                let room = if index.is_some() { 24 } else { VALUE_BYTES - 8 };
                let count = 1 + random.below(3);
                let mut access = || (8 * random.below(room as usize / 8 + 1) as i16, scope.kept(random));
                Step::Lookup { map, key, index, accesses: (0..count).map(|_| access()).collect() }
            }
        }
    }
}
