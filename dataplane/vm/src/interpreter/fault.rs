//! What a run can do wrong, said with the instruction, what was touched, and where that lies.

use std::fmt;

use thiserror::Error;
use weir_ebpf::abi::helper::Arg;
use weir_ebpf::abi::{Callee, ContextField};

/// A run was stopped: the program did what no proven program does, or ran out of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("insn {slot} of {program}: {kind}")]
pub struct Fault {
    /// Name of the program.
    pub program: String,
    /// The instruction.
    pub slot: usize,
    /// What happened.
    pub kind: FaultKind,
}

/// What stopped a run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// An access outside of all memory that the program may touch.
    #[error("{access} of {size} bytes at {address:#x} is outside of the program's memory{near}")]
    OutOfBounds {
        /// Reading or writing.
        access: Access,
        /// Bytes.
        size: u64,
        /// The address.
        address: u64,
        /// The region that is nearest.
        near: Near,
    },
    /// An access to the context that no field allows.
    #[error("{access} of {size} bytes at byte {offset} of the context{}", field_text(*field))]
    Context {
        /// Reading or writing.
        access: Access,
        /// Bytes.
        size: u64,
        /// Byte of the program's view.
        offset: u64,
        /// The field there.
        field: Option<ContextField>,
    },
    /// An atomic operation on an address that is not a multiple of its size.
    #[error("atomic operation of {size} bytes at {address:#x}, which is not aligned")]
    Misaligned {
        /// Bytes.
        size: u64,
        /// The address.
        address: u64,
    },
    /// A helper's argument is not what its signature asks for.
    #[error("argument {index} of {}: found {found:#x}, wanted {wanted:?}{near}", callee.name())]
    Argument {
        /// The helper or kernel function.
        callee: Callee,
        /// Which argument, from 1.
        index: usize,
        /// What the signature says.
        wanted: Arg,
        /// What the register held.
        found: u64,
        /// The region that is nearest.
        near: Near,
    },
    /// A kernel function that weir does not have, or not for this type of program.
    #[error("kernel function {number} is not offered to {program_type} programs")]
    Kfunc {
        /// The number called.
        number: i32,
        /// The program's type.
        program_type: &'static str,
    },
    /// A helper that weir does not have, or not for this type of program.
    #[error("helper {number} is not offered to {program_type} programs")]
    Helper {
        /// The number called.
        number: u64,
        /// The program's type.
        program_type: &'static str,
    },
    /// Control went to a place that is not an instruction.
    #[error("goes on at insn {target}, which is not an instruction")]
    Jump {
        /// The place.
        target: i64,
    },
    /// An instruction that has no meaning in user space.
    #[error("{what} cannot be run here")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// Too many calls inside each other.
    #[error("the call of {depth} frames is too deep")]
    Depth {
        /// Frames there would be.
        depth: usize,
    },
    /// The instruction budget is used up.
    #[error("the budget of {budget} instructions is used up")]
    Budget {
        /// The budget.
        budget: u64,
    },
    /// The program names a map that it was not given.
    #[error("map {map} was not given, or has no value at that offset")]
    Map {
        /// Index into the program's maps.
        map: u32,
    },
    /// The program ended with something that it should have given back.
    #[error("ended with {what}")]
    Unreleased {
        /// What it was.
        what: &'static str,
    },
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the name says it")]
pub enum Access {
    Read,
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

/// Where an address lies relative to the nearest region, if one is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Near(pub Option<(&'static str, i64, u64)>);

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((region, offset, len)) => write!(f, " (byte {offset} of the {region}, which has {len})"),
        }
    }
}

fn field_text(field: Option<ContextField>) -> String {
    match field {
        Some(field) => format!(" is not allowed by field {}", field.name()),
        None => " where it has no field".to_owned(),
    }
}
