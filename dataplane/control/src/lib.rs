//! The control socket of a running weir: what can be asked (one table of actions), who answers, who may ask.
#![forbid(unsafe_code)]
