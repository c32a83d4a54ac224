//! The C files of `tests/corpus/object`: what is in an object, as text, stands at the end of its
//! source behind `//= `, and every compiler's object must say the same.
//!
//! `WEIR_UPDATE=1` writes the text anew from what clang-19's object says; read the difference.

mod support;

use std::fmt::Write;

use support::{compile, corpus};
use weir_ebpf::abi::MapKind;
use weir_ebpf::isa::{Imm64, Insn};
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program};
use weir_object::{Attach, Object, Options};

const MARK: &str = "//= ";

#[test]
fn objects_hold_what_their_sources_say() {
    let update = std::env::var_os("WEIR_UPDATE").is_some();
    let mut sources: Vec<_> = std::fs::read_dir(corpus())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    assert!(sources.len() >= 8);
    for source in sources {
        let text = std::fs::read_to_string(&source).expect("a source");
        let wanted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
        let name = source.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let options = Options { name, ..Options::default() };
        for (clang, bytes) in compile(&source) {
            let object =
                Object::parse_with(&bytes, &options).unwrap_or_else(|error| panic!("{clang}: {error}"));
            let found = describe(&object);
            if update && clang == "clang-19" {
                let code: String =
                    text.lines().filter(|l| !l.starts_with(MARK)).map(|l| format!("{l}\n")).collect();
                let marked: String = found.iter().map(|line| format!("{MARK}{line}\n")).collect();
                std::fs::write(&source, code + &marked).expect("a writable corpus");
            } else if !update {
                let (found, wanted) = (found.join("\n"), wanted.join("\n"));
                assert_eq!(found, wanted, "\n{} by {clang}", source.display());
            }
        }
    }
}

fn describe(object: &Object) -> Vec<String> {
    let mut lines = vec![format!("license {}", object.license())];
    for entry in object.programs() {
        let manual = if entry.autoload { "" } else { " manual" };
        let mut line = format!("program {} in {}{manual}: ", entry.name, entry.section);
        match object.program(&entry.name) {
            Ok(program) => {
                let attach = match entry.kind.map(|kind| kind.attach) {
                    None | Some(Attach::Any) => "",
                    Some(Attach::Ingress) => " ingress",
                    Some(Attach::Egress) => " egress",
                    Some(Attach::Devmap) => " devmap",
                    Some(Attach::Cpumap) => " cpumap",
                };
                line += &format!("{}{}{attach}", program.kind, if program.frags { " frags" } else { "" });
                line += &uses(&program);
            }
            Err(error) => line += &without_offset(&error.to_string()),
        }
        lines.push(line);
    }
    lines.extend(object.maps().iter().map(|map| map_line(map)));
    lines.extend(
        object
            .unsupported_maps()
            .iter()
            .map(|map| format!("map {}: {}", map.name, without_offset(&map.reason.to_string()))),
    );
    lines
}

/// Offsets differ between compilers.
fn without_offset(message: &str) -> String {
    match (message.find(", offset 0x"), message.find(": ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &message[..from], &message[to..]),
        _ => message.to_owned(),
    }
}

/// The functions and maps of a program.
fn uses(program: &Program) -> String {
    let mut text = String::new();
    if program.functions.len() > 1 {
        let names: Vec<String> = program
            .functions
            .iter()
            .map(|f| if f.global { f.name.clone() } else { format!("({})", f.name) })
            .collect();
        write!(text, ", functions {}", names.join(" ")).expect("text");
    }
    let mut maps: Vec<&str> = program
        .insns
        .iter()
        .filter_map(|insn| match insn {
            Insn::LoadImm64 { value: Imm64::Map(map) | Imm64::MapValue { map, .. }, .. } => {
                Some(program.maps[*map as usize].name.as_str())
            }
            _ => None,
        })
        .collect();
    maps.sort_unstable();
    maps.dedup();
    if !maps.is_empty() {
        write!(text, ", maps {}", maps.join(" ")).expect("text");
    }
    let lines = program.lines.windows(2).all(|pair| pair[0].slot <= pair[1].slot);
    assert!(lines && !program.lines.is_empty(), "{}: lines are there and in order", program.name);
    assert!(program.functions.iter().all(|f| program.lines.iter().any(|line| line.slot == f.start)));
    text
}

fn map_line(map: &MapSpec) -> String {
    let mut line = format!(
        "map {} {} {} {} {}",
        map.name,
        map.kind.name(),
        map.key_size,
        map.value_size,
        map.max_entries
    );
    if map.flags != 0 {
        line += &format!(" flags {:#x}", map.flags);
    }
    if map.extra != 0 {
        line += &format!(" extra {}", map.extra);
    }
    line += if map.frozen { " frozen" } else { "" };
    line += if map.pinned { " pinned" } else { "" };
    for field in &map.fields {
        line += &format!(" {field:?}");
    }
    match &map.initial {
        Initial::None => {}
        // Texts of `bpf_printk` move about; small data does not.
        Initial::Data(data) if data.len() <= 32 => line += &format!(" data {data:02x?}"),
        Initial::Data(_) => line += " data",
        Initial::Programs(slots) | Initial::Maps(slots) => line += &format!(" {slots:?}"),
    }
    if let Some(inner) = &map.inner {
        assert!(matches!(map.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps));
        line += &format!(" of ({})", map_line(inner));
    }
    line
}
