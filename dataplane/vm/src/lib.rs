//! Running a verified program: interpreter, JIT, helpers, program types.
