//! Reads every object it is given and counts what can be had: `survey FILE...`. Failures are named.
//! With `-v`, every program is listed; with `-x`, its instructions too, in hexadecimal and with map
//! numbers as 0, as a loader would hand them to a kernel. With `-k`, CO-RE looks at the running
//! kernel's types. With `-a`, programs of sections that weir does not know are taken as tc programs.

use std::process::ExitCode;
use std::sync::Arc;

use weir_ebpf::encode::encode;
use weir_ebpf::isa::code::LD_IMM64;
use weir_ebpf::{Program, ProgramType};
use weir_object::{Btf, Object, Options};

#[derive(Default)]
struct Count {
    objects: usize,
    broken: usize,
    programs: usize,
    refused: usize,
    other: usize,
}

fn main() -> ExitCode {
    let mut count = Count::default();
    let (flags, files): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let has = |wanted: &str| flags.iter().any(|flag| flag == wanted);
    let kernel = has("-k").then(|| std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's types"));
    let target = kernel.map(|bytes| Arc::new(Btf::parse(&bytes).expect("the kernel's types")));
    let how = How { verbose: has("-v"), dump: has("-x"), every: has("-a"), target };
    for file in &files {
        survey(file, &how, &mut count);
    }
    let Count { objects, broken, programs, refused, other } = count;
    println!(
        "{objects} objects, {broken} broken; {programs} programs had, {refused} refused, {other} of other types"
    );
    if broken + refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct How {
    verbose: bool,
    dump: bool,
    every: bool,
    target: Option<Arc<Btf>>,
}

/// Name, type, slots and instructions.
fn dump(program: &Program) {
    let raw = encode(&program.insns);
    let word = |insn: &weir_ebpf::RawInsn| {
        let map = insn.code == LD_IMM64 && matches!(insn.src, 1 | 2);
        let insn = weir_ebpf::RawInsn { imm: if map { 0 } else { insn.imm }, ..*insn };
        format!("{:016x}", u64::from_le_bytes(insn.to_bytes()))
    };
    let words: Vec<String> = raw.iter().map(word).collect();
    println!("{} {} {} {}", program.name, program.kind.number(), raw.len(), words.join(","));
}

fn survey(file: &str, how: &How, count: &mut Count) {
    count.objects += 1;
    let options = Options { target: how.target.clone(), ..Options::default() };
    let bytes = std::fs::read(file).map_err(|error| error.to_string());
    let object =
        bytes.and_then(|bytes| Object::parse_with(&bytes, &options).map_err(|error| error.to_string()));
    let object = match object {
        Ok(object) => object,
        Err(error) => {
            count.broken += 1;
            println!("{file}: {error}");
            return;
        }
    };
    for map in object.unsupported_maps().iter().filter(|_| how.verbose) {
        println!("{file}: map {}: {}", map.name, map.reason);
    }
    for entry in object.programs() {
        let program = match entry.kind {
            Some(_) => object.program(&entry.name),
            None if how.every => object.program_as(&entry.name, ProgramType::SchedCls),
            None => {
                count.other += 1;
                continue;
            }
        };
        match program {
            Ok(program) => {
                count.programs += 1;
                if how.dump {
                    dump(&program);
                }
                if how.verbose {
                    let (slots, lines) = (program.insns.len(), program.lines.len());
                    println!("{file}: {} [{}] {slots} slots {lines} lines", entry.name, entry.section);
                }
            }
            Err(error) => {
                count.refused += 1;
                println!("{file}: {} [{}]: {error}", entry.name, entry.section);
            }
        }
    }
}
