//! Reads the corpus of verifier cases: a program in assembler, and what is to be answered.
//!
//! ```text
//! == what the case shows
//! type xdp
//! map NAME KIND KEY VALUE ENTRIES [flags N] [lock OFFSET] [timer OFFSET] [kptr OFFSET] …
//! data NAME HEX-BYTES          (a frozen array of one value, as .rodata is)
//! variables NAME HEX-BYTES     (one that may be written, as .data is)
//! license GPL
//! strict                       (BPF_F_STRICT_ALIGNMENT)
//! code
//!     r0 = 2
//!     exit
//! accept                       (or: reject RULE: MESSAGE)
//! kernel accepts               (or: kernel says MESSAGE; only where weir differs, with `why`)
//! kernel skipped               (it cannot be asked, with `why`)
//! ```

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::program::{Foreign, Initial, MapSpec, Program, ProgramType, ValueField};

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accept,
    Reject { rule: String, message: String },
}

/// A case of the corpus.
#[derive(Clone, Debug)]
pub struct Case {
    pub file: String,
    pub name: String,
    pub program: Arc<Program>,
    pub answer: Answer,
    /// What the kernel answers where it differs: accepts, or a part of its message.
    pub kernel: Option<Answer>,
    /// Why the kernel is not asked.
    pub kernel_skipped: bool,
}

/// Every case in `tests/corpus/verifier`.
pub fn all() -> Vec<Case> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|path| path.join("Cargo.lock").exists()).expect("the workspace");
    let folder = root.join("tests/corpus/verifier");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .collect();
    files.sort();
    files.iter().flat_map(|path| read(path)).collect()
}

/// The cases of one file.
pub fn read(path: &std::path::Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a readable case file");
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    text.split("\n== ")
        .map(|part| part.trim_start_matches("== "))
        .filter(|part| part.contains("\ncode"))
        .map(|part| parse(&file, part))
        .collect()
}

fn parse(file: &str, text: &str) -> Case {
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default().trim().to_owned();
    let context = format!("{file}: {name}");
    let mut kind = ProgramType::Xdp;
    let (mut maps, mut names, mut license, mut strict) = (Vec::new(), Vec::new(), "GPL".to_owned(), false);
    let (mut code, mut in_code, mut answer, mut kernel) = (String::new(), false, None, None);
    let mut skipped = false;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&"accept") => (in_code, answer) = (false, Some(Answer::Accept)),
            Some(&"reject") => (in_code, answer) = (false, Some(rejection(line))),
            Some(&"kernel") if words.get(1) == Some(&"skipped") => skipped = true,
            Some(&"kernel") => kernel = Some(kernel_answer(line)),
            _ if in_code => {
                code.push_str(line);
                code.push('\n');
            }
            None => {}
            Some(word) if word.starts_with('#') => {}
            Some(&"why") => {}
            Some(&"code") => in_code = true,
            Some(&"strict") => strict = true,
            Some(&"type") => {
                kind = *ProgramType::ALL
                    .iter()
                    .find(|kind| Some(&kind.name()) == words.get(1))
                    .unwrap_or_else(|| panic!("{context}: which type? {line}"));
            }
            Some(&"license") => license = line.trim()["license".len()..].trim().to_owned(),
            Some(&"map") => {
                names.push(words[1].to_owned());
                let spec = map(&words).unwrap_or_else(|| panic!("{context}: which map? {line}"));
                maps.push(Arc::new(spec));
            }
            Some(&"inner") => {
                let spec = map(&words).unwrap_or_else(|| panic!("{context}: which map? {line}"));
                let outer = Arc::make_mut(maps.last_mut().expect("an outer map before it"));
                outer.inner = Some(Arc::new(spec));
            }
            Some(&kind @ ("data" | "variables")) => {
                names.push(words[1].to_owned());
                let bytes: Vec<u8> =
                    words[2..].iter().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
                let mut spec = MapSpec::new(words[1], MapKind::Array, 4, bytes.len() as u32, 1);
                spec.initial = Initial::Data(bytes);
                if kind == "data" {
                    (spec.flags, spec.frozen) = (weir_ebpf::abi::map_kind::create_flags::RDONLY_PROG, true);
                }
                maps.push(Arc::new(spec));
            }
            Some(word) => panic!("{context}: what is {word}?"),
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let insns =
        weir_ebpf::asm::assemble_with(&code, &names).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut program = Program::from_insns("main", kind, insns);
    (program.maps, program.license, program.strict_alignment) = (maps, license, strict);
    let answer = answer.unwrap_or_else(|| panic!("{context}: accept or reject?"));
    Case { file: file.to_owned(), name, program: Arc::new(program), answer, kernel, kernel_skipped: skipped }
}

fn rejection(line: &str) -> Answer {
    let rest = line.trim().trim_start_matches("reject").trim();
    let (rule, message) = rest.split_once(": ").unwrap_or((rest, ""));
    Answer::Reject { rule: rule.to_owned(), message: message.to_owned() }
}

fn kernel_answer(line: &str) -> Answer {
    match line.trim().strip_prefix("kernel says ") {
        Some(message) => Answer::Reject { rule: String::new(), message: message.to_owned() },
        None => Answer::Accept,
    }
}

fn map(words: &[&str]) -> Option<MapSpec> {
    let number = |at: usize| words.get(at)?.parse::<u32>().ok();
    let kind = *MapKind::ALL.iter().find(|kind| Some(&kind.name()) == words.get(2))?;
    let mut spec = MapSpec::new(words.get(1)?, kind, number(3)?, number(4)?, number(5)?);
    for pair in words.get(6..)?.chunks(2) {
        match *pair {
            ["flags", value] => spec.flags = value.parse().ok()?,
            ["lock", offset] => spec.fields.push(ValueField::SpinLock { offset: offset.parse().ok()? }),
            [name, offset] if foreign(name).is_some() => {
                let (offset, what) = (offset.parse().ok()?, foreign(name)?);
                spec.fields.push(ValueField::Foreign { offset, what });
            }
            ["timer", offset] => spec.fields.push(ValueField::Timer { offset: offset.parse().ok()? }),
            _ => return None,
        }
    }
    Some(spec)
}

/// What only the kernel has, by the tag of its type or by its name.
fn foreign(name: &str) -> Option<Foreign> {
    Foreign::ALL.into_iter().find(|what| what.tag().unwrap_or(what.name()) == name)
}
