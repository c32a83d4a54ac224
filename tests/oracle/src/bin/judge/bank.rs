//! Every abstract operator on small words, and every deliberate bug.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use weir_oracle::mutants;
use weir_verifier::mutant::{Bug, CLASSES};
use weir_verifier::scalar::exhaustive::{Numbers, Operator, Tally};

use crate::Asked;

/// Most seconds that finding a bug may take.
const MUTANT_SECONDS: f64 = 60.0;

/// What came of a bug.
struct Found {
    bug: Bug,
    by: Option<String>,
    seconds: f64,
    /// Whether the certificate checker refuses a proof made with it.
    uncertified: bool,
}

impl Found {
    fn new(bug: Bug) -> Self {
        let start = Instant::now();
        let by = mutants::caught(bug);
        let seconds = start.elapsed().as_secs_f64();
        let uncertified = mutants::uncertified(bug).is_some();
        let by = by.filter(|_| seconds < MUTANT_SECONDS);
        Self { bug, by, seconds, uncertified }
    }

    fn show(&self) {
        let (class, known) = self.bug.class();
        let by = self.by.as_deref().unwrap_or("NOT FOUND");
        let refused = if self.uncertified { "refused" } else { "-" };
        let (name, class) = (format!("{:?}", self.bug), CLASSES[class - 1]);
        println!("  {name:22} {:6.2} s  {refused:11} {by}   [{class}: {known}]", self.seconds);
    }
}

pub(crate) fn mutants(asked: Asked) -> bool {
    println!(
        "Deliberate bugs of the verifier, and whether a case, a random program or a near-miss shows each"
    );
    if asked.each {
        println!(
            "  {:22} {:>8}  {:11} found by, and [class: where it was made]",
            "bug", "time", "certificate"
        );
    }
    let (mut all, mut classes) = (Vec::new(), BTreeMap::<usize, [usize; 3]>::new());
    for bug in mutants::all() {
        let found = Found::new(bug);
        let row = classes.entry(bug.class().0).or_default();
        row[0] += 1;
        row[1] += usize::from(found.by.is_some());
        row[2] += usize::from(found.uncertified);
        if asked.each {
            found.show();
        }
        all.push(found);
    }
    if !asked.each {
        println!("  {:44} {:>6} {:>6} {:>20}", "class", "bugs", "found", "by certificate alone");
        for (class, [bugs, found, certificate]) in &classes {
            println!("  {:44} {bugs:6} {found:6} {certificate:20}", CLASSES[class - 1]);
        }
    }
    let survivors: Vec<Bug> = all.iter().filter(|found| found.by.is_none()).map(|found| found.bug).collect();
    let certificate = all.iter().filter(|found| found.uncertified).count();
    let slowest = all.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let slowest = slowest.map_or(String::new(), |found| format!("{:?} in {:.2} s", found.bug, found.seconds));
    println!(
        "  found                   {} of {}, the slowest {slowest}",
        all.len() - survivors.len(),
        all.len()
    );
    println!(
        "  by certificate alone    {certificate}: the second checker refuses the proof, and nothing is run"
    );
    println!("  not found               {survivors:?}");
    survivors.is_empty()
}

/// Every operator, on as many threads as are asked for.
fn tallies(asked: Asked, numbers: &Numbers, all: &[Operator]) -> Vec<(Operator, Tally)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tallies = Vec::new();
        while let Some(operator) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            tallies.push((*operator, operator.tally(numbers, asked.one_of)));
        }
        tallies
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

pub(crate) fn operators(asked: Asked) -> bool {
    let start = Instant::now();
    let (numbers, all) = (Numbers::default(), Operator::all());
    let tallies = tallies(asked, &numbers, &all);
    let some =
        if asked.one_of > 1 { format!("one pair of {}", asked.one_of) } else { "all pairs".to_owned() };
    println!("Abstract operators on {some} of small words, with every word that they stand for");
    println!(
        "  numbers (ranges, known bits, low half) have 4 bits with a half of 2: there are {};",
        numbers.count()
    );
    println!(
        "  \"64\" is the whole word and \"32\" its half. Known bits alone (tnum) have {} bits.",
        Operator::tnum_bits(asked.one_of)
    );
    println!(
        "  Of quotients, remainders and shifts it is known on purpose what the kernel knows, which is little."
    );
    println!("  {:20} {:>5} {:>10} {:>8} {:>9}", "operator", "bits", "cases", "unsound", "optimal");
    let (mut unsound, mut cases, mut perfect) = (0, 0, 0);
    for operator in &all {
        let Some((_, tally)) = tallies.iter().find(|(found, _)| found == operator) else { continue };
        let Tally { bits, cases: tried, optimal, unsound: wrong, example } = tally;
        let share = 100.0 * *optimal as f64 / (*tried).max(1) as f64;
        let all_optimal = optimal == tried;
        perfect += usize::from(all_optimal);
        if asked.each || !all_optimal {
            println!("  {:20} {bits:5} {tried:10} {wrong:8} {share:8.2}%", operator.name());
        }
        if let Some(example) = example {
            println!("    UNSOUND: {example}");
        }
        (unsound, cases) = (unsound + wrong, cases + tried);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("  as tight as can be      {perfect} of {} operators, in every case", all.len());
    println!("  cases                   {cases} in {seconds:.0} s");
    println!("  unsound                 {unsound}");
    unsound == 0
}
