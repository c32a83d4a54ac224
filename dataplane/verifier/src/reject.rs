//! A refusal: where, which rule, in whose words, and what to try.

use std::fmt;

use weir_ebpf::Program;
use weir_ebpf::program::Line;

use crate::Stats;
use crate::rule::Rule;

/// Why a program was refused.
#[derive(Clone, Debug)]
pub struct Reject {
    /// The instruction, by slot.
    pub slot: usize,
    /// Which rule it broke.
    pub rule: Rule,
    /// What happened, in the kernel's wording.
    pub message: String,
    /// The function the instruction is in.
    pub function: String,
    /// Its place in the source, when the object says.
    pub line: Option<Line>,
    /// A line that mends it and can be pasted, or what to try.
    pub help: Option<String>,
    /// The log, in the kernel's format; empty at log level 0.
    pub log: String,
    /// How far verification came.
    pub stats: Stats,
}

impl Reject {
    /// A refusal of the instruction at `slot`; [`Reject::locate`] adds what the program knows of it.
    pub(crate) fn new(slot: usize, rule: Rule, message: String) -> Self {
        let (line, help) = (None, None);
        Self {
            slot,
            rule,
            message,
            function: String::new(),
            line,
            help,
            log: String::new(),
            stats: Stats::default(),
        }
    }

    /// Fills in the function and the source line.
    pub(crate) fn locate(mut self, program: &Program) -> Self {
        self.line = program.line_at(self.slot).cloned();
        self.function = program.function_at(self.slot).map(|f| f.name.clone()).unwrap_or_default();
        self
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "insn {}: {} [{}]", self.slot, self.message, self.rule)?;
        if let Some(line) = &self.line {
            let text = line.text.trim();
            writeln!(f, "  --> {}:{}:{}  {text}", line.file, line.line, line.column)?;
        }
        match &self.help {
            Some(help) => write!(f, "  help: {help}"),
            None => write!(f, "  rule: {}", self.rule.sentence()),
        }
    }
}

impl std::error::Error for Reject {}
