//! Compares our verifier with the kernel's on the kernel's own verifier tests.
//!
//!     tests/oracle/selftests/build.sh LINUX_6.1 LINUX_6.12 OUT > cases.jsonl
//!     cargo run -p weir-oracle --bin selftests -- cases.jsonl [FAMILY…]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use weir_oracle::selftests::{Class, Judged, Ours, judge, read, reason};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else { bail!("usage: selftests CASES.jsonl [FAMILY…]") };
    let families: Vec<String> = arguments.collect();
    let text = std::fs::read(&file).context(file)?;
    let cases = read(&String::from_utf8_lossy(&text))?;
    let wanted = |family: &String| families.is_empty() || families.contains(family);
    let judged: Vec<Judged> = cases.into_iter().filter(|case| wanted(&case.family)).map(judge).collect();
    for judged in &judged {
        show(judged);
    }
    summary(&judged);
    Ok(())
}

/// A line or two on a case that is not plain agreement.
fn show(Judged { case, ours, class }: &Judged) {
    let plain = matches!(class, Class::BothAccept | Class::BothRefuse | Class::NotAsked);
    let asked = std::env::var_os("WEIR_OWN_WORDS").is_some();
    if plain || *class == Class::BothRefuseOwnWords && !asked {
        return;
    }
    println!("{class}: {}: {}", case.family, case.name);
    match ours {
        Ours::Accepts(Some(answer)) => println!("    we accept, and it answers {answer}"),
        Ours::Accepts(None) => println!("    we accept"),
        Ours::Stops(why) => println!("    we accept, and it stops: {why}"),
        Ours::Refuses { rule, message, .. } => println!("    we: {message} [{rule}]"),
    }
    match (case.accepted, case.retval) {
        (true, Some(answer)) => println!("    kernel accepts, and it answers {answer}"),
        (true, None) => println!("    kernel accepts"),
        (false, _) => println!("    kernel: {}", reason(&case.log)),
    }
}

fn summary(judged: &[Judged]) {
    let mut families: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for Judged { case, class, .. } in judged.iter().filter(|judged| judged.class != Class::NotAsked) {
        let row = families.entry(&case.family).or_default();
        row.0 += usize::from(class.agrees());
        row.1 += 1;
    }
    println!();
    for (family, (agreed, all)) in &families {
        println!("{family:40} {agreed:5} of {all:5}");
    }
    println!();
    for class in Class::ALL {
        let count = judged.iter().filter(|judged| judged.class == class).count();
        println!("{class:40} {count:5}");
    }
    let (agreed, all) = families.values().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    println!("verdicts agree in {agreed} of {all}: {:.2}%", 100.0 * agreed as f64 / all.max(1) as f64);
}
