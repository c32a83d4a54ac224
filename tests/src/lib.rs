//! What the tests share: case files, hosts in namespaces; and from `weir-oracle` the kernel and the
//! program generator.

pub mod case;
pub mod conformance;
pub mod field;
pub mod mirror;
pub mod net;
pub mod packet_text;
pub mod places;
pub mod program;

pub use weir_oracle::{containment, differential, engine, generate, kernel};
