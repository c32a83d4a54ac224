//! The abstract state of a run: frames with registers and stack, references, the lock.

use std::rc::Rc;

use weir_ebpf::Reg;

use crate::precision::Roots;
use crate::stack::Stack;
use crate::value::{Id, Kind, MapRef, Pointer, Value};

/// One active function.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Which function, by index.
    pub(crate) function: usize,
    /// The call that started it, by slot; it stands in the frame before.
    pub(crate) callsite: usize,
    /// Whether a helper calls it, so that its return goes back to the helper.
    pub(crate) callback: bool,
    /// Whether a timer calls it, so that it is the first one, and answers 0.
    pub(crate) later: bool,
    /// Registers.
    pub(crate) regs: [Value; Reg::COUNT],
    /// Stack.
    pub(crate) stack: Stack,
    /// Turns of the callback that this frame's helper call has made.
    pub(crate) turns: u32,
    /// Which arrival at that helper call this is; turns of one do not end another.
    pub(crate) invocation: u32,
}

impl Frame {
    /// A frame at its start: no argument set, `r10` at the top of its stack.
    pub(crate) fn new(function: usize, callsite: usize, index: usize) -> Self {
        let mut regs = [Value::NotInit; Reg::COUNT];
        regs[Reg::R10.index()] = Value::Pointer(Pointer::new(Kind::Stack { frame: index as u8 }));
        let stack = Stack::default();
        Self { function, callsite, callback: false, later: false, regs, stack, turns: 0, invocation: 0 }
    }
}

/// Something that must be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Its name.
    pub(crate) id: Id,
    /// Where it was acquired, by slot.
    pub(crate) slot: usize,
}

/// The spin lock that is held: in a value of this map, the lookup with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The map.
    pub(crate) map: MapRef,
    /// The lookup.
    pub(crate) id: Id,
}

/// What is known at one point of one path.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The call chain, outermost first; never empty.
    pub(crate) frames: Vec<Rc<Frame>>,
    /// What was acquired and not yet released.
    pub(crate) references: Vec<Reference>,
    /// The lock that is held.
    pub(crate) lock: Option<Lock>,
    /// Turns that `may_goto` has made on this path.
    pub(crate) may_goto_turns: u32,
    /// Turns that callbacks have made on this path.
    pub(crate) callback_turns: u32,
    /// Numbers that iterators have given on this path.
    pub(crate) iterator_turns: u32,
}

impl State {
    /// The state at the entry of a program.
    pub(crate) fn entry() -> Self {
        let mut frame = Frame::new(0, 0, 0);
        frame.regs[Reg::R1.index()] = Value::Pointer(Pointer::new(Kind::Context));
        Self {
            frames: vec![Rc::new(frame)],
            references: Vec::new(),
            lock: None,
            may_goto_turns: 0,
            callback_turns: 0,
            iterator_turns: 0,
        }
    }

    /// Turns that loops have made on this path which count them when they run.
    pub(crate) fn turns(&self) -> u32 {
        self.may_goto_turns + self.callback_turns + self.iterator_turns
    }

    /// The function that runs.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frames[self.frames.len() - 1]
    }

    /// The function that runs, to be changed.
    pub(crate) fn frame_mut(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        Rc::make_mut(&mut self.frames[last])
    }

    /// A register of the function that runs.
    pub(crate) fn reg(&self, reg: Reg) -> &Value {
        &self.frame().regs[reg.index()]
    }

    /// Sets a register of the function that runs.
    pub(crate) fn set(&mut self, reg: Reg, value: Value) {
        self.frame_mut().regs[reg.index()] = value;
    }

    /// Goes over every register and spilled value of every frame.
    pub(crate) fn for_each(&mut self, mut change: impl FnMut(&mut Value)) {
        for frame in &mut self.frames {
            let frame = Rc::make_mut(frame);
            frame.regs.iter_mut().for_each(&mut change);
            frame.stack.for_each_spilled(&mut change);
        }
    }

    /// Looks at every register and spilled value of every frame.
    pub(crate) fn each(&self, mut look: impl FnMut(&Value)) {
        for frame in &self.frames {
            frame.regs.iter().for_each(&mut look);
            frame.stack.slots().iter().for_each(|slot| look(&slot.spilled));
        }
    }

    /// The roots of these numbers, and of all that are linked to them.
    pub(crate) fn roots_linked(&self, left: &Value, right: &Value) -> Roots {
        let id = |value: &Value| match value {
            Value::Number(number) => number.id,
            Value::NotInit | Value::Pointer(_) => 0,
        };
        let mut roots = left.roots().with(right.roots());
        self.each(|value| {
            if id(value) != 0 && (id(value) == id(left) || id(value) == id(right)) {
                roots = roots.with(value.roots());
            }
        });
        roots
    }

    /// Goes over every pointer of every frame.
    pub(crate) fn for_each_pointer(&mut self, mut change: impl FnMut(&mut Pointer)) {
        self.for_each(|value| {
            if let Value::Pointer(pointer) = value {
                change(pointer);
            }
        });
    }
}
