//! Programs that are wrong by one edit, or nearly: what makes a verifier say yes where it should not.
//!
//! A [`Recipe`]'s instructions are edited at one place: a check is dropped or turned round, a bound is off
//! by one, 32 bits stand for 64, a register for another, a load that renews a pointer is missing. Those that
//! our verifier still accepts run in the checked interpreter beside the verifier's states, on packets whose
//! lengths lie about the bounds; the kernel's verdict stands beside ours.

use std::fmt;
use std::sync::Arc;

use weir_ebpf::isa::{AluOp, Cond, Imm64, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, asm};
use weir_sys::bpf::{KernelMap, LoadError};
use weir_sys::errno;

use weir_verifier::{Facts, Options, Rule, verify};
use weir_vm::interpreter::{Fault, FaultKind};

use crate::differential::{create_maps, run_checked};
use crate::generate::{PACKET_BYTES, PROVEN, Random, Recipe};
use crate::kernel::load_program;
use crate::offered::crashes_kernel;

/// What was done to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the text says it")]
pub enum Edit {
    DroppedCheck,
    TurnedCheck,
    OtherCheck,
    OffByOne,
    OtherBound,
    OtherWidth,
    OtherSize,
    OtherPlace,
    OtherRegister,
    OtherOperation,
    StalePointer,
    DroppedInsn,
    OtherSign,
    OtherMap,
    Twice,
}

impl Edit {
    /// Every edit.
    pub const ALL: [Edit; 15] = [
        Edit::DroppedCheck,
        Edit::TurnedCheck,
        Edit::OtherCheck,
        Edit::OffByOne,
        Edit::OtherBound,
        Edit::OtherWidth,
        Edit::OtherSize,
        Edit::OtherPlace,
        Edit::OtherRegister,
        Edit::OtherOperation,
        Edit::StalePointer,
        Edit::DroppedInsn,
        Edit::OtherSign,
        Edit::OtherMap,
        Edit::Twice,
    ];

    const fn text(self) -> &'static str {
        match self {
            Edit::DroppedCheck => "check dropped",
            Edit::TurnedCheck => "check turned round",
            Edit::OtherCheck => "other comparison",
            Edit::OffByOne => "off by one",
            Edit::OtherBound => "other bound or mask",
            Edit::OtherWidth => "32 and 64 bits swapped",
            Edit::OtherSize => "other size of access",
            Edit::OtherPlace => "other offset",
            Edit::OtherRegister => "other register",
            Edit::OtherOperation => "other operation",
            Edit::StalePointer => "pointer not read again",
            Edit::DroppedInsn => "instruction dropped",
            Edit::OtherSign => "other signedness",
            Edit::OtherMap => "other map",
            Edit::Twice => "instruction doubled",
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// A recipe's program with one edit.
#[derive(Clone, Debug)]
pub struct NearMiss {
    /// Where it comes from.
    pub recipe: Recipe,
    /// What was done.
    pub edit: Edit,
    /// Where.
    pub slot: usize,
    /// The program with all maps, as the kernel is asked.
    pub insns: Vec<Insn>,
}

const NOTHING: Insn = Insn::Goto { off: 0 };

/// Another one of several.
fn other<T: Copy + PartialEq>(random: &mut Random, from: &[T], not: T) -> T {
    (0..8).map(|_| random.pick(from)).find(|found| *found != not).unwrap_or(not)
}

fn near(random: &mut Random, imm: i32) -> i32 {
    imm.wrapping_add(random.pick(&[1, -1, 1, -1, 2, -2, 4, -4, 8, -8, 7, -7]))
}

fn swapped(width: Width) -> Width {
    match width {
        Width::W32 => Width::W64,
        Width::W64 => Width::W32,
    }
}

const fn opposite(cond: Cond) -> Cond {
    match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Gt => Cond::Le,
        Cond::Le => Cond::Gt,
        Cond::Ge => Cond::Lt,
        Cond::Lt => Cond::Ge,
        Cond::SGt => Cond::SLe,
        Cond::SLe => Cond::SGt,
        Cond::SGe => Cond::SLt,
        Cond::SLt => Cond::SGe,
        Cond::Set => Cond::Eq,
    }
}

/// The same comparison with the other signedness.
const fn signed(cond: Cond) -> Cond {
    match cond {
        Cond::Gt => Cond::SGt,
        Cond::SGt => Cond::Gt,
        Cond::Ge => Cond::SGe,
        Cond::SGe => Cond::Ge,
        Cond::Lt => Cond::SLt,
        Cond::SLt => Cond::Lt,
        Cond::Le => Cond::SLe,
        Cond::SLe => Cond::Le,
        Cond::Eq => Cond::Set,
        Cond::Ne => Cond::Ne,
        Cond::Set => Cond::Eq,
    }
}

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];
const REGS: [Reg; 10] =
    [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R7, Reg::R8, Reg::R9, Reg::R6];

/// The instruction after an edit of this kind; `None` when it is not one that the edit fits.
fn edited(random: &mut Random, edit: Edit, insn: Insn) -> Option<Insn> {
    let reg = |random: &mut Random, not: Reg| other(random, &REGS, not);
    Some(match (edit, insn) {
        (Edit::DroppedCheck, Insn::Branch { .. }) => NOTHING,
        (Edit::TurnedCheck, Insn::Branch { width, cond, dst, src, off }) => {
            Insn::Branch { width, cond: opposite(cond), dst, src, off }
        }
        (Edit::OtherCheck, Insn::Branch { width, cond, dst, src, off }) => {
            Insn::Branch { width, cond: other(random, Cond::ALL, cond), dst, src, off }
        }
        (Edit::OffByOne, Insn::Branch { width, cond, dst, src: Source::Imm(imm), off }) => {
            Insn::Branch { width, cond, dst, src: Source::Imm(near(random, imm)), off }
        }
        (Edit::OffByOne, Insn::Branch { width, cond, dst, src, off }) => {
            let cond = match cond {
                Cond::Gt => Cond::Ge,
                Cond::Ge => Cond::Gt,
                Cond::Lt => Cond::Le,
                Cond::Le => Cond::Lt,
                Cond::SGt => Cond::SGe,
                Cond::SGe => Cond::SGt,
                Cond::SLt => Cond::SLe,
                Cond::SLe => Cond::SLt,
                Cond::Eq | Cond::Ne | Cond::Set => return None,
            };
            Insn::Branch { width, cond, dst, src, off }
        }
        (Edit::OffByOne, Insn::Alu { width, op, dst, src: Source::Imm(imm) }) => {
            Insn::Alu { width, op, dst, src: Source::Imm(near(random, imm)) }
        }
        (Edit::OffByOne, Insn::Mov { width, dst, src: Source::Imm(imm) }) => {
            Insn::Mov { width, dst, src: Source::Imm(near(random, imm)) }
        }
        (Edit::OtherBound, Insn::Branch { width, cond, dst, src: Source::Imm(_), off }) => {
            Insn::Branch { width, cond, dst, src: Source::Imm(random.immediate()), off }
        }
        (Edit::OtherBound, Insn::Alu { width, op: AluOp::And, dst, src: Source::Imm(imm) }) => {
            let imm = random.pick(&[imm.wrapping_mul(2) | 1, imm | 0x100, -1, imm >> 1, 0x3ff, i32::MAX]);
            Insn::Alu { width, op: AluOp::And, dst, src: Source::Imm(imm) }
        }
        (Edit::OtherBound, Insn::Mov { width, dst, src: Source::Imm(_) }) => {
            Insn::Mov { width, dst, src: Source::Imm(random.immediate()) }
        }
        (Edit::OtherWidth, Insn::Branch { width, cond, dst, src, off }) => {
            Insn::Branch { width: swapped(width), cond, dst, src, off }
        }
        (Edit::OtherWidth, Insn::Alu { width, op, dst, src }) => {
            Insn::Alu { width: swapped(width), op, dst, src }
        }
        (Edit::OtherWidth, Insn::Mov { width, dst, src }) => Insn::Mov { width: swapped(width), dst, src },
        (Edit::OtherSize, Insn::Load { size, dst, base, off, .. }) => {
            Insn::Load { size: other(random, &SIZES, size), signed: false, dst, base, off }
        }
        (Edit::OtherSize, Insn::Store { size, base, off, src }) => {
            Insn::Store { size: other(random, &SIZES, size), base, off, src }
        }
        (Edit::OtherPlace, Insn::Load { size, signed, dst, base, off }) => {
            Insn::Load { size, signed, dst, base, off: moved(random, off) }
        }
        (Edit::OtherPlace, Insn::Store { size, base, off, src }) => {
            Insn::Store { size, base, off: moved(random, off), src }
        }
        (Edit::OtherPlace, Insn::Atomic { size, op, base, off, src }) => {
            Insn::Atomic { size, op, base, off: moved(random, off), src }
        }
        (Edit::OtherRegister, Insn::Mov { width, dst, src: Source::Reg(src) }) => {
            Insn::Mov { width, dst, src: Source::Reg(reg(random, src)) }
        }
        (Edit::OtherRegister, Insn::Alu { width, op, dst, src: Source::Reg(src) }) => {
            Insn::Alu { width, op, dst, src: Source::Reg(reg(random, src)) }
        }
        (Edit::OtherRegister, Insn::Alu { width, op, dst, src }) => {
            Insn::Alu { width, op, dst: reg(random, dst), src }
        }
        (Edit::OtherRegister, Insn::Branch { width, cond, dst, src, off }) => {
            Insn::Branch { width, cond, dst: reg(random, dst), src, off }
        }
        (Edit::OtherRegister, Insn::Load { size, signed, dst, base, off }) => {
            Insn::Load { size, signed, dst, base: reg(random, base), off }
        }
        (Edit::OtherRegister, Insn::Store { size, base, off, src }) => {
            Insn::Store { size, base: reg(random, base), off, src }
        }
        (Edit::OtherOperation, Insn::Alu { width, op, dst, src }) => {
            Insn::Alu { width, op: other(random, AluOp::ALL, op), dst, src }
        }
        // Loads from the context renew packet pointers; loads of r7 from the stack bring it back.
        (Edit::StalePointer, Insn::Load { base: Reg::R6, .. } | Insn::Load { dst: Reg::R7, .. }) => NOTHING,
        (
            Edit::DroppedInsn,
            Insn::Alu { .. }
            | Insn::Mov { .. }
            | Insn::MovSx { .. }
            | Insn::Load { .. }
            | Insn::Store { .. }
            | Insn::Call { .. }
            | Insn::CallLocal { .. }
            | Insn::Atomic { .. },
        ) => NOTHING,
        (Edit::OtherSign, Insn::Branch { width, cond, dst, src, off }) => {
            Insn::Branch { width, cond: signed(cond), dst, src, off }
        }
        (Edit::OtherSign, Insn::Load { size, signed, dst, base, off }) if size != Size::DW => {
            Insn::Load { size, signed: !signed, dst, base, off }
        }
        (Edit::OtherSign, Insn::Alu { width, op: AluOp::Rsh, dst, src }) => {
            Insn::Alu { width, op: AluOp::Arsh, dst, src }
        }
        (Edit::OtherMap, Insn::LoadImm64 { dst, value: Imm64::Map(map) }) => {
            Insn::LoadImm64 { dst, value: Imm64::Map(other(random, &crate::generate::ALL_MAPS, map)) }
        }
        // Needs a place: see `NearMiss::random`.
        (Edit::Twice, Insn::Call { .. } | Insn::Alu { .. } | Insn::Store { .. }) => insn,
        _ => return None,
    })
}

fn moved(random: &mut Random, off: i16) -> i16 {
    off.wrapping_add(random.pick(&[1, -1, 4, -4, 8, -8, 64, -64, 256, -256, 504]))
}

impl NearMiss {
    /// The near-miss of a seed.
    pub fn random(seed: u64) -> Self {
        let recipe = Recipe::random(seed);
        let mut insns = recipe.insns();
        let mut random = Random::new(seed ^ 0x6e65_6172);
        for _ in 0..200 {
            let (edit, slot) = (random.pick(&Edit::ALL), random.below(insns.len()));
            let Some(insn) = edited(&mut random, edit, insns[slot]) else { continue };
            if edit == Edit::Twice {
                // Over the next instruction, which is then missing: jumps stay as they are.
                let next = insns.get(slot + 1);
                let wide = |insn: Option<&Insn>| insn.is_none_or(|insn| insn.slots() == 2);
                if wide(next) || matches!(next, Some(Insn::SecondHalf | Insn::Exit)) {
                    continue;
                }
                insns[slot + 1] = insn;
                return Self { recipe, edit, slot, insns };
            }
            if insn != insns[slot] {
                insns[slot] = insn;
                return Self { recipe, edit, slot, insns };
            }
        }
        Self { recipe, edit: Edit::DroppedInsn, slot: 0, insns }
    }

    /// The program with the maps that it uses.
    pub fn program(&self) -> Program {
        self.recipe.program_of(self.insns.clone())
    }

    /// The program with all maps, which the kernel need not make anew for each.
    pub fn for_kernel(&self) -> Program {
        let mut program = Program::from_insns("near_miss", self.recipe.kind, self.insns.clone());
        program.maps = crate::generate::specs().into_iter().map(Arc::new).collect();
        program
    }

    /// Packets whose lengths lie about what is proven, the third with all bytes.
    pub fn packets(&self, count: usize) -> Vec<Vec<u8>> {
        let full = self.recipe.packets(count);
        let proven = PROVEN as usize;
        let mut random = Random::new(self.recipe.seed ^ 0x7061_636b);
        let mut length = |index: usize| match index {
            0 => proven,
            2 => PACKET_BYTES,
            _ => proven + 1 + random.below(PACKET_BYTES - proven),
        };
        let cut = |(index, packet): (usize, Vec<u8>)| packet[..length(index)].to_vec();
        full.into_iter().enumerate().map(cut).collect()
    }
}

/// What came of a near-miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// We accept, every run was clean, and the kernel accepts or was not asked.
    Accepted {
        /// Steps compared with the states.
        checks: u64,
    },
    /// Both refuse, or the kernel was not asked.
    Refused(Rule),
    /// We accept, every run was clean, and the kernel refuses: for this.
    KernelRefuses(String),
    /// We refuse by this rule, and the kernel accepts.
    KernelAccepts(Rule, String),
    /// Too large to say for us.
    TooLarge,
    /// The kernel was not asked, since it may crash; what we said alone, and what we accept ran clean.
    NotOffered,
    /// We accept, and a run went wrong.
    Wrong(String),
}

/// Asks our verifier, runs what it accepts, and asks the kernel if its maps are given.
pub fn judge(miss: &NearMiss, kernel: Option<&[KernelMap]>, insns_max: u64) -> Outcome {
    let program = Arc::new(miss.program());
    let options = Options { record_states: true, insns_max, ..Options::default() };
    let held_back = kernel.is_some() && crashes_kernel(&miss.for_kernel());
    let kernel = kernel.filter(|_| !held_back);
    let theirs = || kernel.map(|maps| ask(miss, maps));
    let outcome = match verify(program.clone(), &options) {
        Err(reject) if matches!(reject.rule, Rule::TooLarge | Rule::TooManyBranches) => Outcome::TooLarge,
        Err(reject) if kernel.is_some_and(|maps| plainly_refused(miss, maps)) => {
            Outcome::Refused(reject.rule)
        }
        Err(reject) => match theirs() {
            Some(Ok(())) => Outcome::KernelAccepts(reject.rule, reject.message),
            _ => Outcome::Refused(reject.rule),
        },
        Ok(verified) => {
            let landing = Arc::new(miss.recipe.landing(&program));
            let run_on = |packets| {
                let maps = create_maps(&program)?;
                run_checked(&verified, &landing, &maps, &miss.packets(packets), BUDGET)
            };
            match run_on(PACKETS) {
                Err(error) if !is_long(&error) => Outcome::Wrong(format!("{error:#}")),
                run => match theirs() {
                    Some(Err(log)) if log == TOO_LARGE => Outcome::KernelRefuses(log),
                    Some(Err(_)) if kernel.is_some_and(|maps| walks_more(miss, maps, verified.facts())) => {
                        Outcome::KernelRefuses(UNREACHED.to_owned())
                    }
                    Some(Err(log)) => match run_on(PACKETS_OF_DOUBT) {
                        Err(error) if !is_long(&error) => Outcome::Wrong(format!("{error:#}")),
                        _ => Outcome::KernelRefuses(log),
                    },
                    _ => Outcome::Accepted { checks: run.map_or(0, |(_, checks)| checks) },
                },
            }
        }
    };
    match outcome {
        Outcome::Accepted { .. } | Outcome::Refused(_) if held_back => Outcome::NotOffered,
        outcome => outcome,
    }
}

/// Instructions that a run may take.
const BUDGET: u64 = 20_000;
/// Packets that each near-miss is run on.
const PACKETS: usize = 3;
/// Packets for those that we alone accept.
const PACKETS_OF_DOUBT: usize = 100;

/// Whether a run was merely long: `may_goto` lets a loop go on for a while.
fn is_long(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<Fault>(), Some(Fault { kind: FaultKind::Budget { .. }, .. }))
    })
}

/// Whether the kernel refuses, where its reason is not asked: writing a log takes it longer than the proof does.
fn plainly_refused(miss: &NearMiss, maps: &[KernelMap]) -> bool {
    let Err(error) = load_program(&miss.for_kernel(), maps, 0) else { return false };
    [errno::EACCES, errno::EINVAL, errno::EPERM, errno::E2BIG].contains(&code(&error))
}

/// The number of the kernel's refusal; 0 of another error.
fn code(error: &anyhow::Error) -> i32 {
    error.downcast_ref::<LoadError>().and_then(|error| error.source.raw_os_error()).unwrap_or(0)
}

/// What the kernel says: nothing, or the line of its log that tells why not.
fn ask(miss: &NearMiss, maps: &[KernelMap]) -> Result<(), String> {
    let program = miss.for_kernel();
    match load_program(&program, maps, 0) {
        Ok(_) => return Ok(()),
        // It walked a million instructions; its log of them tells no more.
        Err(error) if code(&error) == errno::E2BIG => return Err(TOO_LARGE.to_owned()),
        Err(_) => {}
    }
    match load_program(&program, maps, 1) {
        Ok(_) => Ok(()),
        Err(error) => match error.downcast_ref::<LoadError>() {
            Some(error) if error.log.is_empty() => Err(error.source.to_string()),
            // Verified, and then no memory for its code: the verifier found nothing wrong.
            Some(error) if crate::selftests::reason(&error.log).is_empty() => Ok(()),
            Some(error) => Err(crate::selftests::reason(&error.log).to_owned()),
            None => Err(format!("{error:#}")),
        },
    }
}

/// Stands for what the kernel says of programs that take it too long (`E2BIG`).
const TOO_LARGE: &str = "BPF program is too large";

/// Stands for a message of the kernel about code that, as our numbers show, no run comes to.
const UNREACHED: &str = "(code that no run reaches, or a way that none goes)";

/// Whether the kernel walked an instruction that no path of ours comes to, or a branch a way that none of ours goes.
fn walks_more(miss: &NearMiss, maps: &[KernelMap], facts: &Facts) -> bool {
    let program = miss.for_kernel();
    let Err(error) = load_program(&program, maps, 2) else { return false };
    let log = error.downcast_ref::<LoadError>().map_or("", |error| error.log.as_str());
    let unreached = |slot: usize| facts.insns.get(slot).is_some_and(|insn| !insn.reached);
    let other_way = |from: usize, to: usize| {
        let Some(Insn::Branch { off, .. }) = program.insns.get(from) else { return false };
        let ways = facts.insns[from].ways;
        // With no offset both ways lead to the same place.
        *off != 0 && if to == from + 1 { !ways.fallen } else { !ways.taken }
    };
    let mut before = None;
    for line in log.lines() {
        match Walked::read(line) {
            Some(Walked::To(slot)) => {
                if unreached(slot) || before.is_some_and(|before| other_way(before, slot)) {
                    return true;
                }
                before = Some(slot);
            }
            Some(Walked::Back { from, to }) => {
                if other_way(from, to) {
                    return true;
                }
                before = None;
            }
            None => {}
        }
    }
    false
}

/// What a line of the kernel's log of level 2 tells of its way.
enum Walked {
    /// It comes to an instruction: `12: (95) exit`.
    To(usize),
    /// It goes back to a branch's other way: `from 7 to 12: R0=…`.
    Back { from: usize, to: usize },
}

impl Walked {
    fn read(line: &str) -> Option<Walked> {
        let (place, rest) = line.split_once(": ").or(line.strip_suffix(':').map(|place| (place, "")))?;
        if let Some((from, to)) = place.strip_prefix("from ").and_then(|places| places.split_once(" to ")) {
            return Some(Walked::Back { from: from.parse().ok()?, to: to.parse().ok()? });
        }
        let opcode = rest.strip_prefix('(')?;
        opcode.get(2..3).filter(|close| *close == ")")?;
        Some(Walked::To(place.trim().parse().ok()?))
    }
}

/// Why weir may accept what the kernel refuses, by what the kernel says; `None`: for no known reason.
pub fn explained(kernel: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &[&str]); 6] = [
        ("the kernel says that it is its own bug", &["verifier bug: No program to jit"]),
        ("code or ways that no run comes to", &[UNREACHED]),
        (
            "numbers known better",
            &[
                "math between",
                "min value",
                "max value",
                "unbounded",
                "out of bounds",
                "invalid access to",
                "outside of the",
                "misaligned",
                "variable-offset",
                "invalid zero-sized",
                "must be a known constant",
                "should have been in",
                "invalid read from stack",
                "invalid write to stack",
            ],
        ),
        ("loops", &["infinite loop", "too large", "too complex", "back-edge"]),
        // The kernel takes what a number is apart from its link for a part of where it leads (`reg->off`).
        ("distances of linked numbers taken for offsets", &["pointer offset"]),
        ("form", &["unreachable insn"]),
    ];
    KNOWN.iter().find(|(_, texts)| texts.iter().any(|text| kernel.contains(text))).map(|(name, _)| *name)
}

/// A near-miss as its reader wants it: what was done where, and the text.
pub fn report(miss: &NearMiss) -> String {
    let NearMiss { recipe, edit, slot, .. } = miss;
    format!("seed {}: {edit} at insn {slot}\n{}", recipe.seed, asm::Listing(&miss.program()))
}
