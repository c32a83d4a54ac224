//! The checked interpreter: the reference that the JIT is compared with.
//!
//! It works on real addresses but tests every access against what the program may touch ([`memory`]), and
//! every helper call against its signature ([`call`]), so it may run programs that nobody has proven. It
//! shares no table with the JIT beyond `weir_ebpf`: meanings come from `AluOp::eval*` and `Cond::eval*`.

mod call;
mod checked;
mod fault;
mod memory;
mod step;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use weir_ebpf::abi::{MAX_CALL_FRAMES, MAX_STACK};
use weir_ebpf::isa::Insn;
use weir_ebpf::{Program, Reg};
use weir_maps::{Map, Timers};

pub(crate) use call::CLOBBERED;
pub use checked::{Checked, Options};
pub use fault::{Access, Fault, FaultKind, Near};
pub use memory::Place;
pub(crate) use memory::Stacks;

use crate::context::Context;
use crate::jit::Compiled;
use crate::run::Run;
use memory::Memory;

/// A program with its maps: what any engine runs.
#[derive(Debug)]
pub(crate) struct Code {
    /// The program.
    pub(crate) program: Arc<Program>,
    /// One map for each of `program.maps`.
    pub(crate) maps: Vec<Arc<Map>>,
    /// Its machine code, when it runs as that.
    pub(crate) compiled: OnceLock<Compiled>,
}

impl Code {
    /// A program that is interpreted, with one map for each that it names.
    pub(crate) fn new(program: Arc<Program>, maps: Vec<Arc<Map>>) -> Arc<Self> {
        Arc::new(Self { program, maps, compiled: OnceLock::new() })
    }

    /// Says to its maps that their timers have a user more.
    pub(crate) fn enter_maps(&self) {
        self.maps.iter().filter_map(|map| map.timers()).for_each(Timers::enter);
    }

    /// Says to its maps that they have one fewer.
    pub(crate) fn leave_maps(&self) {
        self.maps.iter().for_each(|map| map.leave_timers());
    }

    /// Calls a function that a timer was given, with the map, the key and the value.
    pub(crate) fn call_later(
        self: &Arc<Self>,
        run: &mut Run<'_>,
        nothing: &mut Context<'_>,
        function: u64,
        args: [u64; 3],
    ) {
        if let Some(compiled) = self.compiled.get() {
            run.begin(self.program.kind, nothing);
            compiled.call_later(run, function, args);
            run.finish();
            return;
        }
        let setup = Setup { later: Some((function, args)), ..Setup::default() };
        if let (Err(fault), _) = self::run(self, run, nothing, setup) {
            run.set_fault(fault);
        }
    }
}

/// Someone who looks at a run, instruction by instruction.
pub trait Observer {
    /// Called before each instruction.
    fn before(&mut self, step: &Step<'_, '_>);
}

/// What an observer sees.
pub struct Step<'s, 'm> {
    machine: &'s Machine<'m>,
}

impl Step<'_, '_> {
    /// The program that is running now (a tail call changes it).
    pub fn program(&self) -> &Arc<Program> {
        &self.machine.code().program
    }

    /// The instruction that comes next.
    pub fn slot(&self) -> usize {
        self.machine.pc
    }

    /// How many functions are active; at least 1.
    pub fn frames(&self) -> usize {
        self.machine.frames.len()
    }

    /// What a register holds.
    pub fn register(&self, reg: Reg) -> u64 {
        self.machine.regs[reg.index()]
    }

    /// Instructions run before this one.
    pub fn executed(&self) -> u64 {
        self.machine.executed
    }

    /// What a value means as a pointer; `None` when it points nowhere that the program may go.
    pub fn place(&self, value: u64) -> Option<Place> {
        let machine = self.machine;
        machine.memory.place(value, machine.frames.len(), &machine.code().maps)
    }

    /// Address of the packet's first byte now.
    pub fn packet_address(&self) -> u64 {
        self.machine.memory.packet_address()
    }

    /// Bytes of the packet now.
    pub fn packet_len(&self) -> u64 {
        self.machine.memory.packet_len()
    }

    /// Bytes of metadata before it.
    pub fn meta_len(&self) -> u64 {
        self.machine.memory.meta_len()
    }

    /// The 8 bytes at `offset` of a frame's stack (negative, a multiple of 8, as an offset of r10).
    pub fn stack_word(&self, frame: usize, offset: i64) -> Option<u64> {
        let machine = self.machine;
        let inside = frame < machine.frames.len() && (-(MAX_STACK as i64)..=-8).contains(&offset);
        (inside && offset % 8 == 0).then(|| machine.memory.stack_word(frame, offset))
    }
}

/// An active function.
struct Frame {
    code: Arc<Code>,
    /// Where the caller goes on.
    return_to: usize,
    /// The caller's r6 to r9.
    saved: [u64; 4],
    /// How deep it is in its program; a tail call begins anew.
    depth: usize,
}

/// One run of a program.
struct Machine<'m> {
    run: *mut Run<'static>,
    memory: Memory,
    frames: Vec<Frame>,
    regs: [u64; Reg::COUNT],
    pc: usize,
    executed: u64,
    budget: u64,
    /// Helpers are not asked for which program type they are offered to.
    unprivileged: bool,
    /// The spin lock that is held.
    lock: Option<u64>,
    /// Bytes of the keys that callbacks get, inside a map walk.
    walked_key: Option<u64>,
    /// A fault inside a callback, on its way out through the helper.
    pending: Option<FaultKind>,
    observer: Option<&'m mut dyn Observer>,
}

/// How a run is made.
pub(crate) struct Setup<'m> {
    /// The function of a timer to begin in, with its arguments.
    pub(crate) later: Option<(u64, [u64; 3])>,
    pub(crate) budget: u64,
    pub(crate) any_helper: bool,
    /// Memory besides the context: its address goes to r1 in the context's place, its length to r2.
    pub(crate) granted: Option<Range<u64>>,
    /// Stacks to use, for a caller who wants to know where they are; they come back as the run left them.
    pub(crate) stack: Option<&'m mut Stacks>,
    pub(crate) observer: Option<&'m mut dyn Observer>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { later: None, budget: u64::MAX, any_helper: false, granted: None, stack: None, observer: None }
    }
}

/// Runs a program from its first instruction and answers its r0 and how many instructions it took.
pub(crate) fn run(
    code: &Arc<Code>,
    run: &mut Run<'_>,
    context: &mut Context<'_>,
    setup: Setup<'_>,
) -> (Result<u64, Fault>, u64) {
    let kind = code.program.kind;
    run.begin(kind, context);
    run.call_function = call::call_function;
    let (stacks, lent) = match setup.stack {
        Some(place) => (std::mem::take(place), Some(place)),
        None => (Stacks::new(), None),
    };
    let memory = Memory::new(run.context, kind, setup.granted.clone(), stacks);
    let mut machine = Machine {
        run: std::ptr::from_mut(run).cast(),
        memory,
        frames: Vec::with_capacity(MAX_CALL_FRAMES),
        regs: [0; Reg::COUNT],
        pc: 0,
        executed: 0,
        budget: setup.budget,
        unprivileged: setup.any_helper,
        lock: None,
        walked_key: None,
        pending: None,
        observer: setup.observer,
    };
    machine.enter(code.clone());
    (machine.regs[1], machine.regs[2]) = match setup.granted {
        Some(range) => (range.start, range.end - range.start),
        None => (machine.memory.context_value(), 0),
    };
    let result = match setup.later {
        Some((function, args)) => machine.begin_later(function, args),
        None => Ok(()),
    };
    let result = result.and_then(|()| machine.execute(0));
    let slot = machine.pc;
    let program = machine.frames.last().map_or(&code.program, |frame| &frame.code.program).name.clone();
    let result = match (result, machine.release()) {
        (Ok(r0), None) => Ok(r0),
        (Err(kind), _) | (Ok(_), Some(kind)) => Err(Fault { program, slot, kind }),
    };
    let executed = machine.executed;
    if let Some(place) = lent {
        *place = machine.memory.stack;
    }
    run.finish();
    (result, executed)
}

impl Machine<'_> {
    fn code(&self) -> &Arc<Code> {
        &self.frames.last().expect("a frame is active while a program runs").code
    }

    fn allowed(&self, address: u64, size: u64, access: Access) -> bool {
        self.memory.allowed(address, size, access, self.frames.len(), &self.code().maps)
    }

    /// Begins a function: a new frame, with r10 at its top.
    fn enter(&mut self, code: Arc<Code>) {
        let depth = self.frames.last().map_or(1, |caller| caller.depth + 1);
        let saved = [self.regs[6], self.regs[7], self.regs[8], self.regs[9]];
        self.frames.push(Frame { code, return_to: self.pc, saved, depth });
        self.memory.clear_frame(self.frames.len() - 1);
        self.regs[10] = self.memory.frame_top(self.frames.len() - 1);
    }

    /// Ends a function: the caller's registers come back. Answers whether there is a caller.
    fn leave(&mut self) -> bool {
        let frame = self.frames.pop().expect("a frame is active while a program runs");
        self.regs[6..10].copy_from_slice(&frame.saved);
        self.pc = frame.return_to;
        let caller = !self.frames.is_empty();
        if caller {
            self.regs[10] = self.memory.frame_top(self.frames.len() - 1);
        }
        caller
    }

    /// Runs until only `floor` frames are left, and answers r0.
    fn execute(&mut self, floor: usize) -> Result<u64, FaultKind> {
        while self.frames.len() > floor {
            let insn = self.fetch()?;
            if self.executed >= self.budget {
                return Err(FaultKind::Budget { budget: self.budget });
            }
            if let Some(observer) = self.observer.take() {
                observer.before(&Step { machine: self });
                self.observer = Some(observer);
            }
            self.executed += 1;
            self.step(insn)?;
        }
        Ok(self.regs[0])
    }

    /// Stands at the start of a function that a timer calls.
    fn begin_later(&mut self, function: u64, args: [u64; 3]) -> Result<(), FaultKind> {
        let what = "a callback that is not a function";
        self.pc = memory::function_slot(function).ok_or(FaultKind::Unsupported { what })?;
        self.regs[1..4].copy_from_slice(&args);
        let map = self.memory.map_at(args[0], &self.code().maps);
        let key = map.map_or(0, |map| u64::from(map.spec().key_size));
        self.memory.keys.push((args[1], key));
        Ok(())
    }

    fn fetch(&self) -> Result<Insn, FaultKind> {
        match self.code().program.insns.get(self.pc) {
            Some(Insn::SecondHalf) | None => Err(FaultKind::Jump { target: self.pc as i64 }),
            Some(insn) => Ok(*insn),
        }
    }

    /// Calls a local function at `target`.
    fn call_local(&mut self, target: i64) -> Result<(), FaultKind> {
        let depth = self.frames.last().map_or(1, |caller| caller.depth + 1);
        if depth > MAX_CALL_FRAMES {
            return Err(FaultKind::Depth { depth });
        }
        let start = usize::try_from(target).map_err(|_| FaultKind::Jump { target })?;
        let code = self.code().clone();
        self.enter(code);
        self.pc = start;
        Ok(())
    }

    /// Runs a function for a helper. After a fault answers 1, which ends every loop there is.
    fn call_back(&mut self, function: u64, args: [u64; 4]) -> u64 {
        if self.pending.is_some() {
            return 1;
        }
        let (saved, pc, floor) = (self.regs, self.pc, self.frames.len());
        let (walked, keys) = (self.walked_key.take(), self.memory.keys.len());
        self.memory.keys.extend(walked.map(|size| (args[1], size)));
        let result = match memory::function_slot(function) {
            Some(slot) => self.call_local(slot as i64),
            None => Err(FaultKind::Unsupported { what: "a callback that is not a function" }),
        };
        let result = result.and_then(|()| {
            self.regs[1..5].copy_from_slice(&args);
            self.execute(floor)
        });
        self.memory.keys.truncate(keys);
        self.walked_key = walked;
        match result {
            Ok(r0) => {
                (self.regs, self.pc) = (saved, pc);
                r0
            }
            Err(fault) => {
                self.pending = Some(fault);
                1
            }
        }
    }
}
