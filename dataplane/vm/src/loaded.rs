//! A proven program with its maps, ready to run.

use weir_verifier::Verified;

/// A program that may run. Only a [`Verified`] becomes one.
#[derive(Debug)]
pub struct Loaded {
    verified: Verified,
}

impl Loaded {
    /// What was proven, and of which program.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Where compiled code enters after a tail call; `None` when this one is interpreted.
    pub(crate) fn tail_entry(&self) -> Option<*const u8> {
        None
    }
}
