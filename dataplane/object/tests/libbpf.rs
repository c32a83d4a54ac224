//! libbpf as the judge: what bpftool hands to bpf(2) for an object is, slot for slot, what we make of
//! it. Needs root, bpftool and a C compiler; says so otherwise. The kernel's verdict does not matter.
//!
//! `WEIR_OBJECTS` names further objects, between spaces.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use support::{compile, corpus};
use weir_ebpf::encode::encode;
use weir_ebpf::isa::code::LD_IMM64;
use weir_ebpf::{Program, ProgramType, RawInsn};
use weir_object::{Btf, Object, Options};

struct Judge {
    folder: tempfile::TempDir,
    shim: PathBuf,
}

impl Judge {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let shim = folder.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/shim.c");
        let done =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl").output();
        done.ok().filter(|done| done.status.success()).map(|_| Self { folder, shim })
    }

    /// Slots by name of the program, of those that libbpf came to load.
    fn programs(&self, object: &[u8]) -> BTreeMap<String, String> {
        let (file, log) = (self.folder.path().join("object.o"), self.folder.path().join("log"));
        let pins = format!("/sys/fs/bpf/weir-libbpf-{}", std::process::id());
        let _ = std::fs::remove_file(&log);
        std::fs::write(&file, object).expect("a writable temporary directory");
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["prog", "loadall"]).arg(&file).arg(&pins);
        let _ = bpftool.env("LD_PRELOAD", &self.shim).env("WEIR_SHIM", &log).output();
        let _ = std::fs::remove_dir_all(&pins);
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            // libbpf's probes of the kernel have no name, or one of these.
            let probe =
                words[0].is_empty() || words[0] == "libbpf_nametest" || words[0].starts_with("det_arg");
            (!probe && words.len() == 4).then(|| (words[0].to_owned(), words[3].to_owned()))
        };
        log.lines().filter_map(line).collect()
    }
}

fn slots(program: &Program) -> String {
    let word = |insn: &RawInsn| {
        let map = insn.code == LD_IMM64 && matches!(insn.src, 1 | 2);
        let insn = RawInsn { imm: if map { 0 } else { insn.imm }, ..*insn };
        format!("{:016x}", u64::from_le_bytes(insn.to_bytes()))
    };
    let words: Vec<String> = encode(&program.insns).iter().map(word).collect();
    words.join(",")
}

#[test]
fn programs_are_those_of_libbpf() {
    let Some(judge) = Judge::new() else {
        println!("skipped: no C compiler");
        return;
    };
    let mut objects: Vec<(String, Vec<u8>)> = Vec::new();
    for name in
        ["sections.c", "maps.c", "data.c", "calls.c", "legacy.c", "core.c", "core_types.c", "values.c"]
    {
        let compiled = compile(&corpus().join(name)).into_iter();
        objects.extend(compiled.map(|(clang, bytes)| (format!("{name} by {clang}"), bytes)));
    }
    let further = std::env::var("WEIR_OBJECTS").unwrap_or_default();
    objects.extend(
        further.split_whitespace().map(|path| (path.to_owned(), std::fs::read(path).expect("an object"))),
    );
    // libbpf resolves CO-RE by the running kernel's types.
    let kernel = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let target = kernel.map(|bytes| Arc::new(Btf::parse(&bytes).expect("the kernel's types")));
    let mut compared = 0;
    for (what, bytes) in &objects {
        let theirs = judge.programs(bytes);
        let options = Options { target: target.clone(), ..Options::default() };
        let ours = Object::parse_with(bytes, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
        for (name, wanted) in theirs {
            // The kernel's names end after 15 characters, so several programs may have one.
            let entries = ours.programs().iter().filter(|entry| entry.name.chars().take(15).eq(name.chars()));
            let programs: Vec<String> = entries
                .map(|entry| match ours.program_as(&entry.name, ProgramType::SchedCls) {
                    Ok(program) => slots(&program),
                    Err(error) => error.to_string(),
                })
                .collect();
            assert!(programs.contains(&wanted), "{what}: {name}:\n{wanted}\n{}", programs.join("\n"));
            compared += 1;
        }
    }
    match compared {
        0 => println!("skipped: bpftool loads nothing (needs root)"),
        count => println!("{count} programs of {} objects are the same", objects.len()),
    }
}
