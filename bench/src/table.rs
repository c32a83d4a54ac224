//! The figures for people.

use std::fmt::Write as _;

use crate::Results;
use crate::machine::Machine;

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Everything as text.
pub(crate) fn text(results: &Results) -> String {
    let mut out = heading(&results.machine, results.rounds, &results.load_after);
    if !results.programs.is_empty() {
        programs(results, &mut out);
    }
    if !results.pipelines.is_empty() {
        pipelines(results, &mut out);
    }
    out
}

/// Where the figures come from.
pub(crate) fn heading(machine: &Machine, rounds: usize, load_after: &str) -> String {
    let cores = weir_sys::affinity::ranges(&machine.cores);
    let Machine { cpu, kernel, date, build, load, jit_hardening, .. } = machine;
    format!(
        "{cpu}, cores {cores}, Linux {kernel}\n{date}, {build} build, medians of {rounds} rounds, load {load} \
         before and {load_after} after, bpf_jit_harden {jit_hardening}\n"
    )
}

fn programs(results: &Results, out: &mut String) {
    let _ = writeln!(out, "\nns a run: test run with repetitions; net: less the empty program's\n");
    let _ = writeln!(
        out,
        "{:<14}{:<11}{:>8}{:>9}{:>9}{:>8}{:>10}{:>11}{:>11}",
        "program", "type", "packets", "weir", "kernel", "ratio", "weir net", "kernel net", "ratio net"
    );
    for row in &results.programs {
        let _ = writeln!(
            out,
            "{:<14}{:<11}{:>8}{:>9.1}{:>9}{:>8}{:>10.1}{:>11}{:>11}",
            row.program,
            row.kind,
            row.packets,
            row.weir_ns,
            number(row.kernel_ns, 1),
            number(row.ratio, 2),
            row.weir_net_ns,
            number(row.kernel_net_ns, 1),
            number(row.ratio_net, 2)
        );
    }
}

fn pipelines(results: &Results, out: &mut String) {
    let _ = writeln!(out, "\nwhole pipelines, replayed from memory\n");
    let _ = writeln!(
        out,
        "{:<50}{:>8}{:>8}{:>14}{:>16}{:>9}",
        "pipeline", "workers", "Mpps", "Mpps a core", "range", "ns"
    );
    for row in &results.pipelines {
        let (low, high) = row.mpps_per_core_range;
        let _ = writeln!(
            out,
            "{:<50}{:>8}{:>8.2}{:>14.2}{:>16}{:>9.0}",
            row.pipeline,
            row.workers,
            row.mpps,
            row.mpps_per_core,
            format!("{low:.2}–{high:.2}"),
            row.ns_per_packet
        );
    }
}
