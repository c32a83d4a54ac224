//! The kernel's own verifier tests as an oracle: cases with this kernel's answer, and ours beside it.
//!
//! `tests/oracle/selftests/build.sh` reads a tree of kernel sources that the caller brings and prints the cases,
//! one JSON object a line; nothing of that tree is kept here. [`judge`] asks our verifier the same, and
//! [`Class`] says what came of it.

mod answer;
mod case;
mod class;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use weir_verifier::{Options, Reject, verify};

pub use case::{Case, reason};
pub use class::{Class, unsafe_by};

/// What we said to a case.
#[derive(Debug)]
pub enum Ours {
    /// Yes, and what the program answered to the packet that the kernel ran it on.
    Accepts(Option<u32>),
    /// Yes, and it could not be run to its end.
    Stops(String),
    /// No, by this rule or by the loader, with this message in the kernel's words (or empty).
    Refuses {
        /// The rule, or `loader`.
        rule: String,
        /// What is said in the kernel's name; empty where we do not speak in it.
        kernel_says: String,
        /// What is said.
        message: String,
    },
}

/// A case with both answers.
#[derive(Debug)]
pub struct Judged {
    /// The case.
    pub case: Case,
    /// Our answer.
    pub ours: Ours,
    /// How they compare.
    pub class: Class,
}

/// Reads the cases that build.sh printed; what else stands between them is left out.
pub fn read(text: &str) -> Result<Vec<Case>> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with('{'));
    lines
        .map(|(at, line)| serde_json::from_str(line).with_context(|| format!("case of line {}", at + 1)))
        .collect()
}

/// Asks our verifier.
pub fn judge(case: Case) -> Judged {
    let ours = match case.program() {
        Err(error) => {
            let (rule, message) = ("loader".to_owned(), format!("{error:#}"));
            Ours::Refuses { rule, kernel_says: String::new(), message }
        }
        Ok(program) => match verify(Arc::new(program), &Options::default()) {
            Ok(verified) => match answer::answer(&case, verified) {
                Ok(answer) => Ours::Accepts(answer),
                Err(error) => Ours::Stops(format!("{error:#}")),
            },
            Err(reject) => refusal(&reject),
        },
    };
    let class = Class::of(&case, &ours);
    Judged { case, ours, class }
}

fn refusal(reject: &Reject) -> Ours {
    Ours::Refuses {
        rule: reject.rule.name().to_owned(),
        kernel_says: reject.kernel_says().unwrap_or_default().to_owned(),
        message: reject.message.clone(),
    }
}
