//! Judges the verifier.
//!
//!     judge soundness   [--programs N] [--seed S] [--threads T]
//!     judge near-misses [--programs N] [--seed S] [--threads T] [--no-kernel]
//!     judge operators   [--one-of N] [--threads T] [--each]
//!     judge mutants     [--each]
//!     judge show        --seed S
//!     judge show-miss   --seed S
//!
//! `soundness`: generated programs run in the checked interpreter, every step beside the verifier's states;
//! it ends with seed, acceptance rate and the share of instruction forms that were run. `near-misses`:
//! programs wrong by one edit, with the kernel's verdict beside ours. `operators`: every abstract operator on
//! every number of a small word, or on one pair of N. `mutants`: every deliberate bug of the verifier, what
//! found it, and whether the certificate checker alone would have. `--each` prints every row, not only those
//! that say something. `show`, `show-miss`: a program of either. `scripts/soundness.sh` runs all.

mod bank;
mod misses;
mod soundness;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use weir_oracle::generate::version;
use weir_oracle::nearmiss::{self, NearMiss};

/// What the command line says.
#[derive(Clone, Copy)]
struct Asked {
    programs: u64,
    one_of: usize,
    seed: u64,
    threads: u64,
    kernel: bool,
    each: bool,
}

impl Asked {
    /// Which programs were made, and how long it took.
    fn head(&self, seconds: f64) {
        let (from, to) = (self.seed, self.seed + self.programs);
        println!(
            "  generator {:016x}, seeds {from}..{to}, {} programs in {seconds:.0} s",
            version(),
            self.programs
        );
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().context("soundness, near-misses, mutants, operators or show?")?;
    let mut asked = Asked { programs: 1_000_000, one_of: 1, seed: 1, threads: 2, kernel: true, each: false };
    while let Some(flag) = arguments.next() {
        let mut number = || -> Result<u64> { Ok(arguments.next().context("a number")?.parse()?) };
        match flag.as_str() {
            "--programs" => asked.programs = number()?,
            "--seed" => asked.seed = number()?,
            "--threads" => asked.threads = number()?.max(1),
            "--one-of" => asked.one_of = number()?.max(1) as usize,
            "--each" => asked.each = true,
            "--no-kernel" => asked.kernel = false,
            other => bail!("what is {other}?"),
        }
    }
    let good = match what.as_str() {
        "soundness" => soundness::soundness(asked),
        "near-misses" => misses::near_misses(asked),
        "mutants" => bank::mutants(asked),
        "operators" => bank::operators(asked),
        "show-miss" => {
            let miss = NearMiss::random(asked.seed);
            let answer = nearmiss::judge(&miss, None, 20_000);
            println!("{answer:?}\n{}", nearmiss::report(&miss));
            true
        }
        "version" => {
            println!("generator {:016x}", version());
            true
        }
        "show" => {
            println!("{}", weir_oracle::mutants::show(asked.seed));
            true
        }
        other => bail!("soundness, near-misses, mutants, operators or show, not {other}"),
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does a part of the seeds on each thread.
fn divided<T: Send>(asked: Asked, part: impl Fn(&mut dyn Iterator<Item = u64>) -> T + Sync) -> Vec<T> {
    let part = &part;
    std::thread::scope(|scope| {
        let seeds =
            |thread| (asked.seed + thread..asked.seed + asked.programs).step_by(asked.threads as usize);
        let threads = (0..asked.threads).map(|thread| scope.spawn(move || part(&mut seeds(thread))));
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}
