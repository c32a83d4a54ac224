//! Instruction cases: small programs with what they are given and what they must answer, as text
//! that interpreter, JIT and kernel all run.
//!
//! ```text
//! # A comment.
//! case addition wraps around
//!     r0 = *(u64 *)(r1 + 0)
//!     r2 = *(u64 *)(r1 + 8)
//!     r0 += r2
//!     exit
//! given 0xffffffffffffffff 1 -> 0
//! given 40 2 -> 42
//!
//! case a store is seen in memory
//!     *(u8 *)(r1 + 1) = 0xff
//!     r0 = 0
//!     exit
//! given bytes 11 22 33 -> 0 | bytes 11 ff 33
//! ```
//!
//! The indented lines are clang's assembler syntax, labels stand at the margin. `given` lists what
//! memory holds (numbers are 64-bit words, `bytes` are bytes, `nothing` is no memory), `->` what r0
//! must be at the end, and `|`, if it is there, what memory must hold then; else it must not have
//! changed. The program starts with r1 pointing to that memory and r2 counting its bytes.
//!
//! A case is an XDP program, wrapped: the packet is 8 bytes for r0, then the memory, then padding;
//! the prologue proves the bounds and calls the case's program as a function. With `type sched_cls`
//! it is not wrapped: memory is the packet, r1 the context, and r0 has 32 bits.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use weir_ebpf::{Insn, Program, ProgramType, asm};
use weir_vm::bare::{RESULT_BYTES, as_xdp};

/// The kernel's test run wants an Ethernet header at least; this is an Ethernet frame's least size.
const PACKET_BYTES_MIN: usize = 64;

/// A program and its rows.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and line.
    pub place: String,
    /// What stands after `case`.
    pub name: String,
    /// The instructions as written, unwrapped.
    pub insns: Vec<Insn>,
    /// What it is given and must answer.
    pub rows: Vec<Row>,
    wrapped: bool,
}

/// One `given` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// File and line.
    pub place: String,
    /// What memory holds at the start.
    pub memory: Vec<u8>,
    /// What r0 must be.
    pub r0: u64,
    /// What memory must hold at the end.
    pub after: Vec<u8>,
}

/// Where the corpus lies.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Reads every `.case` file of a directory, in the order of their names.
pub fn read_all(directory: &Path) -> Result<Vec<Case>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "case"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cases.extend(parse(&name, &text)?);
    }
    Ok(cases)
}

/// A case whose program is still text.
struct Draft {
    name: String,
    line: usize,
    wrapped: bool,
    text: String,
    rows: Vec<Row>,
}

/// Reads the text of one file; errors say file and line.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut draft: Option<Draft> = None;
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{file}:{}", index + 1);
        let trimmed = line.trim();
        if trimmed.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case ") {
            cases.extend(draft.take().map(|draft| finish(file, draft)).transpose()?);
            let (name, text) = (name.trim().to_owned(), String::new());
            draft = Some(Draft { name, line: index + 1, wrapped: true, text, rows: Vec::new() });
            continue;
        }
        let draft = draft.as_mut().with_context(|| format!("{}: wanted `case NAME` first", place()))?;
        match line.split_once(' ') {
            Some(("given", rest)) => draft.rows.push(row(rest, place()).with_context(place)?),
            Some(("type", "sched_cls")) => draft.wrapped = false,
            _ if line.starts_with([' ', '\t']) || trimmed.ends_with(':') => {
                // Line numbers of the file, so that the assembler's errors point into it.
                let missing = (index - draft.line).saturating_sub(draft.text.lines().count());
                draft.text.extend(std::iter::repeat_n('\n', missing));
                draft.text.extend([line, "\n"]);
            }
            _ => bail!(
                "{}: found `{line}`, wanted case, type, given, a label or an indented instruction",
                place()
            ),
        }
    }
    cases.extend(draft.map(|draft| finish(file, draft)).transpose()?);
    Ok(cases)
}

fn finish(file: &str, draft: Draft) -> Result<Case> {
    let Draft { name, line, wrapped, text, rows } = draft;
    let place = format!("{file}:{line}");
    let insns =
        asm::assemble(&text).with_context(|| format!("{place}: case {name} (lines count from there)"))?;
    ensure!(!rows.is_empty(), "{place}: case {name} has no `given` line");
    Ok(Case { place, name, insns, rows, wrapped })
}

fn row(text: &str, place: String) -> Result<Row> {
    let (given, answer) = text.split_once("->").context("wanted `given MEMORY -> R0`")?;
    let (r0, after) = match answer.split_once('|') {
        Some((r0, after)) => (r0, Some(after)),
        None => (answer, None),
    };
    let memory = bytes(given)?;
    let after = after.map(bytes).transpose()?.unwrap_or_else(|| memory.clone());
    ensure!(
        after.len() == memory.len(),
        "memory has {} bytes before and {} after",
        memory.len(),
        after.len()
    );
    Ok(Row { place, memory, r0: number(r0.trim())?, after })
}

/// `nothing`, words, or `bytes` and bytes.
fn bytes(text: &str) -> Result<Vec<u8>> {
    match text.trim().split_once(' ') {
        None if text.trim() == "nothing" => Ok(Vec::new()),
        Some(("bytes", bytes)) => crate::conformance::hex(bytes),
        _ => {
            let words = text.split_whitespace().map(number).collect::<Result<Vec<_>>>()?;
            Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }
    }
}

fn number(text: &str) -> Result<u64> {
    let value = match (text.strip_prefix("0x"), text.strip_prefix('-')) {
        (Some(hex), _) => u64::from_str_radix(hex, 16).ok(),
        (None, Some(_)) => text.parse::<i64>().ok().map(|value| value as u64),
        (None, None) => text.parse().ok(),
    };
    value.with_context(|| format!("found `{text}`, wanted a number of 64 bits"))
}

impl Case {
    /// The programs to run, one for each length of memory, with the rows that each is for.
    pub fn programs(&self) -> Vec<(Program, Vec<&Row>)> {
        if !self.wrapped {
            let program = Program::from_insns(&self.name, ProgramType::SchedCls, self.insns.clone());
            return vec![(program, self.rows.iter().collect())];
        }
        let mut lengths: Vec<usize> = self.rows.iter().map(|row| row.memory.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let of_length = |length: usize| {
            let program = Program::from_insns(&self.name, ProgramType::Xdp, as_xdp(&self.insns, length));
            (program, self.rows.iter().filter(|row| row.memory.len() == length).collect())
        };
        lengths.into_iter().map(of_length).collect()
    }

    /// The packet that a row's run is given.
    pub fn packet(&self, row: &Row) -> Vec<u8> {
        if !self.wrapped {
            return row.memory.clone();
        }
        let mut packet = vec![0xee; RESULT_BYTES];
        packet.extend(&row.memory);
        packet.resize(packet.len().max(PACKET_BYTES_MIN), 0xdd);
        packet
    }

    /// What the row's run must leave: the answer, and the packet.
    pub fn expected(&self, row: &Row) -> (u32, Vec<u8>) {
        if !self.wrapped {
            return (row.r0 as u32, row.after.clone());
        }
        let mut packet = self.packet(row);
        packet[..RESULT_BYTES].copy_from_slice(&row.r0.to_le_bytes());
        packet[RESULT_BYTES..][..row.after.len()].copy_from_slice(&row.after);
        (2, packet)
    }

    /// Compares what a run answered and left with what the row says.
    pub fn judge(&self, row: &Row, verdict: u32, packet: &[u8]) -> Result<()> {
        let (wanted, bytes) = self.expected(row);
        let r0 = |packet: &[u8]| packet.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let (found_r0, wanted_r0) = match self.wrapped {
            true => (r0(packet), row.r0),
            false => (u64::from(verdict), row.r0),
        };
        ensure!(
            verdict == wanted && packet == bytes,
            "{} (case {}): r0 is {found_r0:#x}, wanted {wanted_r0:#x}; verdict {verdict}, wanted {wanted}\n  \
             packet {}\n  wanted {}\n{}",
            row.place,
            self.name,
            hex(packet),
            hex(&bytes),
            asm::disassemble(&self.insns)
        );
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_file_and_line() {
        let said = |text: &str| format!("{:#}", parse("x.case", text).expect_err(text));
        assert_eq!(said("given 1 -> 2"), "x.case:1: wanted `case NAME` first");
        assert!(said("case a\n  r0 = 1\n  exit").contains("has no `given` line"));
        assert!(said("case a\n\n  r0 = 1\n  exut\ngiven 1 -> 2").contains("line 3, column 3: found `exut`"));
        assert!(said("case a\n  exit\ngiven 1 -> x").contains("x.case:3: found `x`"));
        assert!(said("case a\n  exit\ngiven 1").contains("wanted `given MEMORY -> R0`"));
        assert!(said("case a\nexit").contains("found `exit`, wanted case, type"));
    }

    #[test]
    fn a_row_becomes_a_packet() {
        let text = "case a\n  exit\ngiven bytes 01 02 -> -1 | bytes 03 02\n";
        let case = &parse("x.case", text).unwrap()[0];
        let row = &case.rows[0];
        assert_eq!(case.packet(row)[7..12], [0xee, 1, 2, 0xdd, 0xdd]);
        let (verdict, packet) = case.expected(row);
        assert_eq!((verdict, &packet[..11]), (2, &[255, 255, 255, 255, 255, 255, 255, 255, 3, 2, 0xdd][..]));
    }
}
