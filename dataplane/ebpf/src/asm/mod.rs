//! Text to instructions and back, in the syntax of the kernel and llvm-objdump.
