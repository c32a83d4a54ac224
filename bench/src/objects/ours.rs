//! weir's side, and the kernel given what weir's loader made.

use std::sync::Arc;
use std::time::Instant;

use weir_ebpf::abi::MapKind;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_object::{Object, ProgramEntry};
use weir_tests::kernel::{create_maps, load_program};
use weir_verifier::{Options, verify as prove};

use super::Verdict;

/// `BPF_LOG_STATS`.
const LOG_STATS: u32 = 4;

pub(super) fn refused(reason: String) -> Verdict {
    Verdict { accepted: false, processed: 0, micros: 0.0, reason }
}

/// The type to take a program as: what the judge took it for, or what its section says, or a guess.
pub(super) fn kind(asked: Option<u32>, entry: &ProgramEntry, otherwise: u32) -> Option<ProgramType> {
    let of_number = |number: u32| ProgramType::ALL.iter().copied().find(|kind| kind.number() == number);
    match (asked, entry.kind) {
        (Some(asked), _) => of_number(asked),
        (None, Some(found)) => Some(found.kind),
        (None, None) if is_elsewhere(&entry.section) => None,
        (None, None) => of_number(otherwise),
    }
}

/// Sections whose programs see no packets, or as a type that weir does not run.
fn is_elsewhere(section: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "kprobe",
        "kretprobe",
        "tracepoint",
        "raw_tracepoint",
        "raw_tp",
        "tp/",
        "perf_event",
        "fentry",
        "fexit",
        "sockops",
        "sk_skb",
        "sk_msg",
        "cgroup",
        "lwt",
        "lsm",
        "iter",
        "struct_ops",
        "uprobe",
        "uretprobe",
        "freplace",
        "flow_dissector",
        "sk_lookup",
        "sk_reuseport",
        "from-sock",
        "syscall",
        "fmod_ret",
        "tp_btf",
    ];
    PREFIXES.iter().any(|prefix| section.starts_with(prefix))
}

/// Gives maps of maps the inner shape that the judge gives them, where the loader was to give it.
pub(super) fn prepare_maps(object: &mut Object) {
    let outer = |spec: &&Arc<MapSpec>| {
        matches!(spec.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) && spec.inner.is_none()
    };
    let names: Vec<String> = object.maps().iter().filter(outer).map(|spec| spec.name.clone()).collect();
    for name in names {
        // It is there: it was just listed.
        let _ = object.set_inner(&name, MapSpec::new("inner", MapKind::Array, 4, 4, 1));
    }
}

/// What weir says of a program: the quickest of three, as verifying what was just verified is warm.
pub(super) fn verify(object: &Object, name: &str, kind: ProgramType) -> (Verdict, Option<Arc<Program>>) {
    let program = match object.program_as(name, kind) {
        Ok(program) => program,
        Err(error) => return (refused(error.to_string()), None),
    };
    let mut best = f64::INFINITY;
    let mut answer = Err(String::new());
    for _ in 0..3 {
        let begin = Instant::now();
        let proven = prove(Arc::clone(&program), &Options::default());
        best = best.min(begin.elapsed().as_secs_f64() * 1e6);
        answer = match proven {
            Ok(verified) => Ok(verified.stats().processed),
            Err(reject) => Err(format!("insn {}: {} [{}]", reject.slot, reject.message, reject.rule.name())),
        };
        if best > 100_000.0 {
            break;
        }
    }
    let verdict = match answer {
        Ok(processed) => Verdict { accepted: true, processed, micros: best, reason: String::new() },
        Err(reason) => Verdict { accepted: false, processed: 0, micros: best, reason },
    };
    (verdict, Some(program))
}

/// What the kernel says of the same instructions; `None` when its maps cannot be made here.
pub(super) fn ask_kernel(program: &Program) -> Option<Verdict> {
    let mut specs = program.maps.clone();
    for spec in &mut specs {
        if spec.max_entries == 0 {
            Arc::make_mut(spec).max_entries = guess_entries(spec.kind.name());
        }
    }
    let maps = match create_maps(&specs) {
        Ok(maps) => maps,
        Err(error) => return Some(refused(format!("not asked: {error:#}"))),
    };
    let mut verdict = None;
    for level in [LOG_STATS, LOG_STATS | 1] {
        match load_program(program, &maps, level) {
            Ok(loaded) => verdict = Some(stats(loaded.log(), true)),
            Err(error) => {
                let log = error.downcast_ref::<weir_sys::bpf::LoadError>().map(|error| error.log.clone());
                verdict = Some(stats(&log.unwrap_or_else(|| error.to_string()), false));
            }
        }
        if verdict.as_ref().is_some_and(|verdict| verdict.accepted) {
            break;
        }
    }
    verdict
}

fn guess_entries(kind: &str) -> u32 {
    if kind.contains("ringbuf") { 4096 } else { 16 }
}

/// Reads the kernel's statistics, and the line before them.
fn stats(log: &str, accepted: bool) -> Verdict {
    let number = |words: &str| {
        let line = log.lines().rev().find_map(|line| line.split_once(words).map(|(_, rest)| rest))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let said = |line: &&str| {
        let statistics = ["processed ", "verification time", "stack depth"];
        !line.is_empty() && !statistics.iter().any(|prefix| line.starts_with(prefix))
    };
    let reason = if accepted { "" } else { log.lines().rfind(said).unwrap_or_default() };
    Verdict {
        accepted,
        processed: number("processed ").unwrap_or(0),
        micros: number("verification time ").unwrap_or(0) as f64,
        reason: reason.to_owned(),
    }
}
