//! Near-misses, with the kernel's verdict beside ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use weir_oracle::kernel::{create_maps, skip};
use weir_oracle::nearmiss::{self, Edit, NearMiss, explained};

use crate::{Asked, divided};

#[derive(Default)]
struct Misses {
    /// By edit: accepted by both, refused by both, too large.
    rows: BTreeMap<Edit, [u64; 3]>,
    checks: u64,
    /// The kernel alone refuses: by the reason we know and what it says, how many and the first seed.
    sharper: BTreeMap<(&'static str, String), (u64, u64)>,
    /// Not given to the kernel, since this one crashes on such programs: how many and the first seed.
    held_back: Option<(u64, u64)>,
    unexplained: Vec<(u64, String)>,
    /// We alone refuse, by rule.
    stricter: BTreeMap<String, (u64, u64)>,
    wrong: Vec<(u64, String)>,
}

pub(crate) fn near_misses(asked: Asked) -> bool {
    let start = Instant::now();
    let kernel = asked.kernel && !skip("near-misses in the kernel");
    let parts = divided(asked, |seeds| {
        let specs: Vec<_> = weir_oracle::generate::specs().into_iter().map(Arc::new).collect();
        let maps = kernel.then(|| create_maps(&specs).expect("the maps of near-misses"));
        let mut found = Misses::default();
        for seed in seeds {
            let miss = NearMiss::random(seed);
            let row = found.rows.entry(miss.edit).or_default();
            match nearmiss::judge(&miss, maps.as_deref(), 20_000) {
                nearmiss::Outcome::Accepted { checks } => {
                    row[0] += 1;
                    found.checks += checks;
                }
                nearmiss::Outcome::Refused(_) => row[1] += 1,
                nearmiss::Outcome::TooLarge => row[2] += 1,
                nearmiss::Outcome::NotOffered => found.held_back.get_or_insert((0, seed)).0 += 1,
                nearmiss::Outcome::KernelRefuses(why) => match explained(&why) {
                    Some(reason) => {
                        found.sharper.entry((reason, wordless(&why))).or_insert((0, seed)).0 += 1;
                    }
                    None => found.unexplained.push((seed, why)),
                },
                nearmiss::Outcome::KernelAccepts(rule, message) => {
                    let key = format!("{rule}: {}", wordless(&message));
                    let row = found.stricter.entry(key).or_insert((0, seed));
                    row.0 += 1;
                }
                nearmiss::Outcome::Wrong(why) => found.wrong.push((seed, why)),
            }
        }
        found
    });
    let mut all = Misses::default();
    for part in parts {
        for (edit, row) in part.rows {
            let sum = all.rows.entry(edit).or_default();
            sum.iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
        }
        all.checks += part.checks;
        for (why, (count, seed)) in part.sharper {
            all.sharper.entry(why).or_insert((0, seed)).0 += count;
        }
        for (why, (count, seed)) in part.stricter {
            all.stricter.entry(why).or_insert((0, seed)).0 += count;
        }
        if let Some((count, seed)) = part.held_back {
            all.held_back.get_or_insert((0, seed)).0 += count;
        }
        all.unexplained.extend(part.unexplained);
        all.wrong.extend(part.wrong);
    }
    show(asked, kernel, &all, start.elapsed().as_secs_f64())
}

/// A message without its numbers.
fn wordless(message: &str) -> String {
    message.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn show(asked: Asked, kernel: bool, all: &Misses, seconds: f64) -> bool {
    println!(
        "Near-misses: such programs, wrong by one edit; what is accepted runs in the checked interpreter"
    );
    asked.head(seconds);
    println!("  {:26} {:>10} {:>10} {:>10}", "edit", "accepted", "refused", "too large");
    for (edit, [accepted, refused, large]) in &all.rows {
        println!("  {edit:26} {accepted:10} {refused:10} {large:10}");
    }
    println!("  steps compared          {}", all.checks);
    println!("  runs gone wrong         {}", all.wrong.len());
    if !kernel {
        println!("  the kernel was not asked: that takes CAP_BPF");
    } else {
        let sharper: u64 = all.sharper.values().map(|(count, _)| count).sum();
        let stricter: u64 = all.stricter.values().map(|(count, _)| count).sum();
        let share = 100.0 * stricter as f64 / asked.programs.max(1) as f64;
        let unexplained = all.unexplained.len();
        if let Some((count, seed)) = all.held_back {
            println!("  not offered             {count} (seed {seed}): this kernel crashes on such programs");
        }
        println!("  weir alone accepts      {sharper} for a reason that is known, {unexplained} for none");
        for ((why, says), (count, seed)) in &all.sharper {
            println!("    {count:6} (seed {seed}) {why}: {says}");
        }
        println!("  weir alone refuses      {stricter} ({share:.3}%)");
        for (why, (count, seed)) in &all.stricter {
            println!("    {count:6} (seed {seed}) {why}");
        }
    }
    for (seed, why) in all.unexplained.iter().take(5) {
        println!("UNEXPLAINED {seed}: the kernel says {why}\n{}", nearmiss::report(&NearMiss::random(*seed)));
    }
    for (seed, why) in all.wrong.iter().take(5) {
        println!("WRONG {seed}: {why}\n{}", nearmiss::report(&NearMiss::random(*seed)));
    }
    all.wrong.is_empty() && all.unexplained.is_empty()
}
