//! What the assembler says when a line is not an instruction.

use std::fmt;

/// Text that is not an instruction: where, what was found, what was wanted, what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsmError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The text that stands there; empty at the end of the line.
    pub found: String,
    /// What would have been understood there.
    pub wanted: String,
    /// What to try; empty when `wanted` says it all.
    pub help: String,
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, found, wanted, help } = self;
        write!(f, "line {line}, column {column}: found ")?;
        match found.is_empty() {
            true => write!(f, "the end of the line")?,
            false => write!(f, "`{found}`")?,
        }
        write!(f, ", wanted {wanted}")?;
        match help.is_empty() {
            true => Ok(()),
            false => write!(f, " (try: {help})"),
        }
    }
}

impl std::error::Error for AsmError {}
