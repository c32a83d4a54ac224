//! What a case's program answers here to the packet that the kernel ran it on: its maps hold what the
//! kernel's test puts into them, prog arrays the programs that the test or the object names.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use weir_ebpf::abi::{Helper, MapKind, Support};
use weir_ebpf::isa::{Imm64, Insn, Reg, Source, Width};
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program};
use weir_maps::Map;
use weir_verifier::{Options, Verified, verify};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

use super::Case;

/// Helpers whose answers differ from run to run.
const BY_CHANCE: [Helper; 7] = [
    Helper::GetPrandomU32,
    Helper::KtimeGetNs,
    Helper::KtimeGetBootNs,
    Helper::KtimeGetCoarseNs,
    Helper::KtimeGetTaiNs,
    Helper::Jiffies64,
    Helper::GetSmpProcessorId,
];

/// The answer; `None` when the kernel gave none, or when it is a matter of chance.
pub(super) fn answer(case: &Case, verified: Verified) -> Result<Option<u32>> {
    if case.retval.is_none() || by_chance(case, &verified) || !runs(&verified) {
        return Ok(None);
    }
    let maps = verified.program().maps.iter().map(|spec| Ok(Map::create(spec, 1)?));
    let maps: Vec<Arc<Map>> = maps.collect::<Result<_>>()?;
    let main = verified.program().clone();
    let mut programs = vec![Arc::new(Loaded::new(verified, maps.clone(), Engine::Interpreter)?)];
    for (spec, map) in main.maps.iter().zip(&maps) {
        fill(case, &main, spec, map, &maps, &mut programs)?;
    }
    let table = ProgramTable::new(programs.clone());
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0).with_table(&table);
    let input = Input::new(&case.packet()?);
    let output = test_run(main.kind, &input, &mut run, |run, context| programs[0].run(run, context))?;
    match run.fault() {
        Some(fault) => bail!("stopped: {fault}"),
        None => Ok(Some(output.retval)),
    }
}

/// Whether weir runs programs that do this, and does not only prove them.
fn runs(verified: &Verified) -> bool {
    let helper = |insn: &Insn| match insn {
        Insn::Call { helper } => Helper::new(*helper),
        _ => None,
    };
    let program = verified.program();
    let missing = program.insns.iter().filter_map(helper).any(Helper::proven_only);
    program.kind.support() != Support::Proven && !missing
}

fn by_chance(case: &Case, verified: &Verified) -> bool {
    let chance = |insn: &Insn| match insn {
        Insn::Call { helper } => Helper::new(*helper).is_some_and(|helper| BY_CHANCE.contains(&helper)),
        _ => false,
    };
    let pointer = case.says_pointer() || !verified.lints().is_empty();
    // What lies on the stack before it is written is chance too; weir clears it.
    let unwritten = verified.facts().functions.iter().any(|function| function.reads_unwritten);
    pointer || unwritten || verified.program().insns.iter().any(chance)
}

/// Puts into a map what the kernel's test has in it.
fn fill(
    case: &Case,
    main: &Arc<Program>,
    spec: &Arc<MapSpec>,
    map: &Map,
    maps: &[Arc<Map>],
    programs: &mut Vec<Arc<Loaded>>,
) -> Result<()> {
    let mut slots: Vec<(u32, Program)> = Vec::new();
    let name = if case.is_of_table() { spec.name.as_str() } else { "" };
    match (name, &spec.initial) {
        ("map_array_48b" | "map_array_ro" | "map_array_wo" | "map_array_small", Initial::None) => {
            let mut value = [0u8; 48];
            value[..4].copy_from_slice(&28u32.to_le_bytes());
            value[28..32].copy_from_slice(&0xabcd_ef12_u32.to_le_bytes());
            let value = &value[..(spec.value_size as usize).min(48)];
            map.control().update(&0u32.to_le_bytes(), value, 0)?;
        }
        ("prog1" | "prog2", Initial::None) => {
            let first = if spec.name == "prog1" { 0 } else { 7 };
            let index = main.maps.iter().position(|other| other.name == spec.name).unwrap_or_default();
            slots.push((first, dummy(main, None, 42)));
            slots.push((1, dummy(main, Some((index as u32, 1)), 41)));
            slots.push((2, dummy(main, None, 24)));
        }
        (_, Initial::Programs(names)) => {
            for (slot, name) in names {
                slots.push((*slot, case.program_named(name)?));
            }
        }
        _ => return Ok(()),
    }
    debug_assert!(slots.is_empty() || spec.kind == MapKind::ProgArray);
    for (slot, program) in slots {
        let name = program.name.clone();
        let verified = verify(Arc::new(program), &Options::default()).ok().context(name)?;
        programs.push(Arc::new(Loaded::new(verified, maps.to_vec(), Engine::Interpreter)?));
        map.control().set_program(slot, programs.len() as u32 - 1)?;
    }
    Ok(())
}

/// A program that goes on at an index of a prog array, if told to, and answers a number.
fn dummy(main: &Program, on: Option<(u32, i32)>, answer: i32) -> Program {
    let set = |dst, imm| Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) };
    let mut insns = Vec::new();
    if let Some((map, index)) = on {
        insns.push(set(Reg::R3, index));
        insns.push(Insn::LoadImm64 { dst: Reg::R2, value: Imm64::Map(map) });
        insns.push(Insn::SecondHalf);
        insns.push(Insn::Call { helper: Helper::TailCall as u32 });
    }
    insns.extend([set(Reg::R0, answer), Insn::Exit]);
    let mut program = Program::from_insns("dummy", main.kind, insns);
    program.maps = main.maps.clone();
    program
}
