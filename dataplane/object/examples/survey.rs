//! Reads every object it is given and counts what can be had: `survey FILE...`. Failures are named.
//! With `-v`, every program is listed with its instructions.

use std::process::ExitCode;

use weir_ebpf::ProgramType;
use weir_object::Object;

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
    let verbose = flags.iter().any(|flag| flag == "-v");
    // Programs of sections that weir does not know are taken as tc programs.
    let every = flags.iter().any(|flag| flag == "-a");
    for file in &files {
        survey(file, verbose, every, &mut count);
    }
    let Count { objects, broken, programs, refused, other } = count;
    println!(
        "{objects} objects, {broken} broken; {programs} programs had, {refused} refused, {other} of other types"
    );
    if broken + refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn survey(file: &str, verbose: bool, every: bool, count: &mut Count) {
    count.objects += 1;
    let object = std::fs::read(file)
        .map_err(|e| e.to_string())
        .and_then(|bytes| Object::parse(&bytes).map_err(|error| error.to_string()));
    let object = match object {
        Ok(object) => object,
        Err(error) => {
            count.broken += 1;
            println!("{file}: {error}");
            return;
        }
    };
    for map in object.unsupported_maps().iter().filter(|_| verbose) {
        println!("{file}: map {}: {}", map.name, map.reason);
    }
    for entry in object.programs() {
        let program = match entry.kind {
            Some(_) => object.program(&entry.name),
            None if every => object.program_as(&entry.name, ProgramType::SchedCls),
            None => {
                count.other += 1;
                continue;
            }
        };
        match program {
            Ok(program) => {
                count.programs += 1;
                if verbose {
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
