//! How answers look: tables and words for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use weir_control::problem::Diagnostic;

use crate::exit::Failure;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of every command that say how answers look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct OutputArgs {
    /// Answer in JSON
    #[arg(short, long, global = true)]
    json: bool,
    /// Indent the JSON
    #[arg(short, long, global = true)]
    pretty: bool,
    /// Say nothing but what was asked for
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Colour the answer: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: When,
    /// No progress bar
    #[arg(long, global = true)]
    no_progress: bool,
}

/// Where answers go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    pretty: bool,
    quiet: bool,
    colour: bool,
    progress: bool,
}

/// The four colours that verdicts have; the word itself always stands too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Red,
    Magenta,
    Cyan,
}

impl Output {
    pub(crate) fn new(args: &OutputArgs) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !dumb;
        let colour = match args.color {
            When::Always => true,
            When::Never => false,
            When::Auto => set("CLICOLOR_FORCE") || (terminal && !set("NO_COLOR")),
        };
        let progress = !args.no_progress && !args.quiet && !args.json && io::stderr().is_terminal();
        Self {
            json: args.json,
            pretty: args.pretty,
            quiet: args.quiet,
            colour: colour && !args.json,
            progress,
        }
    }

    /// For words that are no command line: JSON if they ask for it.
    pub(crate) fn of_words(words: &[String]) -> Self {
        let json = words.iter().any(|word| word == "-j" || word == "--json");
        Self { json, pretty: false, quiet: false, colour: false, progress: false }
    }

    /// Whether the answer is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar may be drawn on stderr.
    pub(crate) fn draws_progress(&self) -> bool {
        self.progress
    }

    /// Whether the answer may have colours.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour
    }

    /// Prints an answer as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.pretty {
            serde_json::to_writer_pretty(&mut out, value)?;
        } else {
            serde_json::to_writer(&mut out, value)?;
        }
        writeln!(out)
    }

    /// Prints lines for people.
    pub(crate) fn text(&self, text: impl Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// Says something beside the answer, on stderr.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet && !self.json {
            eprintln!("{text}");
        }
    }

    /// One line of a stream: text for people, or a JSON value without indentation.
    pub(crate) fn line(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.json {
            true => {
                serde_json::to_writer(&mut out, value)?;
                writeln!(out)?;
            }
            false => writeln!(out, "{}", text())?,
        }
        out.flush()
    }

    /// Says what went wrong, on stderr; `error` in JSON when JSON was asked for.
    pub(crate) fn error(&self, failure: &Failure) {
        let message = sentence(&failure.error);
        if self.json {
            let mut error = serde_json::json!({ "code": failure.id(), "message": message });
            if let Some(hint) = &failure.hint {
                error["hint"] = hint.as_str().into();
            }
            if !failure.diagnostics.is_empty() {
                error["diagnostics"] = serde_json::json!(failure.diagnostics);
            }
            eprintln!("{}", serde_json::json!({ "error": error }));
            return;
        }
        eprintln!("weir: {message}");
        for diagnostic in &failure.diagnostics {
            eprintln!("{}", diagnosed(diagnostic));
        }
        if let Some(hint) = &failure.hint {
            eprintln!("  try: {hint}");
        }
    }

    /// A word in a colour, if colours are on.
    pub(crate) fn paint(&self, colour: Colour, word: impl Display) -> String {
        if !self.colour {
            return word.to_string();
        }
        let number = match colour {
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Magenta => 35,
            Colour::Cyan => 36,
        };
        format!("\x1b[{number}m{word}\x1b[0m")
    }

    /// A verdict in its colour.
    pub(crate) fn verdict(&self, name: &str) -> String {
        let colour = match name {
            "XDP_PASS" | "TC_ACT_OK" | "TC_ACT_PIPE" => Colour::Green,
            "XDP_DROP" | "TC_ACT_SHOT" => Colour::Red,
            "XDP_ABORTED" => Colour::Magenta,
            "XDP_TX" | "XDP_REDIRECT" | "TC_ACT_REDIRECT" => Colour::Cyan,
            _ => return name.to_owned(),
        };
        self.paint(colour, name)
    }
}

/// An error with its causes, those left out that the text before already ends with.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.ends_with(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

/// What is wrong with a program: as the verifier shows it, or in lines that begin with two spaces.
pub(crate) fn diagnosed(diagnostic: &Diagnostic) -> String {
    if let Some(log) = &diagnostic.log {
        return log.trim_end().to_owned();
    }
    let mut text = format!("  {}: ", diagnostic.program);
    if let Some(insn) = diagnostic.insn {
        text += &format!("insn {insn}: ");
    }
    text += &diagnostic.message;
    if !diagnostic.rule.is_empty() {
        text += &format!(" [{}]", diagnostic.rule);
    }
    if let Some(source) = &diagnostic.source {
        text += &format!("\n    at {source}");
    }
    if let Some(help) = &diagnostic.help {
        text += &format!("\n    help: {help}");
    }
    text
}

/// A table without borders whose columns after the first `left` are set to the right.
pub(crate) fn table(headers: &[&str], left: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headers.iter().copied());
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= left {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A whole number in groups of three, as people read it.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit that people read.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = number as f64;
    let mut unit = "B";
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{number} B") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_bytes_have_units() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
    #[test]
    fn a_cause_that_was_already_said_is_not_said_again() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(sentence(&inner.context("a.pcap: no such file")), "a.pcap: no such file");
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(sentence(&inner.context("a.pcap")), "a.pcap: no such file");
    }
}
