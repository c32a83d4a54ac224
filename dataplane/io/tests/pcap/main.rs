//! Captures in and out, through the public doors.

mod build;
mod damage;
mod play;
mod read;
mod write;
