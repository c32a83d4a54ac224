//! Helpers on the packet itself.

use super::*;

#[test]
fn an_xdp_packet_is_moved_and_zeroed() {
    Bench::new(ProgramType::Xdp, &ipv4()).with(|calls| {
        assert_eq!(calls.call(Helper::XdpAdjustMeta, &[0, -8i64 as u64]), 0);
        assert_eq!(calls.call(Helper::XdpAdjustMeta, &[0, 12]), error(Errno::EINVAL));
        assert_eq!(calls.call(Helper::XdpAdjustMeta, &[0, -2i64 as u64]), error(Errno::EACCES));
        assert_eq!(calls.call(Helper::XdpAdjustHead, &[0, -20i64 as u64]), 0);
        assert_eq!(calls.context().data_range(), START - 20..START + 74);
        assert_eq!(calls.context().meta_range(), START - 28..START - 20);
        assert_eq!(calls.call(Helper::XdpAdjustTail, &[0, 10]), 0);
        assert_eq!(calls.context().packet()[94..], [0; 10]);
        assert_eq!(calls.call(Helper::XdpGetBuffLen, &[0]), 104);
        assert_eq!(calls.call(Helper::XdpAdjustTail, &[0, -91i64 as u64]), error(Errno::EINVAL));
        assert_eq!(calls.call(Helper::XdpAdjustTail, &[0, -90i64 as u64]), 0);
    });
}

#[test]
fn metadata_is_carried_into_tc() {
    let mut bench = Bench::new(ProgramType::Xdp, &ipv4());
    bench.with(|calls| {
        assert_eq!(calls.call(Helper::XdpAdjustMeta, &[0, -4i64 as u64]), 0);
        let at = calls.context().meta_range();
        calls.context().room_mut()[at].copy_from_slice(&[1, 2, 3, 4]);
        calls.context().enter_tc(true);
        calls.run.kind = ProgramType::SchedCls;
        assert_eq!(calls.call(Helper::SkbChangeHead, &[0, 6, 0]), 0);
        assert_eq!(calls.context().meta(), [1, 2, 3, 4]);
        assert_eq!(calls.context().len(), 80);
    });
}

#[test]
fn bytes_go_in_and_out() {
    let mut buffer = [9u8; 4];
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        let at = address(&mut buffer);
        assert_eq!(calls.call(Helper::SkbStoreBytes, &[0, 14, at, 4, 2]), 0);
        assert_eq!(calls.context().packet()[13..19], [0, 9, 9, 9, 9, 0]);
        assert_eq!(calls.call(Helper::SkbLoadBytes, &[0, 12, at, 4]), 0);
        assert_eq!(buffer, [8, 0, 9, 9]);
        assert_eq!(calls.call(Helper::SkbLoadBytesRelative, &[0, 1, at, 4, 1]), 0);
        assert_eq!(buffer, [9, 9, 9, 0]);
        assert_eq!(calls.call(Helper::SkbLoadBytes, &[0, 72, at, 4]), error(Errno::EFAULT));
        assert_eq!(buffer, [0; 4], "cleared when it fails");
    });
}

#[test]
fn the_packet_may_be_the_source_of_its_own_bytes() {
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        let inside = calls.context().packet_mut()[..40].as_mut_ptr().expose_provenance() as u64;
        let before = calls.context().packet()[..40].to_vec();
        assert_eq!(calls.call(Helper::SkbStoreBytes, &[0, 10, inside, 40, 0]), 0);
        assert_eq!(calls.context().packet()[10..50], before);
    });
}

#[test]
fn room_for_an_outer_header_is_made_behind_the_link_header() {
    const ENCAP_IPV4: u64 = 1 << 1;
    let packet = ipv4();
    Bench::new(ProgramType::SchedCls, &packet).with(|calls| {
        assert_eq!(calls.call(Helper::SkbAdjustRoom, &[0, 20, 1, ENCAP_IPV4]), 0);
        let wanted = [&packet[..14], &[0; 20], &packet[14..]].concat();
        assert_eq!(calls.context().packet(), wanted);
        assert_eq!(calls.call(Helper::SkbAdjustRoom, &[0, 20, 1, ENCAP_IPV4]), error(Errno::EALREADY));
        assert_eq!(calls.call(Helper::SkbAdjustRoom, &[0, -20i64 as u64, 1, 0]), 0);
        assert_eq!(calls.context().packet(), packet);
        assert_eq!(calls.call(Helper::SkbAdjustRoom, &[0, 4000, 1, 0]), error(Errno::ENOMEM), "no such room");
    });
}

#[test]
fn ipv4_becomes_ipv6_and_back() {
    let packet = ipv4();
    Bench::new(ProgramType::SchedCls, &packet).with(|calls| {
        calls.context().hash = 5;
        assert_eq!(calls.call(Helper::SkbChangeProto, &[0, u64::from(0x86ddu16.to_be()), 0]), 0);
        assert_eq!((calls.context().len(), calls.context().hash), (packet.len() + 20, 0));
        assert_eq!(calls.context().protocol, u32::from(0x86ddu16.to_be()));
        assert_eq!(calls.call(Helper::SkbChangeProto, &[0, u64::from(0x0800u16.to_be()), 0]), 0);
        assert_eq!(calls.context().packet(), packet);
    });
}

#[test]
fn a_tag_leaves_and_returns_with_the_packet() {
    let packet = ethernet(0x8100, &[&[0x20, 5, 8, 0], &[7; 60][..]].concat());
    Bench::new(ProgramType::SchedCls, &packet).with(|calls| {
        calls.context().untag();
        assert_eq!(calls.context().vlan_tag(), Some((0x8100, 0x2005)));
        assert_eq!(calls.context().protocol, u32::from(0x0800u16.to_be()));
        assert_eq!(calls.context().packet()[12..15], [8, 0, 7]);
        assert_eq!(calls.call(Helper::SkbVlanPush, &[0, u64::from(0x88a8u16.to_be()), 9]), 0);
        assert_eq!(calls.context().vlan_tag(), Some((0x88a8, 9)));
        assert_eq!(calls.context().packet()[12..19], [0x81, 0, 0x20, 5, 8, 0, 7]);
        assert_eq!(calls.call(Helper::SkbVlanPop, &[0]), 0);
        assert_eq!(calls.context().vlan_tag(), Some((0x8100, 0x2005)));
        calls.context().retag().unwrap();
        assert_eq!(calls.context().packet(), packet);
    });
}

#[test]
fn checksums_follow_the_bytes() {
    const PSEUDO: u64 = 1 << 4;
    const MANGLED_0: u64 = 1 << 5;
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        let (old, new) = (u16::from_ne_bytes([64, 17]), u16::from_ne_bytes([63, 17]));
        calls.context().packet_mut()[22] = 63;
        assert_eq!(calls.call(Helper::L3CsumReplace, &[0, 24, u64::from(old), u64::from(new), 2]), 0);
        assert_eq!(checksum(&calls.context().packet()[14..34]), 0);
        let (mut from, mut to) = ([192u8, 0, 2, 1], [10u8, 1, 2, 3]);
        calls.context().packet_mut()[26..30].copy_from_slice(&to);
        let diff = calls.call(Helper::CsumDiff, &[address(&mut from), 4, address(&mut to), 4, 0]);
        assert_eq!(calls.call(Helper::L3CsumReplace, &[0, 24, 0, diff, 0]), 0);
        assert_eq!(checksum(&calls.context().packet()[14..34]), 0);
        calls.context().packet_mut()[40..42].fill(0);
        assert_eq!(calls.call(Helper::L4CsumReplace, &[0, 40, 1, 2, 2 | PSEUDO | MANGLED_0]), 0);
        assert_eq!(calls.context().packet()[40..42], [0, 0], "a UDP packet without a checksum keeps none");
        assert_eq!(calls.call(Helper::CsumUpdate, &[0, 1]), error(Errno::ENOTSUPP));
        assert_eq!(calls.call(Helper::CsumLevel, &[0, 0]), error(Errno::EACCES));
        assert_eq!(calls.call(Helper::CsumLevel, &[0, 1]), 0);
        assert_eq!(calls.call(Helper::CsumLevel, &[0, 0]), 0);
    });
}

#[test]
fn congestion_is_marked_where_senders_understand_it() {
    let mut packet = ipv4();
    Bench::new(ProgramType::SchedCls, &packet).with(|calls| {
        assert_eq!(calls.call(Helper::SkbEcnSetCe, &[0]), 0, "not capable");
    });
    for ecn in [1, 2, 3] {
        packet[15] = ecn;
        packet[24..26].fill(0);
        let sum = checksum(&packet[14..34]);
        packet[24..26].copy_from_slice(&sum.to_be_bytes());
        Bench::new(ProgramType::SchedCls, &packet).with(|calls| {
            assert_eq!(calls.call(Helper::SkbEcnSetCe, &[0]), 1);
            assert_eq!(calls.context().packet()[15], 3);
            assert_eq!(checksum(&calls.context().packet()[14..34]), 0);
        });
    }
}

#[test]
fn hashes_are_made_kept_and_forgotten() {
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        let hash = calls.call(Helper::GetHashRecalc, &[0]);
        assert_ne!(hash, 0);
        assert_eq!(u64::from(calls.context().hash), hash);
        calls.call(Helper::SetHash, &[0, 77]);
        assert_eq!(calls.call(Helper::GetHashRecalc, &[0]), 77);
        calls.call(Helper::SetHashInvalid, &[0]);
        assert_eq!(calls.call(Helper::GetHashRecalc, &[0]), hash);
    });
}

#[test]
fn tunnel_metadata_and_options_are_read_back() {
    let (mut key, mut options) = ([0u8; 44], [1u8, 2, 3, 4, 5, 6, 7, 8]);
    key[0] = 42;
    key[4..8].copy_from_slice(&[1, 2, 3, 4]);
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        let at = address(&mut options);
        assert_eq!(calls.call(Helper::SkbSetTunnelOpt, &[0, at, 8]), error(Errno::EINVAL), "no tunnel yet");
        assert_eq!(calls.call(Helper::SkbSetTunnelKey, &[0, address(&mut key), 44, 0]), 0);
        assert_eq!(calls.call(Helper::SkbGetTunnelOpt, &[0, at, 8]), error(Errno::ENOENT));
        options = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(calls.call(Helper::SkbSetTunnelOpt, &[0, address(&mut options), 8]), 0);
        let mut seen = [0xffu8; 12];
        assert_eq!(calls.call(Helper::SkbGetTunnelOpt, &[0, address(&mut seen), 12]), 8);
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
        assert_eq!(calls.call(Helper::SkbGetTunnelOpt, &[0, address(&mut seen), 4]), error(Errno::ENOMEM));
        assert_eq!(calls.call(Helper::SkbGetTunnelKey, &[0, address(&mut key), 44, 0]), 0);
        assert_eq!((key[0], &key[28..32]), (42, &[1, 2, 3, 4][..]), "remote is now local");
    });
}

#[test]
fn nobody_sent_the_packet() {
    Bench::new(ProgramType::SchedCls, &ipv4()).with(|calls| {
        assert_eq!(calls.call(Helper::GetCgroupClassid, &[0]), 0);
        assert_eq!(calls.call(Helper::GetRouteRealm, &[0]), 0);
        assert_eq!(calls.call(Helper::GetSocketCookie, &[0]), 0);
        assert_eq!(calls.call(Helper::GetSocketUid, &[0]), 65534);
        assert_eq!(calls.call(Helper::GetNumaNodeId, &[]), 0);
        assert_eq!(calls.call(Helper::SkbChangeType, &[0, 1]), 0);
        assert_eq!(calls.context().pkt_type, 1);
        assert_eq!(calls.call(Helper::SkbChangeType, &[0, 4]), error(Errno::EINVAL));
        assert_eq!(calls.call(Helper::SkbPullData, &[0, 0]), 0);
        assert_eq!(calls.call(Helper::SkbSetTstamp, &[0, 9, 1]), 0);
        assert_eq!((calls.context().tstamp, calls.context().tstamp_type), (9, 1));
    });
}

/// Numbers from a seed, half of them at the edges of things.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        const EDGES: [u64; 14] =
            [0, 1, 2, 4, 13, 14, 15, 18, 20, 40, 0xfff, 0xffff, i32::MAX as u64, u64::MAX];
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        match self.0 % 4 {
            0 => self.0 >> 32,
            1 => EDGES[self.0 as usize / 64 % EDGES.len()].wrapping_neg(),
            _ => EDGES[self.0 as usize / 64 % EDGES.len()],
        }
    }
}

#[test]
fn no_number_and_no_runt_upsets_a_helper() {
    use weir_ebpf::abi::helper::Arg;
    let plain =
        |helper: &&Helper| helper.args().iter().all(|arg| matches!(arg, Arg::Context | Arg::Anything));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for kind in [ProgramType::Xdp, ProgramType::SchedCls, ProgramType::SocketFilter] {
        let helpers: Vec<Helper> = Helper::ALL
            .iter()
            .filter(plain)
            .filter(|helper| helper.offered_to(kind, kind.usual_attach()))
            .copied()
            .collect();
        for _ in 0..400 {
            let len = (numbers.next() % 70) as usize;
            let ether_type = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x0010][numbers.next() as usize % 5];
            let mut packet = ethernet(ether_type, &[0x81; 56]);
            packet.truncate(len);
            Bench::new(kind, &packet).with(|calls| {
                for _ in 0..40 {
                    let helper = helpers[numbers.next() as usize % helpers.len()];
                    let args = [0; 5].map(|_: u64| numbers.next());
                    calls.call(helper, &args);
                    let (meta, data) = (calls.context().meta_range(), calls.context().data_range());
                    assert!(
                        meta.end == data.start && data.end <= calls.context().room_len(),
                        "{}",
                        helper.name()
                    );
                    assert_eq!(calls.context().len, data.len() as u32, "{}", helper.name());
                }
            });
        }
    }
}
