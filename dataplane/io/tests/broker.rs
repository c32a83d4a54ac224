//! The broker's protocol against a kernel that only writes down what it is asked.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_io::afxdp::punt::Transport;
use weir_io::afxdp::{Attached, Kernel, KernelError, Mode, Punt};
use weir_io::broker::{
    ADDRESSES_MAX, Answer, Client, Ended, PORTS_MAX, REPLY, REQUEST, Reply, Request, serve,
};
use weir_sys::channel::Channel;

/// Writes calls down; refuses the device `bad0`, and takes its time for `slow0`.
#[derive(Default)]
struct Scribe {
    calls: Mutex<Vec<String>>,
}

impl Scribe {
    fn note(&self, device: &str, call: String) -> Result<(), KernelError> {
        self.calls.lock().unwrap().push(call);
        match device {
            "bad0" => Err(KernelError::of("trying", device, &std::io::Error::from_raw_os_error(16))),
            "wordy0" => Err(KernelError::plain("trying", device, "line one\nline two ".repeat(100))),
            "slow0" => {
                thread::sleep(Duration::from_millis(150));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

impl Kernel for Scribe {
    fn attach(&self, device: &str, punt: &Punt, mode: Option<Mode>) -> Result<Attached, KernelError> {
        self.note(device, format!("attach {device} {punt:?} {mode:?}"))?;
        Ok(ATTACHED.clone())
    }

    fn socket(&self) -> Result<OwnedFd, KernelError> {
        self.note("", "socket".to_owned()).map(|()| null())
    }

    fn install(&self, device: &str, queue: u32, _: BorrowedFd<'_>) -> Result<(), KernelError> {
        self.note(device, format!("install {device} {queue}"))
    }

    fn remove(&self, device: &str, queue: u32) -> Result<(), KernelError> {
        self.note(device, format!("remove {device} {queue}"))
    }

    fn punt(&self, device: &str, punt: &Punt) -> Result<(), KernelError> {
        self.note(device, format!("punt {device} {punt:?}"))
    }

    fn detach(&self, device: &str) -> Result<(), KernelError> {
        self.note(device, format!("detach {device}"))
    }

    fn tap(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<OwnedFd, KernelError> {
        self.note(name, format!("tap {name} {mac:?} {mtu}")).map(|()| null())
    }

    fn lead(&self, tap: &str, device: &str) -> Result<(), KernelError> {
        self.note(device, format!("lead {tap} {device}"))
    }

    fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), KernelError> {
        self.note("", format!("resolve {ifindex} {address}"))
    }
}

const ATTACHED: Attached =
    Attached { ifindex: 3, mac: [1, 2, 3, 4, 5, 6], mtu: 1500, queues: 4, mode: Mode::Generic, word: None };

fn broker() -> (Client, Arc<Scribe>, thread::JoinHandle<Ended>) {
    let (ours, theirs) = Channel::pair().unwrap();
    let scribe = Arc::new(Scribe::default());
    let kernel = Arc::clone(&scribe);
    let served = thread::spawn(move || serve(&theirs, &*kernel));
    (Client::over(ours), scribe, served)
}

#[test]
fn every_call_arrives_as_it_was_made() {
    let (client, scribe, served) = broker();
    let punt = Punt {
        local: true,
        ports: vec![(Transport::Tcp, 179), (Transport::Udp, 3784)],
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..Punt::default()
    };
    assert_eq!(client.attach("eth0", &punt, Some(Mode::Native)).unwrap(), ATTACHED);
    let socket = client.socket().unwrap();
    client.install("eth0", 3, socket.as_fd()).unwrap();
    client.remove("eth0", 3).unwrap();
    client.punt("eth0", &Punt::nothing()).unwrap();
    client.tap("weir-eth0", [2, 0, 0, 0, 0, 1], 1500).unwrap();
    client.lead("weir-eth0", "eth0").unwrap();
    client.resolve(3, "192.0.2.9".parse().unwrap()).unwrap();
    client.detach("eth0").unwrap();
    drop(client);
    assert!(matches!(served.join().unwrap(), Ended::PeerGone));
    let calls = scribe.calls.lock().unwrap();
    let nothing = Punt::nothing();
    let wanted = [
        format!("attach eth0 {punt:?} Some(Native)"),
        "socket".to_owned(),
        "install eth0 3".to_owned(),
        "remove eth0 3".to_owned(),
        format!("punt eth0 {nothing:?}"),
        "tap weir-eth0 [2, 0, 0, 0, 0, 1] 1500".to_owned(),
        "lead weir-eth0 eth0".to_owned(),
        "resolve 3 192.0.2.9".to_owned(),
        "detach eth0".to_owned(),
    ];
    assert_eq!(*calls, wanted);
}

#[test]
fn a_refusal_keeps_its_words_and_its_number() {
    let (client, ..) = broker();
    let direct = Scribe::default().detach("bad0").unwrap_err();
    assert_eq!(client.detach("bad0").unwrap_err(), direct);
    let long = client.detach("wordy0").unwrap_err().to_string();
    assert!(long.starts_with("wordy0: trying: line one line two line one") && long.len() < 400, "{long}");
    // What the kernel side would not take never gets there.
    let words = client.detach("no/device").unwrap_err().to_string();
    assert_eq!(words, "broker: reading a request: field `device` of a message is no device's name");
    let words = client.detach("a-name-that-is-far-too-long").unwrap_err().to_string();
    assert!(words.contains("field `device` of a message is more than fits"), "{words}");
    let many = Punt { ports: vec![(Transport::Tcp, 1); PORTS_MAX + 1], ..Punt::default() };
    assert!(client.punt("eth0", &many).unwrap_err().to_string().contains("`ports`"));
    let address = "192.0.2.1".parse().unwrap();
    let many = Punt { local: true, addresses: vec![address; ADDRESSES_MAX + 1], ..Punt::default() };
    assert!(client.punt("eth0", &many).unwrap_err().to_string().contains("`addresses`"));
    // Addresses that no rule reads do not travel.
    client.punt("eth0", &Punt { local: false, ..many }).unwrap();
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let (client, scribe, _) = broker();
    let client = client.with_limit(Duration::from_millis(50));
    let words = client.detach("slow0").unwrap_err().to_string();
    assert!(words.contains("the broker did not answer within 0.05 s"), "{words}");
    let client = client.with_limit(Duration::from_secs(5));
    assert_eq!(client.attach("eth0", &Punt::default(), None).unwrap(), ATTACHED);
    assert_eq!(scribe.calls.lock().unwrap().len(), 2);
}

#[test]
fn a_broker_that_is_gone_is_told_at_once() {
    let (ours, theirs) = Channel::pair().unwrap();
    let client = Client::over(ours);
    assert!(!client.is_gone());
    drop(theirs);
    assert!(client.is_gone());
    let before = Instant::now();
    let words = client.socket().unwrap_err().to_string();
    assert!(words.starts_with("AF_XDP: making a socket: the broker has ended"), "{words}");
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_peer_that_speaks_otherwise_is_left() {
    for garbage in [vec![0; REQUEST], vec![7; REQUEST], vec![1; 12], vec![0; REQUEST + 1]] {
        let (ours, theirs) = Channel::pair().unwrap();
        let served = thread::spawn(move || serve(&theirs, &Scribe::default()));
        ours.send(&garbage, None, Duration::from_secs(1)).unwrap();
        assert!(matches!(served.join().unwrap(), Ended::PeerStrange(_)));
    }
}

#[test]
fn descriptors_belong_to_their_requests() {
    let (ours, theirs) = Channel::pair().unwrap();
    let served = thread::spawn(move || serve(&theirs, &Scribe::default()));
    let file = null();
    let ask = |request: Request, descriptor| {
        let (mut bytes, mut reply) = ([0; REQUEST], [0; REPLY]);
        request.emit(9, &mut bytes).unwrap();
        ours.send(&bytes, descriptor, Duration::from_secs(1)).unwrap();
        let message = ours.receive(&mut reply, Some(Duration::from_secs(1))).unwrap();
        (Reply::parse(&reply[..message.len]).unwrap().answer, message.descriptor.is_some())
    };
    let install = Request::Install("eth0".to_owned(), 0);
    assert!(matches!(ask(install.clone(), None), (Answer::Refused(_), false)));
    assert!(matches!(ask(Request::Socket, Some(file.as_fd())), (Answer::Refused(_), false)));
    assert_eq!(ask(install, Some(file.as_fd())), (Answer::Done, false));
    assert_eq!(ask(Request::Socket, None), (Answer::Done, true));
    drop(ours);
    assert!(matches!(served.join().unwrap(), Ended::PeerGone));
}

fn punts() -> impl Strategy<Value = Punt> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let ports = prop::collection::vec((transport, any::<u16>()), 0..=PORTS_MAX);
    let addresses = prop::collection::vec(any::<IpAddr>(), 0..=ADDRESSES_MAX);
    (any::<[bool; 3]>(), ports, addresses).prop_map(|([arp, nd, local], ports, addresses)| {
        let addresses = if local || !ports.is_empty() { addresses } else { Vec::new() };
        Punt { arp, nd, local, ports, addresses }
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let device = || "[a-z][a-z0-9.-]{0,14}";
    let mode = prop_oneof![Just(None), Just(Some(Mode::Native)), Just(Some(Mode::Generic))];
    prop_oneof![
        (device(), punts(), mode).prop_map(|(device, punt, mode)| Request::Attach(device, punt, mode)),
        Just(Request::Socket),
        (device(), 0..4096_u32).prop_map(|(device, queue)| Request::Install(device, queue)),
        (device(), 0..4096_u32).prop_map(|(device, queue)| Request::Remove(device, queue)),
        (device(), punts()).prop_map(|(device, punt)| Request::Punt(device, punt)),
        device().prop_map(Request::Detach),
        (device(), any::<[u8; 6]>(), 68..=65_521_u32)
            .prop_map(|(name, mac, mtu)| Request::Tap(name, mac, mtu)),
        (any::<u32>(), any::<IpAddr>()).prop_map(|(index, address)| Request::Resolve(index, address)),
        (device(), device()).prop_map(|(tap, device)| Request::Lead(tap, device)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn requests_come_out_as_they_went_in(request in requests(), number in any::<u64>()) {
        let mut bytes = [0; REQUEST];
        request.emit(number, &mut bytes).unwrap();
        prop_assert_eq!(Request::parse(&bytes).unwrap(), (number, Ok(request)));
    }

    /// A message has one form: what a spoiled one still says, it says with the same bytes.
    #[test]
    fn spoiled_messages_never_mean_what_was_not_said(
        request in requests(),
        spots in prop::collection::vec((0..600_usize, any::<u8>()), 1..4),
    ) {
        let mut bytes = [0; REQUEST];
        request.emit(7, &mut bytes).unwrap();
        for (at, value) in spots {
            bytes[at] = value;
        }
        if let Ok((number, Ok(read))) = Request::parse(&bytes) {
            let mut again = [0; REQUEST];
            read.emit(number, &mut again).unwrap();
            // Addresses that no rule reads are left out when written again.
            let dropped = matches!(&read, Request::Attach(_, punt, _) | Request::Punt(_, punt)
                if !punt.reads_addresses() && !punt.addresses.is_empty());
            prop_assert!(dropped || again == bytes);
        }
    }

    #[test]
    fn anything_may_come_as_a_reply(bytes in prop::collection::vec(any::<u8>(), 0..REPLY + 2), head in any::<bool>()) {
        let mut bytes = bytes;
        if head && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(b"weir\x01\0");
            bytes.resize(REPLY, 0);
        }
        let _ = Reply::parse(&bytes);
    }
}
