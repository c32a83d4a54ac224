//! Exit codes, and the one way out for errors.

use std::process::ExitCode;

use weir_control::problem::Diagnostic;
use weir_engine::load::LoadError;

use crate::output::Output;

/// What the process answers its caller (weir(1), EXIT STATUS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    Ok = 0,
    /// What was asked about is false or failed.
    Failed = 1,
    /// The command line, the configuration or an input file is wrong.
    Usage = 2,
    /// A program or object was refused by the verifier or the loader.
    Rejected = 3,
    /// No daemon answers.
    Unreachable = 4,
    /// Something else is in the way, or the configuration is another one by now.
    Conflict = 5,
    /// Not possible here: a capability, the kernel, the machine.
    Unsupported = 6,
}

/// An error with the code that it ends the process with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) code: Code,
    /// What to say.
    pub(crate) error: anyhow::Error,
    /// What to try.
    pub(crate) hint: Option<String>,
    /// The daemon's code for it: `WE0404`.
    pub(crate) id: Option<String>,
    /// What is wrong with a program that was rejected.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// An error that ends the process with this code.
    pub(crate) fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hint: None, id: None, diagnostics: Vec::new() }
    }

    /// The same with something to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What programs go by: the daemon's code, or one made of the exit code.
    pub(crate) fn id(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("WE000{}", self.code as u8))
    }
}

/// Errors without a code of their own are failures of what was asked for.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::Failed, error)
    }
}

/// Why an object cannot be loaded: it, its values, or the machine.
impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Read { .. } | LoadError::Value { .. } | LoadError::Program { .. } => Code::Usage,
            LoadError::Object { .. } | LoadError::Rejected { .. } | LoadError::Map { .. } => Code::Rejected,
            LoadError::Prepare { .. } | LoadError::Carried { .. } => Code::Failed,
        };
        Self::new(code, error)
    }
}

/// A reader that went away ends the process in silence; other trouble with stdout is a failure.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { Code::Ok } else { Code::Failed };
        Self::new(code, error)
    }
}

/// What a command comes to.
pub(crate) type Done = Result<Code, Failure>;

/// Says what went wrong, if anything did, and ends.
pub(crate) fn finish(done: Done, output: &Output) -> ExitCode {
    let code = done.unwrap_or_else(|failure| {
        if failure.code != Code::Ok {
            output.error(&failure);
        }
        failure.code
    });
    ExitCode::from(code as u8)
}
