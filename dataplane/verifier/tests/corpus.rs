//! Every case of `tests/corpus/verifier`, as it says; and as the kernel says, where we may ask it.

mod case;

use case::Answer;
use weir_verifier::{Options, verify};

fn answer(case: &case::Case, options: &Options) -> Answer {
    match verify(case.program.clone(), options) {
        Ok(_) => Answer::Accept,
        Err(reject) => Answer::Reject { rule: reject.rule.name().to_owned(), message: reject.message },
    }
}

#[test]
fn cases_are_answered_as_they_say() {
    let mut wrong = Vec::new();
    for case in case::all() {
        let found = answer(&case, &Options::default());
        if found != case.answer {
            wrong.push(format!(
                "{}: {}\n  wanted {:?}\n  found  {found:?}",
                case.file, case.name, case.answer
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// Rules whose breach the corpus cannot write, and who tests them instead.
const NOT_IN_CORPUS: [&str; 8] = [
    // Functions of text have no types; `tests/corpus/language/global.bpf.c` has some.
    "global-function",
    // The assembler and `Program::from_insns` do not make such programs; `shape`'s own tests do.
    "program-size",
    "bad-instruction",
    "call-target",
    "kernel-variable",
    // A million instructions are not for every test run, and cases say no other budgets; `limits` does.
    "too-large",
    "too-much-memory",
    "too-slow",
];

#[test]
fn every_rule_has_a_case() {
    let cases = case::all();
    let mut wrong = Vec::new();
    for rule in weir_verifier::Rule::ALL {
        let name = rule.name();
        let shown =
            cases.iter().any(|case| matches!(&case.answer, Answer::Reject { rule, .. } if rule == name));
        if shown == NOT_IN_CORPUS.contains(&name) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
