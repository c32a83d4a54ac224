//! A refusal: where, which rule, in whose words, and what to try.

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use weir_ebpf::program::Line;
use weir_ebpf::{Program, ProgramType};

use crate::Stats;
use crate::rule::Rule;
use crate::story::{Origin, number_after};

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
    /// How it came to this, in the order of time: where the value was made, what was checked.
    pub story: Vec<Origin>,
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
            story: Vec::new(),
            help,
            log: String::new(),
            stats: Stats::default(),
        }
    }

    /// What the kernel says of the same program, where we speak in its name. A helper that the kernel has
    /// and weir has not is refused here alone.
    pub fn kernel_says(&self) -> Option<&str> {
        /// The last of `enum bpf_func_id` in Linux 6.18.
        const LAST_HELPER: u64 = 211;
        const LOADERS: u64 = 2_000_000_000;
        let ours_alone = match self.rule {
            Rule::HelperUnknown => self
                .message
                .rsplit('#')
                .next()
                .and_then(|id| id.parse().ok())
                // What a loader puts where it found nothing is not a number of the kernel's either.
                .is_none_or(|id: u64| id <= LAST_HELPER || id >= LOADERS),
            Rule::KernelFunction => true,
            rule => rule.kernel().is_empty(),
        };
        if self.rule == Rule::Recursion {
            // It walks into the calls until there are too many.
            return Some("the call stack of 9 frames is too deep");
        }
        (!ours_alone).then_some(self.message.as_str())
    }

    /// Fills in the function and the source line.
    pub(crate) fn locate(mut self, program: &Program) -> Self {
        self.line = program.line_at(self.slot).cloned();
        self.function = program.function_at(self.slot).map(|f| f.name.clone()).unwrap_or_default();
        let told = self.story.iter().find_map(|origin| told_help(&origin.said));
        self.help = self.help.or(told).or_else(|| usual_help(self.rule, program.kind));
        self
    }
}

/// What a program of this type returns to drop a packet.
pub(crate) const fn drop_code(kind: ProgramType) -> &'static str {
    match kind {
        ProgramType::Xdp => "XDP_DROP",
        ProgramType::SchedCls | ProgramType::SchedAct => "TC_ACT_SHOT",
        ProgramType::SocketFilter
        | ProgramType::CgroupSkb
        | ProgramType::SkReuseport
        | ProgramType::SockOps
        | ProgramType::CgroupSock
        | ProgramType::CgroupSockAddr => "0",
        ProgramType::LwtIn
        | ProgramType::LwtOut
        | ProgramType::LwtXmit
        | ProgramType::LwtSeg6Local
        | ProgramType::FlowDissector => "BPF_DROP",
        ProgramType::SkSkb | ProgramType::SkMsg | ProgramType::SkLookup => "SK_DROP",
    }
}

/// What mends it, when its story says enough.
fn told_help(said: &str) -> Option<String> {
    if said.contains("moves the packet") {
        return Some(
            "read ctx->data and ctx->data_end again after the call, and compare them again".to_owned(),
        );
    }
    said.contains("leaves r1 to r5")
        .then(|| "keep the value in a variable of its own before the call".to_owned())
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
        Rule::Uninitialised => format!("int verdict = {code};   // a value on every path"),
        _ => return None,
    })
}

impl Reject {
    /// The refusal with its source line, as it is shown to people; colours if asked for.
    pub fn render(&self, colour: bool) -> String {
        let mut group = Level::ERROR
            .primary_title(self.rule.fault())
            .id(self.rule.name())
            .elements([] as [Snippet<'_, Annotation<'_>>; 0]);
        if let Some(line) = self.line.as_ref().filter(|line| !line.text.trim().is_empty()) {
            group = group.element(self.snippet(line));
        } else if let Some(line) = &self.line {
            group = group.element(Level::NOTE.message(format!("at {}:{}", line.file, line.line)));
        }
        if self.line.as_ref().is_none_or(|line| line.text.trim().is_empty()) {
            group = group.element(Level::NOTE.message(self.found()));
            for origin in &self.story {
                let text = format!("insn {}: {}", origin.slot, origin.said);
                group = group.element(Level::NOTE.message(text));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.clone()));
        }
        group = group.element(Level::NOTE.message(self.rule.sentence()));
        if let Some(said) = self.kernel_says() {
            group = group.element(Level::NOTE.message(format!("kernel says: {said}")));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl Reject {
    /// What was found at the instruction, and what was wanted.
    fn found(&self) -> String {
        let number = |word| number_after(&self.message, word);
        let packet = || Some((number("off=")?, number("size=")?, number(",r=")?));
        match (self.rule, packet()) {
            (Rule::PacketPastEnd, Some((off, size, checked))) => {
                let last = off + size - 1;
                let bytes =
                    if last == off { format!("byte {off}") } else { format!("bytes {off} to {last}") };
                format!("insn {}: touches {bytes}, and {checked} are checked", self.slot)
            }
            _ if self.rule.kernel().is_empty() => format!("insn {}: {}", self.slot, self.message),
            _ => format!("insn {}", self.slot),
        }
    }

    /// The lines of the source that the refusal speaks of, as far as the object has them: the refused one and
    /// those of its story in the same file. Lines between them are left out.
    fn snippet<'a>(&'a self, fault: &'a Line) -> Snippet<'a, Annotation<'a>> {
        let told = self.story.iter().filter_map(|origin| Some((origin.line.as_ref()?, origin.said.as_str())));
        let told =
            told.filter(|(line, _)| line.file == fault.file && line.line.abs_diff(fault.line) < 10_000);
        let told: Vec<(&Line, &str)> = told.collect();
        let lines = || told.iter().map(|(line, _)| *line).chain([fault]);
        let first = lines().map(|line| line.line).min().unwrap_or(fault.line);
        let last = lines().map(|line| line.line).max().unwrap_or(fault.line);
        // Each line at its place in a text of its own, since the rest of the file is not in the object.
        let mut text = String::new();
        let mut starts = Vec::new();
        for number in first..=last {
            starts.push(text.len());
            text.push_str(lines().find(|line| line.line == number).map_or("", |line| line.text.as_ref()));
            text.push('\n');
        }
        let span = |line: &Line| {
            let (start, word) = (starts[(line.line - first) as usize], word_at(&line.text, line.column));
            start + word.start..start + word.end
        };
        let mut annotations = vec![AnnotationKind::Primary.span(span(fault)).label(self.found())];
        for (line, said) in told.iter().filter(|(line, _)| !line.text.trim().is_empty()) {
            annotations.push(AnnotationKind::Context.span(span(line)).label(*said));
        }
        Snippet::source(text).path(fault.file.to_string()).line_start(first as usize).annotations(annotations)
    }
}

/// The bytes of the word that a column (from 1) stands at, or of the whole line.
pub(crate) fn word_at(text: &str, column: u32) -> std::ops::Range<usize> {
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
