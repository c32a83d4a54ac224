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
