//! What came of a case, by name.

use std::fmt;

use super::Ours;
use super::case::{Case, reason};

/// How our answer compares with the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Both accept, and both answer the same to the packet if they ran.
    BothAccept,
    /// Both refuse, and what we say in the kernel's name stands in its log.
    BothRefuse,
    /// Both refuse, and we do not speak in the kernel's name.
    BothRefuseOwnWords,
    /// Both refuse, and the kernel says something else than we say it says.
    OtherWords,
    /// Both accept, and the answers to the packet differ.
    OtherAnswer,
    /// We refuse what weir does not have, and say so.
    Absent,
    /// We refuse what the kernel accepts.
    FalseReject,
    /// We accept what the kernel refuses for something that harms no memory.
    Lenient,
    /// We accept what the kernel refuses for the safety of memory.
    FalseAccept,
    /// The kernel was not asked: a map or a module's type is missing there.
    NotAsked,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 10] = [
        Class::BothAccept,
        Class::BothRefuse,
        Class::BothRefuseOwnWords,
        Class::OtherWords,
        Class::OtherAnswer,
        Class::Absent,
        Class::FalseReject,
        Class::Lenient,
        Class::FalseAccept,
        Class::NotAsked,
    ];

    /// Compares.
    pub fn of(case: &Case, ours: &Ours) -> Class {
        let unmade = case.log.starts_with("fd -1 is not pointing to valid bpf_map");
        // A type that only a module of the kernel's tests has.
        let unmade = unmade || case.log.contains("failed to resolve CO-RE relocation");
        if !case.asked || unmade {
            return Class::NotAsked;
        }
        match (ours, case.accepted) {
            (Ours::Stops(_), true) => Class::OtherAnswer,
            (Ours::Stops(_), false) => Class::FalseAccept,
            (Ours::Accepts(answer), true) => match (answer, case.retval) {
                (Some(ours), Some(theirs)) if *ours != theirs => Class::OtherAnswer,
                _ => Class::BothAccept,
            },
            (Ours::Accepts(_), false) if unsafe_by(reason(&case.log)) => Class::FalseAccept,
            (Ours::Accepts(_), false) => Class::Lenient,
            (Ours::Refuses { rule, .. }, true) if absent(rule) => Class::Absent,
            (Ours::Refuses { .. }, true) => Class::FalseReject,
            (Ours::Refuses { kernel_says, .. }, false) if kernel_says.is_empty() => Class::BothRefuseOwnWords,
            (Ours::Refuses { kernel_says, .. }, false) if case.log.contains(kernel_says.as_str()) => {
                Class::BothRefuse
            }
            (Ours::Refuses { .. }, false) => Class::OtherWords,
        }
    }

    /// Whether the verdicts agree.
    pub const fn agrees(self) -> bool {
        match self {
            Class::BothAccept | Class::BothRefuse | Class::BothRefuseOwnWords | Class::OtherWords => true,
            Class::OtherAnswer | Class::Absent | Class::FalseReject | Class::Lenient | Class::FalseAccept => {
                false
            }
            Class::NotAsked => true,
        }
    }

    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Class::BothAccept => "both accept",
            Class::BothRefuse => "both refuse, same words",
            Class::BothRefuseOwnWords => "both refuse, own words",
            Class::OtherWords => "both refuse, other words",
            Class::OtherAnswer => "both accept, other answer",
            Class::Absent => "refused: weir does not have it",
            Class::FalseReject => "false reject",
            Class::Lenient => "only we accept, memory unharmed",
            Class::FalseAccept => "FALSE ACCEPT",
            Class::NotAsked => "kernel not asked",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// Whether a rule of ours says that weir does not have something, rather than that it is wrong.
fn absent(rule: &str) -> bool {
    ["loader", "kernel-function", "kernel-variable", "helper-unknown", "unsupported"].contains(&rule)
}

/// Whether the kernel's refusal is about something that could touch memory out of bounds, leak it, or
/// never end. The others are about form: licence, names, code that is never reached, size of the program.
pub fn unsafe_by(reason: &str) -> bool {
    const FORM: [&str; 9] = [
        "unreachable insn",
        "uses reserved fields",
        "BPF program is too large",
        "The sequence of",
        "cannot call GPL-restricted",
        "arg#",
        "number of funcs in func_info",
        "missing btf func_info",
        "FENTRY/FEXIT program",
    ];
    !FORM.iter().any(|form| reason.contains(form))
}
