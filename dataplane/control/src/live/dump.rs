//! What a program is made of: its instructions, its machine code, its lines of source, as bpftool shows them.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};
use weir_ebpf::abi::Helper;
use weir_ebpf::isa::Imm64;
use weir_ebpf::{Insn, Program};
use weir_engine::generation::ProgramSlot;
use weir_maps::Map;

use super::LiveBackend;
use crate::action::Form;
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema};

impl LiveBackend {
    pub(super) fn dump(&self, word: &str, form: Form) -> Result<reply::Dump, Problem> {
        let name = self.program_name(word)?;
        let current = self.current();
        let slot = self.slot(&current, &name)?;
        let (word, lines) = match form {
            Form::Xlated => ("xlated", xlated(slot)),
            Form::Source => ("source", source(slot.loaded.verified().program())),
            Form::Jited => {
                let interpreted = || {
                    let detail = format!("program `{name}` is interpreted: there is no machine code");
                    Problem::new(Cause::NotBuilt, detail)
                };
                let compiled = slot.loaded.compiled().ok_or_else(interpreted)?;
                ("jited", jited(slot, compiled.code(), compiled.slots()))
            }
        };
        Ok(reply::Dump { schema: schema("dump"), program: name, form: word.to_owned(), lines })
    }
}

/// An instruction with the names of what it speaks of.
fn named(insn: &Insn, maps: &[std::sync::Arc<Map>]) -> String {
    let id = |map: u32| maps.get(map as usize).map_or(0, |map| map.id());
    match *insn {
        Insn::Call { helper } => match Helper::new(helper) {
            Some(known) => format!("call {}#{helper}", known.name()),
            None => insn.to_string(),
        },
        Insn::LoadImm64 { dst, value: Imm64::Map(map) } => format!("{dst} = map[id:{}]", id(map)),
        Insn::LoadImm64 { dst, value: Imm64::MapValue { map, offset } } => {
            format!("{dst} = map[id:{}][0]+{offset}", id(map))
        }
        _ => insn.to_string(),
    }
}

/// The source line at which each instruction begins one.
fn line(program: &Program, slot: usize) -> Option<String> {
    let line = program.lines.iter().find(|line| line.slot == slot)?;
    Some(format!("; {} @ {}:{}", line.text.trim(), line.file, line.line))
}

fn xlated(slot: &ProgramSlot) -> Vec<String> {
    let program = slot.loaded.verified().program();
    let mut lines = Vec::new();
    let mut said = None;
    for (number, insn) in program.insns.iter().enumerate().filter(|(_, insn)| **insn != Insn::SecondHalf) {
        let line = line(program, number);
        if line.is_some() && line != said {
            lines.extend(line.clone());
            said = line;
        }
        lines.push(format!("{number:4}: {}", named(insn, slot.loaded.maps())));
    }
    lines
}

fn source(program: &Program) -> Vec<String> {
    let lines = program.lines.iter().map(|line| format!("{}:{}: {}", line.file, line.line, line.text));
    let mut lines: Vec<String> = lines.collect();
    lines.dedup();
    lines
}

/// Machine code, beneath the instruction that it was made of. `starts` says where each instruction's begins.
fn jited(slot: &ProgramSlot, code: &[u8], starts: &[u32]) -> Vec<String> {
    let insns = &slot.loaded.verified().program().insns;
    let label = |number: usize| insns.get(number).map(|insn| named(insn, slot.loaded.maps()));
    let mut lines = Vec::new();
    let mut from = 0;
    let mut heading = "prologue".to_owned();
    for (number, start) in starts.iter().enumerate() {
        let start = *start as usize;
        if start > from {
            disassemble(&mut lines, &heading, code, from..start);
            from = start;
        }
        heading = format!("{number}: {}", label(number).unwrap_or_default());
    }
    disassemble(&mut lines, &heading, code, from..code.len());
    lines
}

/// Adds a piece of code in AT&T's words, as bpftool has it; addresses count from the start of the program.
fn disassemble(lines: &mut Vec<String>, heading: &str, code: &[u8], piece: std::ops::Range<usize>) {
    let Some(bytes) = code.get(piece.clone()).filter(|bytes| !bytes.is_empty()) else { return };
    lines.push(format!("; {heading}"));
    let mut formatter = GasFormatter::new();
    let mut decoder = Decoder::with_ip(64, bytes, piece.start as u64, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        lines.push(format!("{:6x}: {text}", instruction.ip()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_is_shown_in_words_beneath_its_instruction() {
        let mut lines = Vec::new();
        // push %rbp; mov %rsp,%rbp; ret
        let code = [0x90, 0x55, 0x48, 0x89, 0xe5, 0xc3];
        disassemble(&mut lines, "0: r0 = 1", &code, 1..6);
        let bare: Vec<String> =
            lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(bare, ["; 0: r0 = 1", "1: push %rbp", "2: mov %rsp,%rbp", "5: ret"]);
        disassemble(&mut lines, "nothing", &code, 6..6);
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn calls_and_maps_have_names() {
        assert_eq!(named(&Insn::Call { helper: 1 }, &[]), "call bpf_map_lookup_elem#1");
        assert_eq!(named(&Insn::Call { helper: 9999 }, &[]), "call 9999");
    }
}
