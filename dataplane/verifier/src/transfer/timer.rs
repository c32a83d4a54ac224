//! Timers: what their helpers are given, and the functions they call later, which are proven by themselves
//! (`process_timer_func`, `push_async_cb`, kernel/bpf/verifier.c).
//!
//! Such a function begins with nothing but its arguments: the state of whoever set it does not matter. So it is
//! walked once for each map that it is set for, after the program, as global functions are.

use std::rc::Rc;

use weir_ebpf::isa::Reg;
use weir_ebpf::program::ValueField;

use crate::explore::{Check, Explorer, Step};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::state::{Frame, State};
use crate::transfer::argument::Call;
use crate::value::{Kind, MapRef, Pointer, Value};

impl Explorer<'_> {
    /// The argument that is a timer in a value of a map.
    pub(crate) fn check_timer(&mut self, reg: Reg, call: &mut Call) -> Check {
        let regno = reg.index();
        let value = self.read(reg)?;
        let (pointer, map) = match value {
            Value::Pointer(pointer @ Pointer { kind: Kind::MapValue(map), maybe_null: false, .. }) => {
                (pointer, map)
            }
            _ => {
                let rule =
                    if value.as_pointer().is_some_and(|pointer| matches!(pointer.kind, Kind::MapValue(_))) {
                        Rule::MaybeNull
                    } else {
                        Rule::ArgumentType
                    };
                return self.refuse(rule, format!("R{regno} type={} expected=map_value", value.text()));
            }
        };
        let Some(off) = pointer.constant_offset() else {
            let message =
                format!("R{regno} doesn't have constant offset. bpf_timer has to be at the constant offset");
            return self.refuse(Rule::Timer, message);
        };
        let spec = map.spec(self.program);
        let at = spec.and_then(|spec| {
            spec.fields.iter().find_map(|field| match *field {
                ValueField::Timer { offset } => Some(i64::from(offset)),
                ValueField::SpinLock { .. } | ValueField::Foreign { .. } => None,
            })
        });
        let Some(at) = at else {
            let name = spec.map_or("", |spec| spec.name.as_str());
            return self.refuse(Rule::Timer, format!("map '{name}' has no valid bpf_timer"));
        };
        if off != at {
            let message = format!("off {off} doesn't point to 'struct bpf_timer' that is at {at}");
            return self.refuse(Rule::Timer, message);
        }
        if map.inner {
            return self.refuse(Rule::Unsupported, "weir has no timers in inner maps");
        }
        call.timed = Some(map);
        Ok(())
    }

    /// The map argument behind a timer is the one that the timer is in.
    pub(crate) fn check_timed_map(&self, map: MapRef, call: &Call) -> Check {
        match call.timed {
            Some(timed) if timed != map => {
                let message = "timer pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0";
                self.refuse(Rule::Timer, message)
            }
            _ => Ok(()),
        }
    }

    /// Leaves the function that a timer calls to be proven later.
    pub(crate) fn set_timer_callback(&mut self, call: &Call) {
        let Some((function, map)) = call.callback.zip(call.timed) else { return };
        let later = (function as usize, map);
        if !self.later.contains(&later) {
            self.later.push(later);
        }
    }

    /// Stands at the start of a function that a timer calls.
    pub(crate) fn begin_later(&mut self, (function, map): (usize, MapRef)) {
        let mut frame = Frame::new(function, 0, 0);
        frame.later = true;
        let given = [Kind::Map(map), Kind::MapKey(map), Kind::MapValue(map)];
        for (reg, kind) in Reg::ARGS.into_iter().zip(given) {
            frame.regs[reg.index()] = Value::Pointer(Pointer::new(kind));
        }
        self.slot = self.shape.functions[function].start;
        self.state = State { frames: vec![Rc::new(frame)], ..State::entry() };
    }

    /// The end of such a function, which answers 0.
    pub(crate) fn exit_later(&mut self) -> Check<Step> {
        let answer = self.read(Reg::R0)?;
        self.check_nothing_held("BPF_EXIT instruction in main prog")?;
        self.demand(&answer);
        let Value::Number(number) = answer else {
            let found = answer.text();
            let message = format!("At async callback return the register R0 is not a known value ({found})");
            return self.refuse(Rule::CallbackReturn, message);
        };
        if number.range.as_constant() == Some(0) {
            return Ok(Step::End);
        }
        let found = bounds_text(&number.range);
        let message =
            format!("At async callback return the register R0 has {found} should have been in [0, 0]");
        self.refuse(Rule::CallbackReturn, message)
    }
}

/// A range as the kernel tells it (`verbose_invalid_scalar`).
pub(crate) fn bounds_text(range: &Scalar) -> String {
    let smin = (range.smin() > i64::MIN).then(|| format!("smin={}", range.smin()));
    let smax = (range.smax() < i64::MAX).then(|| format!("smax={}", range.smax()));
    match (smin, smax) {
        (None, None) => "unknown scalar value".to_owned(),
        (Some(bound), None) | (None, Some(bound)) => bound,
        (Some(smin), Some(smax)) => format!("{smin} {smax}"),
    }
}
