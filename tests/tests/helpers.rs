//! Helpers against the kernel: small programs with boundary arguments, the same packet in both, and the
//! answer, the packet and what the context says afterwards compared. Interpreter and JIT both answer for weir.

use std::sync::Arc;

use weir_ebpf::abi::Helper;
use weir_ebpf::asm::assemble;
use weir_ebpf::{Program, ProgramType};
use weir_sys::bpf::TestRun;
use weir_tests::kernel::{KernelSet, skip, verdict};
use weir_tests::places::kinds_and_places;
use weir_verifier::verify;
use weir_vm::env::PortInfo;
use weir_vm::interpreter::Options;
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Checked, Context, Engine, Loaded, Run, TestEnv};

/// What both sides are compared by.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    retval: u32,
    packet: Vec<u8>,
    cb: [u32; 5],
}

/// Bytes of `struct __sk_buff`, and where `cb` lies in it.
const SKB_BYTES: usize = 192;
const CB: usize = 48;

/// `None` when such a packet is refused before the program runs.
fn in_kernel(program: &Program, packet: &[u8]) -> Option<Outcome> {
    let set = KernelSet::load_one(program).unwrap_or_else(|error| panic!("{}: {error:?}", program.name));
    let context = if program.kind == ProgramType::Xdp { vec![] } else { vec![0; SKB_BYTES] };
    let run = TestRun { data: packet, context: &context, repeat: 1 };
    let output = set.programs[0].test_run(&run).ok()?;
    let mut cb = [0; 5];
    for (index, word) in cb.iter_mut().enumerate() {
        let at = CB + index * 4;
        *word =
            output.context.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
    }
    Some(Outcome { retval: output.retval, packet: output.data, cb })
}

fn in_weir(
    program: &Program,
    packet: &[u8],
    mut judge: impl FnMut(&mut Run<'_>, &mut Context<'_>) -> u64,
) -> Option<Outcome> {
    let loopback = PortInfo { mtu: 65536, up: true, ..PortInfo::default() };
    let mut env = TestEnv { ports: vec![(1, loopback)], ..TestEnv::default() };
    let mut run = Run::new(&mut env, 0);
    let output =
        test_run(program.kind, &Input::new(packet), &mut run, |run, context| judge(run, context)).ok()?;
    let packet = [output.meta, output.packet].concat();
    Some(Outcome { retval: output.retval, packet, cb: output.fields.cb })
}

fn interpreted(program: &Checked, packet: &[u8]) -> Option<Outcome> {
    in_weir(program.program(), packet, |run, context| {
        let result = program.run(run, context, Options::default()).0;
        result.unwrap_or_else(|fault| panic!("{fault}"))
    })
}

fn compiled(program: &Loaded, packet: &[u8]) -> Option<Outcome> {
    in_weir(program.verified().program(), packet, |run, context| program.run(run, context))
}

/// A program in text, and its name: what it calls with what.
struct Case {
    kind: ProgramType,
    name: String,
    text: String,
}

/// Puts numbers into a helper's arguments from r2 on, r1 being the context.
fn with_arguments(helper: &str, arguments: &[i64]) -> String {
    let mut text = "r1 = r6\n".to_owned();
    for (index, argument) in arguments.iter().enumerate() {
        text += &format!("r{} = {argument} ll\n", index + 2);
    }
    text + &format!("call {helper}\n")
}

fn xdp(name: &str, calls: &str) -> Case {
    Case { kind: ProgramType::Xdp, name: name.to_owned(), text: format!("r6 = r1\n{calls} exit") }
}

/// A tc program that leaves r0, `protocol`, the tag, `len` and `pkt_type` in `cb`.
fn tc(name: &str, calls: &str) -> Case {
    let text = format!(
        "r6 = r1
        {calls}
        *(u32 *)(r6 + 48) = r0
        r1 = *(u32 *)(r6 + 16)
        *(u32 *)(r6 + 52) = r1
        r1 = *(u32 *)(r6 + 24)
        r2 = *(u32 *)(r6 + 20)
        r2 <<= 31
        r1 |= r2
        r2 = *(u32 *)(r6 + 28)
        r1 ^= r2
        *(u32 *)(r6 + 56) = r1
        r1 = *(u32 *)(r6 + 0)
        *(u32 *)(r6 + 60) = r1
        r1 = *(u32 *)(r6 + 4)
        *(u32 *)(r6 + 64) = r1
        exit"
    );
    Case { kind: ProgramType::SchedCls, name: name.to_owned(), text }
}

/// Packets of the kinds that helpers tell apart.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let mac =
        |ether_type: u16| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes()].concat();
    let filler: Vec<u8> = (0..60).map(|byte: u8| byte.wrapping_mul(37)).collect();
    let v4: &[u8] = &[0x45, 1, 0, 80, 0, 1, 0, 0, 64, 6, 0x12, 0x34, 192, 0, 2, 1, 198, 51, 100, 7];
    let v6 = [&[0x60, 0x10, 0, 0, 0, 60, 17, 64][..], &[0x20; 16], &[0x30; 16]].concat();
    vec![
        ("v4", [mac(0x0800), v4.to_vec(), filler.clone()].concat()),
        ("v6", [mac(0x86dd), v6.clone(), filler.clone()].concat()),
        ("vlan", [mac(0x8100), vec![0x20, 5, 8, 0], v4.to_vec(), filler.clone()].concat()),
        ("qinq", [mac(0x88a8), vec![0, 7, 0x81, 0, 0x60, 9, 8, 0], v4.to_vec(), filler.clone()].concat()),
        ("arp", [mac(0x0806), filler.clone()].concat()),
        ("llc", [mac(60), filler].concat()),
        ("headers", [mac(0x0800), v4.to_vec()].concat()),
        ("ethernet", mac(0x0800)),
    ]
}

fn compare(test: &str, cases: &[Case]) {
    if skip(test) {
        return;
    }
    let mut different = Vec::new();
    for case in cases {
        let insns =
            assemble(&case.text).unwrap_or_else(|error| panic!("{}: {error}\n{}", case.name, case.text));
        let program = Arc::new(Program::from_insns(&case.name, case.kind, insns));
        let checked = Checked::new(program.clone(), Vec::new()).unwrap();
        let verified = verify(program.clone(), &weir_verifier::Options::default());
        let verified = verified.unwrap_or_else(|reject| panic!("{}: {reject}\n{}", case.name, case.text));
        let loaded = Loaded::new(verified, Vec::new(), Engine::Jit).unwrap();
        for (kind, packet) in packets() {
            let kernel = in_kernel(&program, &packet);
            let (interpreted, compiled) = (interpreted(&checked, &packet), compiled(&loaded, &packet));
            // The kernel writes the congestion mark of a packet with a tag inside into the tag.
            let known = case.name.starts_with("bpf_skb_ecn_set_ce") && matches!(kind, "vlan" | "qinq");
            if (kernel != interpreted || kernel != compiled) && !known {
                different.push(format!(
                    "{} on {kind}:\n  kernel      {kernel:x?}\n  interpreter {interpreted:x?}\n  jit         {compiled:x?}",
                    case.name
                ));
            }
        }
    }
    assert!(different.is_empty(), "{} of {}\n{}", different.len(), cases.len(), different.join("\n"));
}

/// One case for each list of arguments.
fn each(make: fn(&str, &str) -> Case, helper: &str, lists: &[&[i64]]) -> Vec<Case> {
    let case = |list: &&[i64]| make(&format!("{helper}{list:?}"), &with_arguments(helper, list));
    lists.iter().map(case).collect()
}

#[test]
fn xdp_packets_are_moved_alike() {
    let edges: Vec<i64> = vec![
        -300,
        -257,
        -256,
        -241,
        -240,
        -217,
        -216,
        -215,
        -4,
        -1,
        0,
        1,
        4,
        20,
        60,
        66,
        79,
        80,
        81,
        94,
        200,
        3500,
        3600,
        -0x8000_0000,
        0x7fff_ffff,
    ];
    let lists: Vec<&[i64]> = edges.iter().map(std::slice::from_ref).collect();
    let mut cases = each(xdp, "bpf_xdp_adjust_head", &lists);
    cases.extend(each(xdp, "bpf_xdp_adjust_tail", &lists));
    cases.extend(each(xdp, "bpf_xdp_adjust_meta", &lists));
    for meta in [-4i64, -8, -32, -252] {
        for head in [-216i64, -212, -184, -100, 0, 20] {
            let calls = with_arguments("bpf_xdp_adjust_meta", &[meta])
                + &with_arguments("bpf_xdp_adjust_head", &[head]);
            cases.push(xdp(&format!("meta {meta} head {head}"), &calls));
        }
    }
    let length = with_arguments("bpf_xdp_get_buff_len", &[]);
    cases.push(xdp("len", &length));
    compare("xdp_packets_are_moved_alike", &cases);
}

#[test]
fn xdp_answers_agree() {
    let mut cases = Vec::new();
    for (offset, len) in [(0, 1), (0, 14), (13, 1), (14, 1), (0, 94), (93, 2), (0xffff, 1), (0x10000, 1)] {
        let load = format!(
            "r1 = r6\n r2 = {offset}\n r3 = r10\n r3 += -128\n r4 = {len}\n call bpf_xdp_load_bytes\n
             r7 = r0\n if r0 != 0 goto +1\n r7 = *(u8 *)(r10 - 128)\n r0 = r7\n"
        );
        let fill = "*(u64 *)(r10 - 128) = 0x5a\n".to_owned();
        let fill: String = (0..16).map(|word| fill.replace("128", &format!("{}", 128 - word * 8))).collect();
        cases.push(xdp(&format!("load {offset} {len}"), &format!("{fill}{load}")));
        let store = load.replace("load_bytes", "store_bytes");
        cases.push(xdp(&format!("store {offset} {len}"), &format!("{fill}{store}")));
    }
    for (ifindex, flags) in [(1, 0), (1, 1), (99, 0), (0, 4)] {
        let calls = format!("r1 = {ifindex}\n r2 = {flags}\n call bpf_redirect\n");
        cases.push(xdp(&format!("redirect {ifindex} {flags}"), &calls));
    }
    for (mtu, diff, flags) in
        [(0, 0, 0), (0, 65536, 0), (65536, 0, 0), (65537, 0, 0), (65537, -1, 0), (0, 0, 1)]
    {
        let calls = format!(
            "r7 = {mtu}\n *(u32 *)(r10 - 4) = r7\n r1 = r6\n r2 = 0\n r3 = r10\n r3 += -4\n r4 = {diff}\n
             r5 = {flags}\n call bpf_check_mtu\n r1 = *(u32 *)(r10 - 4)\n r1 <<= 4\n r0 += r1\n"
        );
        cases.push(xdp(&format!("check_mtu {mtu} {diff} {flags}"), &calls));
    }
    compare("xdp_answers_agree", &cases);
}

#[test]
fn checksum_differences_agree() {
    let mut cases = Vec::new();
    for (from, to) in [(0, 0), (4, 0), (0, 4), (4, 4), (8, 20), (20, 8), (40, 40), (0, 40)] {
        for (first, second, seed) in [
            (0u32, 0u32, 0u32),
            (0x1234_5678, 0xfedc_ba98, 0),
            (0xffff_ffff, 1, 0xffff),
            (0, 0xffff_ffff, 0xffff_ffff),
            (0xffff, 0xffff_0000, 0x8000_0001),
        ] {
            let fill: String = (0..10)
                .map(|word| {
                    format!(
                        "w1 = {first}\n *(u32 *)(r10 - {}) = w1\n w1 = {second}\n *(u32 *)(r10 - {}) = w1\n",
                        80 - word * 4,
                        40 - word * 4
                    )
                })
                .collect();
            let pointer = |size: i32, at: i32, reg: u8| match size {
                0 => format!("r{reg} = 0\n"),
                _ => format!("r{reg} = r10\n r{reg} += -{at}\n"),
            };
            let calls = format!(
                "{fill}{}r2 = {from}\n{}r4 = {to}\n w5 = {seed}\n call bpf_csum_diff\n",
                pointer(from, 80, 1),
                pointer(to, 40, 3)
            );
            cases.push(xdp(&format!("csum_diff {from} {to} {first:x} {second:x} {seed:x}"), &calls));
        }
    }
    compare("checksum_differences_agree", &cases);
}

#[test]
fn tc_packets_change_alike() {
    let mut cases = each(
        tc,
        "bpf_skb_change_head",
        &[&[0, 0], &[1, 0], &[14, 0], &[40, 0], &[14, 1], &[-1, 0], &[20000, 0]],
    );
    cases.extend(each(
        tc,
        "bpf_skb_change_tail",
        &[
            &[0, 0],
            &[13, 0],
            &[14, 0],
            &[20, 0],
            &[34, 0],
            &[94, 0],
            &[95, 0],
            &[200, 0],
            &[94, 1],
            &[16065, 0],
        ],
    ));
    cases.extend(each(
        tc,
        "bpf_skb_change_proto",
        &[&[0x0008, 0], &[0xdd86, 0], &[0xdd86, 1], &[0x0081, 0], &[0x0608, 0]],
    ));
    cases.extend(each(tc, "bpf_skb_pull_data", &[&[0], &[1], &[14], &[34], &[94], &[95], &[4000], &[-1]]));
    cases.extend(each(tc, "bpf_skb_change_type", &[&[0], &[1], &[3], &[4], &[-1]]));
    cases.extend(each(tc, "bpf_skb_ecn_set_ce", &[&[]]));
    cases.extend(each(tc, "bpf_skb_set_tstamp", &[&[0, 0], &[5, 0], &[5, 1], &[0, 1], &[5, 2], &[5, 3]]));
    compare("tc_packets_change_alike", &cases);
}

#[test]
fn room_is_made_alike() {
    let flags: [i64; 14] =
        [0, 1, 2, 4, 6, 2 | 8, 2 | 16, 4 | 16, 2 | 24, 32, 128, 256, 0x1000, 2 | 64 | 14 << 56];
    let mut cases = Vec::new();
    for diff in [-4096i64, -4095, -60, -40, -20, -8, 0, 8, 20, 50, 4095, 4096] {
        for mode in [0i64, 1, 2] {
            for flags in flags {
                cases.extend(each(tc, "bpf_skb_adjust_room", &[&[diff, mode, flags]]));
            }
        }
    }
    let twice = with_arguments("bpf_skb_adjust_room", &[20, 1, 2]);
    cases.push(tc("encapsulated twice", &(twice.clone() + &twice)));
    cases.push(tc("tail of encapsulated", &(twice + &with_arguments("bpf_skb_change_tail", &[80, 0]))));
    compare("room_is_made_alike", &cases);
}

#[test]
fn tags_are_put_on_and_taken_off_alike() {
    let push = |proto: i64, tci: i64| with_arguments("bpf_skb_vlan_push", &[proto, tci]);
    let pop = with_arguments("bpf_skb_vlan_pop", &[]);
    let (dot1q, dot1ad) = (0x0081, 0xa888);
    let cases = [
        tc("push", &push(dot1q, 5)),
        tc("push any", &push(0x1234, 0x2fff)),
        tc("push ad", &push(dot1ad, 0)),
        tc("push push", &(push(dot1q, 5) + &push(dot1ad, 6))),
        tc("push push push", &(push(dot1q, 5) + &push(dot1ad, 6) + &push(dot1q, 7))),
        tc("pop", &pop),
        tc("pop pop", &(pop.clone() + &pop)),
        tc("pop pop pop", &(pop.clone() + &pop + &pop)),
        tc("push pop", &(push(dot1q, 5) + &pop)),
        tc("push push pop", &(push(dot1q, 5) + &push(dot1ad, 6) + &pop)),
        tc("push push pop pop", &(push(dot1q, 5) + &push(dot1ad, 6) + &pop + &pop)),
        tc("pop push head", &(pop + &push(dot1q, 5) + &with_arguments("bpf_skb_change_head", &[14, 0]))),
    ];
    compare("tags_are_put_on_and_taken_off_alike", &cases);
}

#[test]
fn tc_checksums_agree() {
    let offsets = [0i64, 1, 24, 25, 40, 92, 93, 94, 0x10000];
    let values: [(i64, i64); 5] =
        [(0, 0), (0, 0x1234), (0x1234, 0x4321), (0xffff_ffff, 1), (0x0102_0304, 0x0a0b_0c0d)];
    let mut cases = Vec::new();
    for offset in offsets {
        for (from, to) in values {
            for flags in [0i64, 2, 4, 3, 0x10] {
                cases.extend(each(tc, "bpf_l3_csum_replace", &[&[offset, from, to, flags]]));
            }
            for flags in [0i64, 2, 4, 0x12, 0x14, 0x22, 0x64, 0x10, 0x80, 0x100] {
                cases.extend(each(tc, "bpf_l4_csum_replace", &[&[offset, from, to, flags]]));
            }
        }
    }
    let level = |level| with_arguments("bpf_csum_level", &[level]);
    cases.push(tc("level", &level(0)));
    cases.push(tc("level up", &(level(1) + &level(0))));
    cases.push(tc("level up up", &(level(1) + &level(1) + &level(0))));
    cases.push(tc("level up 6", &(level(1).repeat(6) + &level(0))));
    cases.push(tc("level up up down", &(level(1) + &level(1) + &level(2) + &level(0))));
    cases.push(tc("level up down", &(level(1) + &level(2) + &level(0))));
    cases.push(tc("level up reset", &(level(1) + &level(3) + &level(0))));
    cases.push(tc("level 4", &level(4)));
    cases.push(tc(
        "level up room",
        &(level(1) + &with_arguments("bpf_skb_adjust_room", &[8, 1, 0]) + &level(0)),
    ));
    cases.push(tc("update", &with_arguments("bpf_csum_update", &[5])));
    compare("tc_checksums_agree", &cases);
}

#[test]
fn tc_bytes_and_answers_agree() {
    let fill: String = (1..=16).map(|word| format!("*(u64 *)(r10 - {}) = {word}\n", word * 8)).collect();
    let mut cases = Vec::new();
    for (offset, len) in
        [(0i64, 1), (0, 14), (13, 1), (14, 1), (0, 94), (93, 1), (93, 2), (94, 1), (0xffff, 1), (-1, 1)]
    {
        let place = "r3 = r10\n r3 += -128\n";
        let load = format!(
            "r1 = r6\n r2 = {offset}\n{place} r4 = {len}\n call bpf_skb_load_bytes\n r7 = *(u8 *)(r10 - 128)\n r0 += r7\n"
        );
        cases.push(tc(&format!("load {offset} {len}"), &format!("{fill}{load}")));
        for start in [0, 1, 2] {
            let load = format!(
                "r1 = r6\n r2 = {offset}\n{place} r4 = {len}\n r5 = {start}\n call bpf_skb_load_bytes_relative\n r7 = *(u8 *)(r10 - 128)\n r0 += r7\n"
            );
            cases.push(tc(&format!("load relative {offset} {len} {start}"), &format!("{fill}{load}")));
        }
        for flags in [0, 1, 2, 4] {
            let store = format!(
                "r1 = r6\n r2 = {offset}\n{place} r4 = {len}\n r5 = {flags}\n call bpf_skb_store_bytes\n"
            );
            cases.push(tc(&format!("store {offset} {len} {flags}"), &format!("{fill}{store}")));
        }
    }
    for (ifindex, flags) in [(1, 0), (1, 1), (99, 0), (0, 4)] {
        for helper in ["bpf_redirect", "bpf_redirect_peer"] {
            cases.push(tc(
                &format!("{helper} {ifindex} {flags}"),
                &format!("r1 = {ifindex}\n r2 = {flags}\n call {helper}\n"),
            ));
        }
    }
    for (size, flags) in [(0, 0), (20, 0), (19, 0), (24, 0), (20, 1)] {
        let params = if size == 0 { "r2 = 0\n" } else { "r2 = r10\n r2 += -128\n" };
        let calls =
            format!("{fill} r1 = 1\n {params} r3 = {size}\n r4 = {flags}\n call bpf_redirect_neigh\n");
        cases.push(tc(&format!("neigh {size} {flags}"), &calls));
    }
    cases.extend(each(tc, "bpf_get_cgroup_classid", &[&[]]));
    cases.extend(each(tc, "bpf_get_route_realm", &[&[]]));
    cases.push(tc(
        "hash",
        &(with_arguments("bpf_set_hash", &[77]) + &with_arguments("bpf_get_hash_recalc", &[])),
    ));
    compare("tc_bytes_and_answers_agree", &cases);
}

#[test]
fn tunnel_metadata_agrees() {
    let fill: String =
        (1..=8).map(|word| format!("*(u64 *)(r10 - {}) = {}\n", word * 8, word * 1000)).collect();
    let clear = "*(u16 *)(r10 - 42) = 0\n*(u32 *)(r10 - 40) = 0\n";
    let mut cases = Vec::new();
    for (size, set, get) in [
        (44, 0, 0),
        (28, 0, 0),
        (24, 0, 0),
        (22, 0, 0),
        (8, 0, 0),
        (16, 0, 0),
        (44, 1, 1),
        (44, 1, 0),
        (44, 6, 16),
        (44, 32, 16),
        (44, 16, 16),
        (44, 8, 16),
        (44, 64, 0),
    ] {
        let call = |helper: &str, flags: i32| {
            format!("r1 = r6\n r2 = r10\n r2 += -64\n r3 = {size}\n r4 = {flags}\n call {helper}\n")
        };
        let sum: String = (0..11)
            .map(|word| format!("r1 = *(u32 *)(r10 - {})\n r7 *= 31\n r7 += r1\n", 64 - word * 4))
            .collect();
        let calls = format!(
            "{fill}{clear}{} r7 = r0\n{}r7 += r0\n{sum}r0 = r7\n",
            call("bpf_skb_set_tunnel_key", set),
            call("bpf_skb_get_tunnel_key", get)
        );
        cases.push(tc(&format!("tunnel {size} {set} {get}"), &calls));
        let only = format!("{fill}{}", call("bpf_skb_get_tunnel_key", get));
        cases.push(tc(&format!("no tunnel {size} {get}"), &only));
    }
    compare("tunnel_metadata_agrees", &cases);
}

#[test]
fn helpers_are_offered_as_in_the_kernel() {
    if skip("helpers_are_offered_as_in_the_kernel") {
        return;
    }
    let mut different = Vec::new();
    for (kind, attach) in kinds_and_places() {
        for helper in Helper::ALL {
            let text = format!("r0 = 0\n call {}\n exit", *helper as u32);
            let mut program = Program::from_insns("offered", kind, assemble(&text).unwrap());
            program.attach = attach;
            let (_, log) = verdict(&program).unwrap();
            let refusals = ["unknown func", "program of this type cannot use helper", "invalid func"];
            let offered = !refusals.iter().any(|refusal| log.contains(refusal));
            if offered != helper.offered_to(kind, attach) {
                different.push(format!("{} to {kind} at {attach:?}: kernel {offered}", helper.name()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
