//! `weir inspect`: what is in an object, and what it needs.

use std::collections::BTreeSet;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use weir_ebpf::abi::names::helper_name;
use weir_ebpf::abi::{Helper, Kfunc};
use weir_ebpf::isa::Imm64;
use weir_ebpf::{Insn, Program};
use weir_object::Object;

use crate::exit::{Code, Done, Failure};
use crate::output::{Output, table};
use crate::source::{no_such_program, read_object};

/// What to look at.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Programs and their sections
    Progs,
    /// Maps as declared
    Maps,
    /// Helpers that each program calls
    Helpers,
    /// The instructions, with source lines
    Insns,
}

/// Arguments of `weir inspect`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The object file
    object: std::path::PathBuf,
    /// What to look at; programs and maps when left out
    part: Option<Part>,
    /// Only this program
    #[arg(long, value_name = "NAME")]
    prog: Option<String>,
}

#[derive(Serialize)]
struct ProgramRow {
    name: String,
    section: String,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    autoload: bool,
    insns: Option<usize>,
    helpers: BTreeSet<String>,
    maps: BTreeSet<String>,
    /// Why it cannot be loaded, if it cannot.
    error: Option<String>,
}

#[derive(Serialize)]
struct MapRow {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[derive(Serialize)]
struct Inspection {
    schema: &'static str,
    license: String,
    programs: Vec<ProgramRow>,
    maps: Vec<MapRow>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Done {
    let object = read_object(&arguments.object)?;
    if let Some(name) = &arguments.prog
        && !object.programs().iter().any(|entry| entry.name == *name)
    {
        return Err(no_such_program(&arguments.object, &object));
    }
    if arguments.part == Some(Part::Insns) {
        return instructions(&object, arguments, output);
    }
    let names =
        object.programs().iter().filter(|entry| arguments.prog.as_ref().is_none_or(|n| *n == entry.name));
    let programs: Vec<ProgramRow> = names.map(|entry| program_row(&object, entry)).collect();
    let maps = object.maps().iter().map(|map| MapRow {
        name: map.name.clone(),
        kind: map.kind.name(),
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags,
    });
    let inspection = Inspection {
        schema: "weir.v1.inspect",
        license: object.license().to_owned(),
        programs,
        maps: maps.collect(),
    };
    if output.is_json() {
        output.json(&inspection)?;
        return Ok(Code::Ok);
    }
    match arguments.part {
        Some(Part::Helpers) => output.text(helper_table(&inspection))?,
        Some(Part::Progs) => output.text(program_table(&inspection))?,
        Some(Part::Maps) => output.text(map_table(&inspection))?,
        Some(Part::Insns) | None => {
            output.text(format_args!("{}\n\n{}", program_table(&inspection), map_table(&inspection)))?;
        }
    }
    for map in object.unsupported_maps() {
        output.note(format_args!("map {} cannot be created: {}", map.name, map.reason));
    }
    Ok(Code::Ok)
}

fn program_row(object: &Object, entry: &weir_object::ProgramEntry) -> ProgramRow {
    let mut row = ProgramRow {
        name: entry.name.clone(),
        section: entry.section.clone(),
        kind: entry.kind.map(|kind| kind.kind.name()),
        autoload: entry.autoload,
        insns: None,
        helpers: BTreeSet::new(),
        maps: BTreeSet::new(),
        error: None,
    };
    match object.program(&entry.name) {
        Err(error) => row.error = Some(error.to_string()),
        Ok(program) => {
            row.insns = Some(program.insns.len());
            for insn in &program.insns {
                match *insn {
                    Insn::Call { helper } => {
                        let name = Helper::new(helper).map(|helper| helper.name().to_owned());
                        let lacking = || match helper_name(helper) {
                            Some(name) => format!("bpf_{name} (not in weir)"),
                            None => format!("helper {helper} (not in weir)"),
                        };
                        row.helpers.insert(name.unwrap_or_else(lacking));
                    }
                    Insn::CallKfunc { btf_id, .. } => {
                        let name = Kfunc::new(btf_id).map(|kfunc| kfunc.name().to_owned());
                        row.helpers.insert(name.unwrap_or_else(|| format!("kfunc {btf_id} (not in weir)")));
                    }
                    Insn::LoadImm64 { value: Imm64::Map(map) | Imm64::MapValue { map, .. }, .. } => {
                        row.maps.extend(program.maps.get(map as usize).map(|map| map.name.clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    row
}

fn program_table(inspection: &Inspection) -> String {
    let rows = inspection.programs.iter().map(|program| {
        vec![
            program.name.clone(),
            program.section.clone(),
            program.kind.unwrap_or("-").to_owned(),
            program.maps.iter().cloned().collect::<Vec<_>>().join(" "),
            match (&program.error, program.insns) {
                (Some(error), _) => error.clone(),
                (None, insns) => insns.unwrap_or_default().to_string(),
            },
        ]
    });
    table(&["program", "section", "type", "maps", "insns"], 4, rows.collect())
}

fn map_table(inspection: &Inspection) -> String {
    let rows = inspection.maps.iter().map(|map| {
        vec![
            map.name.clone(),
            map.kind.to_owned(),
            map.key_size.to_string(),
            map.value_size.to_string(),
            map.max_entries.to_string(),
            format!("{:#x}", map.flags),
        ]
    });
    table(&["map", "type", "key B", "value B", "max entries", "flags"], 2, rows.collect())
}

fn helper_table(inspection: &Inspection) -> String {
    let rows = inspection.programs.iter().map(|program| {
        vec![program.name.clone(), program.helpers.iter().cloned().collect::<Vec<_>>().join(" ")]
    });
    table(&["program", "helpers"], 2, rows.collect())
}

/// The listing of each program, source lines between.
fn instructions(object: &Object, arguments: &Arguments, output: &Output) -> Done {
    let mut listings = Vec::new();
    for entry in object.programs() {
        if arguments.prog.as_ref().is_some_and(|name| *name != entry.name) || entry.kind.is_none() {
            continue;
        }
        let program = object
            .program(&entry.name)
            .with_context(|| arguments.object.display().to_string())
            .map_err(|error| Failure::new(Code::Rejected, error))?;
        if output.is_json() {
            listings.push(serde_json::json!({ "program": entry.name, "insns": listing(&program) }));
            continue;
        }
        output.text(format_args!("{}:", entry.name))?;
        let slots = program.insns.iter().enumerate();
        for (slot, insn) in slots.filter(|(_, insn)| **insn != Insn::SecondHalf) {
            if let Some(line) = program.lines.iter().find(|line| line.slot == slot) {
                output.text(format_args!("; {} @ {}:{}", line.text.trim(), line.file, line.line))?;
            }
            output.text(format_args!("{slot:4}: {insn}"))?;
        }
    }
    if output.is_json() {
        output.json(&listings)?;
    }
    Ok(Code::Ok)
}

/// Each instruction by its slot, with the source line that begins at it.
fn listing(program: &Program) -> Vec<serde_json::Value> {
    let slots = program.insns.iter().enumerate().filter(|(_, insn)| **insn != Insn::SecondHalf);
    let rows = slots.map(|(slot, insn)| {
        let line = program.lines.iter().find(|line| line.slot == slot);
        let source = line.map(
            |line| serde_json::json!({ "file": *line.file, "line": line.line, "text": line.text.trim() }),
        );
        serde_json::json!({ "slot": slot, "insn": insn.to_string(), "source": source })
    });
    rows.collect()
}
