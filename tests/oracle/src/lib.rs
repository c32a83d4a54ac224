//! What judges the verifier, apart from the other tests so that it is quickly built and needs no engine:
//! the kernel and its own tests, random programs and their near-misses in the checked interpreter, and
//! whether runs stay inside what was proven.

pub mod certificate;
pub mod containment;
pub mod coverage;
pub mod differential;
pub mod engine;
mod facts;
pub mod generate;
pub mod kernel;
pub mod mutants;
pub mod nearmiss;
pub mod offered;
pub mod selftests;
