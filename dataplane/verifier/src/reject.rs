//! A refusal: where, which rule, in whose words, and what to try.

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use weir_ebpf::program::Line;
use weir_ebpf::{Program, ProgramType};

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
        self.help = self.help.or_else(|| usual_help(self.rule, program.kind));
        self
    }
}

/// What a program of this type returns to drop a packet.
pub(crate) const fn drop_code(kind: ProgramType) -> &'static str {
    match kind {
        ProgramType::Xdp => "XDP_DROP",
        ProgramType::SchedCls | ProgramType::SchedAct => "TC_ACT_SHOT",
        ProgramType::SocketFilter => "0",
    }
}

/// What usually mends a breach of the rule.
fn usual_help(rule: Rule, kind: ProgramType) -> Option<String> {
    let code = drop_code(kind);
    Some(match rule {
        Rule::MaybeNull => format!("if (!value) return {code};"),
        Rule::NegativeOffset | Rule::UnboundedOffset | Rule::MapValueBounds => {
            format!("if (index >= SIZE) return {code};   // index unsigned, SIZE a constant")
        }
        Rule::ArgumentSize => {
            format!("if (len == 0 || len > sizeof(buffer)) return {code};   // len unsigned")
        }
        Rule::Unreleased => "bpf_ringbuf_discard(record, 0);   // on this path too".to_owned(),
        Rule::HelperLicense => "char LICENSE[] SEC(\"license\") = \"GPL\";".to_owned(),
        Rule::StackBounds | Rule::StackDepth => {
            "keep large data in a per-CPU array of one entry instead of on the stack".to_owned()
        }
        Rule::InfiniteLoop => "for (int i = 0; i < LIMIT; i++)   // LIMIT a constant".to_owned(),
        Rule::HelperPacket => {
            "copy the bytes to the stack first: __builtin_memcpy(&copy, data, sizeof(copy));".to_owned()
        }
        _ => return None,
    })
}

impl Reject {
    /// The refusal with its source line, as it is shown to people; colours if asked for.
    pub fn render(&self, colour: bool) -> String {
        let title = format!("{} (insn {})", self.message, self.slot);
        let mut group = Level::ERROR
            .primary_title(title)
            .id(self.rule.name())
            .elements([] as [Snippet<'_, Annotation<'_>>; 0]);
        if let Some(line) = self.line.as_ref().filter(|line| !line.text.trim().is_empty()) {
            let span = word_at(&line.text, line.column);
            let label = format!("insn {}", self.slot);
            group = group.element(
                Snippet::source(line.text.to_string())
                    .path(line.file.to_string())
                    .line_start(line.line as usize)
                    .annotation(AnnotationKind::Primary.span(span).label(label)),
            );
        } else if let Some(line) = &self.line {
            group = group.element(Level::NOTE.message(format!("at {}:{}", line.file, line.line)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.clone()));
        }
        group = group.element(Level::NOTE.message(self.rule.sentence()));
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// The bytes of the word that a column (from 1) stands at, or of the whole line.
fn word_at(text: &str, column: u32) -> std::ops::Range<usize> {
    let start = (column as usize).saturating_sub(1);
    let rest = text.get(start..).filter(|rest| column > 0 && !rest.trim().is_empty());
    let Some(rest) = rest else {
        let lead = text.len() - text.trim_start().len();
        return lead..text.trim_end().len();
    };
    let ends = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '>' | '.' | '*' | '&'));
    let length = rest.find(ends).unwrap_or(rest.len()).max(rest.chars().next().map_or(0, char::len_utf8));
    start..start + length
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Reject {}
