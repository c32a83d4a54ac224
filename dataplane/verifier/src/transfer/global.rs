//! Global functions: proven once, by the types of what they take, and called by the same types
//! (`btf_check_subprog_call`, `do_check_subprogs`, kernel/bpf/verifier.c).
//!
//! A caller knows nothing of what such a function does but that it answers a number, may have written the
//! memory it was given, and may have moved the packet.

use std::rc::Rc;

use weir_ebpf::isa::Reg;
use weir_ebpf::program::Param;

use crate::explore::{Check, Explorer};
use crate::rule::Rule;
use crate::state::{Frame, State};
use crate::transfer::argument::{BOTH, Call, Wanted};
use crate::value::{Kind, Pointer, Value};

/// Whether a global function was called, and proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    /// No path came to a call of it.
    Uncalled,
    /// It is to be proven.
    Called,
    /// It is proven, or being so.
    Taken,
}

impl Explorer<'_> {
    /// Calls a function that is proven by itself.
    pub(crate) fn call_global(&mut self, function: usize, params: &Result<Vec<Param>, String>) -> Check {
        if self.state.lock.is_some() {
            let message =
                "global function calls are not allowed while holding a lock, use static function instead";
            return self.refuse(Rule::SpinLock, message);
        }
        let params = match params {
            Ok(params) => params,
            Err(fault) => return self.refuse(Rule::GlobalFunction, fault.as_str()),
        };
        let mut call = Call::default();
        for (at, param) in params.iter().enumerate() {
            self.check_param(function, at, *param, &mut call)?;
        }
        for (frame, from, to) in call.filled.into_iter().flatten() {
            let frame = &mut self.state.frames[usize::from(frame)];
            Rc::make_mut(frame).stack.smear(from, to, false);
        }
        if self.options.log_level > 0 {
            let name = &self.program.functions[function].name;
            self.log.say(&format!("Func#{function} ('{name}') is global and assumed valid."));
        }
        if self.globals[function] == Global::Uncalled {
            self.globals[function] = Global::Called;
        }
        for reg in Reg::ARGS {
            self.state.set(reg, Value::NotInit);
        }
        self.state.set(Reg::R0, Value::unknown());
        if self.shape.moves_packet[function] {
            self.forget_packet();
        }
        Ok(())
    }

    fn check_param(&mut self, function: usize, at: usize, param: Param, call: &mut Call) -> Check {
        let reg = Reg::ARGS[at];
        let value = self.read(reg)?;
        if param != Param::Number {
            // That it is 0 may make it null.
            self.demand(&value);
        }
        match param {
            Param::Number => match value {
                Value::Number(_) => Ok(()),
                _ => self.refuse(Rule::ArgumentType, format!("R{} is not a scalar", reg.index())),
            },
            Param::Context => match value {
                Value::Pointer(pointer) if pointer.kind == Kind::Context && !pointer.maybe_null => {
                    self.check_unmoved(reg, &pointer)
                }
                _ => self.refuse(Rule::ArgumentType, format!("arg#{at} expects pointer to ctx")),
            },
            Param::Memory { nullable: true, .. } if value.is_null() => Ok(()),
            Param::Memory { bytes, nullable } => match value {
                Value::Pointer(pointer) if !pointer.maybe_null || nullable => {
                    self.check_given(function, reg, Pointer { maybe_null: false, ..pointer }, bytes, call)
                }
                _ if value.is_null() || value.as_pointer().is_some() => {
                    self.refuse(Rule::MaybeNull, format!("arg#{at} is expected to be non-NULL"))
                }
                _ => {
                    let message = format!("R{} type={} expected=fp", reg.index(), value.text());
                    self.refuse(Rule::ArgumentType, message)
                }
            },
            Param::Dynptr => self.check_dynptr(at, None, call),
        }
    }

    /// Memory that is given to a global function, for reading and writing.
    fn check_given(
        &mut self,
        function: usize,
        reg: Reg,
        pointer: Pointer,
        bytes: u32,
        call: &mut Call,
    ) -> Check {
        let of_packet = pointer.kind.is_packet() || matches!(pointer.kind, Kind::Memory { packet: true, .. });
        if of_packet && self.shape.moves_packet[function] {
            let message = "weir does not give packet memory to a global function that may move the packet";
            return self.refuse(Rule::Unsupported, message);
        }
        let wanted = Wanted { zero_allowed: true, ..BOTH };
        self.check_memory(None, reg, &pointer, bytes, wanted, call)
    }

    /// Stands at the start of a global function, with whatever its types allow.
    fn begin_global(&mut self, function: usize) -> Check {
        self.slot = self.shape.functions[function].start;
        let mut frame = Frame::new(function, 0, 0);
        let params = match &self.program.functions[function].signature {
            Some(Ok(params)) => params.as_slice(),
            Some(Err(fault)) => return self.refuse(Rule::GlobalFunction, fault.as_str()),
            None => &[],
        };
        for (reg, param) in Reg::ARGS.iter().zip(params) {
            frame.regs[reg.index()] = match *param {
                Param::Number => Value::unknown(),
                Param::Context => Value::Pointer(Pointer::new(Kind::Context)),
                Param::Memory { bytes, nullable } => {
                    let kind = Kind::Memory { bytes, writable: true, packet: false, dynptr: 0 };
                    Value::Pointer(Pointer { maybe_null: nullable, id: self.new_id(), ..Pointer::new(kind) })
                }
                Param::Dynptr => {
                    let id = self.new_id();
                    Value::Pointer(Pointer { id, ..Pointer::new(Kind::ConstDynptr) })
                }
            };
        }
        self.state = State { frames: vec![Rc::new(frame)], ..State::entry() };
        Ok(())
    }

    /// Proves what is proven by itself: every global function that a path calls, and every function that a
    /// timer is given. Each may lead to more of both.
    pub(crate) fn run_others(&mut self) -> Check {
        let mut proven = 0;
        loop {
            self.run_globals()?;
            let Some(later) = self.later.get(proven).copied() else { return Ok(()) };
            proven += 1;
            self.begin_later(later);
            self.begin_anew();
            self.run()?;
        }
    }

    /// What was walked before is not the way to here.
    fn begin_anew(&mut self) {
        self.seen.parent = None;
        self.trail.clear();
    }

    fn run_globals(&mut self) -> Check {
        while let Some(function) = self.globals.iter().position(|global| *global == Global::Called) {
            self.globals[function] = Global::Taken;
            self.begin_global(function)?;
            let name = &self.program.functions[function].name;
            if self.options.log_level > 0 {
                self.log.say(&format!("Validating {name}() func#{function}..."));
            }
            self.begin_anew();
            self.run()?;
            if self.options.log_level > 0 {
                let text =
                    format!("Func#{function} ('{name}') is safe for any args that match its prototype");
                self.log.say(&text);
            }
        }
        Ok(())
    }
}
