//! A second opinion on a proof: the states that the verifier exports are checked to be what they claim.
//!
//! The states are a certificate. It is good when the entry state is among those of the first instruction,
//! when every state allows its instruction, and when whatever may come after lies in a state of the next
//! instruction. Then no run touches what it should not, however the states were found: pruning, relevance,
//! liveness and the order of the walk need not be trusted, since nothing of them is used here. The numbers'
//! operators are shared with the verifier; all of them are tried on every small word (`verifier/src/scalar`).
//!
//! It says nothing of ends (loops, references, locks), and answers [`Verdict::Outside`] for programs with
//! callbacks, locks, kernel functions and tail calls from functions.

mod cover;
mod memory;
mod pointer;
mod step;

use weir_ebpf::{Program, Reg};
use weir_verifier::Verified;
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, FrameState, RecordedState, Target};

use cover::{Part, covers};
use step::Machine;

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every state leads into states.
    Certified {
        /// Transitions checked.
        transitions: usize,
    },
    /// The program has something that this does not check.
    Outside(&'static str),
    /// A state does not allow its instruction, or leads out of the states.
    Refused(String),
}

/// Why a step was not taken.
pub(crate) enum Stop {
    /// Not checked here.
    Outside(&'static str),
    /// Not allowed.
    Refused(String),
}

type Step<T> = Result<T, Stop>;

fn refuse<T>(why: impl Into<String>) -> Step<T> {
    Err(Stop::Refused(why.into()))
}

/// A number of which nothing is known but this.
fn number(range: Scalar) -> Abstract {
    Abstract::Number { range, link: 0, delta: 0 }
}

/// A pointer to the start of something.
fn pointer(target: Target) -> Abstract {
    Abstract::Pointer { target, maybe_null: false, off: 0, var: Scalar::constant(0), id: 0 }
}

/// The state at the entry of a program.
fn entry() -> RecordedState {
    let mut regs = [Abstract::NotInit; Reg::COUNT];
    regs[Reg::R1.index()] = pointer(Target::Context);
    regs[Reg::R10.index()] = pointer(Target::Stack { frame: 0 });
    RecordedState { frames: vec![FrameState { function: 0, callsite: 0, regs, stack: Vec::new() }] }
}

/// Checks the states of a proof; it must have been made with `record_states`.
pub fn certify(verified: &Verified) -> Verdict {
    match check(verified.program(), verified) {
        Ok(transitions) => Verdict::Certified { transitions },
        Err(Stop::Outside(what)) => Verdict::Outside(what),
        Err(Stop::Refused(why)) => Verdict::Refused(why),
    }
}

fn check(program: &Program, verified: &Verified) -> Step<usize> {
    let Some(states) = verified.states() else { return Err(Stop::Outside("no states")) };
    let at = |slot| states.at(slot).ok_or(Stop::Outside("more states than are kept"));
    let known = |slot, state: &RecordedState| -> Step<()> {
        let mut missing = Vec::new();
        for old in at(slot)? {
            match covers(old, state) {
                Ok(()) => return Ok(()),
                Err(part) => missing.push((part, old)),
            }
        }
        let missing: Vec<_> =
            missing.into_iter().map(|(part, old)| (part, of(part, old), of(part, state))).collect();
        refuse(format!("leads out of the states of insn {slot}: {missing:?}"))
    };
    known(0, &entry())?;
    let mut machine = Machine::new(program);
    let mut transitions = 0;
    for slot in 0..program.insns.len() {
        for state in at(slot)? {
            let next = machine.step(slot, state).map_err(|stop| match stop {
                Stop::Refused(why) => Stop::Refused(format!("insn {slot}: {why}")),
                other => other,
            })?;
            for (to, after) in next {
                known(to, &after).map_err(|stop| match stop {
                    Stop::Refused(why) => Stop::Refused(format!("insn {slot}: {why}")),
                    other => other,
                })?;
                transitions += 1;
            }
        }
    }
    Ok(transitions)
}

/// A part of a state, for people.
fn of(part: Part, state: &RecordedState) -> String {
    match part {
        Part::Calls => format!("{} frames", state.frames.len()),
        Part::Register(frame, reg) => format!("{:?}", state.frames[frame].regs[reg]),
        Part::Slot(frame, off) => {
            format!("{:?}", state.frames[frame].stack.iter().find(|slot| slot.off == off))
        }
    }
}
