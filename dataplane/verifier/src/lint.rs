//! What is allowed and still worth a word: it changes no verdict.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use weir_ebpf::Program;
use weir_ebpf::program::Line;

use crate::reject::word_at;

/// Most that are kept of one program.
pub(crate) const LINTS_MAX: usize = 32;

/// Something that the kernel accepts from a privileged loader and that is probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The instruction, by slot.
    pub slot: usize,
    /// Its place in the source, when the object says.
    pub line: Option<Line>,
    /// Its stable name.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// What to try.
    pub help: String,
}

impl Lint {
    /// A helper reads bytes of the stack that nothing wrote, `first` to `last` counted from the argument.
    pub(crate) fn unwritten_stack(slot: usize, helper: &str, size: usize, unwritten: &[usize]) -> Lint {
        let listed: Vec<String> =
            runs(unwritten).into_iter().map(|(first, last)| span(first, last)).collect();
        Lint {
            slot,
            line: None,
            name: "unwritten-stack",
            found: format!("{helper} reads {size} bytes here, and nothing wrote {}", listed.join(", ")),
            help:
                "set every byte, padding too: struct … key = {}; or __builtin_memset(&key, 0, sizeof(key));"
                    .to_owned(),
        }
    }

    pub(crate) fn locate(mut self, program: &Program) -> Lint {
        self.line = program.line_at(self.slot).cloned();
        self
    }

    /// The lint with its source line, as it is shown to people; colours if asked for.
    pub fn render(&self, colour: bool) -> String {
        let mut group = Level::WARNING.primary_title(self.found.as_str()).id(self.name).elements(
            self.line.iter().filter(|line| !line.text.trim().is_empty()).map(|line| {
                Snippet::source(line.text.to_string())
                    .path(line.file.to_string())
                    .line_start(line.line as usize)
                    .annotation(
                        AnnotationKind::Primary
                            .span(word_at(&line.text, line.column))
                            .label(format!("insn {}", self.slot)),
                    )
            }),
        );
        group = group.element(Level::HELP.message(self.help.as_str()));
        let note =
            "the kernel accepts this from a privileged loader; keys with such bytes are not found again";
        group = group.element(Level::NOTE.message(note));
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// Numbers in a row, as first and last of each run.
fn runs(numbers: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

fn span(first: usize, last: usize) -> String {
    if first == last { format!("byte {first}") } else { format!("bytes {first} to {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_listed_in_runs() {
        let lint = Lint::unwritten_stack(3, "bpf_map_lookup_elem", 12, &[1, 2, 3, 9]);
        assert_eq!(
            lint.found,
            "bpf_map_lookup_elem reads 12 bytes here, and nothing wrote bytes 1 to 3, byte 9"
        );
    }
}
