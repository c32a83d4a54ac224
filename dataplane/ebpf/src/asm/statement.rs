//! One statement to one instruction, its jump target still a name where it was written as one.

use super::AsmError;
use super::cursor::{Cursor, Named, access_type, register_named};
use super::memory::{load, lock, memory_call, store, store_release};
use super::token::Token;
use crate::isa::{AluOp, Cond, Imm64, Insn, Size, Source, SwapKind, Width};

/// A name that stands for an offset or a map, to be filled in when all labels are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'t> {
    /// A jump's or call's target, or a function's address.
    Label(&'t str),
    /// A helper's or function's name after `call`.
    Callee(&'t str),
    /// A map, or else a function, before `ll`.
    Symbol(&'t str),
}

/// An instruction, and the name that its offset waits for with the column it stands in.
pub(super) type Statement<'t> = (Insn, Option<(usize, Name<'t>)>);

const STATEMENTS: &str = "an instruction";
const SHAPES: &str =
    "r0 = 1, w1 += w2, r1 = *(u32 *)(r2 + 4), *(u8 *)(r10 - 1) = r1, if r1 > 5 goto +3, call 1, exit";

/// Reads one statement; the caller sees to what follows it.
pub(super) fn statement<'t>(line: &mut Cursor<'_, 't>) -> Result<Statement<'t>, AsmError> {
    if let Some(dst) = line.register() {
        return assignment(line, dst);
    }
    if line.eat("*") {
        return store(line).map(|insn| (insn, None));
    }
    let word = match line.peek() {
        Some(Token::Word(word)) => word,
        _ => return Err(line.error(STATEMENTS, SHAPES)),
    };
    line.skip(1);
    match word {
        "exit" => Ok((Insn::Exit, None)),
        "goto" => with_target(line, Insn::Goto { off: 0 }),
        "gotol" => with_target(line, Insn::GotoLong { off: 0 }),
        "may_goto" => with_target(line, Insn::MayGoto { off: 0 }),
        "if" => branch(line),
        "call" => call(line),
        "callx" => Ok((Insn::CallReg { reg: line.wide_register("")? }, None)),
        "lock" => lock(line).map(|insn| (insn, None)),
        "store_release" => store_release(line).map(|insn| (insn, None)),
        _ => Err(line.error_before(STATEMENTS, SHAPES)),
    }
}

/// `+3`, `pc+3`, `+3 <name>` or a label.
fn with_target<'t>(line: &mut Cursor<'_, 't>, insn: Insn) -> Result<Statement<'t>, AsmError> {
    const WANTED: &str = "a target: a label, or an offset such as +3";
    if matches!(line.peek_at(1), Some(Token::Sign("+" | "-"))) {
        line.eat_word("pc");
    }
    let wide = matches!(insn, Insn::GotoLong { .. } | Insn::CallLocal { .. });
    let insn = match line.peek() {
        Some(Token::Word(label)) => {
            let column = line.column();
            line.skip(1);
            return Ok((insn, Some((column, Name::Label(label)))));
        }
        Some(Token::Sign("+" | "-")) if wide => aimed(insn, line.number_in(WANTED)?),
        Some(Token::Sign("+" | "-")) => {
            let off: i16 = line.number_in("an offset from -32768 to 32767")?;
            aimed(insn, i32::from(off))
        }
        _ => return Err(line.error(WANTED, "")),
    };
    if line.eat("<") {
        while line.peek().is_some_and(|token| token != Token::Sign(">")) {
            line.skip(1);
        }
        line.expect(">", "")?;
    }
    Ok((insn, None))
}

/// The instruction with its offset; the caller has seen to the range of narrow ones.
pub(super) fn aimed(insn: Insn, to: i32) -> Insn {
    let narrow = to as i16;
    match insn {
        Insn::Goto { .. } => Insn::Goto { off: narrow },
        Insn::MayGoto { .. } => Insn::MayGoto { off: narrow },
        Insn::Branch { width, cond, dst, src, .. } => Insn::Branch { width, cond, dst, src, off: narrow },
        Insn::GotoLong { .. } => Insn::GotoLong { off: to },
        Insn::CallLocal { .. } => Insn::CallLocal { off: to },
        Insn::LoadImm64 { dst, .. } => Insn::LoadImm64 { dst, value: Imm64::Function(to) },
        other => other,
    }
}

fn branch<'t>(line: &mut Cursor<'_, 't>) -> Result<Statement<'t>, AsmError> {
    let Some(Named { width, reg: dst }) = line.register() else {
        return Err(line.error("a register", "if r1 s> 5 goto +3"));
    };
    let cond = match line.peek() {
        Some(Token::Sign(sign)) => Cond::ALL.iter().copied().find(|cond| cond.symbol() == sign),
        _ => None,
    };
    let cond = cond.ok_or_else(|| line.error(format!("a comparison ({})", cond_symbols()), ""))?;
    line.skip(1);
    let src = line.source(width)?;
    if !line.eat_word("goto") {
        return Err(line.error("`goto`", "if r1 s> 5 goto +3"));
    }
    with_target(line, Insn::Branch { width, cond, dst, src, off: 0 })
}

fn cond_symbols() -> String {
    Cond::ALL.iter().map(|cond| cond.symbol()).collect::<Vec<_>>().join(" ")
}

fn call<'t>(line: &mut Cursor<'_, 't>) -> Result<Statement<'t>, AsmError> {
    let local = Insn::CallLocal { off: 0 };
    match (line.peek(), line.peek_at(1)) {
        (Some(Token::Sign("+" | "-")), _) | (Some(Token::Word("pc")), Some(Token::Sign("+" | "-"))) => {
            with_target(line, local)
        }
        (Some(Token::Word("kfunc")), Some(Token::Sign("["))) => {
            line.skip(2);
            let btf_id = line.number_in("a BTF id")?;
            line.expect("]", "call kfunc[123]")?;
            let off = bracketed(line, "a module's index")?.unwrap_or(0);
            Ok((Insn::CallKfunc { btf_id, off }, None))
        }
        (Some(Token::Word(_)), Some(Token::Sign("#"))) => {
            line.skip(2);
            Ok((Insn::Call { helper: line.number_in("a helper's number")? }, None))
        }
        (Some(Token::Word(name)), _) => {
            let column = line.column();
            line.skip(1);
            Ok((local, Some((column, Name::Callee(name)))))
        }
        _ => {
            let wanted = "a helper's name or number, a label, or pc and an offset";
            Ok((Insn::Call { helper: line.number_in(wanted)? }, None))
        }
    }
}

/// `[NUMBER]`, if a bracket opens here.
fn bracketed<T: TryFrom<i128>>(line: &mut Cursor<'_, '_>, wanted: &str) -> Result<Option<T>, AsmError> {
    if !line.eat("[") {
        return Ok(None);
    }
    let number = line.number_in(wanted)?;
    line.expect("]", "")?;
    Ok(Some(number))
}

/// What follows a register at the start of a statement.
fn assignment<'t>(line: &mut Cursor<'_, 't>, dst: Named) -> Result<Statement<'t>, AsmError> {
    if line.eat("=") {
        return assigned(line, dst);
    }
    let op = match line.peek() {
        Some(Token::Sign(sign)) => AluOp::ALL.iter().copied().find(|op| op.symbol() == sign),
        _ => None,
    };
    let symbols = || AluOp::ALL.iter().map(|op| op.symbol()).collect::<Vec<_>>().join(" ");
    let op = op.ok_or_else(|| line.error(format!("an operator (= {})", symbols()), ""))?;
    line.skip(1);
    let src = line.source(dst.width)?;
    Ok((Insn::Alu { width: dst.width, op, dst: dst.reg, src }, None))
}

/// What follows `REG =`.
fn assigned<'t>(line: &mut Cursor<'_, 't>, dst: Named) -> Result<Statement<'t>, AsmError> {
    let mov = |src| Insn::Mov { width: dst.width, dst: dst.reg, src };
    if let Some(value) = line.number() {
        if line.eat_word("ll") {
            wide_only(line, dst)?;
            return Ok((wide_number(line, dst, value)?, None));
        }
        return Ok((mov(Source::Imm(line.immediate(value, dst.width)?)), None));
    }
    if line.eat("-") {
        line.same_register(dst)?;
        return Ok((Insn::Neg { width: dst.width, dst: dst.reg }, None));
    }
    if line.eat("*") {
        return load(line, dst).map(|insn| (insn, None));
    }
    if line.peek() == Some(Token::Sign("(")) {
        return sign_extended(line, dst).map(|insn| (insn, None));
    }
    if line.peek().and_then(register_named).is_some() {
        return Ok((mov(line.source(dst.width)?), None));
    }
    let word = line.word("a register, a number, a load or an operation")?;
    if let Some(insn) = swap(line, dst, word)? {
        return Ok((insn, None));
    }
    if let Some(insn) = memory_call(line, dst, word)? {
        return Ok((insn, None));
    }
    named_imm64(line, dst, word)
}

fn swap(line: &mut Cursor<'_, '_>, dst: Named, word: &str) -> Result<Option<Insn>, AsmError> {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let kinds = [SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap];
    let kind = kinds.into_iter().find(|kind| word.strip_suffix(digits) == Some(kind.name()));
    let size = [Size::H, Size::W, Size::DW].into_iter().find(|size| digits == size.bits().to_string());
    let (Some(kind), Some(size)) = (kind, size) else { return Ok(None) };
    if dst.width == Width::W32 {
        return Err(line.error_before("a 64-bit register before a byte swap", "r1 = be16 r1"));
    }
    line.same_register(dst)?;
    Ok(Some(Insn::Swap { kind, size, dst: dst.reg }))
}

/// `(s8)r2`.
fn sign_extended(line: &mut Cursor<'_, '_>, dst: Named) -> Result<Insn, AsmError> {
    line.expect("(", "")?;
    let word = line.word("s8, s16 or s32")?;
    let from = match access_type(word) {
        Some((size @ (Size::B | Size::H), true)) => size,
        Some((Size::W, true)) if dst.width == Width::W64 => Size::W,
        _ => {
            let wanted = if dst.width == Width::W64 { "s8, s16 or s32" } else { "s8 or s16" };
            return Err(line.error_before(wanted, "r1 = (s8)r2"));
        }
    };
    line.expect(")", "r1 = (s8)r2")?;
    match line.source(dst.width)? {
        Source::Reg(src) => Ok(Insn::MovSx { width: dst.width, from, dst: dst.reg, src }),
        Source::Imm(_) => Err(line.error_before("a register", "write the number itself")),
    }
}

fn wide_number(line: &mut Cursor<'_, '_>, dst: Named, value: i128) -> Result<Insn, AsmError> {
    let exact = u64::try_from(value).ok().or_else(|| i64::try_from(value).ok().map(|v| v as u64));
    match exact {
        Some(value) => Ok(Insn::LoadImm64 { dst: dst.reg, value: Imm64::Value(value) }),
        None => Err(line.error_before("a number of 64 bits", "")),
    }
}

/// `map[3][8] ll`, `variable[1][0] ll`, `subprog[+5] ll`, `NAME ll`.
fn named_imm64<'t>(line: &mut Cursor<'_, 't>, dst: Named, word: &'t str) -> Result<Statement<'t>, AsmError> {
    let mut name = None;
    let value = match (word, line.peek()) {
        ("map", Some(Token::Sign("["))) => {
            let map = index_or_name(line, &mut name, Name::Symbol, "a map's number or name")?;
            match bracketed(line, "an offset into the value")? {
                Some(offset) => Imm64::MapValue { map, offset },
                None => Imm64::Map(map),
            }
        }
        ("variable", Some(Token::Sign("["))) => {
            let btf_id = bracketed(line, "a BTF id")?.unwrap_or(0);
            let btf_fd = bracketed(line, "a module's number")?.unwrap_or(0);
            Imm64::Variable { btf_id, btf_fd }
        }
        ("subprog", Some(Token::Sign("["))) => {
            Imm64::Function(index_or_name(line, &mut name, Name::Label, "a label or an offset such as +3")?)
        }
        (_, Some(Token::Word("ll"))) => {
            name = Some((line.column() - word.len() - 1, Name::Symbol(word)));
            Imm64::Map(0)
        }
        _ => {
            let help = "be16, le32, bswap64, (s8)r2, load_acquire, atomic_fetch_add, NAME ll";
            return Err(line.error_before("a register, a number, a load or an operation", help));
        }
    };
    if !line.eat_word("ll") {
        return Err(line.error("`ll`", format!("{word}… ll, as of every 64-bit load")));
    }
    wide_only(line, dst)?;
    Ok((Insn::LoadImm64 { dst: dst.reg, value }, name))
}

/// `[NUMBER]`, or `[NAME]` whose number is filled in later.
fn index_or_name<'t, T: TryFrom<i128> + Default>(
    line: &mut Cursor<'_, 't>,
    name: &mut Option<(usize, Name<'t>)>,
    make: fn(&'t str) -> Name<'t>,
    wanted: &str,
) -> Result<T, AsmError> {
    line.expect("[", "")?;
    let index = match line.peek() {
        Some(Token::Word(word)) => {
            *name = Some((line.column(), make(word)));
            line.skip(1);
            T::default()
        }
        _ => line.number_in(wanted)?,
    };
    line.expect("]", "")?;
    Ok(index)
}

/// A 64-bit load wants a 64-bit register; the cursor stands after `ll`.
fn wide_only(line: &mut Cursor<'_, '_>, dst: Named) -> Result<(), AsmError> {
    match dst.width {
        Width::W64 => Ok(()),
        Width::W32 => Err(line.error_before("a 64-bit register for a 64-bit load", "r instead of w")),
    }
}
