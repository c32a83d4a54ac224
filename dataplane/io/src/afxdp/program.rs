//! The program in the kernel: what is punted goes on to the kernel, the rest to the socket of its queue.
//!
//! It is put together for what is punted, so that a packet pays only for what is asked of it: with the default
//! (ARP, neighbour discovery) that is a look at the EtherType. A queue without a socket passes its packets on to
//! the kernel (the third argument of `bpf_redirect_map`, Linux 5.3).

use std::fmt::Write as _;
use std::net::IpAddr;

use weir_ebpf::asm::assemble_with;
use weir_ebpf::encode;
use weir_ebpf::isa::{Imm64, Insn};

use super::punt::Punt;

/// The maps that the program names, in the order in which [`bytes`] takes their descriptors.
const MAPS: [&str; 2] = ["sockets", "addresses"];

/// The program as bytes for `BPF_PROG_LOAD`, with these descriptors of the XSKMAP and the table of addresses.
pub(super) fn bytes(punt: &Punt, sockets: u32, addresses: u32) -> Vec<u8> {
    let descriptors = [sockets, addresses];
    let mut insns = assembled(punt);
    for insn in &mut insns {
        if let Insn::LoadImm64 { value: Imm64::Map(map), .. } = insn {
            *map = descriptors[*map as usize];
        }
    }
    encode::to_bytes(&encode::encode(&insns))
}

/// The tc program that has the kernel take packets as if they had come in by another device (`BPF_F_INGRESS`).
pub(super) fn leading(ifindex: u32) -> Vec<u8> {
    let text = format!("r1 = {ifindex}\nr2 = 1\ncall bpf_redirect\nexit\n");
    match assemble_with(&text, &[]) {
        Ok(insns) => encode::to_bytes(&encode::encode(&insns)),
        Err(error) => panic!("the leading program does not assemble: {error}\n{text}"),
    }
}

fn assembled(punt: &Punt) -> Vec<Insn> {
    match assemble_with(&text(punt), &MAPS) {
        Ok(insns) => insns,
        // The text is ours, down to the last word: a test assembles every shape of it.
        Err(error) => panic!("the redirect program does not assemble: {error}\n{}", text(punt)),
    }
}

/// The key of an address in the table: IPv6, or IPv4 as `::ffff:a.b.c.d`.
pub(super) fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The program, to read. r6 the context, r7 where the EtherType stands, r5 the EtherType, r3 the packet's end,
/// r8 the transport header, r9 the protocol.
pub(super) fn text(punt: &Punt) -> String {
    let mut out = String::new();
    let ip = punt.nd || (punt.reads_addresses() && !punt.addresses.is_empty());
    out += "r6 = r1\n";
    if punt.arp || ip {
        ether_type(&mut out);
    }
    if punt.arp {
        // 0x0806, as it lies in memory.
        out += "if r5 == 0x608 goto pass\n";
    }
    if ip {
        let local = punt.reads_addresses() && !punt.addresses.is_empty();
        out += if local { "if r5 == 0x8 goto ipv4\n" } else { "" };
        out += "if r5 != 0xdd86 goto redirect\n";
        ipv6(&mut out, punt.nd, local);
        if local {
            ipv4(&mut out);
            lookup(&mut out, punt);
        }
    }
    out += "redirect:\n\
        r2 = *(u32 *)(r6 + 16)\n\
        r1 = map[sockets] ll\n\
        r3 = 2\n\
        call bpf_redirect_map\n\
        exit\n";
    // The kernel refuses what nothing leads to.
    if out.contains("goto pass") {
        out += "pass:\nr0 = 2\nexit\n";
    }
    out
}

/// Finds the EtherType behind up to two VLAN tags.
fn ether_type(out: &mut String) {
    *out += "r2 = *(u32 *)(r6 + 0)\n\
        r3 = *(u32 *)(r6 + 4)\n\
        r7 = r2\n\
        r7 += 12\n";
    for tag in 0..3 {
        *out += "r1 = r7\nr1 += 2\nif r1 > r3 goto redirect\nr5 = *(u16 *)(r7 + 0)\n";
        if tag < 2 {
            // 802.1Q and 802.1ad: 0x8100, 0x88a8.
            let _ =
                write!(out, "if r5 == 0x81 goto tag{tag}\nif r5 != 0xa888 goto type\ntag{tag}:\nr7 += 4\n");
        }
    }
    *out += "type:\n";
}

/// Neighbour and router discovery, then the destination's key.
fn ipv6(out: &mut String, nd: bool, local: bool) {
    *out += "r8 = r7\nr8 += 42\nr1 = r8\nr1 += 1\nif r1 > r3 goto redirect\nr9 = *(u8 *)(r7 + 8)\n";
    if nd {
        *out += "if r9 != 58 goto no_nd\n\
            r1 = *(u8 *)(r8 + 0)\n\
            if r1 < 133 goto no_nd\n\
            if r1 <= 137 goto pass\n\
            no_nd:\n";
    }
    if local {
        for at in [0, 4, 8, 12] {
            let _ = writeln!(out, "r1 = *(u32 *)(r7 + {})\n*(u32 *)(r10 - {}) = r1", 26 + at, 16 - at);
        }
        *out += "goto lookup\n";
    } else {
        *out += "goto redirect\n";
    }
}

/// The destination's key of an IPv4 packet; fragments but the first have no ports.
fn ipv4(out: &mut String) {
    *out += "ipv4:\n\
        r1 = r7\nr1 += 22\nif r1 > r3 goto redirect\n\
        r1 = 0\n*(u64 *)(r10 - 16) = r1\n\
        r1 = 0xffff0000 ll\n*(u32 *)(r10 - 8) = r1\n\
        r1 = *(u32 *)(r7 + 18)\n*(u32 *)(r10 - 4) = r1\n\
        r9 = *(u8 *)(r7 + 11)\n\
        r1 = *(u16 *)(r7 + 8)\nr1 &= 0xff1f\nif r1 == 0 goto whole\nr9 = 0\nwhole:\n\
        r1 = *(u8 *)(r7 + 2)\nr1 &= 15\n\
        r8 = r7\nr8 += 22\n";
    // By steps that are written in the program: adding a number from a packet to its address takes CAP_PERFMON,
    // which the broker does not have (`sanitize_ptr_alu`, kernel/bpf/verifier.c).
    for words in 5..15 {
        let _ = writeln!(out, "if r1 == {words} goto lookup\nr8 += 4");
    }
    *out += "if r1 != 15 goto redirect\n";
}

/// The box's own addresses, then its ports.
fn lookup(out: &mut String, punt: &Punt) {
    // Calls forget r1 to r5: the packet's end is read again behind it.
    *out += "lookup:\n\
        r2 = r10\nr2 += -16\n\
        r1 = map[addresses] ll\n\
        call bpf_map_lookup_elem\n\
        if r0 == 0 goto redirect\n";
    if punt.local {
        *out += "goto pass\n";
        return;
    }
    *out += "r3 = *(u32 *)(r6 + 4)\n\
        r1 = r8\nr1 += 4\nif r1 > r3 goto redirect\n\
        r1 = *(u16 *)(r8 + 0)\nr2 = *(u16 *)(r8 + 2)\n";
    for (at, (transport, port)) in punt.ports.iter().enumerate() {
        let (number, port) = (transport.number(), port.swap_bytes());
        let _ = writeln!(
            out,
            "if r9 != {number} goto next{at}\nif r1 == {port} goto pass\nif r2 == {port} goto pass\nnext{at}:"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::afxdp::punt::Transport;
    use weir_sys::bpf::{KernelMap, KernelProgram, LoadAttr, MapAttr, TestRun};

    const OURS: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ];

    /// Every combination of what can be asked.
    fn shapes() -> Vec<Punt> {
        let ports = vec![(Transport::Tcp, 179), (Transport::Udp, 3784)];
        (0..32)
            .map(|bits: u8| Punt {
                arp: bits & 1 != 0,
                nd: bits & 2 != 0,
                local: bits & 4 != 0,
                ports: if bits & 8 != 0 { ports.clone() } else { Vec::new() },
                addresses: if bits & 16 != 0 { OURS.to_vec() } else { Vec::new() },
            })
            .collect()
    }

    /// A packet, and whether it is punted.
    type Case = (Vec<u8>, fn(&Punt) -> bool);

    struct Loaded {
        program: KernelProgram,
        _maps: [KernelMap; 2],
    }

    fn load(punt: &Punt) -> Loaded {
        let sockets = MapAttr { kind: 17, key_size: 4, value_size: 4, max_entries: 4, ..MapAttr::default() };
        let table = MapAttr { kind: 1, key_size: 16, value_size: 1, max_entries: 8, ..MapAttr::default() };
        let maps = [sockets, table].map(|attr| KernelMap::create(&attr).unwrap());
        for address in &punt.addresses {
            maps[1].update(&key(*address), &[1], 0).unwrap();
        }
        let insns = bytes(punt, maps[0].fd() as u32, maps[1].fd() as u32);
        let attr = LoadAttr { kind: 6, insns: &insns, license: "GPL", log_level: 1, ..LoadAttr::default() };
        let program = KernelProgram::load(&attr).unwrap_or_else(|error| panic!("{error}\n{}", error.log));
        Loaded { program, _maps: maps }
    }

    fn ether(tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![2; 12];
        for tag in tags {
            packet.extend(tag.to_be_bytes());
            packet.extend([0, 7]);
        }
        packet.extend(kind.to_be_bytes());
        packet.extend(payload);
        packet.resize(packet.len().max(60), 0);
        packet
    }

    fn ipv4(to: [u8; 4], protocol: u8, options: usize, fragment: u16, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0x45 + options as u8, 0, 0, 40, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 9]);
        packet.extend(to);
        packet.extend(vec![1; options * 4]);
        packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        packet
    }

    fn ipv6(to: IpAddr, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, next, 64];
        packet.extend([9; 16]);
        packet.extend(key(to));
        packet.extend(payload);
        packet
    }

    #[test]
    fn the_kernel_takes_the_leading_program() {
        if let Err(why) = weir_sys::bpf::available() {
            println!("skipped: {why}");
            return;
        }
        for ifindex in [1, 7, i32::MAX as u32] {
            let insns = leading(ifindex);
            let attr =
                LoadAttr { kind: 3, insns: &insns, license: "GPL", log_level: 1, ..LoadAttr::default() };
            KernelProgram::load(&attr).unwrap_or_else(|error| panic!("{error}\n{}", error.log));
        }
    }

    #[test]
    fn every_shape_assembles() {
        for punt in shapes() {
            assert!(!bytes(&punt, 3, 4).is_empty());
        }
    }

    #[test]
    fn the_kernel_takes_every_shape_and_punts_what_was_asked() {
        if let Err(why) = weir_sys::bpf::available() {
            println!("skipped: {why}");
            return;
        }
        let other = [10, 0, 0, 2];
        let ours = [10, 0, 0, 1];
        let udp = [0x0e, 0xc8, 0x27, 0x0f];
        let cases: Vec<Case> = vec![
            (ether(&[], 0x0806, &[]), |punt| punt.arp),
            (ether(&[0x8100], 0x0806, &[]), |punt| punt.arp),
            (ether(&[0x88a8, 0x8100], 0x0806, &[]), |punt| punt.arp),
            (ether(&[0x8100, 0x8100, 0x8100], 0x0806, &[]), |_| false),
            (ether(&[], 0x88cc, &[]), |_| false),
            (ether(&[], 0x86dd, &ipv6(OURS[0], 58, &[135, 0])), |punt| punt.nd || local(punt)),
            (ether(&[], 0x86dd, &ipv6("ff02::1".parse().unwrap(), 58, &[133, 0])), |punt| punt.nd),
            (ether(&[], 0x86dd, &ipv6("ff02::1".parse().unwrap(), 58, &[137, 0])), |punt| punt.nd),
            (ether(&[], 0x86dd, &ipv6("ff02::1".parse().unwrap(), 58, &[128, 0])), |_| false),
            (ether(&[], 0x86dd, &ipv6("ff02::1".parse().unwrap(), 58, &[138, 0])), |_| false),
            (ether(&[], 0x86dd, &ipv6(OURS[1], 6, &[0; 20])), local),
            (ether(&[], 0x86dd, &ipv6(OURS[1], 17, &udp)), |punt| local(punt) || ports(punt)),
            (ether(&[], 0x0800, &ipv4(ours, 1, 0, 0, [0, 0])), local),
            (ether(&[], 0x0800, &ipv4(other, 6, 0, 0, [179, 179])), |_| false),
            (ether(&[], 0x0800, &ipv4(ours, 6, 0, 0, [179, 9])), |punt| local(punt) || ports(punt)),
            (ether(&[], 0x0800, &ipv4(ours, 6, 3, 0, [9, 179])), |punt| local(punt) || ports(punt)),
            (ether(&[0x8100], 0x0800, &ipv4(ours, 17, 10, 0, [9, 3784])), |punt| local(punt) || ports(punt)),
            (ether(&[], 0x0800, &ipv4(ours, 17, 0, 0, [179, 179])), local),
            (ether(&[], 0x0800, &ipv4(ours, 6, 0, 8, [179, 179])), local),
            (vec![0; 14], |_| false),
        ];
        for punt in shapes() {
            let loaded = load(&punt);
            for (at, (packet, punted)) in cases.iter().enumerate() {
                let run = TestRun { data: packet, repeat: 1, ..TestRun::default() };
                let answer = loaded.program.test_run(&run).unwrap().retval;
                // No queue has a socket, so what is redirected passes as well: told apart by the map's absence.
                let text = text(&punt);
                assert_eq!(answer, 2, "packet {at}: {punt:?}\n{text}");
                assert_eq!(redirected(&punt, packet), !punted(&punt), "packet {at}: {punt:?}\n{text}");
            }
        }
    }

    fn local(punt: &Punt) -> bool {
        punt.local && !punt.addresses.is_empty()
    }

    fn ports(punt: &Punt) -> bool {
        !punt.ports.is_empty() && !punt.addresses.is_empty()
    }

    /// Whether the program comes to its `redirect`: with another fallback, the answer tells.
    fn redirected(punt: &Punt, packet: &[u8]) -> bool {
        let sockets = MapAttr { kind: 17, key_size: 4, value_size: 4, max_entries: 4, ..MapAttr::default() };
        let table = MapAttr { kind: 1, key_size: 16, value_size: 1, max_entries: 8, ..MapAttr::default() };
        let maps = [sockets, table].map(|attr| KernelMap::create(&attr).unwrap());
        for address in &punt.addresses {
            maps[1].update(&key(*address), &[1], 0).unwrap();
        }
        let text = text(punt).replace("r3 = 2\n", "r3 = 1\n");
        let mut insns = assemble_with(&text, &MAPS).unwrap();
        for insn in &mut insns {
            if let Insn::LoadImm64 { value: Imm64::Map(map), .. } = insn {
                *map = maps[*map as usize].fd() as u32;
            }
        }
        let insns = encode::to_bytes(&encode::encode(&insns));
        let attr = LoadAttr { kind: 6, insns: &insns, license: "GPL", ..LoadAttr::default() };
        let program = KernelProgram::load(&attr).unwrap();
        let run = TestRun { data: packet, repeat: 1, ..TestRun::default() };
        program.test_run(&run).unwrap().retval == 1
    }
}
