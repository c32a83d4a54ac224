//! CO-RE: the numbers that `core.c` asks for, against the types that weir implements, and against the
//! kernel's with libbpf as the judge.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use support::{compile, compile_text, corpus};
use weir_ebpf::Program;
use weir_ebpf::encode::encode;
use weir_ebpf::isa::{Imm64, Insn, Source};
use weir_object::{Btf, Object, Options};

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

        let poisoned = object.program("poisoned").expect("a program");
        let bad = poisoned.insns.iter().filter(|insn| matches!(insn, Insn::Call { helper: 0xbad_2310 }));
        assert_eq!(bad.count(), 1, "{clang}: {:?}", poisoned.insns);
    }
}

/// An extension of what libbpf's log says of every instruction it patches.
fn patched_by_libbpf(object: &std::path::Path) -> Option<BTreeMap<(String, usize), (String, u64)>> {
    let pins = format!("/sys/fs/bpf/weir-object-{}", std::process::id());
    let done =
        Command::new("bpftool").args(["-d", "prog", "loadall"]).arg(object).arg(&pins).output().ok()?;
    let _ = std::fs::remove_dir_all(&pins);
    let log = String::from_utf8_lossy(&done.stderr).into_owned();
    let mut patches = BTreeMap::new();
    for line in log.lines() {
        let Some((program, rest)) =
            line.strip_prefix("libbpf: prog '").and_then(|l| l.split_once("': relo #"))
        else {
            continue;
        };
        let Some((_, rest)) = rest.split_once("patched insn #") else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (Some(slot), Some(kind), Some(value)) = (words.first(), words.get(1), words.last()) else {
            continue;
        };
        let key = (program.to_owned(), slot.parse().ok()?);
        patches.insert(key, ((*kind).to_owned(), value.parse().ok()?));
    }
    (!patches.is_empty()).then_some(patches)
}

#[test]
fn numbers_are_those_of_libbpf_for_this_kernel() {
    let Ok(kernel) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: /sys/kernel/btf/vmlinux cannot be read");
        return;
    };
    let kernel = Arc::new(Btf::parse(&kernel).expect("the kernel's BTF"));
    for (clang, bytes) in compile(&corpus().join("core.c")) {
        let file = std::env::temp_dir().join(format!("weir-core-{}-{clang}.o", std::process::id()));
        std::fs::write(&file, &bytes).expect("a writable temporary directory");
        let patches = patched_by_libbpf(&file);
        let _ = std::fs::remove_file(&file);
        let Some(patches) = patches else {
            println!("skipped: bpftool loads nothing (needs root)");
            return;
        };
        let options = Options { target: Some(kernel.clone()), ..Options::default() };
        let object = Object::parse_with(&bytes, &options).expect("an object");
        for ((name, slot), (kind, value)) in patches {
            let program = object.program(&name).expect("a program");
            let raw = encode(&program.insns);
            let found = match kind.as_str() {
                "(LDX/ST/STX)" => raw[slot].off as u64,
                "(LDIMM64)" => u64::from(raw[slot].imm as u32) | u64::from(raw[slot + 1].imm as u32) << 32,
                _ => raw[slot].imm as u64,
            };
            assert_eq!(found, value, "{clang}: {name}, instruction {slot} {kind}");
        }
    }
}

/// `TYPE_MATCHES` came with clang 15; sizes that differ change the width of a load.
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

/// Other names of the same bytes, which the table leaves out.
const OMITTED: [(&str, &str); 0] = [];

/// Named members with their first bits, also those of anonymous structures.
fn members(btf: &Btf, id: u32, base: u32) -> Vec<(String, u32)> {
    let Some(composite) = btf.composite(id) else { return Vec::new() };
    let each = composite.members.iter().flat_map(|member| {
        let (name, at) = (btf.text(member.name), base + member.bit_offset);
        if name.is_empty() { members(btf, member.of, at) } else { vec![(name.to_owned(), at)] }
    });
    each.collect()
}
