//! CO-RE: the numbers that `core.c` asks for, against the types that weir implements. `libbpf.rs`
//! asks the same of the running kernel's types.

mod support;

use support::{compile, compile_text, corpus};
use weir_ebpf::Program;
use weir_ebpf::isa::{Imm64, Insn, Source};
use weir_object::btf::Kind;
use weir_object::{Btf, Object};

/// `r3 = number` and `r4 = number`, in order of place: the arguments of `bpf_printk`.
fn arguments(program: &Program) -> Vec<i64> {
    let number = |insn: &Insn| match *insn {
        Insn::Mov { dst, src: Source::Imm(imm), .. } if [3, 4].contains(&dst.index()) => Some(i64::from(imm)),
        Insn::LoadImm64 { dst, value: Imm64::Value(value) } if [3, 4].contains(&dst.index()) => {
            Some(value as i64)
        }
        _ => None,
    };
    program.insns.iter().filter_map(number).collect()
}

#[test]
fn numbers_are_those_of_the_uapi_structures() {
    for (clang, bytes) in compile(&corpus().join("core.c")) {
        let object = Object::parse(&bytes).expect("an object");
        let moved = object.program("moved").expect("a program");
        assert!(matches!(moved.insns[0], Insn::Load { off: 16, .. }), "{clang}: {:?}", moved.insns[0]);

        let offsets = object.program("offsets").expect("a program");
        // protocol and daddr of iphdr; which exist; sizes; types; XDP_TX and what is no action; the
        // shifts that cut `doff` out.
        let wanted = [9, 16, 1, 0, 2, 20, 1, 0, 3, 0, 56, 60];
        assert_eq!(arguments(&offsets), wanted, "{clang}");

        // A structure that weir does not have: it does not exist, and is where the object says.
        let foreign = object.program("foreign").expect("a program");
        let missing = matches!(foreign.insns[1], Insn::Mov { src: Source::Imm(0), .. });
        let load = foreign.insns.iter().any(|insn| matches!(insn, Insn::Load { off: 8, .. }));
        assert!(missing && load, "{clang}: {:?}", foreign.insns);
    }
}

/// Sizes that differ change the width of a load, and poison it where signs would be lost.
#[test]
fn loads_take_the_width_of_the_target() {
    const TEXT: &str = r#"
        #include <linux/types.h>
        #include <bpf/bpf_helpers.h>
        #pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
        struct ethhdr { unsigned int h_proto; };
        struct udphdr { int len; };
        #pragma clang attribute pop
        SEC("tc") int unsigned_field(struct ethhdr *eth) { return eth->h_proto; }
        SEC("tc") int signed_field(struct udphdr *udp) { return udp->len; }
        char _license[] SEC("license") = "GPL";
    "#;
    for (clang, bytes) in compile_text("width", TEXT) {
        let object = Object::parse(&bytes).expect("an object");
        let program = object.program("unsigned_field").expect("a program");
        let Insn::Load { size, off: 12, .. } = program.insns[0] else {
            panic!("{clang}: {:?}", program.insns)
        };
        assert_eq!(size.bytes(), 2, "{clang}");
        let program = object.program("signed_field").expect("a program");
        assert_eq!(program.insns[0], Insn::Call { helper: 0xbad_2310 }, "{clang}");
    }
}

/// Every structure of the built-in table lies as clang lays out the one in the installed headers.
#[test]
fn built_in_structures_are_those_of_the_headers() {
    const STRUCTURES: [&str; 11] = [
        "xdp_md",
        "__sk_buff",
        "ethhdr",
        "iphdr",
        "in_addr",
        "in6_addr",
        "ipv6hdr",
        "ipv6_opt_hdr",
        "tcphdr",
        "udphdr",
        "bpf_timer",
    ];
    let mut text = String::from(
        "#include <linux/types.h>\n#include <linux/bpf.h>\n#include <linux/if_ether.h>\n\
         #include <linux/ip.h>\n#include <linux/in.h>\n#include <linux/ipv6.h>\n#include <linux/tcp.h>\n\
         #include <linux/udp.h>\n#include <bpf/bpf_helpers.h>\n",
    );
    for name in STRUCTURES {
        text += &format!("struct {name} a_{name};\n");
    }
    text += "SEC(\"tc\") int entry(void *ctx) { return 0; }\n";
    for (clang, bytes) in compile_text("headers", &text) {
        let object = Object::parse(&bytes).expect("an object");
        let theirs = object.btf().expect("types");
        let ours = weir_object::btf::uapi();
        for name in STRUCTURES {
            let (our, their) = (ours.find(name).next().expect(name), theirs.find(name).next().expect(name));
            // Headers older than the table may end earlier.
            let our: Vec<_> = members(ours, our, 0).into_iter().collect();
            let their: Vec<_> =
                members(theirs, their, 0).into_iter().filter(|(name, _)| !name.starts_with("__")).collect();
            for member in &their {
                let known = our.contains(member) || OMITTED.contains(&(name, member.0.as_str()));
                assert!(known, "{clang}: {name}: {member:?} is not among {our:?}");
            }
        }
    }
}

/// What changed between the headers and 6.18: `res1` gave a bit to `ae`.
const OMITTED: [(&str, &str); 1] = [("tcphdr", "res1")];

/// Of these weir has the beginning alone.
const CUT: [&str; 1] = ["bpf_map"];

/// And as the running kernel says, where it has them: every member, and nothing beside.
#[test]
fn built_in_structures_are_those_of_this_kernel() {
    let Ok(kernel) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: /sys/kernel/btf/vmlinux cannot be read");
        return;
    };
    let kernel = Btf::parse(&kernel).expect("the kernel's BTF");
    let ours = weir_object::btf::uapi();
    let mut compared = 0;
    for (id, found) in ours.iter().filter(|(_, found)| matches!(found.kind, Kind::Struct(_))) {
        let name = ours.text(found.name);
        let Some(theirs) = kernel.find(name).find(|id| kernel.composite(*id).is_some()) else { continue };
        if name.is_empty() {
            continue;
        }
        // Kernels differ in what they added at the end; ours are those of 6.18.
        let (our, their) = (members(ours, id, 0), members(&kernel, theirs, 0));
        if CUT.contains(&name) {
            assert!(our.iter().all(|member| their.contains(member)), "{name}");
            continue;
        }
        assert_eq!(our, their, "{name}");
        assert_eq!(ours.size_of(id), kernel.size_of(theirs), "{name}");
        compared += 1;
    }
    println!("{compared} structures are the same");
    assert!(compared > 40);
}

/// Named members with their first bits, also those of anonymous structures.
fn members(btf: &Btf, id: u32, base: u32) -> Vec<(String, u32)> {
    let Some(composite) = btf.composite(id) else { return Vec::new() };
    let each = composite.members.iter().flat_map(|member| {
        let (name, at) = (btf.text(member.name), base + member.bit_offset);
        let inside = members(btf, member.of, at);
        if name.is_empty() { inside } else { std::iter::once((name.to_owned(), at)).chain(inside).collect() }
    });
    each.collect()
}
