//! Storage that programs and people share; one file per map kind.
