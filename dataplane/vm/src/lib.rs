//! Running a verified program: interpreter, JIT, helpers, program types.

pub mod bare;
pub mod context;
pub mod env;
pub mod helpers;
pub mod interpreter;
pub mod jit;
pub mod loaded;
pub mod run;
pub mod table;
pub mod test_run;

pub use context::{Context, Slot, slot};
pub use env::{Clock, Env, TestEnv};
pub use helpers::body;
pub use interpreter::{Checked, Fault, Observer, Place, Step};
pub use loaded::{Engine, LoadError, Loaded};
pub use run::{CallFunction, HelperFn, Redirect, Run};
pub use table::ProgramTable;
pub use test_run::test_run;
