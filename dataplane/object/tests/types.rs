//! Types as bpftool lists them, `[id] KIND 'name' …`, for objects and for the running kernel.

mod support;

use std::path::Path;
use std::process::Command;

use support::{COMPILERS, compile, corpus};
use weir_object::Object;
use weir_object::btf::{Btf, Kind, Linkage};

/// What `bpftool btf dump` says of a type in the words that we compare.
fn describe(btf: &Btf, id: u32) -> String {
    let found = btf.get(id).expect("a type");
    let name = match btf.text(found.name) {
        "" => "'(anon)'".to_owned(),
        name => format!("'{name}'"),
    };
    let linkage = |linkage: Linkage| match linkage {
        Linkage::Static => "static",
        Linkage::Global => "global",
        Linkage::Extern => "extern",
    };
    let text = match &found.kind {
        Kind::Void => "VOID".to_owned(),
        Kind::Int(int) => {
            format!("INT {name} size={} bits_offset={} nr_bits={}", int.size, int.bit_offset, int.bits)
        }
        Kind::Ptr(of) => format!("PTR {name} type_id={of}"),
        Kind::Array { element, index, length } => {
            format!("ARRAY {name} type_id={element} index_type_id={index} nr_elems={length}")
        }
        Kind::Struct(composite) => {
            format!("STRUCT {name} size={} vlen={}", composite.size, composite.members.len())
        }
        Kind::Union(composite) => {
            format!("UNION {name} size={} vlen={}", composite.size, composite.members.len())
        }
        Kind::Enum(found) => {
            let kind = if found.wide { "ENUM64" } else { "ENUM" };
            let sign = if found.signed { "SIGNED" } else { "UNSIGNED" };
            format!("{kind} {name} encoding={sign} size={} vlen={}", found.size, found.values.len())
        }
        Kind::Forward { union } => format!("FWD {name} fwd_kind={}", if *union { "union" } else { "struct" }),
        Kind::Typedef(of) => format!("TYPEDEF {name} type_id={of}"),
        Kind::Volatile(of) => format!("VOLATILE {name} type_id={of}"),
        Kind::Const(of) => format!("CONST {name} type_id={of}"),
        Kind::Restrict(of) => format!("RESTRICT {name} type_id={of}"),
        Kind::Function { prototype, linkage: of } => {
            format!("FUNC {name} type_id={prototype} linkage={}", linkage(*of))
        }
        Kind::Prototype { returns, parameters } => {
            format!("FUNC_PROTO {name} ret_type_id={returns} vlen={}", parameters.len())
        }
        Kind::Variable { of, linkage: is } => format!("VAR {name} type_id={of}, linkage={}", linkage(*is)),
        // Sizes of sections are filled in on our side and not on bpftool's.
        Kind::Section { variables, .. } => format!("DATASEC {name} vlen={}", variables.len()),
        Kind::Float { size } => format!("FLOAT {name} size={size}"),
        Kind::DeclTag { of, component } => format!("DECL_TAG {name} type_id={of} component_idx={component}"),
        Kind::TypeTag(of) => format!("TYPE_TAG {name} type_id={of}"),
    };
    format!("[{id}] {text}")
}

/// bpftool's lines for types, without what we do not compare.
fn listed(file: &Path) -> Option<Vec<String>> {
    let done = Command::new("bpftool")
        .args(["btf", "dump", "file"])
        .arg(file)
        .args(["format", "raw"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let line = |line: &str| {
        let words = line.split(' ').filter(|word| !word.starts_with("encoding=") || line.contains("] ENUM"));
        let words = words.filter(|word| !(word.starts_with("size=") && line.contains("] DATASEC ")));
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = text.lines().filter(|line| line.starts_with('[')).map(line).collect();
    done.status.success().then_some(lines)
}

fn compare(btf: &Btf, file: &Path, what: &str) {
    let Some(wanted) = listed(file) else {
        println!("skipped: bpftool lists no types of {what}");
        return;
    };
    assert_eq!(btf.len() - 1, wanted.len(), "{what}");
    for (id, wanted) in (1..).zip(wanted) {
        assert_eq!(describe(btf, id), wanted, "{what}");
    }
}

#[test]
fn types_of_objects_are_those_of_bpftool() {
    for name in ["maps", "values", "core", "externs", "calls"] {
        for (clang, bytes) in compile(&corpus().join(name).with_extension("c")) {
            let folder = tempfile::tempdir().expect("a writable temporary directory");
            let file = folder.path().join(format!("{name}.o"));
            std::fs::write(&file, &bytes).expect("a writable temporary directory");
            let object = Object::parse(&bytes).expect("an object");
            compare(object.btf().expect("types"), &file, &format!("{name} by {clang}"));
        }
    }
}

#[test]
fn types_of_the_kernel_are_those_of_bpftool() {
    let file = Path::new("/sys/kernel/btf/vmlinux");
    match std::fs::read(file) {
        Ok(bytes) => compare(&Btf::parse(&bytes).expect("the kernel's types"), file, "the kernel"),
        Err(_) => println!("skipped: {} cannot be read", file.display()),
    }
}

/// The oldest instruction set and the newest, with and without types.
#[test]
fn every_instruction_set_is_read() {
    // clang-14 and clang-16 know no v4.
    let newest = COMPILERS.last().copied();
    for name in ["calls", "data", "values", "legacy"] {
        let source = corpus().join(name).with_extension("c");
        for flags in [&["-g", "-mcpu=v4"][..], &["-mcpu=v1"][..]] {
            for (clang, bytes) in support::compile_by(newest, &source, flags) {
                let object =
                    Object::parse(&bytes).unwrap_or_else(|error| panic!("{clang} {flags:?}: {error}"));
                assert!(!object.programs().is_empty());
                for entry in object.programs() {
                    let program = object.program(&entry.name);
                    program.unwrap_or_else(|error| panic!("{clang} {flags:?} {name}: {error}"));
                }
            }
        }
    }
}
