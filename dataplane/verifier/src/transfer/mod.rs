//! What each instruction does to the state, and what it asks for.

pub(crate) mod alu;
pub(crate) mod argument;
pub(crate) mod branch;
pub(crate) mod function;
pub(crate) mod global;
pub(crate) mod helper;
pub(crate) mod memory;
pub(crate) mod object;
pub(crate) mod region;
pub(crate) mod resource;
pub(crate) mod timer;
