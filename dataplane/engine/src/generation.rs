//! What workers run: one immutable whole of programs, chains, tail-call tables and classes.
//!
//! A generation is built beside the running one and published whole ([`crate::swap`]). Maps outlive
//! it unless they belong to it; counters go on under their names.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use weir_ebpf::abi::{TcAction, XdpAction};
use weir_maps::Map;
use weir_vm::{Loaded, ProgramTable};

use crate::config::ClassId;
use crate::counters::{ProgramCounters, Traffic};

/// A number of a program in [`Generation::programs`].
pub type ProgramNumber = usize;
/// A number of a port in [`Generation::ports`].
pub type PortNumber = usize;

/// A program in its place.
#[derive(Debug)]
pub struct ProgramSlot {
    /// Its name in the configuration.
    pub name: String,
    /// The program.
    pub loaded: Arc<Loaded>,
    /// One set for each worker; it goes on counting in the next generation's program of the same name.
    pub counters: ProgramSlotCounters,
}

/// What the workers counted of one program.
pub type ProgramSlotCounters = Arc<[CachePadded<ProgramCounters>]>;

/// A program in a port's XDP chain.
#[derive(Clone, Debug)]
pub struct XdpLink {
    /// Which program.
    pub program: ProgramNumber,
    /// Verdicts that go on to the next program.
    pub continues: Vec<XdpAction>,
}

/// An action of a tc filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A program (tc-bpf(8), `action bpf`); what it has no opinion on is `pipe`.
    Program(ProgramNumber),
    /// A fixed answer (tc-gact(8)).
    Fixed(TcAction),
}

/// How a filter's program is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// It answers the TC_ACT code itself.
    DirectAction,
    /// It answers whether, and as which class, the packet matches; then the actions run.
    Classifier(Vec<Action>),
}

/// A filter of a tc chain.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Which program.
    pub program: ProgramNumber,
    /// The filter's own classid.
    pub classid: u32,
    /// How its answer is understood.
    pub mode: FilterMode,
}

/// What happens to packets that the ingress chains of a port accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// They go to the host.
    Host,
    /// They leave by another port.
    Connect(PortNumber),
    /// A program says where.
    Program(ProgramNumber),
}

/// What the pipeline knows of a port.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// Its name.
    pub name: String,
    /// The number that programs see.
    pub ifindex: u32,
    /// Its link address.
    pub mac: [u8; 6],
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Its XDP chain.
    pub xdp: Vec<XdpLink>,
    /// Its tc ingress chain, by priority.
    pub ingress: Vec<Filter>,
    /// Its tc egress chain, by priority.
    pub egress: Vec<Filter>,
    /// What happens to what its ingress chains accept.
    pub forward: Forward,
}

/// A traffic class; counters only, as yet.
#[derive(Debug)]
pub struct ClassPlan {
    /// Its number.
    pub id: ClassId,
    /// Its name.
    pub name: String,
    /// What left in it, one for each worker.
    pub sent: Arc<[CachePadded<Traffic>]>,
}

/// Everything that is replaced together.
#[derive(Debug)]
pub struct Generation {
    /// Counts up from 1.
    pub number: u64,
    /// All programs, attached or called.
    pub programs: Vec<ProgramSlot>,
    /// Where tail calls lead; a prog array's numbers are of this table.
    pub table: ProgramTable,
    /// All ports.
    pub ports: Vec<PortPlan>,
    /// Classes by number; the last one, of number 0, takes what no class is for.
    pub classes: Vec<ClassPlan>,
    /// The maps that its programs use, for people to read.
    pub maps: Vec<Arc<Map>>,
    /// Those of them whose values have timers.
    pub timed: Vec<Arc<Map>>,
}

impl Generation {
    /// The port that programs know by this number.
    #[inline]
    pub fn port_by_ifindex(&self, ifindex: u32) -> Option<PortNumber> {
        self.ports.iter().position(|port| port.ifindex == ifindex)
    }

    /// Where the class of a classid stands in `classes`; 0 has none.
    #[inline]
    pub fn class_index(&self, classid: u32) -> Option<usize> {
        let (_, listed) = self.classes.split_last()?;
        listed.binary_search_by_key(&classid, |class| class.id.0).ok()
    }

    /// Where the class of a packet stands in `classes`: what a filter chose, else what `skb->priority` names (as HTB
    /// takes it), else the default.
    #[inline]
    pub fn class_for(&self, classid: u32, priority: u32) -> usize {
        let named = self.class_index(classid).or_else(|| self.class_index(priority));
        named.unwrap_or(self.classes.len() - 1)
    }
}

/// One set of counters for each worker.
pub fn per_worker<T: Default>(workers: usize) -> Arc<[CachePadded<T>]> {
    (0..workers).map(|_| CachePadded::new(T::default())).collect()
}
