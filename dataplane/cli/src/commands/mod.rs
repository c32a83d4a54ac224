//! One file for each command.

pub(crate) mod broker;
pub(crate) mod capture;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod conformance_plugin;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod inspect;
pub(crate) mod interface;
pub(crate) mod map;
pub(crate) mod net;
pub(crate) mod pcap;
pub(crate) mod prog;
pub(crate) mod replay;
pub(crate) mod route;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod version;
