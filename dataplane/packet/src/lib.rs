//! Frames and who owns them.
