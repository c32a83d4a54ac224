//! Abstract arithmetic against concrete arithmetic.
//!
//! `concrete` says what the instructions do to words of any width; `sample` makes random numbers with
//! some of their members; `small` tries every number of a small word; `laws` has the checks, each of
//! which answers with what it found; `seeded` shows that they find deliberate bugs.

use super::exhaustive::concrete;

mod laws;
mod sample;
mod seeded;
mod small;
