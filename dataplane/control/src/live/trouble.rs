//! The engine's errors as problems.

use weir_engine::build::BuildError;
use weir_engine::live::ChangeError;
use weir_engine::load::LoadError;

use crate::problem::{Cause, Diagnostic, Problem};

/// Why a change was not made.
pub(super) fn change(error: &ChangeError) -> Problem {
    let cause = match error {
        ChangeError::Build(BuildError::Load(error)) => return load(error),
        ChangeError::Config(_) | ChangeError::Build(_) | ChangeError::Routes(_) | ChangeError::Map { .. } => {
            Cause::Invalid
        }
        ChangeError::NoProgram { .. } => Cause::NotFound,
        ChangeError::Exists { .. }
        | ChangeError::InUse { .. }
        | ChangeError::Fixed { .. }
        | ChangeError::NoPast { .. } => Cause::Conflict,
        ChangeError::Stale { .. } => Cause::Stale,
        ChangeError::Busy { .. } | ChangeError::Ended => Cause::Unavailable,
    };
    Problem::new(cause, error.to_string())
}

/// Why an object was not loaded.
pub(super) fn load(error: &LoadError) -> Problem {
    let cause = match error {
        LoadError::Rejected { .. } | LoadError::Object { .. } | LoadError::Map { .. } => Cause::Rejected,
        LoadError::Read { .. }
        | LoadError::Value { .. }
        | LoadError::Program { .. }
        | LoadError::Carried { .. } => Cause::Invalid,
        LoadError::Prepare { .. } => Cause::Internal,
    };
    let mut problem = Problem::new(cause, error.to_string());
    if let LoadError::Rejected { path, program, reject, .. } = error {
        // The whole story is in the diagnostic.
        let (message, rule) = (&reject.message, reject.rule.name());
        problem.detail = format!("{}: program `{program}` is rejected: {message} [{rule}]", path.display());
        problem.diagnostics.push(Diagnostic {
            program: program.clone(),
            rule: reject.rule.name().to_owned(),
            message: reject.message.clone(),
            insn: Some(reject.slot as u64),
            source: reject.line.as_ref().map(|line| format!("{}:{}", line.file, line.line)),
            help: reject.help.clone(),
            log: Some(reject.render(false)),
        });
    }
    problem
}
