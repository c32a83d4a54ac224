//! Every helper on packets made by hand. What the kernel answers to the same calls is compared in the crate
//! `weir-tests`; here are the effects that a test run of the kernel does not show, and those that need a
//! world to answer.

mod maps;
mod packet;
mod world;

use super::*;
use crate::TestEnv;
use crate::context::Context;
use weir_ebpf::ProgramType;

/// Where the packet starts in its buffer.
const START: usize = 256;

/// A world, a packet, and calls into it.
struct Bench {
    env: TestEnv,
    room: Vec<u8>,
    len: usize,
    kind: ProgramType,
    cpu: u32,
}

impl Bench {
    fn new(kind: ProgramType, packet: &[u8]) -> Self {
        let mut room = vec![0; START + packet.len() + 512];
        room[START..START + packet.len()].copy_from_slice(packet);
        Self { env: TestEnv::default(), room, len: packet.len(), kind, cpu: 0 }
    }

    /// Lets `calls` make calls on the packet.
    fn with<T>(&mut self, calls: impl FnOnce(&mut Calls<'_, '_>) -> T) -> T {
        let mut context = Context::new(&mut self.room, START..START + self.len);
        if self.kind != ProgramType::Xdp {
            context.enter_tc(true);
        }
        let mut run = Run::new(&mut self.env, self.cpu);
        run.begin(self.kind, &mut context);
        calls(&mut Calls { run: &mut run })
    }
}

/// Calls inside a run.
struct Calls<'c, 'w> {
    run: &'c mut Run<'w>,
}

impl Calls<'_, '_> {
    /// Calls a helper. Tests pass what its signature asks for.
    fn call(&mut self, helper: Helper, args: &[u64]) -> u64 {
        let arg = |index| args.get(index).copied().unwrap_or(0);
        // SAFETY: the run has a context (`Bench::with`), and each test below passes pointers to live memory of
        // the sizes it names.
        unsafe { body(helper)(self.run, arg(0), arg(1), arg(2), arg(3), arg(4)) }
    }

    fn context(&mut self) -> &mut Context<'static> {
        // SAFETY: set by `Bench::with`, whose context lives until the calls are done.
        unsafe { &mut *self.run.context }
    }
}

/// The address of memory, as a register holds it.
fn address<T: ?Sized>(memory: &mut T) -> u64 {
    std::ptr::from_mut(memory).expose_provenance() as u64
}

fn error(errno: Errno) -> u64 {
    errno.as_return()
}

/// An Ethernet header before `payload`.
fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ether_type.to_be_bytes()[..], payload].concat()
}

/// An IPv4 header with a right checksum, and some bytes.
fn ipv4() -> Vec<u8> {
    let mut header = [0x45, 0, 0, 60, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(0x0800, &[&header[..], &[0xab; 40]].concat())
}

/// The internet checksum, the slow way.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

#[test]
fn every_row_that_is_offered_has_a_body_of_its_own() {
    let mut bodies: Vec<usize> = Vec::new();
    for helper in Helper::ALL {
        let address = body(*helper) as *const () as usize;
        let offered = ProgramType::ALL.iter().any(|kind| helper.offered_to(*kind, kind.usual_attach()));
        assert!(!offered || address != 0, "{}", helper.name());
        bodies.push(address);
    }
    assert_eq!(bodies.len(), Helper::ALL.len());
}
