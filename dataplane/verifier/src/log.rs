//! The log, in the format of the kernel's (kernel/bpf/log.c), so that eyes and scripts carry over.

use std::fmt::Write;

use weir_ebpf::Program;
use weir_ebpf::isa::{Insn, Reg};
use weir_ebpf::program::ValueField;

use crate::Stats;
use crate::listing;
use crate::liveness::reads;
use crate::scalar::Scalar;
use crate::shape::written;
use crate::stack::{Byte, Slot, Thing, View};
use crate::state::{Frame, State};
use crate::value::{Kind, MapRef, Moved, Number, Pointer, Value};

/// Most bytes of log that are kept, from the start.
const LOG_MAX: usize = 16 << 20;

/// The text so far.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) text: String,
    /// Where the last path begins in it, if nothing was said of it since.
    begun: Option<(usize, usize)>,
}

impl Log {
    /// The functions, as they are numbered.
    pub(crate) fn functions(&mut self, program: &Program) {
        for (index, function) in program.functions.iter().enumerate() {
            let _ = writeln!(self.text, "func#{index} @{}", function.start);
        }
    }

    /// The state at the start of a path.
    pub(crate) fn path(&mut self, program: &Program, slot: usize, from: Option<usize>, state: &State) {
        if self.text.len() > LOG_MAX {
            return;
        }
        self.begun = from.map(|from| (self.text.len(), from));
        if let Some(from) = from {
            let _ = write!(self.text, "\nfrom {from} to {slot}: ");
        } else {
            let _ = write!(self.text, "{slot}: ");
        }
        let _ = writeln!(self.text, "{}", state_text(program, state, |_, _| true, |_, _| true));
    }

    /// An instruction, and what it read and changed.
    pub(crate) fn insn(&mut self, program: &Program, slot: usize, before: &State, after: &State) {
        if self.text.len() > LOG_MAX {
            return;
        }
        self.begun = None;
        let insn = &program.insns[slot];
        let line = format!("{slot}: {}", listing::text(program, slot));
        if before.frames.len() != after.frames.len() {
            let _ = writeln!(self.text, "{line}");
            return self.frames(program, before, after);
        }
        let call = matches!(insn, Insn::Call { .. } | Insn::CallKfunc { .. });
        let branch = matches!(insn, Insn::Branch { .. });
        let quiet = call || matches!(insn, Insn::Exit);
        let touched = |reg: Reg| !quiet && (reads(insn).contains(reg) || written(insn) == Some(reg));
        // Of a branch the kernel shows what is compared, not what else is learned.
        let registers = |reg: Reg, value: &Value| touched(reg) || !branch && before.reg(reg) != value;
        let at = stack_slot_of(insn, before);
        let slots = |index: usize, slot: &Slot| {
            !branch && (*before.frame().stack.slot(index) != *slot || at == Some(index))
        };
        let mut changes = state_text(program, after, registers, slots);
        if !changes.is_empty() {
            changes.insert(0, ' ');
        }
        let _ = match changes.is_empty() && !call {
            true => writeln!(self.text, "{line}"),
            false => writeln!(self.text, "{line:<width$};{changes}", width = column(&line)),
        };
    }

    /// An instruction that was refused.
    pub(crate) fn refused(&mut self, program: &Program, slot: usize) {
        if self.text.len() <= LOG_MAX {
            self.begun = None;
            let _ = writeln!(self.text, "{slot}: {}", listing::text(program, slot));
        }
    }

    /// A call or a return: what both functions hold.
    fn frames(&mut self, program: &Program, before: &State, after: &State) {
        let whole = |state| state_text(program, state, |_, _| true, |_, _| true);
        let (before_text, after_text) = (whole(before), whole(after));
        let _ = match before.frames.len() < after.frames.len() {
            true => writeln!(self.text, "caller:\n {before_text}\ncallee:\n {after_text}"),
            false => {
                let (function, back) = (before.frame(), before.frame().callsite);
                let back = if function.callback { back } else { back + 1 };
                writeln!(
                    self.text,
                    "returning from callee:\n {before_text}\nto caller at {back}:\n {after_text}"
                )
            }
        };
    }

    /// A line of its own.
    pub(crate) fn say(&mut self, line: &str) {
        self.begun = None;
        if self.text.len() <= LOG_MAX {
            let _ = writeln!(self.text, "{line}");
        }
    }

    /// A path that was cut off: at once, or further on.
    pub(crate) fn safe(&mut self, slot: usize) {
        if self.text.len() > LOG_MAX {
            return;
        }
        let _ = match self.begun.take() {
            Some((at, from)) => {
                self.text.truncate(at);
                writeln!(self.text, "\nfrom {from} to {slot}: safe")
            }
            None => writeln!(self.text, "{slot}: safe"),
        };
    }

    /// What the kernel ends its log with.
    pub(crate) fn end(&mut self, message: Option<&str>, stats: &Stats, limit: u64) {
        if let Some(message) = message {
            let _ = writeln!(self.text, "{message}");
        }
        let _ = writeln!(
            self.text,
            "processed {} insns (limit {limit}) max_states_per_insn {} total_states {} peak_states {} mark_read 0",
            stats.processed, stats.peak_states, stats.states, stats.states
        );
    }
}

/// Where the state stands beside an instruction (`vlog_alignment`).
fn column(line: &str) -> usize {
    (line.len() + 5).max(40).next_multiple_of(8) - 2
}

/// The slot of the stack that a load or store touches, if its place is known.
fn stack_slot_of(insn: &Insn, state: &State) -> Option<usize> {
    let (Insn::Load { base, off, .. } | Insn::Store { base, off, .. } | Insn::Atomic { base, off, .. }) =
        insn
    else {
        return None;
    };
    let pointer = state.reg(*base).as_pointer()?;
    let here = matches!(pointer.kind, Kind::Stack { frame } if usize::from(frame) + 1 == state.frames.len());
    let at = pointer.constant_offset().filter(|_| here)? + i64::from(*off);
    usize::try_from((-at - 1) / 8).ok().filter(|_| at < 0)
}

/// The registers and stack slots that are wanted, as the kernel prints them.
fn state_text(
    program: &Program,
    state: &State,
    registers: impl Fn(Reg, &Value) -> bool,
    slots: impl Fn(usize, &Slot) -> bool,
) -> String {
    let frame = state.frame();
    let mut parts = Vec::new();
    for reg in Reg::ALL {
        let value = &frame.regs[reg.index()];
        if *value != Value::NotInit && registers(reg, value) {
            parts.push(format!("R{}={}", reg.index(), value_text(program, value)));
        }
    }
    parts.extend(stack_texts(program, frame, slots));
    if parts.is_empty() {
        return String::new();
    }
    if state.frames.len() > 1 {
        parts.insert(0, format!("frame{}:", state.frames.len() - 1));
    }
    let held = state.references.iter().map(|reference| reference.id).chain(state.lock.map(|lock| lock.id));
    let ids: Vec<String> = held.map(|id| id.to_string()).collect();
    if !ids.is_empty() {
        parts.push(format!("refs={}", ids.join(",")));
    }
    if frame.callback {
        parts.push("cb".to_owned());
    }
    if frame.later {
        parts.push("async_cb".to_owned());
    }
    parts.join(" ")
}

fn stack_texts(program: &Program, frame: &Frame, wanted: impl Fn(usize, &Slot) -> bool) -> Vec<String> {
    let known = frame.stack.slots().iter().enumerate();
    let known = known.filter(|(index, slot)| **slot != Slot::EMPTY && wanted(*index, slot));
    known
        .map(|(index, slot)| {
            let off = -8 * (index as i32 + 1);
            // What lies above a short spill is shown byte by byte.
            let above = slot.bytes.iter().rev().take_while(|byte| **byte != Byte::Spill);
            let value = match slot.spilled_bytes() {
                _ if slot.object.is_some() => object_text(slot),
                0 => slot.bytes.iter().rev().map(|byte| byte_text(*byte)).collect(),
                _ => above
                    .map(|byte| byte_text(*byte))
                    .chain(value_text(program, &slot.spilled).chars())
                    .collect(),
            };
            format!("fp{off}={value}")
        })
        .collect()
}

fn object_text(slot: &Slot) -> String {
    let Some(object) = slot.object else { return String::new() };
    match object.thing {
        Thing::Dynptr(view) => {
            let kind = match view {
                View::Memory => "local",
                View::Record => "ringbuf",
                View::Skb => "skb",
                View::Xdp => "xdp",
                View::Any => "any",
            };
            match object.reference {
                0 => format!("dynptr_{kind}()"),
                id => format!("dynptr_{kind}(ref_id={id})"),
            }
        }
        Thing::Iterator { drained } => {
            let state = if drained { "drained" } else { "active" };
            format!("iter_num(ref_id={},state={state})", object.reference)
        }
    }
}

fn byte_text(byte: Byte) -> char {
    match byte {
        Byte::Invalid => '?',
        Byte::Misc => 'm',
        Byte::Zero => '0',
        Byte::Spill => 'r',
    }
}

/// A value as the kernel prints it.
pub(crate) fn value_text(program: &Program, value: &Value) -> String {
    match value {
        Value::NotInit => "?".to_owned(),
        Value::Number(number) => number_text(number),
        Value::Pointer(pointer) => pointer_text(program, pointer),
    }
}

fn number_text(number: &Number) -> String {
    if let Some(value) = number.range.as_constant() {
        return signed(value as i64);
    }
    let mut parts = Vec::new();
    if number.id != 0 {
        let delta = if number.moved == Moved::Not { String::new() } else { format!("{:+}", number.delta) };
        parts.push(format!("id={}{delta}", number.id));
    }
    parts.extend(ranges(&number.range));
    format!("scalar({})", parts.join(","))
}

fn pointer_text(program: &Program, pointer: &Pointer) -> String {
    let name = match pointer.kind {
        Kind::Kernel(of) if pointer.maybe_null => format!("ptr_or_null_{}", of.name()),
        _ => pointer.text(),
    };
    if let Kind::Stack { frame } = pointer.kind
        && let Some(off) = pointer.constant_offset()
    {
        let frame = if frame == 0 { String::new() } else { format!("[{frame}]") };
        return format!("fp{frame}{}", if off == 0 { "0".to_owned() } else { off.to_string() });
    }
    let mut parts = Vec::new();
    if pointer.id != 0 && shows_id(program, pointer) {
        parts.push(format!("id={}", pointer.id));
    }
    if pointer.reference != 0 {
        parts.push(format!("ref_obj_id={}", pointer.reference));
    }
    if let Kind::Map(map) | Kind::MapValue(map) | Kind::MapKey(map) = pointer.kind {
        parts.push(map_text(program, map));
    }
    if pointer.off != 0 {
        parts.push(format!("off={}", signed(pointer.off.into())));
    }
    match pointer.kind {
        Kind::Packet { range } | Kind::PacketMeta { range } => parts.push(format!("r={range}")),
        Kind::Record { bytes } | Kind::Memory { bytes, .. } => parts.push(format!("sz={bytes}")),
        Kind::Context
        | Kind::Stack { .. }
        | Kind::PacketEnd
        | Kind::Map(_)
        | Kind::MapValue(_)
        | Kind::MapKey(_)
        | Kind::ConstDynptr
        | Kind::Function(_)
        | Kind::FlowKeys
        | Kind::Socket(_)
        | Kind::Kernel(_) => {}
    }
    match pointer.var.as_constant() {
        Some(0) => {}
        Some(value) => parts.push(format!("imm={}", signed(value as i64))),
        None => parts.extend(ranges(&pointer.var)),
    }
    format!("{name}({})", parts.join(","))
}

/// Whether the kernel still has a name for it: once it is known not to be null, only for packets and for values
/// with locks (`mark_ptr_or_null_reg`).
fn shows_id(program: &Program, pointer: &Pointer) -> bool {
    let locked = |map: MapRef| {
        map.spec(program)
            .is_some_and(|spec| spec.fields.iter().any(|field| matches!(field, ValueField::SpinLock { .. })))
    };
    match pointer.kind {
        _ if pointer.maybe_null => true,
        Kind::MapValue(map) => locked(map),
        kind => kind.is_packet(),
    }
}

fn map_text(program: &Program, map: MapRef) -> String {
    match map.spec(program) {
        Some(spec) => format!("map={},ks={},vs={}", spec.name, spec.key_size, spec.value_size),
        None => "map=?".to_owned(),
    }
}

fn signed(value: i64) -> String {
    if i16::try_from(value).is_ok() { value.to_string() } else { format!("{value:#x}") }
}

fn unsigned(value: u64) -> String {
    if value <= u64::from(u16::MAX) { value.to_string() } else { format!("{value:#x}") }
}

/// What is known of a number; bounds that are equal share their value (`print_scalar_ranges`).
fn ranges(range: &Scalar) -> Vec<String> {
    let rows: [(&str, i128, bool); 8] = [
        ("smin", range.smin().into(), range.smin() == i64::MIN),
        ("smax", range.smax().into(), range.smax() == i64::MAX),
        ("umin", range.umin().into(), range.umin() == 0),
        ("umax", range.umax().into(), range.umax() == u64::MAX),
        ("smin32", range.smin32().into(), range.smin32() == i32::MIN),
        ("smax32", range.smax32().into(), range.smax32() == i32::MAX),
        ("umin32", range.umin32().into(), range.umin32() == 0),
        ("umax32", range.umax32().into(), range.umax32() == u32::MAX),
    ];
    let mut texts = Vec::new();
    let mut said = [false; 8];
    for (at, &(name, value, left_out)) in rows.iter().enumerate() {
        if left_out || said[at] {
            continue;
        }
        let mut text = format!("{name}=");
        for (other, &(name, same, left_out)) in rows.iter().enumerate().skip(at + 1) {
            if !left_out && same == value {
                said[other] = true;
                let _ = write!(text, "{name}=");
            }
        }
        text += &if name.starts_with('s') { signed(value as i64) } else { unsigned(value as u64) };
        texts.push(text);
    }
    if range.tnum().mask() != u64::MAX {
        texts.push(format!("var_off=({:#x}; {:#x})", range.tnum().value(), range.tnum().mask()));
    }
    texts
}
