//! What a thread can no longer do once it is set up. Five layers, each of which says what it could not do here.
//!
//! | layer | takes away |
//! |---|---|
//! | capabilities | everything root may and others may not |
//! | no-new-privileges | getting any of it back by executing a file |
//! | write-xor-execute | memory that is writable and executable, or becomes executable after it was made |
//! | files | every path but those named (landlock), TCP ports not named, signals to other processes |
//! | calls | every system call but those a thread of this kind makes (seccomp); another one ends the process |
//!
//! All of them are one-way, and belong to the calling thread and the threads it starts later, except that
//! write-xor-execute holds for the whole process. So `enter` is called by the first thread before there are others,
//! and again, for less, by each worker.

mod calls;
mod capabilities;
mod death;
mod files;
mod filter;
mod memory;
mod user;

use std::fmt;

pub use calls::Role;
pub use capabilities::{Keep, effective, may_network};
pub use files::Files;
pub use memory::writable_code;
pub use user::{User, UserError, is_root, switch_to};

/// One of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Capabilities are dropped.
    Capabilities,
    /// No file that is executed gives privileges (`PR_SET_NO_NEW_PRIVS`).
    NoNewPrivileges,
    /// No memory is both written and executed (`PR_SET_MDWE`).
    WriteXorExecute,
    /// Paths, TCP ports and signals (landlock).
    Files,
    /// System calls (seccomp).
    Calls,
}

impl Layer {
    /// All of them, in the order in which they are entered: each needs what a later one takes away.
    pub const ALL: [Layer; 5] =
        [Layer::WriteXorExecute, Layer::NoNewPrivileges, Layer::Files, Layer::Capabilities, Layer::Calls];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::Capabilities => "capabilities",
            Layer::NoNewPrivileges => "no-new-privileges",
            Layer::WriteXorExecute => "write-xor-execute",
            Layer::Files => "files",
            Layer::Calls => "calls",
        }
    }
}

/// What came of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It holds. The text is how much.
    On(String),
    /// It holds less than it should, and why.
    Partly(String),
    /// It does not hold, and why: this kernel, or the caller's wish.
    Off(String),
}

/// What a thread gives up.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What kind of thread it is.
    pub role: Role,
    /// Which layers it enters: [`Layer::ALL`], but in tests.
    pub layers: &'a [Layer],
    /// Capabilities it keeps.
    pub keep: Keep,
    /// Paths it may still use.
    pub files: Files,
}

impl<'a> Plan<'a> {
    /// All layers, no capability, no path.
    pub fn new(role: Role) -> Plan<'a> {
        Plan { role, layers: &Layer::ALL, keep: Keep::Nothing, files: Files::default() }
    }
}

/// What came of all layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The kind of thread.
    pub role: Role,
    /// Each layer that was wanted.
    pub layers: Vec<(Layer, State)>,
    /// The capabilities in force afterwards (`CapEff`).
    pub effective: u64,
    /// How many system calls are left; `None` when all are.
    pub calls: Option<usize>,
    /// Mappings that are writable and executable; `None` when they cannot be counted.
    pub writable_code: Option<usize>,
}

impl Report {
    /// Layers that do not hold as they should, in words.
    pub fn shortcomings(&self) -> impl Iterator<Item = String> + '_ {
        self.layers.iter().filter_map(|(layer, state)| match state {
            State::On(_) => None,
            State::Partly(why) => Some(format!("{}: only in part: {why}", layer.name())),
            State::Off(why) => Some(format!("{}: off: {why}", layer.name())),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sandbox of {}: CapEff {:x}, syscalls ", self.role.name(), self.effective)?;
        match self.calls {
            Some(calls) => write!(out, "{calls}")?,
            None => out.write_str("all")?,
        }
        match self.writable_code {
            Some(maps) => write!(out, ", W+X maps {maps}")?,
            None => out.write_str(", W+X maps not counted")?,
        }
        for (layer, state) in &self.layers {
            match state {
                State::On(_) => {}
                State::Partly(why) => write!(out, "; {} only in part: {why}", layer.name())?,
                State::Off(why) => write!(out, "; {} off: {why}", layer.name())?,
            }
        }
        Ok(())
    }
}

/// Enters the plan's layers, in order, and says what came of each. A layer that this kernel does not have leaves the
/// others standing; whether that is enough is for the caller to say.
pub fn enter(plan: &Plan<'_>) -> Report {
    death::announce(plan.role);
    // Counted before paths go; no later step maps anything that would change it.
    let writable_code = writable_code();
    let mut report =
        Report { role: plan.role, layers: Vec::new(), effective: u64::MAX, calls: None, writable_code };
    for layer in Layer::ALL.into_iter().filter(|layer| plan.layers.contains(layer)) {
        let state = match layer {
            Layer::WriteXorExecute => memory::write_xor_execute(),
            Layer::NoNewPrivileges => capabilities::no_new_privileges(),
            Layer::Files => files::restrict(&plan.files),
            Layer::Capabilities => capabilities::drop_all_but(plan.keep),
            Layer::Calls => {
                // The last moment to ask.
                report.effective = effective().unwrap_or(u64::MAX);
                filter::install(plan.role).map_or_else(State::Off, |count| {
                    report.calls = Some(count);
                    State::On(format!("{count} system calls"))
                })
            }
        };
        report.layers.push((layer, state));
    }
    if report.calls.is_none() {
        report.effective = effective().unwrap_or(u64::MAX);
    }
    report
}
