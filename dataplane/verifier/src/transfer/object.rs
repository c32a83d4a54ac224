//! Objects on the stack that only calls may touch: dynptrs and iterators (`process_dynptr_func`,
//! `process_iter_arg`, `process_iter_next_call`, kernel/bpf/verifier.c).

use std::rc::Rc;

use weir_ebpf::abi::kfunc::Kfunc;
use weir_ebpf::isa::Reg;

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::rule::Rule;
use crate::stack::{Object, Thing, View};
use crate::transfer::argument::Call;
use crate::transfer::region::Direction;
use crate::value::{Id, Kind, Pointer, Value};

/// Slots of `struct bpf_dynptr`.
const DYNPTR_WORDS: u8 = 2;
/// Slots of `struct bpf_iter_num`.
const ITERATOR_WORDS: u8 = 1;

/// Where an object stands, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Index of the frame.
    pub(crate) frame: u8,
    /// Offset from its r10.
    pub(crate) off: i64,
}

/// An object that a call makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    place: Place,
    thing: Thing,
}

impl Explorer<'_> {
    /// The slots of stack that an argument names (`stack_slot_obj_get_spi`).
    fn object_place(&mut self, reg: Reg, what: &str, words: u8, way: Direction) -> Check<Place> {
        let value = self.read(reg)?;
        let Value::Pointer(pointer @ Pointer { kind: Kind::Stack { frame }, maybe_null: false, .. }) = value
        else {
            let message = format!("R{} type={} expected=fp", reg.index(), value.text());
            return self.refuse(Rule::ArgumentType, message);
        };
        let rule = if what == "dynptr" { Rule::Dynptr } else { Rule::Iterator };
        let Some(off) = pointer.constant_offset() else {
            return self.refuse(rule, format!("{what} has to be at a constant offset"));
        };
        if off % 8 != 0 || off > -8 * i64::from(words) {
            return self.refuse(rule, format!("cannot pass in {what} at an offset={off}"));
        }
        self.check_stack(reg, &pointer, 0, 8 * u32::from(words), way)?;
        Ok(Place { frame, off })
    }

    /// A place for a dynptr that the call makes.
    pub(crate) fn check_new_dynptr(&mut self, at: usize, view: Option<View>, call: &mut Call) -> Check {
        let place = self.object_place(Reg::ARGS[at], "dynptr", DYNPTR_WORDS, Direction::Write)?;
        // A clone is of the kind that it is cloned from.
        let Some(view) = view.or_else(|| call.object.and_then(view_of)) else {
            return self.refuse(Rule::Dynptr, "a dynptr of no known kind is not cloned");
        };
        self.make(place, Thing::Dynptr(view), call)
    }

    /// A dynptr, perhaps of a certain view.
    pub(crate) fn check_dynptr(&mut self, at: usize, wanted: Option<View>, call: &mut Call) -> Check {
        if let Value::Pointer(pointer @ Pointer { kind: Kind::ConstDynptr, id, .. }) =
            self.read(Reg::ARGS[at])?
        {
            if wanted.is_some() {
                let message = "cannot pass pointer to const bpf_dynptr, the helper mutates it";
                return self.refuse(Rule::Dynptr, message);
            }
            self.check_unmoved(Reg::ARGS[at], &pointer)?;
            call.object = Some(Object { thing: Thing::Dynptr(View::Any), word: 0, id, reference: 0 });
            return Ok(());
        }
        let place = self.object_place(Reg::ARGS[at], "dynptr", DYNPTR_WORDS, Direction::Read)?;
        let found = self.stack_of(place).object_at(place.off, DYNPTR_WORDS);
        let Some((object, view)) = found.and_then(|object| Some((object, view_of(object)?))) else {
            let message = format!("Expected an initialized dynptr as arg #{at}");
            return self.refuse(Rule::Dynptr, message);
        };
        if wanted.is_some_and(|wanted| wanted != view) {
            return self.refuse(Rule::Dynptr, format!("Expected a dynptr of type ringbuf as arg #{at}"));
        }
        call.object = Some(object);
        Ok(())
    }

    /// A dynptr of a record, which the call takes back.
    pub(crate) fn check_record_dynptr(&mut self, at: usize, call: &mut Call) -> Check {
        if let Value::Pointer(pointer @ Pointer { kind: Kind::Stack { frame }, .. }) =
            self.read(Reg::ARGS[at])?
        {
            let inside = |off: &i64| off % 8 == 0 && (-512..=-8 * i64::from(DYNPTR_WORDS)).contains(off);
            let off = pointer.constant_offset().filter(inside);
            let found = off.and_then(|off| self.stack_of(Place { frame, off }).object_at(off, DYNPTR_WORDS));
            if found.is_none_or(|object| object.reference == 0) {
                let message = format!("arg {} is an unacquired reference", at + 1);
                return self.refuse(Rule::Dynptr, message);
            }
        }
        self.check_dynptr(at, Some(View::Record), call)?;
        call.releases = call.object.map(|object| object.reference);
        Ok(())
    }

    /// A place for an iterator that the call begins.
    pub(crate) fn check_new_iterator(&mut self, at: usize, call: &mut Call) -> Check {
        let place = self.object_place(Reg::ARGS[at], "iter_num", ITERATOR_WORDS, Direction::Write)?;
        let found = self.stack_of(place).object_in(place.off, place.off + 8);
        if found.is_some_and(|object| matches!(object.thing, Thing::Iterator { .. })) {
            let message = format!("expected uninitialized iter_num as arg #{at}");
            return self.refuse(Rule::Iterator, message);
        }
        self.make(place, Thing::Iterator { drained: false }, call)
    }

    /// An iterator that was begun.
    pub(crate) fn check_iterator(&mut self, at: usize, call: &mut Call) -> Check {
        let place = self.object_place(Reg::ARGS[at], "iter_num", ITERATOR_WORDS, Direction::Read)?;
        match self.stack_of(place).object_at(place.off, ITERATOR_WORDS) {
            Some(object) if matches!(object.thing, Thing::Iterator { .. }) => {
                call.object = Some(object);
                Ok(())
            }
            _ => {
                let message = format!("expected an initialized iter_num as arg #{at}");
                self.refuse(Rule::Iterator, message)
            }
        }
    }

    /// Whether the iterator that the call at this slot is given has more to give, as far as is known.
    pub(crate) fn iterator_is_active(&self) -> bool {
        let Value::Pointer(pointer) = self.state.reg(Reg::R1) else { return false };
        let (Kind::Stack { frame }, Some(off)) = (pointer.kind, pointer.constant_offset()) else {
            return false;
        };
        let inside = off % 8 == 0 && (-512..=-8).contains(&off);
        let object = inside.then(|| self.stack_of(Place { frame, off }).object_at(off, ITERATOR_WORDS));
        object.flatten().is_some_and(|object| object.thing == Thing::Iterator { drained: false })
    }

    fn stack_of(&self, place: Place) -> &crate::stack::Stack {
        &self.state.frames[usize::from(place.frame)].stack
    }

    fn make(&mut self, place: Place, thing: Thing, call: &mut Call) -> Check {
        let words = match thing {
            Thing::Dynptr(_) => DYNPTR_WORDS,
            Thing::Iterator { .. } => ITERATOR_WORDS,
        };
        self.overwrite(place.frame, place.off, place.off + 8 * i64::from(words))?;
        call.made = Some(Made { place, thing });
        Ok(())
    }

    /// The object that the call made, in its place.
    pub(crate) fn put_made(&mut self, call: &Call) {
        let Some(Made { place, thing }) = call.made else { return };
        // Numbered in the kernel's order, since messages name references by number.
        let first = matches!(thing, Thing::Dynptr(_)).then(|| self.new_id());
        let (words, reference) = match thing {
            Thing::Iterator { .. } => (ITERATOR_WORDS, self.acquire()),
            // A clone holds on to what it is cloned from.
            Thing::Dynptr(View::Record) => match call.object {
                Some(original) => (DYNPTR_WORDS, original.reference),
                None => (DYNPTR_WORDS, self.acquire()),
            },
            Thing::Dynptr(View::Memory | View::Skb | View::Xdp | View::Any) => (DYNPTR_WORDS, 0),
        };
        let id = first.unwrap_or_else(|| self.new_id());
        let object = Object { thing, word: 0, id, reference };
        let frame = &mut self.state.frames[usize::from(place.frame)];
        Rc::make_mut(frame).stack.place(place.off, words, object);
    }

    /// Bytes of a stack are about to be written: objects there are gone, with the pointers into them
    /// (`destroy_if_dynptr_stack_slot`).
    pub(crate) fn overwrite(&mut self, frame: u8, from: i64, to: i64) -> Check {
        if seeded(Bug::ObjectOverwritten) {
            return Ok(());
        }
        while let Some(object) = self.state.frames[usize::from(frame)].stack.object_in(from, to) {
            match object.thing {
                Thing::Dynptr(View::Record) => {
                    return self.refuse(Rule::Dynptr, "cannot overwrite referenced dynptr");
                }
                Thing::Iterator { .. } => {
                    let message = "weir does not let an iterator be overwritten; end it first";
                    return self.refuse(Rule::Iterator, message);
                }
                Thing::Dynptr(View::Memory | View::Skb | View::Xdp | View::Any) => {}
            }
            let frame = &mut self.state.frames[usize::from(frame)];
            Rc::make_mut(frame).stack.remove_objects(|other| other.id == object.id);
            self.forget_parts(object.id);
        }
        Ok(())
    }

    /// Pointers into a dynptr that is gone become numbers.
    fn forget_parts(&mut self, gone: Id) {
        self.state.for_each(|value| {
            if let Value::Pointer(Pointer { kind: Kind::Memory { dynptr, .. }, .. }) = value
                && *dynptr == gone
            {
                *value = Value::unknown();
            }
        });
    }

    /// No byte of `from..to` of a stack belongs to an object, so that it may be read.
    /// Of a call's argument the kernel says in which register it is.
    pub(crate) fn check_no_object(&self, argument: Option<Reg>, frame: u8, from: i64, to: i64) -> Check {
        let stack = &self.state.frames[usize::from(frame)].stack;
        let Some(at) = (from..to).find(|at| stack.object_in(*at, at + 1).is_some()) else { return Ok(()) };
        let register = argument.map_or_else(String::new, |reg| format!("R{} ", reg.index()));
        let message =
            format!("invalid read from stack {register}off {from}+{} size {}", at - from, to - from);
        self.refuse(Rule::StackBounds, message)
    }

    /// Asks an iterator for its next number: it has one, or has come to its end (`process_iter_next_call`).
    pub(crate) fn next_number(&mut self, call: &Call) -> Check<Value> {
        let Some(object) = call.object else { return Ok(Value::unknown()) };
        if object.thing == (Thing::Iterator { drained: false }) {
            let mut more = self.state.clone();
            more.iterator_turns += 1;
            let kind = Kind::Memory { bytes: 4, writable: false, packet: false, dynptr: 0 };
            let number = Pointer { reference: object.reference, ..Pointer::new(kind) };
            Reg::ARGS.iter().for_each(|&reg| more.set(reg, Value::NotInit));
            more.set(Reg::R0, Value::Pointer(number));
            self.push(self.slot + 1, more)?;
        }
        for frame in &mut self.state.frames {
            for other in Rc::make_mut(frame).stack.objects_mut() {
                if other.id == object.id {
                    other.thing = Thing::Iterator { drained: true };
                }
            }
        }
        Ok(Value::constant(0))
    }

    /// A pointer to bytes of the dynptr that the call was given, or null. One that is tied to the dynptr ends when
    /// that is written over; slices do not, as in the kernel: their bytes stay as long as the packet does.
    pub(crate) fn part(&mut self, call: &Call, writable: bool, tied: bool) -> Value {
        let Some(Object { thing: Thing::Dynptr(view), id, reference, .. }) = call.object else {
            return Value::unknown();
        };
        let bytes = call.constant.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0);
        let packet = view.is_packet() && !seeded(Bug::PartOfMovedPacket);
        let kind = Kind::Memory { bytes, writable, packet, dynptr: if tied { id } else { 0 } };
        Value::Pointer(Pointer { maybe_null: true, id: self.new_id(), reference, ..Pointer::new(kind) })
    }
}

fn view_of(object: Object) -> Option<View> {
    match object.thing {
        Thing::Dynptr(view) => Some(view),
        Thing::Iterator { .. } => None,
    }
}

/// Whether a call of this kernel function stands where loops turn or paths had better meet.
pub(crate) fn is_iteration(number: i32) -> bool {
    number == Kfunc::IterNumNext as i32 || number == Kfunc::IterNumNew as i32
}
