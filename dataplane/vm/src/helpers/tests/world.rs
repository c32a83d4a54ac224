//! Helpers that ask the world, or tell it something.

use super::*;
use crate::env::{FibAddresses, FibAnswer, FibGateway, FibHop, PortInfo};
use crate::run::Redirect;

const HOP: FibHop = FibHop {
    ifindex: 4,
    metric: 100,
    mtu: 0,
    gateway: Some(FibGateway::V4([10, 0, 0, 1])),
    source: None,
    neighbour: Some([2, 0, 0, 0, 0, 9]),
    mac: [2, 0, 0, 0, 0, 8],
};

fn routed(kind: ProgramType, route: FibAnswer) -> Bench {
    let mut bench = Bench::new(kind, &ipv4());
    bench.env.route = Some(route);
    bench.env.ports = vec![
        (1, PortInfo { mtu: 60, up: true, ..PortInfo::default() }),
        (4, PortInfo { mtu: 1500, up: true, ..PortInfo::default() }),
    ];
    bench
}

/// `struct bpf_fib_lookup` for a TCP packet of this length from 192.0.2.1 to 198.51.100.7.
fn params(total: u16) -> [u8; 64] {
    let mut params = [0u8; 64];
    (params[0], params[1]) = (2, 6);
    params[2..4].copy_from_slice(&1234u16.to_be_bytes());
    params[6..8].copy_from_slice(&total.to_ne_bytes());
    params[8] = 1;
    params[16..20].copy_from_slice(&[192, 0, 2, 1]);
    params[32..36].copy_from_slice(&[198, 51, 100, 7]);
    params[48..].fill(0xee);
    params
}

#[test]
fn a_route_fills_the_question_in() {
    let mut bench = routed(ProgramType::Xdp, FibAnswer::Forward(HOP));
    let mut p = params(60);
    bench.with(|calls| assert_eq!(calls.call(Helper::FibLookup, &[0, address(&mut p), 64, 0]), 0));
    let asked = bench.env.asked.unwrap();
    let addresses = FibAddresses::V4 { source: [192, 0, 2, 1], destination: [198, 51, 100, 7] };
    assert_eq!(
        (asked.addresses, asked.source_port, asked.total_len, asked.ifindex),
        (addresses, 1234, 60, 1)
    );
    assert_eq!(p[6..16], [&1500u16.to_ne_bytes()[..], &4u32.to_ne_bytes(), &100u32.to_ne_bytes()].concat());
    assert_eq!(p[32..36], [10, 0, 0, 1]);
    assert_eq!(p[48..], [&[0; 4][..], &HOP.mac, &HOP.neighbour.unwrap()].concat());
}

#[test]
fn what_does_not_go_says_why() {
    const SKIP_NEIGH: u64 = 1 << 2;
    let answers = [
        (FibAnswer::Blackhole, 1),
        (FibAnswer::Unreachable, 2),
        (FibAnswer::Prohibit, 3),
        (FibAnswer::NotForwarded, 4),
        (FibAnswer::ForwardingDisabled, 5),
        (FibAnswer::Encapsulated, 6),
        (FibAnswer::Forward(FibHop { neighbour: None, ..HOP }), 7),
        (FibAnswer::NoSourceAddress, 9),
        (FibAnswer::NoPort, error(Errno::ENODEV)),
    ];
    for (route, wanted) in answers {
        let mut p = params(60);
        let mut ask = |flags| {
            routed(ProgramType::Xdp, route)
                .with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), 64, flags]))
        };
        assert_eq!(ask(0), wanted, "{route:?}");
        if wanted == 7 {
            assert_eq!(ask(SKIP_NEIGH), 0, "no neighbour asked for");
        }
    }
    let mut p = params(60);
    let mut ask = |size, flags| {
        routed(ProgramType::Xdp, FibAnswer::NotForwarded)
            .with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), size, flags]))
    };
    assert_eq!((ask(63, 0), ask(64, 64)), (error(Errno::EINVAL), error(Errno::EINVAL)));
    p[0] = 1;
    let mut ask = || {
        routed(ProgramType::Xdp, FibAnswer::NotForwarded)
            .with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), 64, 0]))
    };
    assert_eq!(ask(), error(Errno::EAFNOSUPPORT));
}

#[test]
fn what_is_too_long_needs_fragments() {
    let mut p = params(1501);
    let long = routed(ProgramType::Xdp, FibAnswer::Forward(HOP))
        .with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), 64, 0]));
    assert_eq!((long, &p[6..8]), (8, &1500u16.to_ne_bytes()[..]));
    // A tc program that names no length has its packet measured against the port.
    let hop = FibHop { ifindex: 1, ..HOP };
    let mut p = params(0);
    let mut bench = routed(ProgramType::SchedCls, FibAnswer::Forward(hop));
    assert_eq!(bench.with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), 64, 0])), 0);
    bench.env.ports[0].1.mtu = 50;
    let mut p = params(0);
    assert_eq!(bench.with(|c| c.call(Helper::FibLookup, &[0, address(&mut p), 64, 0])), 8);
    assert_eq!(p[6..8], 50u16.to_ne_bytes());
}

#[test]
fn mtus_are_checked() {
    let mut mtu = 0u32;
    let mut bench = routed(ProgramType::Xdp, FibAnswer::NotForwarded);
    let at = address(&mut mtu);
    bench.with(|calls| {
        assert_eq!(calls.call(Helper::CheckMtu, &[0, 1, at, 0, 0]), 0, "60 bytes behind the link header");
        assert_eq!(mtu, 60);
        mtu = 0;
        assert_eq!(calls.call(Helper::CheckMtu, &[0, 1, at, 1, 0]), 1);
        mtu = 61;
        assert_eq!(calls.call(Helper::CheckMtu, &[0, 1, at, 0, 0]), 1);
        mtu = 0;
        assert_eq!(calls.call(Helper::CheckMtu, &[0, 9, at, 0, 0]), error(Errno::ENODEV));
        assert_eq!(calls.call(Helper::CheckMtu, &[0, 1, at, 0, 1]), error(Errno::EINVAL));
    });
}

#[test]
fn redirects_are_noted() {
    let mut hop = [0u8; 20];
    hop[0] = 2;
    hop[4..8].copy_from_slice(&[10, 0, 0, 9]);
    Bench::new(ProgramType::Xdp, &ipv4()).with(|calls| {
        assert_eq!(calls.call(Helper::Redirect, &[3, 0]), 4);
        assert_eq!(calls.run.redirect(), Some(Redirect::Port { ifindex: 3, ingress: false }));
        assert_eq!(calls.call(Helper::Redirect, &[3, 1]), 0);
    });
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        assert_eq!(calls.call(Helper::Redirect, &[3, 1]), 7);
        assert_eq!(calls.run.redirect(), Some(Redirect::Port { ifindex: 3, ingress: true }));
        assert_eq!(calls.call(Helper::RedirectPeer, &[5, 0]), 7);
        assert_eq!(calls.run.redirect(), Some(Redirect::Peer { ifindex: 5 }));
        assert_eq!(calls.call(Helper::RedirectNeigh, &[6, address(&mut hop), 20, 0]), 7);
        let hop = Some(FibGateway::V4([10, 0, 0, 9]));
        assert_eq!(calls.run.redirect(), Some(Redirect::Neighbour { ifindex: 6, hop }));
        assert_eq!(calls.call(Helper::RedirectNeigh, &[6, 0, 0, 0]), 7);
        assert_eq!(calls.run.redirect(), Some(Redirect::Neighbour { ifindex: 6, hop: None }));
    });
}

#[test]
fn copies_are_sent_with_their_tag() {
    let packet = ipv4();
    let mut bench = routed(ProgramType::SchedCls, FibAnswer::NotForwarded);
    bench.with(|calls| {
        assert_eq!(calls.call(Helper::CloneRedirect, &[0, 4, 1]), 0);
        calls.call(Helper::SkbVlanPush, &[0, u64::from(0x8100u16.to_be()), 5]);
        assert_eq!(calls.call(Helper::CloneRedirect, &[0, 4, 0]), 0);
        assert_eq!(calls.call(Helper::CloneRedirect, &[0, 99, 0]), error(Errno::EINVAL));
        assert_eq!(calls.call(Helper::CloneRedirect, &[0, 4, 2]), error(Errno::EINVAL));
    });
    let tagged = [&packet[..12], &[0x81, 0, 0, 5], &packet[12..]].concat();
    assert_eq!(bench.env.clones, [(4, true, packet), (4, false, tagged)]);
}

#[test]
fn clocks_and_chance_come_from_the_world() {
    let mut bench = Bench::new(ProgramType::Xdp, &ipv4());
    (bench.env.now_ns, bench.env.random) = (1_000_000_000, 7);
    bench.with(|calls| {
        assert_eq!(calls.call(Helper::KtimeGetNs, &[]), 1_000_000_000);
        assert_eq!(calls.call(Helper::KtimeGetBootNs, &[]), 1_000_000_001);
        assert_eq!(calls.call(Helper::KtimeGetCoarseNs, &[]), 1_000_000_002);
        assert_eq!(calls.call(Helper::KtimeGetTaiNs, &[]), 1_000_000_003);
        assert_eq!(calls.call(Helper::Jiffies64, &[]), 0xffff_ffff - 75_000 + 1 + 250);
        assert_eq!(calls.call(Helper::GetPrandomU32, &[]), 7);
    });
}

#[test]
fn lines_are_traced() {
    let mut format = *b"port %d of %x\n\0";
    let mut bench = Bench::new(ProgramType::Xdp, &ipv4());
    bench.with(|calls| {
        let at = address(&mut format);
        assert_eq!(calls.call(Helper::TracePrintk, &[at, 15, 80, 0xbeef, 0]), 16);
        assert_eq!(
            calls.call(Helper::TracePrintk, &[at, 14, 80, 0xbeef, 0]),
            error(Errno::EINVAL),
            "no terminator"
        );
    });
    assert_eq!(bench.env.traced, ["port 80 of beef"]);
}

#[test]
fn text_is_read_and_compared() {
    let (mut text, mut value) = (*b" -12 ", 0i64);
    let (mut one, mut other) = (*b"abc\0", *b"abd\0");
    Bench::new(ProgramType::Xdp, &ipv4()).with(|calls| {
        let (at, out) = (address(&mut text), address(&mut value));
        assert_eq!(calls.call(Helper::Strtol, &[at, 5, 10, out]), 4);
        assert_eq!(value, -12);
        assert_eq!(calls.call(Helper::Strtoul, &[at, 5, 10, out]), error(Errno::EINVAL));
        let (a, b) = (address(&mut one), address(&mut other));
        assert_eq!(calls.call(Helper::Strncmp, &[a, 4, b]) as i64, -1);
        assert_eq!(calls.call(Helper::Strncmp, &[a, 2, b]), 0);
        assert_eq!(calls.call(Helper::Strncmp, &[a, 4, a]), 0);
    });
}
