//! The assembler dialect of the conformance suite: `add32 %r1, 5`, `ldxw %r0, [%r1+2]`,
//! `jne %r0, 1, fail`. Only tests read it; weir itself speaks clang's syntax.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use weir_ebpf::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Source, SwapKind, Width};

const ALU: &[(&str, AluOp)] = &[
    ("add", AluOp::Add),
    ("sub", AluOp::Sub),
    ("mul", AluOp::Mul),
    ("div", AluOp::Div),
    ("sdiv", AluOp::SDiv),
    ("or", AluOp::Or),
    ("and", AluOp::And),
    ("lsh", AluOp::Lsh),
    ("rsh", AluOp::Rsh),
    ("mod", AluOp::Mod),
    ("smod", AluOp::SMod),
    ("xor", AluOp::Xor),
    ("arsh", AluOp::Arsh),
];

const CONDITIONS: &[(&str, Cond)] = &[
    ("jeq", Cond::Eq),
    ("jgt", Cond::Gt),
    ("jge", Cond::Ge),
    ("jset", Cond::Set),
    ("jne", Cond::Ne),
    ("jsgt", Cond::SGt),
    ("jsge", Cond::SGe),
    ("jlt", Cond::Lt),
    ("jle", Cond::Le),
    ("jslt", Cond::SLt),
    ("jsle", Cond::SLe),
];

const ATOMICS: &[(&str, AtomicOp)] = &[
    ("add", AtomicOp::Add),
    ("or", AtomicOp::Or),
    ("and", AtomicOp::And),
    ("xor", AtomicOp::Xor),
    ("fetch add", AtomicOp::FetchAdd),
    ("fetch or", AtomicOp::FetchOr),
    ("fetch and", AtomicOp::FetchAnd),
    ("fetch xor", AtomicOp::FetchXor),
    ("xchg", AtomicOp::Xchg),
    ("cmpxchg", AtomicOp::CmpXchg),
];

const SIZES: &[(&str, Size)] = &[("b", Size::B), ("h", Size::H), ("w", Size::W), ("dw", Size::DW)];

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(text, _)| *text == name).map(|(_, meaning)| *meaning)
}

/// Assembles the lines of a case's `-- asm` section.
pub fn assemble(text: &str) -> Result<Vec<Insn>> {
    let mut insns = Vec::new();
    let mut labels = HashMap::new();
    let mut statements = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label.to_owned(), insns.len());
        } else if !line.is_empty() {
            let statement = statement(line).with_context(|| format!("line {}: {line}", number + 1))?;
            statements.push((insns.len(), statement.1));
            insns.push(statement.0);
            if statement.0.slots() == 2 {
                insns.push(Insn::SecondHalf);
            }
        }
    }
    // `exit` as a target is the first one of the program.
    if let Some(slot) = insns.iter().position(|insn| *insn == Insn::Exit) {
        labels.entry("exit".to_owned()).or_insert(slot);
    }
    for (slot, target) in statements {
        if let Some(target) = target {
            let off = offset(&target, slot, &labels)?;
            aim(&mut insns[slot], off);
        }
    }
    Ok(insns)
}

fn offset(target: &str, slot: usize, labels: &HashMap<String, usize>) -> Result<i64> {
    match target.strip_prefix('+') {
        Some(number) => Ok(number.parse()?),
        None => {
            let to = labels.get(target).with_context(|| format!("no label {target}"))?;
            Ok(*to as i64 - slot as i64 - 1)
        }
    }
}

fn aim(insn: &mut Insn, to: i64) {
    match insn {
        Insn::Goto { off } | Insn::Branch { off, .. } => *off = to as i16,
        Insn::GotoLong { off } | Insn::CallLocal { off } => *off = to as i32,
        _ => unreachable!("only jumps and calls have targets"),
    }
}

/// An instruction, and the target that it still waits for.
fn statement(line: &str) -> Result<(Insn, Option<String>)> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let operands: Vec<&str> = rest.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    let insn = match (name, operands.as_slice()) {
        ("exit", []) => Insn::Exit,
        ("ja", [target]) => return Ok((Insn::Goto { off: 0 }, Some((*target).to_owned()))),
        ("ja32", [target]) => return Ok((Insn::GotoLong { off: 0 }, Some((*target).to_owned()))),
        ("call", [callee]) => return call(callee),
        ("lock", [operation, src]) => atomic(operation, src)?,
        ("lddw", [dst, value]) => {
            Insn::LoadImm64 { dst: register(dst)?, value: Imm64::Value(number(value)? as u64) }
        }
        (_, [dst, src, target]) => return branch(name, dst, src, target),
        (_, [dst]) => unary(name, register(dst)?)?,
        (_, [left, right]) if name.starts_with("ld") || name.starts_with("st") => memory(name, left, right)?,
        (_, [dst, src]) => binary(name, register(dst)?, src)?,
        _ => bail!("unknown instruction"),
    };
    Ok((insn, None))
}

/// `add32` to `add` and 32 bits.
fn width(name: &str) -> (&str, Width) {
    match name.strip_suffix("32") {
        Some(name) => (name, Width::W32),
        None => (name, Width::W64),
    }
}

fn call(callee: &str) -> Result<(Insn, Option<String>)> {
    if let Some(label) = callee.strip_prefix("local ") {
        return Ok((Insn::CallLocal { off: 0 }, Some(label.trim().to_owned())));
    }
    let insn = match callee.starts_with('%') {
        true => Insn::CallReg { reg: register(callee)? },
        false => Insn::Call { helper: number(callee)? as u32 },
    };
    Ok((insn, None))
}

fn atomic(operation: &str, src: &str) -> Result<Insn> {
    let (name, place) = operation.split_once('[').context("no [address]")?;
    let (name, width) = width(name.trim());
    let op = find(ATOMICS, name).context("unknown atomic operation")?;
    let size = if width == Width::W32 { Size::W } else { Size::DW };
    let (base, off) = address(&format!("[{place}"))?;
    Ok(Insn::Atomic { size, op, base, off, src: register(src)? })
}

fn branch(name: &str, dst: &str, src: &str, target: &str) -> Result<(Insn, Option<String>)> {
    let (name, width) = width(name);
    let cond = find(CONDITIONS, name).context("unknown comparison")?;
    let insn = Insn::Branch { width, cond, dst: register(dst)?, src: source(src)?, off: 0 };
    Ok((insn, Some(target.to_owned())))
}

fn unary(name: &str, dst: Reg) -> Result<Insn> {
    let split = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (word, digits) = name.split_at(split);
    if word == "neg" {
        return Ok(Insn::Neg { width: width(name).1, dst });
    }
    let kind = match word {
        "le" => SwapKind::ToLe,
        "be" => SwapKind::ToBe,
        "bswap" | "swap" => SwapKind::Bswap,
        _ => bail!("unknown instruction"),
    };
    let size = match digits {
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::DW,
        _ => bail!("a swap of {digits} bits"),
    };
    Ok(Insn::Swap { kind, size, dst })
}

fn binary(name: &str, dst: Reg, src: &str) -> Result<Insn> {
    if let Some(widths) = name.strip_prefix("movsx") {
        let (from, to) = match widths {
            "832" => (Size::B, Width::W32),
            "864" => (Size::B, Width::W64),
            "1632" => (Size::H, Width::W32),
            "1664" => (Size::H, Width::W64),
            "3264" => (Size::W, Width::W64),
            _ => bail!("unknown sign extension"),
        };
        return Ok(Insn::MovSx { width: to, from, dst, src: register(src)? });
    }
    let (name, width) = width(name);
    match name {
        "mov" => Ok(Insn::Mov { width, dst, src: source(src)? }),
        _ => {
            let op = find(ALU, name).context("unknown operation")?;
            Ok(Insn::Alu { width, op, dst, src: source(src)? })
        }
    }
}

fn memory(name: &str, left: &str, right: &str) -> Result<Insn> {
    let load = name.strip_prefix("ldxs").map(|size| (size, true));
    let load = load.or_else(|| name.strip_prefix("ldx").map(|size| (size, false)));
    if let Some((size, signed)) = load {
        let (base, off) = address(right)?;
        let size = find(SIZES, size).context("unknown size")?;
        return Ok(Insn::Load { size, signed, dst: register(left)?, base, off });
    }
    let (base, off) = address(left)?;
    let (size, src) = match name.strip_prefix("stx") {
        Some(size) => (size, Source::Reg(register(right)?)),
        None => (name.trim_start_matches("st"), Source::Imm(number(right)? as i32)),
    };
    Ok(Insn::Store { size: find(SIZES, size).context("unknown size")?, base, off, src })
}

/// `[%r1+2]`, `[%r10-8]`, `[%r1]`.
fn address(text: &str) -> Result<(Reg, i16)> {
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inner = inner.context("an address is written [%r1+2]")?;
    let split = inner.find(['+', '-']).unwrap_or(inner.len());
    let (base, off) = inner.split_at(split);
    let off = if off.is_empty() { 0 } else { number(off)? };
    Ok((register(base)?, i16::try_from(off)?))
}

fn register(text: &str) -> Result<Reg> {
    let number = text.trim().strip_prefix("%r").context("a register is written %r1")?;
    Reg::new(number.parse()?).with_context(|| format!("no register {number}"))
}

fn source(text: &str) -> Result<Source> {
    if text.starts_with('%') {
        register(text).map(Source::Reg)
    } else {
        Ok(Source::Imm(number(text)? as i32))
    }
}

/// Decimal or hexadecimal with a sign; kept in 64 bits, of which immediates take the lower half.
fn number(text: &str) -> Result<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let value = value.with_context(|| format!("no number: {text}"))? as i64;
    Ok(if negative { value.wrapping_neg() } else { value })
}
