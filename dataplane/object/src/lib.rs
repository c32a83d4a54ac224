//! Untrusted bytes to objects: ELF, BTF, CO-RE, line information.
#![forbid(unsafe_code)]
