//! The log, in the format of the kernel's (kernel/bpf/log.c), so that eyes and scripts carry over.

use std::fmt::Write;

use weir_ebpf::Program;
use weir_ebpf::isa::Reg;

use crate::Stats;
use crate::scalar::Scalar;
use crate::stack::{Byte, Slot, Thing, View};
use crate::state::{Frame, State};
use crate::value::{Kind, MapRef, Moved, Number, Pointer, Value};

/// Most bytes of log that are kept, from the start.
const LOG_MAX: usize = 16 << 20;

/// The text so far.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) text: String,
}

impl Log {
    /// The state at the start of a path.
    pub(crate) fn path(&mut self, program: &Program, slot: usize, from: Option<usize>, state: &State) {
        if self.text.len() > LOG_MAX {
            return;
        }
        if let Some(from) = from {
            let _ = write!(self.text, "\nfrom {from} to {slot}: ");
        } else {
            let _ = write!(self.text, "{slot}: ");
        }
        let _ = writeln!(self.text, "{}", state_text(program, state, |_, _| true));
    }

    /// An instruction, and what it changed.
    pub(crate) fn insn(&mut self, program: &Program, slot: usize, before: &State, after: &State) {
        if self.text.len() > LOG_MAX {
            return;
        }
        let insn = &program.insns[slot];
        let opcode = weir_ebpf::encode::encode(std::slice::from_ref(insn)).first().map_or(0, |raw| raw.code);
        let line = format!("{slot}: ({opcode:02x}) {insn}");
        let same_frame = before.frames.len() == after.frames.len();
        let touched = |reg: Reg, value: &Value| !same_frame || before.reg(reg) != value;
        let changes = state_text(program, after, touched);
        let _ = match changes.is_empty() {
            true => writeln!(self.text, "{line}"),
            false => writeln!(self.text, "{line:<38}; {changes}"),
        };
    }

    /// A line of its own.
    pub(crate) fn say(&mut self, line: &str) {
        if self.text.len() <= LOG_MAX {
            let _ = writeln!(self.text, "{line}");
        }
    }

    /// A path that was cut off.
    pub(crate) fn safe(&mut self, slot: usize) {
        if self.text.len() <= LOG_MAX {
            let _ = writeln!(self.text, "{slot}: safe");
        }
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

/// The registers and stack slots that are wanted, as the kernel prints them.
fn state_text(program: &Program, state: &State, wanted: impl Fn(Reg, &Value) -> bool) -> String {
    let frame = state.frame();
    let mut parts = Vec::new();
    if state.frames.len() > 1 {
        parts.push(format!("frame{}:", state.frames.len() - 1));
    }
    for reg in Reg::ALL {
        let value = &frame.regs[reg.index()];
        if *value != Value::NotInit && wanted(reg, value) {
            parts.push(format!("R{}={}", reg.index(), value_text(program, value)));
        }
    }
    if parts.len() == usize::from(state.frames.len() > 1) && state.frames.len() > 1 {
        parts.clear();
    }
    if !parts.is_empty() {
        parts.extend(stack_texts(program, frame));
    }
    parts.join(" ")
}

fn stack_texts(program: &Program, frame: &Frame) -> Vec<String> {
    let known = frame.stack.slots().iter().enumerate().filter(|(_, slot)| **slot != Slot::EMPTY);
    known
        .map(|(index, slot)| {
            let off = -8 * (index as i32 + 1);
            let value = match slot.spilled_bytes() {
                _ if slot.object.is_some() => object_text(slot),
                8 => value_text(program, &slot.spilled),
                _ => slot.bytes.iter().rev().map(|byte| byte_text(*byte)).collect(),
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
    if pointer.id != 0 {
        parts.push(format!("id={}", pointer.id));
    }
    if pointer.reference != 0 {
        parts.push(format!("ref_obj_id={}", pointer.reference));
    }
    if let Kind::Map(map) | Kind::MapValue(map) | Kind::MapKey(map) = pointer.kind {
        parts.push(map_text(program, map));
    }
    if pointer.off != 0 {
        parts.push(format!("off={}", pointer.off));
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
        Some(value) => parts.push(format!("imm={value:#x}")),
        None => parts.extend(ranges(&pointer.var)),
    }
    format!("{name}({})", parts.join(","))
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
