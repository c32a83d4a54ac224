//! What the tests share: case files, the kernel as oracle, the program generator.

pub mod case;
pub mod conformance;
pub mod engine;
pub mod kernel;
