//! Run to completion: workers, the pipeline, chains, generations, counters.
//!
//! A worker takes a batch from a port, judges each frame through the stages of the current
//! generation, and sends it by one lane. Generations are built beside the running one and published
//! between batches. What a packet's way costs and where it ended is counted by the worker alone.

pub mod build;
pub mod chain;
pub mod config;
pub mod counters;
pub mod cut;
pub mod env;
mod exhale;
pub mod generation;
pub mod handoff;
pub mod host;
pub mod kconfig;
pub mod ledger;
pub mod live;
pub mod load;
pub mod mailbox;
pub mod mapview;
pub mod migrate;
pub mod observe;
pub mod pipeline;
pub mod proof;
pub mod reason;
pub mod replay;
pub mod report;
pub mod routes;
pub mod snapshot;
pub mod swap;
pub mod values;
pub mod worker;

pub use config::Config;
pub use generation::Generation;
pub use load::Image;
pub use reason::Reason;
