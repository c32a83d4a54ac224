//! Where the value came from that a refusal speaks of: the way back along the path that was walked.
//!
//! Only for people: the verdict never depends on it. The walk leaves a trail of slots; from its end the
//! register that the message names is followed through moves, spills and calls to its making. What cannot be
//! followed (a copy through memory, a sum of two values) ends the story there, which is true as far as it goes.

use weir_ebpf::Program;
use weir_ebpf::abi::{ContextField, Helper};
use weir_ebpf::isa::{Imm64, Insn, Reg, Source};
use weir_ebpf::program::Line;

use crate::shape::{Shape, written};

/// Steps back along the trail that are looked at: a loop's turns can be many.
const LOOK_BACK: usize = 20_000;

/// One thing that led to the refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The instruction, by slot.
    pub slot: usize,
    /// Its place in the source, when the object says.
    pub line: Option<Line>,
    /// What happened there.
    pub said: String,
}

/// The trail of a walk, for looking back along.
#[derive(Clone, Copy)]
pub(crate) struct Trail<'t> {
    pub(crate) program: &'t Program,
    pub(crate) shape: &'t Shape,
    /// Slots in the order in which they were walked, the refused one last.
    pub(crate) slots: &'t [u32],
}

/// What is followed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Reg(Reg),
    /// At this offset from the frame's r10.
    Stack(i16),
}

/// Where something was made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Making {
    /// The program's own argument.
    Context,
    /// A field of the context.
    Field(ContextField),
    /// The answer of a helper.
    Helper(Helper),
    /// The answer of a function of the program.
    Function(String),
    /// A register that a call left unreadable.
    Clobbered(Helper),
    /// A map, by its name.
    Map(String),
    /// A constant.
    Constant(i64),
    /// Something computed or loaded.
    Computed,
}

/// A found making.
struct Found {
    /// Where on the trail.
    at: usize,
    making: Making,
}

impl Trail<'_> {
    /// The story of a refusal: in the order of time, the refused instruction itself not among it.
    pub(crate) fn tell(&self, message: &str) -> Vec<Origin> {
        let Some(last) = self.slots.len().checked_sub(1) else { return Vec::new() };
        let mut story = Vec::new();
        let named = register(message);
        let mut moved = None;
        if let Some(reg) = named {
            let found = self.making(Place::Reg(reg), last);
            if let Some(Found { at, making }) = &found {
                moved = matches!(making, Making::Field(_)).then(|| self.packet_moved(*at, last)).flatten();
                story.push((*at, self.say(making, message)));
            }
        }
        if let Some((at, helper)) = moved {
            story.push((at, format!("{helper} moves the packet: pointers into it from before are void")));
        } else if message.starts_with("invalid access to packet") {
            story
                .extend(self.last_check(last).map(|at| (at, "the last comparison with data_end".to_owned())));
        }
        if let Some(slot) = number_after(message, "alloc_insn=") {
            let at = self.slots.iter().rposition(|passed| *passed as usize == slot);
            story.extend(at.map(|at| (at, "reserved here".to_owned())));
        }
        if message.starts_with("Unreleased") || message.ends_with("!read_ok") {
            story.extend(self.last_branch(last));
        }
        story.sort_by_key(|(at, _)| *at);
        story.dedup_by_key(|(at, _)| *at);
        story.into_iter().map(|(at, said)| self.origin(at, said)).collect()
    }

    fn origin(&self, at: usize, said: String) -> Origin {
        let slot = self.slots[at] as usize;
        Origin { slot, line: self.program.line_at(slot).cloned(), said }
    }

    fn insn(&self, at: usize) -> Insn {
        self.program.insns[self.slots[at] as usize]
    }

    fn function(&self, at: usize) -> usize {
        self.shape.function_of[self.slots[at] as usize]
    }

    fn say(&self, making: &Making, message: &str) -> String {
        let checked = number_after(message, ",r=");
        match making {
            Making::Context => "the context".to_owned(),
            Making::Field(field) => match (field.name(), checked) {
                (name, Some(0)) => format!("packet pointer made here from {name}, not checked since"),
                (name, Some(bytes)) => {
                    format!("packet pointer made here from {name}, {bytes} bytes checked since")
                }
                (name, None) => format!("made here from {name}"),
            },
            Making::Helper(helper) if message.contains("_or_null") => {
                format!("{} may answer null", helper.name())
            }
            Making::Helper(helper) => format!("the answer of {}", helper.name()),
            Making::Function(name) => format!("the answer of {name}"),
            Making::Clobbered(helper) => format!("{} leaves r1 to r5 unreadable", helper.name()),
            Making::Map(name) => format!("map `{name}`"),
            Making::Constant(value) => format!("the constant {value}"),
            Making::Computed => "made here".to_owned(),
        }
    }

    /// Where what stands at `place` before the step at `end` was made.
    fn making(&self, mut place: Place, end: usize) -> Option<Found> {
        let mut function = self.function(end);
        let found = |at, making| Some(Found { at, making });
        for at in (end.saturating_sub(LOOK_BACK)..end).rev() {
            let insn = self.insn(at);
            if self.function(at) != function {
                let Place::Reg(reg) = place else { continue };
                let entered = self.function(at + 1) == function
                    && self.slots[at + 1] as usize == self.shape.functions[function].start;
                if entered && matches!(insn, Insn::CallLocal { .. }) && (1..=5).contains(&reg.index()) {
                    function = self.function(at);
                }
                continue;
            }
            match (place, insn) {
                (Place::Reg(Reg::R0), Insn::CallLocal { off }) => {
                    let target = (self.slots[at] as i64 + 1 + i64::from(off)) as usize;
                    let name = self.program.function_at(target).map_or_else(String::new, |f| f.name.clone());
                    return found(at, Making::Function(name));
                }
                (Place::Reg(reg), Insn::Call { helper }) if reg.index() <= 5 => {
                    let helper = Helper::new(helper)?;
                    let answered = reg == Reg::R0;
                    let making = if answered { Making::Helper(helper) } else { Making::Clobbered(helper) };
                    return found(at, making);
                }
                (Place::Stack(off), Insn::Store { base: Reg::R10, off: to, src, .. }) if to == off => {
                    match src {
                        Source::Reg(reg) => place = Place::Reg(reg),
                        Source::Imm(value) => return found(at, Making::Constant(i64::from(value))),
                    }
                }
                (Place::Reg(reg), insn) if written(&insn) == Some(reg) => match insn {
                    Insn::Mov { src: Source::Reg(from), .. } => place = Place::Reg(from),
                    Insn::Mov { src: Source::Imm(value), .. } => {
                        return found(at, Making::Constant(i64::from(value)));
                    }
                    // A pointer that is moved is still what it was made as.
                    Insn::Alu { .. } => {}
                    Insn::Load { base: Reg::R10, off, .. } => place = Place::Stack(off),
                    Insn::Load { base, off, .. } => return found(at, self.loaded(base, off, at)),
                    Insn::LoadImm64 { value, .. } => return found(at, self.immediate(value)),
                    _ => return found(at, Making::Computed),
                },
                _ => {}
            }
        }
        let at_entry = place == Place::Reg(Reg::R1) && end < LOOK_BACK && function == 0;
        at_entry.then_some(Found { at: 0, making: Making::Context })
    }

    /// What a load through `base` gives: a field, when `base` is the context.
    fn loaded(&self, base: Reg, off: i16, at: usize) -> Making {
        let context =
            matches!(self.making(Place::Reg(base), at), Some(Found { making: Making::Context, .. }));
        let field = u32::try_from(off).ok().and_then(|off| ContextField::at(self.program.kind, off));
        match field {
            Some(field) if context => Making::Field(field),
            Some(_) | None => Making::Computed,
        }
    }

    fn immediate(&self, value: Imm64) -> Making {
        match value {
            Imm64::Map(map) | Imm64::MapValue { map, .. } => {
                let name = self.program.maps.get(map as usize).map(|spec| spec.name.clone());
                Making::Map(name.unwrap_or_default())
            }
            Imm64::Value(value) => Making::Constant(value as i64),
            Imm64::Variable { .. } | Imm64::Function(_) => Making::Computed,
        }
    }

    /// The last helper between two steps that moves the packet.
    fn packet_moved(&self, from: usize, to: usize) -> Option<(usize, &'static str)> {
        (from..to).rev().find_map(|at| match self.insn(at) {
            Insn::Call { helper } => {
                Helper::new(helper).filter(|helper| helper.changes_packet()).map(|helper| (at, helper.name()))
            }
            _ => None,
        })
    }

    /// The last branch before the end that compares something with the end of the packet.
    fn last_check(&self, end: usize) -> Option<usize> {
        let is_end = |reg: Reg, at: usize| {
            let made = self.making(Place::Reg(reg), at);
            matches!(made, Some(Found { making: Making::Field(field), .. }) if field.name() == "data_end")
        };
        let branches = (end.saturating_sub(LOOK_BACK)..end).rev().filter_map(|at| match self.insn(at) {
            Insn::Branch { dst, src: Source::Reg(src), .. } => Some((at, dst, src)),
            _ => None,
        });
        // Few branches lie between a check and what it was meant for; each asked costs a walk back.
        branches.take(16).find(|(at, dst, src)| is_end(*dst, *at) || is_end(*src, *at)).map(|(at, ..)| at)
    }

    /// The last branch, and which way it went.
    fn last_branch(&self, end: usize) -> Option<(usize, String)> {
        let at = (end.saturating_sub(LOOK_BACK)..end).rev().find(|at| {
            matches!(self.insn(*at), Insn::Branch { .. }) && self.function(*at) == self.function(end)
        })?;
        let taken = self.slots[at + 1] != self.slots[at] + 1;
        Some((at, format!("on the path where this branch is {}taken", if taken { "" } else { "not " })))
    }
}

/// The register that a message of the kernel's wording begins with or speaks of: `R3 !read_ok`.
fn register(message: &str) -> Option<Reg> {
    let after = |at: usize| message.as_bytes().get(at + 1..);
    let starts = message.match_indices('R').filter(|(at, _)| {
        let before = at.checked_sub(1).map(|before| message.as_bytes()[before]);
        before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && byte != b'_')
    });
    starts.into_iter().find_map(|(at, _)| {
        let digits: Vec<u8> = after(at)?.iter().copied().take_while(u8::is_ascii_digit).collect();
        let number = std::str::from_utf8(&digits).ok()?.parse().ok()?;
        Reg::new(number)
    })
}

/// The number behind a word of a message.
pub(crate) fn number_after(message: &str, word: &str) -> Option<usize> {
    let rest = &message[message.find(word)? + word.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_numbers_are_found_in_messages() {
        assert_eq!(register("R3 !read_ok"), Reg::new(3));
        assert_eq!(register("invalid read from stack R2 off=-4 size=8"), Reg::new(2));
        assert_eq!(register("XDR5 BAR7 R10"), Reg::new(10));
        assert_eq!(register("Unreleased reference id=1 alloc_insn=5"), None);
        assert_eq!(number_after("off=23 size=1, R1(id=0,off=23,r=14)", ",r="), Some(14));
        assert_eq!(number_after("alloc_insn=5", "alloc_insn="), Some(5));
    }
}
