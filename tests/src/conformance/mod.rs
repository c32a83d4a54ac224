//! The public bpf_conformance cases, which lie beside the repository: text and assembled form.

pub mod dialect;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use weir_ebpf::{Insn, decode};

/// How many cases the suite has; a test that ran fewer has not run the suite.
pub const CASES: usize = 313;

/// One case of the suite.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the `.data` file without its ending.
    pub name: String,
    /// The program as the suite's own assembler made it.
    pub insns: Vec<Insn>,
    /// Memory that r1 points to and r2 counts; may be empty.
    pub memory: Vec<u8>,
    /// What r0 must be at the end.
    pub r0: u64,
    /// The `-- asm` section; `None` for cases that are given as numbers.
    pub asm: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    prog: String,
    mem: String,
    expect_r0: Option<String>,
}

/// Where the suite lies: `WEIR_CONFORMANCE`, or `../shared/conformance` seen from the repository.
pub fn directory() -> PathBuf {
    match std::env::var_os("WEIR_CONFORMANCE") {
        Some(path) => path.into(),
        None => {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let candidates = here.ancestors().map(|up| up.join("shared/conformance"));
            let found = candidates.into_iter().find(|path| path.is_dir());
            found.unwrap_or_else(|| here.join("../../shared/conformance"))
        }
    }
}

/// Reads all cases. An error says what is missing and where it was looked for.
pub fn cases() -> Result<Vec<Case>> {
    let directory = directory();
    let manifest = directory.join("manifest.jsonl");
    let text = std::fs::read_to_string(&manifest).with_context(|| {
        format!(
            "the conformance suite is missing: {} (put it beside the checkout as ../shared/conformance, \
             or name its directory in WEIR_CONFORMANCE)",
            manifest.display()
        )
    })?;
    let cases = text.lines().map(|line| case(&directory, line)).collect::<Result<Vec<_>>>()?;
    ensure!(cases.len() == CASES, "{} has {} cases, not {CASES}", manifest.display(), cases.len());
    Ok(cases)
}

fn case(directory: &Path, line: &str) -> Result<Case> {
    let row: Row = serde_json::from_str(line).context("a line of manifest.jsonl")?;
    let raw = decode::raw_insns(&hex(&row.prog)?).context("the program is not whole instructions")?;
    let insns = decode::decode(&raw).with_context(|| row.name.clone())?;
    let r0 = row.expect_r0.with_context(|| format!("{} expects no r0", row.name))?;
    let r0 = u64::from_str_radix(r0.trim_start_matches("0x"), 16).with_context(|| row.name.clone())?;
    let data = directory.join(&row.name).with_extension("data");
    let data = std::fs::read_to_string(&data).with_context(|| data.display().to_string())?;
    Ok(Case { asm: section(&data, "asm"), memory: hex(&row.mem)?, name: row.name, insns, r0 })
}

/// The lines under `-- name`.
fn section(text: &str, name: &str) -> Option<String> {
    let header = format!("-- {name}");
    let mut lines = text.lines().skip_while(|line| line.trim() != header);
    lines.next()?;
    Some(lines.take_while(|line| !line.starts_with("--")).map(|line| format!("{line}\n")).collect())
}

/// Bytes in hexadecimal, with or without space between them.
pub fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    ensure!(digits.len().is_multiple_of(2), "an odd number of hexadecimal digits: {text}");
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        u8::from_str_radix(pair, 16).with_context(|| format!("not hexadecimal: {pair}"))
    });
    pairs.collect()
}
