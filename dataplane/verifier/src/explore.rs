//! Walking every path of a program with an abstract state.
//!
//! Paths that wait stand on a list of our own, last first, as in the kernel: at a branch the
//! fallthrough is walked first. `prune` cuts a path off where it reaches a state that was proven
//! already. What each instruction does to the state is in `transfer/`.

use std::collections::HashSet;

use weir_ebpf::Program;
use weir_ebpf::isa::{Insn, Reg};

use crate::budget::{Deadline, bytes_of};
use crate::facts::Facts;
use crate::lint::Lint;
use crate::liveness::{Liveness, reads};
use crate::log::Log;
use crate::prune::{Seen, Visit};
use crate::reject::Reject;
use crate::relevance::Relevance;
use crate::rule::Rule;
use crate::shape::{Shape, written};
use crate::state::State;
use crate::states::STATES_MAX;
use crate::transfer::global::Global;
use crate::value::{Id, MapRef, Value};
use crate::{Options, Stats};

/// Most branches that may wait (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const PENDING_MAX: usize = 8192;

/// What a step of verification answers.
pub(crate) type Check<T = ()> = Result<T, Box<Reject>>;

/// Where a path goes after an instruction.
pub(crate) enum Step {
    /// On to this slot.
    To(usize),
    /// The path is over.
    End,
}

/// A path that waits to be walked.
struct Pending {
    slot: usize,
    /// The instruction that left it.
    from: usize,
    state: State,
    /// The kept state that it comes from.
    parent: Option<usize>,
    /// How long the trail was.
    trail: usize,
}

/// What is known of a program before it is walked.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) program: &'a Program,
    pub(crate) shape: &'a Shape,
    pub(crate) liveness: &'a Liveness,
    pub(crate) relevance: &'a Relevance,
    pub(crate) options: &'a Options,
    pub(crate) deadline: Option<Deadline>,
}

/// A walk over a program.
pub(crate) struct Explorer<'a> {
    pub(crate) program: &'a Program,
    pub(crate) shape: &'a Shape,
    pub(crate) liveness: &'a Liveness,
    pub(crate) relevance: &'a Relevance,
    pub(crate) options: &'a Options,
    /// Forgets only registers that are dead.
    pub(crate) careful: bool,
    pub(crate) facts: Facts,
    pub(crate) seen: Seen,
    /// The state of the path being walked, before the instruction at `slot`.
    pub(crate) state: State,
    /// The instruction being walked.
    pub(crate) slot: usize,
    /// Whether the path just came back to a helper's call from its callback.
    pub(crate) came_back: bool,
    /// Deepest byte of stack used by each function.
    pub(crate) stack_used: Vec<u32>,
    /// The states before each instruction, with the kept states they come from; empty when they are not
    /// asked for.
    pub(crate) recorded: Vec<Vec<(Option<usize>, State)>>,
    /// Which global functions are proven by themselves, and how far that is.
    pub(crate) globals: Vec<Global>,
    /// Functions that timers call, each with the map that its timer is in.
    pub(crate) later: Vec<(usize, MapRef)>,
    /// Call instructions that were walked before.
    pub(crate) seen_calls: HashSet<usize>,
    pub(crate) log: Log,
    /// What is allowed and still worth a word, one for an instruction.
    pub(crate) lints: Vec<Lint>,
    /// The slots of the path being walked, from the entry: where a refused value came from.
    pub(crate) trail: Vec<u32>,
    /// The first refusal, where the walk goes on.
    pub(crate) refused: Option<Box<Reject>>,
    pending: Vec<Pending>,
    /// What their states take at most.
    pub(crate) pending_bytes: u64,
    pub(crate) deadline: Option<Deadline>,
    ids: Id,
    processed: u64,
    pub(crate) jumps: u64,
}

impl<'a> Explorer<'a> {
    /// A walk that stands at the entry.
    pub(crate) fn new(ground: &Ground<'a>, careful: bool) -> Self {
        let Ground { program, shape, liveness, relevance, options, deadline } = *ground;
        let mut facts = Facts::default();
        facts.insns.resize(program.insns.len(), Default::default());
        facts.functions.resize(shape.functions.len(), Default::default());
        Self {
            program,
            shape,
            liveness,
            relevance,
            options,
            careful,
            facts,
            seen: Seen::new(program.insns.len()),
            state: State::entry(),
            slot: 0,
            came_back: false,
            stack_used: vec![0; shape.functions.len()],
            recorded: if options.record_states { vec![Vec::new(); program.insns.len()] } else { Vec::new() },
            globals: vec![Global::Uncalled; shape.functions.len()],
            later: Vec::new(),
            seen_calls: HashSet::new(),
            log: Log::default(),
            lints: Vec::new(),
            trail: Vec::new(),
            refused: None,
            pending: Vec::new(),
            pending_bytes: 0,
            deadline,
            ids: 0,
            processed: 0,
            jumps: 0,
        }
    }

    /// Walks every path.
    pub(crate) fn run(&mut self) -> Check {
        let mut from = None;
        if self.options.log_level > 1 {
            self.log.functions(self.program);
        }
        loop {
            if self.options.log_level > 0 {
                self.log.path(self.program, self.slot, from, &self.state);
            }
            match self.walk_path() {
                Err(refused) if self.options.to_the_end && !refused.rule.is_endless() => {
                    self.refused.get_or_insert(refused);
                    self.seen.path_ends();
                }
                walked => walked?,
            }
            let Some(next) = self.pending.pop() else {
                return Ok(());
            };
            self.pending_bytes -= bytes_of(&next.state);
            (self.slot, self.state, from) = (next.slot, next.state, Some(next.from));
            self.seen.parent = next.parent;
            // Paths are taken up last first, so that what was walked since lies behind this.
            self.trail.truncate(next.trail);
        }
    }

    /// Walks one path to its end, leaving the other ways of its branches pending.
    fn walk_path(&mut self) -> Check {
        loop {
            self.processed += 1;
            self.within_budget()?;
            if self.options.prune && self.shape.prune_points[self.slot] {
                match self.visit()? {
                    Visit::Known => {
                        if self.options.log_level > 0 {
                            self.log.safe(self.slot);
                        }
                        self.seen.path_ends();
                        return Ok(());
                    }
                    Visit::New => {}
                }
            }
            self.facts.insns[self.slot].reached = true;
            self.trail.push(self.slot as u32);
            if let Some(states) = self.recorded.get_mut(self.slot)
                && states.len() <= STATES_MAX
            {
                states.push((self.seen.parent, self.state.clone()));
            }
            match self.logged_step()? {
                Step::To(slot) => self.slot = slot,
                Step::End => {
                    self.seen.path_ends();
                    return Ok(());
                }
            }
        }
    }

    /// Walks one instruction, and logs it if that is wanted.
    fn logged_step(&mut self) -> Check<Step> {
        if self.options.log_level < 2 {
            return self.step();
        }
        let (slot, before) = (self.slot, self.state.clone());
        let step = self.step();
        match step {
            Ok(_) => self.log.insn(self.program, slot, &before, &self.state),
            Err(_) => self.log.refused(self.program, slot),
        }
        step
    }

    /// Refuses a write of r10, once what it would read was found to be there. Code that no path comes to
    /// may write what it likes, as in the kernel.
    fn check_frame_pointer(&self, insn: &Insn) -> Check {
        if written(insn) != Some(Reg::R10) {
            return Ok(());
        }
        let read = reads(insn);
        for reg in Reg::ALL.iter().filter(|reg| read.contains(**reg)) {
            self.read(*reg)?;
        }
        self.refuse(Rule::FramePointer, "frame pointer is read only")
    }

    /// Walks one instruction.
    fn step(&mut self) -> Check<Step> {
        // Calls and exits are jumps, too (`jmps_processed`).
        self.jumps += u64::from(matches!(
            self.program.insns[self.slot],
            Insn::Call { .. } | Insn::CallLocal { .. } | Insn::CallKfunc { .. } | Insn::Exit
        ));
        self.check_frame_pointer(&self.program.insns[self.slot])?;
        match self.program.insns[self.slot] {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src)?,
            Insn::Mov { width, dst, src } => self.mov(width, dst, src)?,
            Insn::MovSx { width, from, dst, src } => self.movsx(width, from, dst, src)?,
            Insn::Neg { width, dst } => self.neg(width, dst)?,
            Insn::Swap { kind, size, dst } => self.swap(kind, size, dst)?,
            Insn::LoadImm64 { dst, value } => {
                self.load_immediate(dst, value);
                return Ok(Step::To(self.slot + 2));
            }
            Insn::SecondHalf => return self.refuse(Rule::BadInstruction, "invalid bpf_ld_imm64 insn"),
            Insn::Load { size, signed, dst, base, off } => self.load(size, signed, dst, base, off)?,
            Insn::Store { size, base, off, src } => self.store(size, base, off, src)?,
            Insn::Atomic { size, op, base, off, src } => self.atomic(size, op, base, off, src)?,
            Insn::LoadAcquire { size, dst, base, off } => self.load_acquire(size, dst, base, off)?,
            Insn::StoreRelease { size, base, off, src } => self.store_release(size, base, off, src)?,
            Insn::LoadPacket { index, .. } => self.load_packet(index)?,
            Insn::Goto { off } => return Ok(self.goto(i64::from(off))),
            Insn::GotoLong { off } => return Ok(self.goto(i64::from(off))),
            Insn::Branch { width, cond, dst, src, off } => return self.branch(width, cond, dst, src, off),
            Insn::MayGoto { off } => return self.may_goto(off),
            Insn::Call { helper } => return self.call_helper(helper),
            Insn::CallLocal { off } => return Ok(Step::To(self.call_local(off)?)),
            Insn::CallKfunc { btf_id, off: 0 } => return self.call_kfunc(btf_id),
            Insn::CallKfunc { off, .. } => {
                let message = format!("kernel functions of module BTF {off} are not there in user space");
                return self.refuse(Rule::KernelFunction, message);
            }
            Insn::CallReg { .. } => return self.refuse(Rule::BadInstruction, "unknown opcode 8d"),
            Insn::Exit => return self.exit(),
        }
        Ok(Step::To(self.slot + 1))
    }

    fn goto(&mut self, off: i64) -> Step {
        self.jumps += 1;
        Step::To((self.slot as i64 + 1 + off) as usize)
    }

    /// Leaves a path to be walked later.
    pub(crate) fn push(&mut self, slot: usize, state: State) -> Check {
        if self.pending.len() >= PENDING_MAX {
            let message = format!("The sequence of {PENDING_MAX} jumps is too complex.");
            return self.refuse(Rule::TooManyBranches, message);
        }
        let parent = self.seen.fork();
        self.pending_bytes += bytes_of(&state);
        self.pending.push(Pending { slot, from: self.slot, state, parent, trail: self.trail.len() });
        Ok(())
    }

    /// A refusal of the instruction being walked.
    pub(crate) fn refuse<T>(&self, rule: Rule, message: impl Into<String>) -> Check<T> {
        Err(Box::new(Reject::new(self.slot, rule, message.into())))
    }

    /// A name not used before.
    pub(crate) fn new_id(&mut self) -> Id {
        self.ids += 1;
        self.ids
    }

    /// What a register holds, which must be something.
    pub(crate) fn read(&self, reg: Reg) -> Check<Value> {
        match self.state.reg(reg) {
            Value::NotInit => self.refuse(Rule::Uninitialised, format!("R{} !read_ok", reg.index())),
            value => Ok(*value),
        }
    }

    /// What the walk took so far.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            processed: self.processed,
            states: self.seen.total(),
            peak_states: self.seen.peak(),
            peak_bytes: self.seen.peak_bytes(),
        }
    }

    pub(crate) fn processed(&self) -> u64 {
        self.processed
    }
}
