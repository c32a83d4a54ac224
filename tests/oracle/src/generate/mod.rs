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

mod author;
mod emit;
mod emit_calls;
mod guard;
mod maps;
mod plain;
mod random;
mod shrink;

use std::sync::Arc;

use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType, encode};

pub use guard::Guard;
pub use maps::{ALL as ALL_MAPS, compact, specs};
pub use plain::Access;
pub use random::Random;
pub use shrink::shrink;

use author::Author;
use plain::Scope;

/// The generator's version: a hash of its first thousand programs (FNV-1a), so that runs that say the same seeds
/// and the same version have run the same.
pub fn version() -> u64 {
    let insns = (1..=1_000).map(|seed| encode::to_bytes(&encode::encode(&Recipe::random(seed).insns())));
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    insns.flatten().fold(0xcbf2_9ce4_8422_2325, fold)
}

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
    /// An access to the packet at an index that is bounded and checked against the packet's end.
    Packet {
        /// The index.
        index: Reg,
        /// What bounds it.
        guard: Guard,
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
        /// An index into the value, and what bounds it.
        index: Option<(Reg, Guard)>,
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
    /// A record of the ring buffer: reserved, written, handed over or given back.
    Ring {
        /// Its bytes.
        bytes: i32,
        /// Offsets and what is done there.
        accesses: Vec<(i16, Access)>,
        /// Gives it back.
        discard: bool,
    },
    /// `bpf_loop`, or `bpf_for_each_map_elem` on an array, with a callback of the recipe that changes two
    /// numbers of the stack.
    Visit {
        /// Which callback.
        callback: usize,
        /// How often, for `bpf_loop`.
        times: Source,
        /// The array.
        map: Option<u32>,
    },
    /// A tail call: to a program that answers 3 when the index is 0, to none otherwise.
    Tail {
        /// The index.
        index: Source,
    },
    /// Copies a number of the packet's bytes, from 1 to 63, onto the stack.
    Sized {
        /// How many, after a mask.
        size: Reg,
        /// Where in the packet.
        at: i32,
    },
    /// An access to a variable of the program.
    Global {
        /// Where.
        off: i16,
        /// What is done.
        access: Access,
    },
    /// Legacy packet access (tc).
    Legacy {
        /// Bytes.
        size: Size,
        /// A number to add, after a mask.
        index: Option<Reg>,
        /// Where.
        at: i32,
    },
    /// Writes a field of the context (tc).
    SetField {
        /// Byte of `struct __sk_buff`.
        off: i16,
        /// What.
        src: Reg,
    },
    /// r7 goes to the stack while a body uses the register, and comes back.
    Spill {
        /// What r7 is meanwhile.
        value: i32,
        /// What is run.
        body: Vec<Step>,
    },
}

/// What a callback is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// `bpf_loop`.
    Loop,
    /// `bpf_for_each_map_elem`.
    Element,
}

/// A program as a tree of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it was made from.
    pub seed: u64,
    /// XDP or tc.
    pub kind: ProgramType,
    /// The main function.
    pub main: Vec<Step>,
    /// The functions it may call, and what they are made of.
    pub functions: Vec<Vec<Step>>,
    /// The callbacks it may hand to helpers.
    pub callbacks: Vec<(Turn, Vec<Step>)>,
    /// Whether every 32-bit `cmpxchg` is followed by `w0 = w0`, which changes nothing but what compilers
    /// that forget to zero-extend r0 make of it.
    pub extended: bool,
}

impl Recipe {
    /// The recipe of a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kind = if random.percent(70) { ProgramType::Xdp } else { ProgramType::SchedCls };
        let function = |random: &mut Random| Author::plain(random, kind).steps(Scope::function(), 3, 10, 1);
        let functions: Vec<_> = (0..random.below(3)).map(|_| function(&mut random)).collect();
        let callback = |random: &mut Random| {
            let turn = random.pick(&[Turn::Loop, Turn::Loop, Turn::Element]);
            (turn, Author::plain(random, kind).steps(Scope::function(), 1, 4, 1))
        };
        let callbacks: Vec<_> = match random.percent(20) {
            true => (0..1 + random.below(2)).map(|_| callback(&mut random)).collect(),
            false => Vec::new(),
        };
        let maps = random.percent(40);
        let length = 6 + random.below(34);
        let turns = callbacks.iter().map(|(turn, _)| *turn).collect();
        let (branches, functions_count) = (6, functions.len());
        let mut author = Author {
            random: &mut random,
            kind,
            branches,
            functions: functions_count,
            callbacks: turns,
            maps,
        };
        let main = author.steps(Scope::main(), 4, length, 2);
        Self { seed, kind, main, functions, callbacks, extended: false }
    }

    /// The same with arithmetic and memory alone: nothing that computes an address from an immediate or
    /// calls a helper, so that machine code which is wrong on purpose does not run wild.
    pub fn plain(seed: u64) -> Self {
        fn kept(steps: Vec<Step>) -> Vec<Step> {
            let plain = |step| match step {
                Step::If { width, cond, dst, src, then, other, long } => {
                    let (then, other) = (kept(then), kept(other));
                    Some(Step::If { width, cond, dst, src, then, other, long })
                }
                Step::Loop { times, may, body } => Some(Step::Loop { times, may, body: kept(body) }),
                Step::Plain(_) | Step::Small { .. } | Step::Exchange { .. } | Step::Extent { .. } => {
                    Some(step)
                }
                _ => None,
            };
            steps.into_iter().filter_map(plain).collect()
        }
        let recipe = Self::random(seed);
        let main = kept(recipe.main);
        Self { main, functions: Vec::new(), callbacks: Vec::new(), ..recipe }
    }

    /// Its instructions, with maps numbered as in [`specs`].
    pub fn insns(&self) -> Vec<Insn> {
        emit::emit(self)
    }

    /// The program, with the maps that it uses.
    pub fn program(&self) -> Program {
        self.program_of(self.insns())
    }

    /// A program of other instructions, with the maps that they use.
    pub fn program_of(&self, mut insns: Vec<Insn>) -> Program {
        let maps = compact(&mut insns);
        let mut program = Program::from_insns(&format!("seed_{}", self.seed), self.kind, insns);
        program.maps = maps.into_iter().map(Arc::new).collect();
        program
    }

    /// The program that its tail calls go on in, with the same maps.
    pub fn landing(&self, program: &Program) -> Program {
        let answer = Insn::Mov { width: Width::W64, dst: Reg::R0, src: Source::Imm(3) };
        let mut landing = Program::from_insns("landing", self.kind, vec![answer, Insn::Exit]);
        landing.maps = program.maps.clone();
        landing
    }

    /// Whether it has a 32-bit `cmpxchg`.
    pub fn exchanges_words(&self) -> bool {
        let word = |insn: &Insn| matches!(insn, Insn::Atomic { size: Size::W, op: AtomicOp::CmpXchg, .. });
        self.insns().iter().any(word)
    }

    /// Packets to run it on.
    pub fn packets(&self, count: usize) -> Vec<Vec<u8>> {
        let mut random = Random::new(!self.seed);
        let mut packet =
            || -> Vec<u8> { (0..PACKET_BYTES / 8).flat_map(|_| random.value().to_le_bytes()).collect() };
        (0..count).map(|_| packet()).collect()
    }
}
