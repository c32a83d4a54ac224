//! Forwarding tables and neighbours: values in, values out.
#![forbid(unsafe_code)]
