//! Locks and references: what is held must be let go.

use std::rc::Rc;

use weir_ebpf::abi::helper::Helper;
use weir_ebpf::abi::kfunc::Callee;
use weir_ebpf::isa::Reg;
use weir_ebpf::program::{ProgramType, ValueField};

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::rule::Rule;
use crate::state::{Lock, Reference};
use crate::value::{Id, Kind, Value};

impl Explorer<'_> {
    /// The argument of the lock helpers (`process_spin_lock`).
    pub(crate) fn check_lock(&mut self, callee: Callee, reg: Reg) -> Check {
        if self.program.kind == ProgramType::SocketFilter {
            return self.refuse(Rule::SpinLock, "socket filter progs cannot use bpf_spin_lock yet");
        }
        let regno = reg.index();
        let value = self.read(reg)?;
        let (pointer, map) = match value {
            Value::Pointer(pointer) => match pointer.kind {
                Kind::MapValue(map) if !pointer.maybe_null => (pointer, map),
                _ => return self.not_a_lock(regno, &value),
            },
            _ => return self.not_a_lock(regno, &value),
        };
        let Some(off) = pointer.constant_offset() else {
            let message = format!(
                "R{regno} doesn't have constant offset. bpf_spin_lock has to be at the constant offset"
            );
            return self.refuse(Rule::SpinLock, message);
        };
        let spec = map.spec(self.program);
        let lock_at = spec.and_then(|spec| {
            spec.fields.iter().find_map(|field| match *field {
                ValueField::SpinLock { offset } => Some(i64::from(offset)),
                ValueField::Timer { .. } | ValueField::Foreign { .. } => None,
            })
        });
        let Some(lock_at) = lock_at else {
            let name = spec.map_or("", |spec| spec.name.as_str());
            return self.refuse(Rule::SpinLock, format!("map '{name}' has no valid bpf_spin_lock"));
        };
        if off != lock_at {
            let message = format!("off {off} doesn't point to 'struct bpf_spin_lock' that is at {lock_at}");
            return self.refuse(Rule::SpinLock, message);
        }
        let lock = Lock { map, id: pointer.id };
        match (callee.is(Helper::SpinLock), self.state.lock) {
            (true, None) => self.state.lock = Some(lock),
            (true, Some(_)) => {
                return self.refuse(Rule::SpinLock, "Locking two bpf_spin_locks are not allowed");
            }
            (_, None) => return self.refuse(Rule::SpinLock, "bpf_spin_unlock without taking a lock"),
            (_, Some(held)) if held == lock => self.state.lock = None,
            (_, Some(_)) => return self.refuse(Rule::SpinLock, "bpf_spin_unlock of different lock"),
        }
        Ok(())
    }

    fn not_a_lock(&self, regno: usize, value: &Value) -> Check {
        let message = format!("R{regno} type={} expected=map_value, ptr_", value.text());
        self.refuse(Rule::ArgumentType, message)
    }

    /// Acquires a reference here.
    pub(crate) fn acquire(&mut self) -> Id {
        let id = self.new_id();
        self.state.references.push(Reference { id, slot: self.slot });
        id
    }

    /// Acquires a reference which may be null instead. The kernel names the question whether it is before the
    /// thing itself, and messages say its numbers.
    pub(crate) fn acquire_or_null(&mut self) -> Id {
        self.new_id();
        self.acquire()
    }

    /// Releases a reference; what pointed to it becomes a number (`release_reference`).
    pub(crate) fn release(&mut self, id: Id) -> Check {
        if !self.state.references.iter().any(|reference| reference.id == id) {
            return self.refuse(Rule::NotAcquired, format!("reference id={id} was released before"));
        }
        self.state.references.retain(|reference| reference.id != id);
        for frame in &mut self.state.frames {
            if frame.stack.slots().iter().any(|slot| slot.holds_reference()) {
                Rc::make_mut(frame).stack.remove_objects(|object| object.reference == id);
            }
        }
        if seeded(Bug::UseAfterRelease) {
            return Ok(());
        }
        self.state.for_each(|value| {
            if value.as_pointer().is_some_and(|pointer| pointer.reference == id) {
                *value = Value::unknown();
            }
        });
        Ok(())
    }

    /// Nothing is held here (`check_resource_leak`).
    pub(crate) fn check_nothing_held(&self, what: &str) -> Check {
        if self.state.lock.is_some() && !seeded(Bug::LeakedLock) {
            let message = format!("{what} cannot be used inside bpf_spin_lock-ed region");
            return self.refuse(Rule::SpinLock, message);
        }
        if let Some(reference) = self.state.references.first()
            // Of a function that was called, its caller still has them to release.
            && (self.state.frames.len() == 1 || self.state.frame().later)
            && !seeded(Bug::LeakedReference)
        {
            let message = format!("Unreleased reference id={} alloc_insn={}", reference.id, reference.slot);
            return self.refuse(Rule::Unreleased, message);
        }
        Ok(())
    }
}
