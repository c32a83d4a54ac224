//! The generations there were: enough of each to run it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::change::{ChangeError, Desired};
use super::event::rfc3339;
use crate::config::listed;

/// Generations that can be gone back to.
const KEPT_MAX: usize = 32;

/// A generation there was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Past {
    /// Its number.
    pub generation: u64,
    /// When it was published, RFC 3339.
    pub at: String,
    /// What made it.
    pub what: String,
    /// The generation whose programs it runs again, if it came by a rollback.
    pub restores: Option<u64>,
    /// What it is now.
    pub state: PastState,
}

/// What became of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PastState {
    /// It runs.
    Live,
    /// It runs, and is being watched.
    Probation,
    /// It ran, and can be gone back to.
    Kept,
    /// It was given up.
    RolledBack,
}

#[derive(Debug)]
struct Entry {
    past: Past,
    desired: Arc<Desired>,
    edits: Vec<String>,
}

/// The list of them.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Entry>);

/// What to run again.
pub(super) struct Restored {
    pub(super) generation: u64,
    pub(super) desired: Arc<Desired>,
    pub(super) edits: Vec<String>,
}

impl History {
    /// A generation runs; the one before is `left` as.
    pub(super) fn add(
        &mut self,
        past: (u64, String, Option<u64>),
        desired: Arc<Desired>,
        edits: Vec<String>,
        left: PastState,
    ) {
        if let Some(entry) = self.0.back_mut() {
            entry.past.state = left;
        }
        let (generation, what, restores) = past;
        let at = rfc3339(SystemTime::now());
        let past = Past { generation, at, what, restores, state: PastState::Live };
        self.0.push_back(Entry { past, desired, edits });
        if self.0.len() > KEPT_MAX {
            self.0.pop_front();
        }
    }

    /// The running generation is being watched, or no more.
    pub(super) fn watched(&mut self, yes: bool) {
        if let Some(entry) = self.0.back_mut() {
            entry.past.state = if yes { PastState::Probation } else { PastState::Live };
        }
    }

    pub(super) fn list(&self) -> Vec<Past> {
        self.0.iter().rev().map(|entry| entry.past.clone()).collect()
    }

    /// What to run again: that generation, or the last one that was not given up. A generation that was itself a
    /// rollback stands for what it restored.
    pub(super) fn find(&self, to: Option<u64>) -> Result<Restored, ChangeError> {
        let mut before = self.0.iter().rev().skip(1);
        let found = match to {
            Some(number) => before.find(|entry| entry.past.generation == number),
            None => before.find(|entry| entry.past.state == PastState::Kept),
        };
        let entry = found.ok_or_else(|| {
            let there = self.0.iter().rev().skip(1).map(|entry| entry.past.generation.to_string());
            let there: Vec<String> = there.collect();
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            ChangeError::NoPast { wanted: to, there: listed(&there) }
        })?;
        Ok(Restored {
            generation: entry.past.generation,
            desired: Arc::clone(&entry.desired),
            edits: entry.edits.clone(),
        })
    }
}
