//! Why bytes are not an object, or a program of it cannot be had: which section, which offset, what
//! was found and what was wanted.

use std::fmt;

use thiserror::Error;
use weir_ebpf::decode::DecodeError;

/// Where an object is at fault, and how.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ObjectError {
    /// Section; empty when the whole file is meant.
    pub section: String,
    /// Bytes from the start of the section, or of the file when no section is meant.
    pub offset: Option<u64>,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The bytes contradict the format.
    #[error("found {found}, wanted {wanted}")]
    Malformed {
        /// What stands there.
        found: String,
        /// What should.
        wanted: String,
    },
    /// The object is sound, and asks for what weir does not have.
    #[error("{what} is not supported: {instead}")]
    Unsupported {
        /// What is asked for.
        what: String,
        /// What there is, or what to do.
        instead: String,
    },
    /// A symbol that neither the object nor weir defines.
    #[error("extern `{name}` is not defined here; {hint}")]
    UnknownExtern {
        /// The symbol.
        name: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// No program has the name asked for.
    #[error("there is no program `{name}`; there are: {present}")]
    NoProgram {
        /// The name asked for.
        name: String,
        /// The programs there are.
        present: String,
    },
    /// No global variable has the name asked for.
    #[error("there is no global variable `{name}` in .rodata, .data, .bss or .kconfig")]
    NoGlobal {
        /// The name asked for.
        name: String,
    },
    /// No map has the name asked for.
    #[error("there is no map `{name}`")]
    NoMap {
        /// The name asked for.
        name: String,
    },
    /// A value does not fit the variable.
    #[error("global variable `{name}` takes {wanted}, not {found}")]
    GlobalValue {
        /// The variable.
        name: String,
        /// What was given.
        found: String,
        /// What it holds.
        wanted: String,
    },
    /// An instruction that the instruction set does not define.
    #[error(transparent)]
    Instruction(#[from] DecodeError),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.section.as_str(), self.offset) {
            ("", None) => write!(f, "{}", self.fault),
            ("", Some(offset)) => write!(f, "file offset {offset:#x}: {}", self.fault),
            (section, None) => write!(f, "section `{section}`: {}", self.fault),
            (section, Some(offset)) => write!(f, "section `{section}`, offset {offset:#x}: {}", self.fault),
        }
    }
}

impl ObjectError {
    /// A fault at a place.
    pub(crate) fn at(section: &str, offset: impl Into<Option<u64>>, fault: Fault) -> Self {
        Self { section: section.to_owned(), offset: offset.into(), fault }
    }

    /// Bytes that contradict the format.
    pub(crate) fn malformed(
        section: &str,
        offset: impl Into<Option<u64>>,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Self {
        Self::at(section, offset, Fault::Malformed { found: found.into(), wanted: wanted.into() })
    }

    /// Something sound that weir does not have.
    pub(crate) fn unsupported(section: &str, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::at(section, None, Fault::Unsupported { what: what.into(), instead: instead.into() })
    }
}
