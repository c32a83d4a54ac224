//! The comparison for people: a line a program, then a line a corpus.

use std::fmt::Write as _;

use super::{Results, Row, Verdict};

/// What the rows come to.
struct Sum {
    programs: usize,
    kernel: usize,
    both: usize,
    weir_alone: usize,
    /// Of programs that both accept: logarithm of time ratios.
    ratios: Vec<f64>,
    walked: (u64, u64),
    worst: (f64, String),
}

/// Below this the clock of the kernel, whole microseconds, tells little.
const MICROS_MIN: f64 = 1.0;

fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> Sum {
    let mut sum = Sum {
        programs: 0,
        kernel: 0,
        both: 0,
        weir_alone: 0,
        ratios: vec![],
        walked: (0, 0),
        worst: (0.0, String::new()),
    };
    for row in rows {
        sum.programs += 1;
        if row.weir.micros > sum.worst.0 {
            sum.worst = (row.weir.micros, format!("{} {}", row.object, row.program));
        }
        match &row.kernel {
            Some(kernel) if kernel.accepted => {
                sum.kernel += 1;
                if row.weir.accepted {
                    sum.both += 1;
                    sum.walked.0 += kernel.processed;
                    sum.walked.1 += row.weir.processed;
                    sum.ratios.push((row.weir.micros / kernel.micros.max(MICROS_MIN)).ln());
                }
            }
            Some(_) if row.weir.accepted => sum.weir_alone += 1,
            _ => {}
        }
    }
    sum
}

impl Sum {
    fn geometric_mean(&self) -> f64 {
        (self.ratios.iter().sum::<f64>() / self.ratios.len().max(1) as f64).exp()
    }

    fn write(&self, name: &str, out: &mut String) {
        let percent = if self.kernel == 0 { 100.0 } else { 100.0 * self.both as f64 / self.kernel as f64 };
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "{name:<24}{:>9}{:>9}{:>9}{percent:>8.1}%{:>7}{:>12}{:>12}{:>8.2}{:>11.1}  {}",
            self.programs,
            self.kernel,
            self.both,
            self.weir_alone,
            self.walked.0,
            self.walked.1,
            self.geometric_mean(),
            self.worst.0 / 1000.0,
            self.worst.1
        );
    }
}

pub(super) fn text(results: &Results, verbose: bool) -> String {
    let mut out = String::new();
    let machine = &results.machine;
    let _ =
        writeln!(out, "{}, Linux {}, {}, {} build", machine.cpu, machine.kernel, machine.date, machine.build);
    let _ = writeln!(out, "\nwhat weir refuses and the kernel accepts:");
    for row in &results.rows {
        if !row.weir.accepted && row.kernel.as_ref().is_some_and(|kernel| kernel.accepted) {
            let _ = writeln!(out, "  {} {} [{}]: {}", row.object, row.program, row.kind, row.weir.reason);
        }
    }
    let _ = writeln!(
        out,
        "\n{:<24}{:>9}{:>9}{:>9}{:>9}{:>7}{:>12}{:>12}{:>8}{:>11}  slowest program of weir's",
        "corpus", "programs", "kernel", "weir too", "", "alone", "walked", "weir", "time ×", "worst ms"
    );
    let mut names: Vec<&str> = results.rows.iter().map(|row| row.corpus.as_str()).collect();
    names.dedup();
    for name in names {
        sum(results.rows.iter().filter(|row| row.corpus == name)).write(name, &mut out);
    }
    sum(results.rows.iter()).write("all", &mut out);
    if verbose {
        rows(&results.rows, &mut out);
    }
    out
}

fn rows(rows: &[Row], out: &mut String) {
    let _ = writeln!(
        out,
        "\n{:<60}{:<15}{:<8}{:>7}{:>6}{:>10}{:>10}{:>11}{:>11}  reasons",
        "program", "type", "by", "kernel", "weir", "walked", "weir", "µs", "weir"
    );
    let word = |verdict: &Verdict| if verdict.accepted { "yes" } else { "no" };
    for row in rows {
        let name = format!("{}/{} {}", row.corpus, row.object, row.program);
        let kernel = row.kernel.as_ref();
        let _ = writeln!(
            out,
            "{name:<60}{:<15}{:<8}{:>7}{:>6}{:>10}{:>10}{:>11.0}{:>11.0}  {}",
            row.kind,
            row.loader,
            kernel.map_or("–", word),
            word(&row.weir),
            kernel.map_or(0, |kernel| kernel.processed),
            row.weir.processed,
            kernel.map_or(0.0, |kernel| kernel.micros),
            row.weir.micros,
            [kernel.map_or("", |kernel| kernel.reason.as_str()), row.weir.reason.as_str()].join(" | ")
        );
    }
}
