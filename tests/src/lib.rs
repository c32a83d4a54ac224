//! What the tests share: case files, the kernel as oracle, the program generator, hosts in namespaces.

pub mod case;
pub mod conformance;
pub mod containment;
pub mod differential;
pub mod engine;
pub mod field;
pub mod generate;
pub mod kernel;
pub mod mirror;
pub mod net;
pub mod packet_text;
pub mod program;
pub mod selftests;
