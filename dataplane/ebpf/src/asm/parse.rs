//! Text to instructions: lines, labels, names.

use std::collections::HashMap;

use super::AsmError;
use super::cursor::Cursor;
use super::statement::{Name, Statement, aimed, statement};
use super::token::{Placed, Token, tokens};
use crate::abi::{Helper, Kfunc};
use crate::isa::{Imm64, Insn};

/// Assembles a program that names its maps by number.
pub fn assemble(text: &str) -> Result<Vec<Insn>, AsmError> {
    assemble_with(text, &[])
}

/// Assembles a program; `maps` are the names that stand for 0, 1, 2 …
pub fn assemble_with(text: &str, maps: &[&str]) -> Result<Vec<Insn>, AsmError> {
    let mut source = Source::default();
    for (number, line) in text.lines().enumerate() {
        source.line(number + 1, line)?;
    }
    source.resolve(maps)
}

/// Where a name was written, to complain about it later.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn error(self, found: &str, wanted: &str, help: String) -> AsmError {
        let Place { line, column } = self;
        AsmError { line, column, found: found.to_owned(), wanted: wanted.to_owned(), help }
    }
}

#[derive(Default)]
struct Source<'t> {
    insns: Vec<Insn>,
    labels: HashMap<&'t str, usize>,
    open: Vec<(usize, Name<'t>, Place)>,
    /// What a listing's slot numbers begin with.
    base: Option<i128>,
}

impl<'t> Source<'t> {
    fn line(&mut self, number: usize, text: &'t str) -> Result<(), AsmError> {
        let tokens = tokens(text, number)?;
        let end = text.chars().count() + 1;
        let mut cursor = Cursor::new(number, &tokens, end);
        self.listing_prefix(&mut cursor, &tokens)?;
        loop {
            while let (Some(Token::Word(label)), Some(Token::Sign(":"))) = (cursor.peek(), cursor.peek_at(1))
            {
                self.label(label, &cursor)?;
                cursor.skip(2);
            }
            if cursor.eat(";") {
                continue;
            }
            if cursor.peek().is_none() {
                return Ok(());
            }
            self.push(statement(&mut cursor)?, number);
            if cursor.peek().is_some() && !cursor.eat(";") {
                return Err(
                    cursor.error("the end of the instruction", "one instruction a line, or `;` between them")
                );
            }
        }
    }

    /// `12:`, the eight bytes that llvm-objdump prints, the opcode that the kernel prints.
    fn listing_prefix(&mut self, line: &mut Cursor<'_, 't>, tokens: &[Placed<'_>]) -> Result<(), AsmError> {
        let (Some(Token::Number(_, slot)), Some(Token::Sign(":"))) = (line.peek(), line.peek_at(1)) else {
            return Ok(());
        };
        let here = self.insns.len() as i128;
        let base = i128::from(slot) - here;
        if self.base.is_some_and(|first| first != base) && slot != 0 {
            let wanted = format!("slot {} of the listing", here + self.base.unwrap_or(0));
            return Err(line.error(wanted, "the listing has a gap; leave the numbers out, or add the lines"));
        }
        self.base = Some(base);
        line.skip(2);
        let is_byte = |(_, token): &&Placed<'_>| {
            token.text().len() == 2 && token.text().bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let bytes = tokens.iter().skip(2).take_while(is_byte).count();
        if bytes == 8 || bytes == 16 {
            line.skip(bytes);
        }
        if line.peek() == Some(Token::Sign("(")) {
            line.skip(2);
            line.expect(")", "")?;
        }
        Ok(())
    }

    fn label(&mut self, label: &'t str, line: &Cursor<'_, 't>) -> Result<(), AsmError> {
        match self.labels.insert(label, self.insns.len()) {
            None => Ok(()),
            Some(_) => Err(line.error("a label that is not there yet", "another name")),
        }
    }

    fn push(&mut self, (insn, name): Statement<'t>, line: usize) {
        if let Some((column, name)) = name {
            self.open.push((self.insns.len(), name, Place { line, column }));
        }
        self.insns.push(insn);
        if insn.slots() == 2 {
            self.insns.push(Insn::SecondHalf);
        }
    }

    fn resolve(mut self, maps: &[&str]) -> Result<Vec<Insn>, AsmError> {
        for (slot, name, place) in std::mem::take(&mut self.open) {
            let insn = self.insns[slot];
            self.insns[slot] = match name {
                Name::Label(label) => self.aim(slot, insn, label, place)?,
                Name::Callee(callee) => self.callee(slot, insn, callee, place)?,
                Name::Symbol(symbol) => self.symbol(slot, insn, symbol, place, maps)?,
            };
        }
        Ok(self.insns)
    }

    fn aim(&self, slot: usize, insn: Insn, label: &str, place: Place) -> Result<Insn, AsmError> {
        let Some(target) = self.labels.get(label) else {
            return Err(place.error(
                label,
                "a label of this program",
                nearest(label, self.labels.keys().copied()),
            ));
        };
        let off = *target as i64 - slot as i64 - 1;
        let wide = matches!(insn, Insn::GotoLong { .. } | Insn::CallLocal { .. } | Insn::LoadImm64 { .. });
        let fits = if wide { i32::try_from(off).is_ok() } else { i16::try_from(off).is_ok() };
        if !fits {
            let help = "gotol, which reaches further".to_owned();
            return Err(place.error(label, "a label at most 32768 slots away", help));
        }
        Ok(aimed(insn, off as i32))
    }

    /// A function of the program, or else a kernel function or a helper, whose `bpf_` may be left out.
    fn callee(&self, slot: usize, insn: Insn, name: &str, place: Place) -> Result<Insn, AsmError> {
        if self.labels.contains_key(name) {
            return self.aim(slot, insn, name, place);
        }
        if let Some(kfunc) = Kfunc::named(name) {
            return Ok(Insn::CallKfunc { btf_id: kfunc as i32, off: 0 });
        }
        let is_name =
            |helper: &&Helper| helper.name() == name || helper.name().strip_prefix("bpf_") == Some(name);
        match Helper::ALL.iter().find(is_name) {
            Some(helper) => Ok(Insn::Call { helper: *helper as u32 }),
            None => {
                let known = self.labels.keys().copied().chain(Helper::ALL.iter().map(|helper| helper.name()));
                Err(place.error(name, "a helper or a label of this program", nearest(name, known)))
            }
        }
    }

    fn symbol(
        &self,
        slot: usize,
        insn: Insn,
        name: &str,
        place: Place,
        maps: &[&str],
    ) -> Result<Insn, AsmError> {
        let Insn::LoadImm64 { dst, value } = insn else { return Ok(insn) };
        let Some(index) = maps.iter().position(|map| *map == name) else {
            if self.labels.contains_key(name) {
                return self.aim(slot, insn, name, place);
            }
            let known = self.labels.keys().chain(maps).copied();
            return Err(place.error(name, "a map or a label of this program", nearest(name, known)));
        };
        let map = index as u32;
        let value = match value {
            Imm64::MapValue { offset, .. } => Imm64::MapValue { map, offset },
            _ => Imm64::Map(map),
        };
        Ok(Insn::LoadImm64 { dst, value })
    }
}

/// The known name that shares the longest beginning or end with this one, if they share three
/// letters or more.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let shared = |other: &str| {
        let front = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let back = name.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
        front + back
    };
    let plain = name.trim_start_matches("bpf_").len().min(3);
    let best = known
        .map(|other| (shared(other), other))
        .max_by_key(|(score, other)| (*score, usize::MAX - other.len()))
        .filter(|(score, _)| *score >= plain.max(3));
    best.map_or(String::new(), |(_, other)| other.to_owned())
}
