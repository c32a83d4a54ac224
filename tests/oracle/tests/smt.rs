//! The verifier's numbers at 64 bits, by z3: `smt/numbers.smt2` says what the operators do, `smt/theorems.smt2` what
//! holds of that for every word. That the first says what the code does is tried here on operands of all kinds.

use std::io::Write as _;
use std::process::{Command, Stdio};

use weir_ebpf::isa::AluOp;
use weir_oracle::generate::Random;
use weir_verifier::mutant::{Bug, with};
use weir_verifier::scalar::exhaustive::{going_round, of_bits, of_spans};
use weir_verifier::scalar::{Bounds, Tnum};

const NUMBERS: &str = include_str!("../smt/numbers.smt2");
const THEOREMS: &str = include_str!("../smt/theorems.smt2");

/// What z3 answers; `None`, and a sentence, where there is none.
fn z3(input: &str) -> Option<String> {
    let piped = Command::new("z3").arg("-in").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = piped else {
        println!("skipped: needs z3 (scripts/install-tools.sh)");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("z3's answer");
    writer.join().expect("no panic").expect("z3 reads all");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn theorems_hold_for_every_64_bit_word() {
    let mut blocks = THEOREMS.split("\n; ").filter(|block| !block.starts_with(';'));
    let head = THEOREMS.split("\n; theorem:").next().unwrap_or_default();
    let blocks: Vec<&str> = blocks
        .by_ref()
        .filter(|block| block.starts_with("theorem:") || block.starts_with("control:"))
        .collect();
    assert!(blocks.len() >= 30, "{} blocks", blocks.len());
    // Theorems are dealt out to two processes.
    let script = |part: &[&&str]| -> String {
        part.iter().map(|block| format!("{NUMBERS}{head}\n; {block}\n(check-sat)\n(reset)\n")).collect()
    };
    let (odd, even): (Vec<_>, Vec<_>) = blocks.iter().enumerate().partition(|(index, _)| index % 2 == 1);
    let parts = [odd, even].map(|part| part.into_iter().map(|(_, block)| block).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        let threads = parts.map(|part| {
            scope.spawn(move || {
                let Some(answers) = z3(&script(&part)) else { return };
                let answers: Vec<&str> = answers.lines().collect();
                assert_eq!(answers.len(), part.len(), "{answers:?}");
                for (block, answer) in part.iter().zip(answers) {
                    let wanted = if block.starts_with("control:") { "sat" } else { "unsat" };
                    assert_eq!(answer, wanted, "{block}");
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().expect("as said"));
    });
}

/// Operands of one evaluation: four words of any kind.
type Words = [u64; 4];
/// A definition: its name, how many of the operands it takes, and what the code answers.
type Row = (&'static str, usize, fn(Words) -> u64);

fn tnums([a, am, b, bm]: Words) -> (Tnum, Tnum) {
    (Tnum::new(a, am), Tnum::new(b, bm))
}

fn bits(op: AluOp, words: Words) -> Tnum {
    let (l, r) = tnums(words);
    of_bits(op, l, r)
}

fn spans(op: AluOp, [a, b, c, d]: Words) -> Bounds<64> {
    of_spans(op, (a, b), (c, d)).expect("spans")
}

fn shifted([a, b, k, _]: Words) -> Bounds<64> {
    of_spans(AluOp::Lsh, (a, b), (k, k)).expect("a span")
}

/// Definitions of tnums: value and mask of each are apart.
const OF_TNUMS: &[Row] = &[
    ("add_value", 4, |words| bits(AluOp::Add, words).value()),
    ("add_mask", 4, |words| bits(AluOp::Add, words).mask()),
    ("sub_value", 4, |words| bits(AluOp::Sub, words).value()),
    ("sub_mask", 4, |words| bits(AluOp::Sub, words).mask()),
    ("and_value", 4, |words| bits(AluOp::And, words).value()),
    ("and_mask", 4, |words| bits(AluOp::And, words).mask()),
    ("or_value", 4, |words| bits(AluOp::Or, words).value()),
    ("or_mask", 4, |words| bits(AluOp::Or, words).mask()),
    ("xor_value", 4, |words| bits(AluOp::Xor, words).value()),
    ("xor_mask", 4, |words| bits(AluOp::Xor, words).mask()),
    ("join_value", 4, |words| tnums(words).0.join(tnums(words).1).value()),
    ("join_mask", 4, |words| tnums(words).0.join(tnums(words).1).mask()),
    ("meets", 4, |words| tnums(words).0.meet(tnums(words).1).is_some().into()),
    ("next", 3, |words| tnums(words).0.next(words[2]).unwrap_or_default()),
    ("has_next", 3, |words| tnums(words).0.next(words[2]).is_some().into()),
    ("has", 3, |words| tnums(words).0.contains(words[2]).into()),
];

/// Definitions of spans.
const OF_SPANS: &[Row] = &[
    ("range_value", 2, |[lo, hi, ..]| Tnum::of_range(lo, hi).value()),
    ("range_mask", 2, |[lo, hi, ..]| Tnum::of_range(lo, hi).mask()),
    ("span_add_umin", 4, |words| spans(AluOp::Add, words).umin()),
    ("span_add_umax", 4, |words| spans(AluOp::Add, words).umax()),
    ("span_add_smin", 4, |words| spans(AluOp::Add, words).smin() as u64),
    ("span_add_smax", 4, |words| spans(AluOp::Add, words).smax() as u64),
    ("span_sub_umin", 4, |words| spans(AluOp::Sub, words).umin()),
    ("span_sub_umax", 4, |words| spans(AluOp::Sub, words).umax()),
    ("span_sub_smin", 4, |words| spans(AluOp::Sub, words).smin() as u64),
    ("span_sub_smax", 4, |words| spans(AluOp::Sub, words).smax() as u64),
];

/// Definitions of a word and a width, and of a span and an amount.
const OF_OTHERS: &[Row] = &[
    ("round_umin", 2, |[lo, width, ..]| going_round(lo, width).umin()),
    ("round_umax", 2, |[lo, width, ..]| going_round(lo, width).umax()),
    ("round_smin", 2, |[lo, width, ..]| going_round(lo, width).smin() as u64),
    ("round_smax", 2, |[lo, width, ..]| going_round(lo, width).smax() as u64),
];

const OF_SHIFTS: &[Row] = &[
    ("span_lsh_umin", 3, |words| shifted(words).umin()),
    ("span_lsh_umax", 3, |words| shifted(words).umax()),
];

fn span(random: &mut Random) -> [u64; 2] {
    let (one, two) = (random.value(), random.value());
    // Both on the side of the first.
    let two = two & (u64::MAX >> 1) | one & (1 << 63);
    [one.min(two), one.max(two)]
}

#[test]
fn the_definitions_say_what_the_code_does() {
    assert_eq!(disagreements(200).unwrap_or_default(), Vec::<String>::new());
    // And would be found not to, if the code did something else.
    for bug in [Bug::AddNoCarry, Bug::SubOverflow, Bug::LshOverflow] {
        let found = with(bug, || disagreements(40));
        assert!(found.is_none_or(|found| !found.is_empty()), "{bug:?} makes no difference");
    }
}

/// Where definitions and code differ, on so many operands of each kind; `None` without z3.
fn disagreements(operands: usize) -> Option<Vec<String>> {
    let mut random = Random::new(64);
    let (mut script, mut wanted) = (NUMBERS.to_owned(), Vec::new());
    for _ in 0..operands {
        let tnum: Words = std::array::from_fn(|_| random.value());
        let tnum = [tnum[0] & !tnum[1], tnum[1], tnum[2], tnum[3]];
        let second = [tnum[0], tnum[1], tnum[2] & !tnum[3], tnum[3]];
        let ([a, b], [c, d]) = (span(&mut random), span(&mut random));
        let amount = random.value() % 64;
        let groups =
            [(OF_TNUMS, second), (OF_SPANS, [a, b, c, d]), (OF_OTHERS, tnum), (OF_SHIFTS, [a, b, amount, 0])];
        for (rows, words) in groups {
            for (name, arity, code) in rows {
                // What is no member has no number.
                if *name == "next" && tnums(words).0.next(words[2]).is_none() {
                    continue;
                }
                let operands: String = words[..*arity].iter().map(|word| format!(" #x{word:016x}")).collect();
                script += &format!("(simplify ({name}{operands}))\n");
                wanted.push((format!("{name}{operands}"), code(words)));
            }
        }
    }
    let answers = z3(&script)?;
    assert_eq!(answers.lines().count(), wanted.len());
    let differ = |(answer, (what, wanted)): (&str, (String, u64))| {
        let found = match answer {
            "true" => 1,
            "false" => 0,
            word => match u64::from_str_radix(word.trim_start_matches("#x"), 16) {
                Ok(found) => found,
                Err(_) => return Some(format!("{what}: {word}")),
            },
        };
        (found != wanted).then(|| format!("{what}: {found:#x}, and the code says {wanted:#x}"))
    };
    Some(answers.lines().zip(wanted).filter_map(differ).collect())
}
