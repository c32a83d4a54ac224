//! One file for each command.

pub(crate) mod check;
pub(crate) mod conformance_plugin;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod inspect;
pub(crate) mod pcap;
pub(crate) mod replay;
