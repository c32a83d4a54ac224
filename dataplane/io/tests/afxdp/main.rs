//! AF_XDP ports: against a kernel that a test plays, and against the real one on veth pairs in namespaces of their
//! own, which need root.

mod mock;
mod played;
mod storm;
mod veth;
mod world;
