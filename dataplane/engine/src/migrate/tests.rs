//! Random pairs of structures against a field-by-field oracle, and every kind of map that can be migrated.

mod maps;
mod plans;
mod random;
