//! A kernel made of memory: the other side of a port's four rings, moved by the test's own hand.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use weir_io::afxdp::XdpPort;
use weir_io::afxdp::link::Link;
use weir_io::afxdp::port::Parts;
use weir_io::afxdp::ring::{Consumer, Descriptor, Producer};
use weir_io::afxdp::shared::Areas;
use weir_io::gauges::Way;
use weir_packet::Umem;
use weir_sys::xdp::{Entry, RingArea, Statistics};

/// What wake-ups are answered with.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// For transmit, next first; then always yes.
    pub(crate) tx: Mutex<VecDeque<i32>>,
    /// For receive: 0 for yes.
    pub(crate) rx: Mutex<i32>,
    /// Wake-ups so far.
    pub(crate) woken: AtomicUsize,
}

/// What the port has of them: nobody else may hold it when the port is closed.
#[derive(Debug)]
struct Wire(Arc<Answers>);

impl Link for Wire {
    fn wake_tx(&self) -> io::Result<()> {
        self.0.woken.fetch_add(1, Relaxed);
        answer(self.0.tx.lock().unwrap().pop_front().unwrap_or(0))
    }

    fn wake_rx(&self) -> io::Result<()> {
        answer(*self.0.rx.lock().unwrap())
    }

    fn statistics(&self) -> io::Result<Statistics> {
        Ok(Statistics { rx_ring_full: 7, ..Statistics::default() })
    }

    fn readable(&self) -> Option<RawFd> {
        Some(99)
    }
}

fn answer(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// The kernel's side.
pub(crate) struct Mock {
    pub(crate) fill: Consumer,
    pub(crate) rx: Producer,
    pub(crate) tx: Consumer,
    pub(crate) completion: Producer,
    pub(crate) areas: Areas,
    pub(crate) answers: Arc<Answers>,
}

/// A port with rings of `entries`, and the kernel to it.
pub(crate) fn mock(umem: &Arc<Umem>, entries: u32) -> (XdpPort, Mock) {
    let ring = |kind| Arc::new(RingArea::memory(kind, entries).unwrap());
    let areas = Areas {
        fill: ring(Entry::Address),
        rx: ring(Entry::Descriptor),
        tx: ring(Entry::Descriptor),
        completion: ring(Entry::Address),
    };
    let answers = Arc::new(Answers::default());
    let port = XdpPort::new(Parts {
        name: "mock0".to_owned(),
        index: 5,
        queue: 2,
        frame_max: 1518,
        umem: Arc::clone(umem),
        areas: areas.clone(),
        link: Arc::new(Wire(Arc::clone(&answers))),
        way: Way::default(),
    });
    let kernel = Mock {
        fill: Consumer::new(Arc::clone(&areas.fill)),
        rx: Producer::new(Arc::clone(&areas.rx)),
        tx: Consumer::new(Arc::clone(&areas.tx)),
        completion: Producer::new(Arc::clone(&areas.completion)),
        areas,
        answers,
    };
    (port, kernel)
}

impl Mock {
    /// The frames offered.
    pub(crate) fn take_fill(&mut self) -> Vec<u64> {
        let count = self.fill.waiting(u32::MAX);
        let all = (0..count).filter_map(|_| self.fill.read::<u64>()).collect();
        self.fill.give_back();
        all
    }

    /// Packets of these addresses arrive, 60 bytes each.
    pub(crate) fn arrive(&mut self, addresses: &[u64]) {
        for address in addresses {
            self.describe(Descriptor { address: *address, len: 60, options: 0 });
        }
    }

    /// One descriptor arrives, whatever it says.
    pub(crate) fn describe(&mut self, descriptor: Descriptor) {
        assert!(self.rx.room(1) > 0, "the receive ring is full");
        self.rx.write(descriptor);
        self.rx.publish();
    }

    /// Packets to send.
    pub(crate) fn take_tx(&mut self) -> Vec<Descriptor> {
        let count = self.tx.waiting(u32::MAX);
        let all = (0..count).filter_map(|_| self.tx.read::<Descriptor>()).collect();
        self.tx.give_back();
        all
    }

    /// Packets were sent.
    pub(crate) fn complete(&mut self, addresses: &[u64]) {
        for address in addresses {
            assert!(self.completion.room(1) > 0, "the completion ring is full");
            self.completion.write(*address);
        }
        self.completion.publish();
    }
}
