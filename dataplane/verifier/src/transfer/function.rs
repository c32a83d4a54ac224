//! Local calls, callbacks, returns and `may_goto`. Functions that are proven by themselves are in `global`.

use std::rc::Rc;

use weir_ebpf::abi::MAX_CALL_FRAMES;
use weir_ebpf::abi::helper::Helper;
use weir_ebpf::isa::Reg;

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer, Step};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::shape::call_target;
use crate::state::Frame;
use crate::transfer::argument::Call;
use crate::transfer::timer::bounds_text;
use crate::value::{Kind, Pointer, Value};

impl Explorer<'_> {
    /// Calls a function of the program; answers where the path goes on.
    pub(crate) fn call_local(&mut self, off: i32) -> Check<usize> {
        let start = call_target(self.slot, off) as usize;
        let function = self.shape.function_starting(start).unwrap_or_default();
        let program = self.program;
        if let Some(params) = &program.functions[function].signature {
            self.call_global(function, params)?;
            return Ok(self.slot + 1);
        }
        let mut callee = self.new_frame(function)?;
        if seeded(Bug::CalleeSeesCaller) {
            callee.regs[6..10].copy_from_slice(&self.state.frame().regs[6..10]);
        }
        for reg in Reg::ARGS {
            callee.regs[reg.index()] = *self.state.reg(reg);
            self.state.set(reg, Value::NotInit);
        }
        self.state.set(Reg::R0, Value::NotInit);
        self.state.frames.push(Rc::new(callee));
        Ok(start)
    }

    fn new_frame(&self, function: usize) -> Check<Frame> {
        let depth = self.state.frames.len();
        if depth >= MAX_CALL_FRAMES {
            let message = format!("the call stack of {} frames is too deep", depth + 1);
            return self.refuse(Rule::CallDepth, message);
        }
        Ok(Frame::new(function, self.slot, depth))
    }

    /// Leaves the callback of a helper to be walked once more (`push_callback_call`). It returns to
    /// the call itself, where one more turn is taken or none.
    pub(crate) fn push_callback(&mut self, helper: Helper, call: &Call) -> Check {
        let Some(function) = call.callback else { return Ok(()) };
        if helper == Helper::Loop {
            let turns = *self.state.reg(Reg::R1);
            self.demand(&turns);
        }
        if helper == Helper::Loop && u64::from(self.state.frame().turns) >= self.range_of(Reg::R1).umax() {
            self.state.frame_mut().turns = 0;
            return Ok(());
        }
        let mut callee = self.new_frame(function as usize)?;
        callee.callback = true;
        let context = *self.state.reg(Reg::R3);
        let mut set = |reg: Reg, value| callee.regs[reg.index()] = value;
        match (helper, call.map) {
            (Helper::ForEachMapElem, Some(map)) => {
                set(Reg::R1, *self.state.reg(Reg::R1));
                set(Reg::R2, Value::Pointer(Pointer::new(Kind::MapKey(map))));
                let id = self.new_id();
                set(Reg::R3, Value::Pointer(Pointer { id, ..Pointer::new(Kind::MapValue(map)) }));
                set(Reg::R4, context);
            }
            _ => {
                let index = if seeded(Bug::CallbackIndex) { Value::constant(0) } else { Value::unknown() };
                set(Reg::R1, index);
                set(Reg::R2, context);
            }
        }
        let mut state = self.state.clone();
        state.callback_turns += 1;
        state.frame_mut().turns += 1;
        state.frames.push(Rc::new(callee));
        self.state.frame_mut().turns = 0;
        let start = self.shape.functions[function as usize].start;
        self.push(start, state)
    }

    /// A tail call that succeeds ends this function: a path goes on where its caller does, with any
    /// answer and a packet that may have moved. When it fails nothing happened, and this path goes on.
    pub(crate) fn tail_call(&mut self) -> Check {
        self.check_nothing_held("tail_call")?;
        let frame = self.state.frame();
        if frame.callback {
            return self.refuse(Rule::Unsupported, "weir does not let callbacks tail call");
        }
        if self.state.frames.len() == 1 || seeded(Bug::TailCallStops) {
            return Ok(());
        }
        let after = frame.callsite + 1;
        let here = self.state.clone();
        self.state.frames.pop();
        self.state.set(Reg::R0, Value::unknown());
        self.forget_packet();
        let gone = std::mem::replace(&mut self.state, here);
        self.push(after, gone)
    }

    /// Legacy packet access out of bounds ends this function, which answers 0.
    pub(crate) fn leave_with_zero(&mut self) -> Check {
        let frame = self.state.frame();
        if frame.callback {
            return self.refuse(Rule::LegacyPacket, "weir does not let callbacks use BPF_LD_[ABS|IND]");
        }
        if self.state.frames.len() == 1 {
            return Ok(());
        }
        let after = frame.callsite + 1;
        let mut gone = self.state.clone();
        gone.frames.pop();
        gone.set(Reg::R0, Value::constant(0));
        self.push(after, gone)
    }

    pub(crate) fn exit(&mut self) -> Check<Step> {
        if self.state.frame().later {
            return self.exit_later();
        }
        if self.state.frames.len() == 1 {
            let answer = match self.state.reg(Reg::R0) {
                Value::NotInit if seeded(Bug::GarbageReturned) => Value::unknown(),
                _ => self.read(Reg::R0)?,
            };
            self.check_nothing_held("BPF_EXIT instruction in main prog")?;
            if self.state.frame().function != 0 && !matches!(answer, Value::Number(_)) {
                let found = answer.text();
                let message = format!("At subprogram exit the register R0 is not a scalar value ({found})");
                return self.refuse(Rule::GlobalFunction, message);
            }
            if self.state.frame().function == 0 {
                self.check_answer(&answer)?;
            }
            return Ok(Step::End);
        }
        // A function that returns nothing leaves r0 unset, and so it arrives.
        let answer = *self.state.reg(Reg::R0);
        if let Value::Pointer(pointer) = answer
            && matches!(pointer.kind, Kind::Stack { .. })
            && !seeded(Bug::ReturnStack)
        {
            return self.refuse(Rule::ReturnsStack, "cannot return stack pointer to the caller");
        }
        let callee = self.state.frames.len() - 1;
        let frame = Rc::clone(&self.state.frames[callee]);
        if frame.callback {
            self.check_callback_answer(&answer)?;
        }
        self.state.frames.pop();
        self.drop_stack_pointers(callee as u8);
        if frame.callback {
            self.came_back = true;
            return Ok(Step::To(frame.callsite));
        }
        self.state.set(Reg::R0, answer);
        Ok(Step::To(frame.callsite + 1))
    }

    /// What the program answers is what its type may (`check_return_code`).
    fn check_answer(&mut self, answer: &Value) -> Check {
        let Some((from, to)) = self.program.kind.answers(self.program.attach) else { return Ok(()) };
        let Value::Number(number) = answer else {
            let found = answer.text();
            let message = format!("At program exit the register R0 is not a known value ({found})");
            return self.refuse(Rule::ProgramReturn, message);
        };
        self.demand(answer);
        let range = number.range;
        if range.smin() >= i64::from(from) && range.smax() <= i64::from(to) {
            return Ok(());
        }
        let found = bounds_text(&range);
        let message =
            format!("At program exit the register R0 has {found} should have been in [{from}, {to}]");
        self.refuse(Rule::ProgramReturn, message)
    }

    /// Pointers into a frame that is gone become numbers. None should be left: they are neither
    /// returned nor spilled into a caller's frame.
    fn drop_stack_pointers(&mut self, gone: u8) {
        for frame in &self.state.frames {
            let left = frame.regs.iter().any(|value| {
                value.as_pointer().is_some_and(|pointer| pointer.kind == Kind::Stack { frame: gone })
            });
            debug_assert!(!left, "no register of a caller points into a callee's frame");
        }
    }

    fn check_callback_answer(&mut self, answer: &Value) -> Check {
        if seeded(Bug::CallbackAnswer) {
            return Ok(());
        }
        self.demand(answer);
        let range = match answer {
            Value::Number(number) => number.range,
            Value::Pointer(_) | Value::NotInit => Scalar::unknown(),
        };
        if matches!(answer, Value::Number(_)) && range.smin() >= 0 && range.smax() <= 1 {
            return Ok(());
        }
        if !matches!(answer, Value::Number(_)) {
            return self.refuse(Rule::CallbackReturn, "R0 not a scalar value");
        }
        let found = bounds_text(&range);
        let message = format!("At callback return the register R0 has {found} should have been in [0, 1]");
        self.refuse(Rule::CallbackReturn, message)
    }

    /// Goes on, and leaves the end of the budget to be walked later.
    pub(crate) fn may_goto(&mut self, off: i16) -> Check<Step> {
        self.jumps += 1;
        let target = (self.slot as i64 + 1 + i64::from(off)) as usize;
        let ways = &mut self.facts.insns[self.slot].ways;
        (ways.taken, ways.fallen) = (true, true);
        let mut on = self.state.clone();
        on.may_goto_turns += 1;
        self.push(self.slot + 1, on)?;
        Ok(Step::To(target))
    }
}
