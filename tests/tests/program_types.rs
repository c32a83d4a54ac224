//! What each program type may do, against the kernel: every access to its context, of every size, in both
//! directions; every kernel function; every answer; packet memory, directly and by helpers.

use std::sync::Arc;

use weir_ebpf::abi::context::FieldKind;
use weir_ebpf::abi::{AttachType, ContextField, Kfunc, MapKind, View};
use weir_ebpf::asm::assemble_with;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_tests::kernel::{skip, verdict};
use weir_tests::places::kinds_and_places;
use weir_verifier::{Options, verify};

/// Bytes behind the end of the longest context that are tried as well.
const CONTEXT_BYTES: u32 = 240;

fn program(kind: ProgramType, attach: AttachType, text: &str) -> Program {
    let maps = [
        MapSpec::new("values", MapKind::Array, 4, 16, 1),
        MapSpec::new("words", MapKind::Hash, 4, 4, 4),
        MapSpec::new("queue", MapKind::Queue, 0, 4, 4),
        MapSpec::new("socks", MapKind::Sockmap, 4, 4, 4),
    ];
    let names: Vec<&str> = maps.iter().map(|map| map.name.as_str()).collect();
    let insns = assemble_with(text, &names).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut program = Program::from_insns("kind", kind, insns);
    program.attach = attach;
    // The kernel makes them for each program that is tried.
    if text.contains("map[") {
        program.maps = maps.into_iter().map(Arc::new).collect();
    }
    program
}

/// Where we and the kernel differ on a program, in verdict or (when both refuse) in the words that we say
/// are the kernel's.
fn differs(kind: ProgramType, attach: AttachType, text: &str) -> Option<String> {
    let program = program(kind, attach, text);
    let (accepted, log) =
        verdict(&program).unwrap_or_else(|error| panic!("{kind} {attach:?}: {error:#}\n{text}"));
    let said = match verify(Arc::new(program), &Options::default()) {
        Ok(_) => None,
        Err(reject) => Some(reject.kernel_says().unwrap_or_default().to_owned()),
    };
    let same = match &said {
        None => accepted,
        Some(words) => !accepted && log.contains(words.as_str()),
    };
    let tail: Vec<&str> = log.lines().rev().take(3).collect();
    (!same).then(|| format!("{kind} at {attach:?}: we {said:?}, the kernel {accepted} {tail:?}\n{text}"))
}

fn none_differ(all: Vec<String>) {
    assert!(all.is_empty(), "{} differ\n{}", all.len(), all[..all.len().min(20)].join("\n"));
}

#[test]
fn every_access_to_every_context_is_judged_alike() {
    if skip("every_access_to_every_context_is_judged_alike") {
        return;
    }
    let mut different = Vec::new();
    // Places that differ by no field are tried once.
    let alike = |attach: AttachType| attach.number() >= 19 && ![33, 34, 36].contains(&attach.number());
    for (kind, attach) in kinds_and_places().into_iter().filter(|(_, attach)| !alike(*attach)) {
        let end = ContextField::all(kind).iter().map(|field| field.end()).max().unwrap_or(0) + 16;
        for offset in 0..end.min(CONTEXT_BYTES) {
            for bits in [8, 16, 32, 64].iter().filter(|bits| offset % (*bits / 8) == 0) {
                let load = format!("r0 = *(u{bits} *)(r1 + {offset})\n r0 = 1\n exit");
                let store = format!("r0 = 1\n *(u{bits} *)(r1 + {offset}) = r0\n exit");
                different.extend(differs(kind, attach, &load));
                different.extend(differs(kind, attach, &store));
            }
        }
        for field in ContextField::all(kind) {
            let at = field.offset();
            if field.kind() != FieldKind::Number {
                let signed = format!("r0 = *(s32 *)(r1 + {at})\n r0 = 1\n exit");
                different.extend(differs(kind, attach, &signed));
            }
            let unaligned = format!("r0 = *(u32 *)(r1 + {})\n r0 = 1\n exit", at + 1);
            different.extend(differs(kind, attach, &unaligned));
            let atomic = format!("r0 = 1\n lock *(u32 *)(r1 + {at}) += r0\n exit");
            different.extend(differs(kind, attach, &atomic));
        }
    }
    none_differ(different);
}

#[test]
fn every_answer_is_judged_alike() {
    if skip("every_answer_is_judged_alike") {
        return;
    }
    let mut different = Vec::new();
    for (kind, attach) in kinds_and_places() {
        for answer in -1..6 {
            different.extend(differs(kind, attach, &format!("r0 = {answer}\n exit")));
            different.extend(differs(kind, attach, &format!("w0 = {answer}\n exit")));
        }
        for text in [
            "r0 = r1\n exit",
            "r0 = r10\n exit",
            "call bpf_get_prandom_u32\n exit",
            "call bpf_ktime_get_ns\n exit",
            "call bpf_get_prandom_u32\n r0 &= 1\n exit",
            "call bpf_get_prandom_u32\n r0 &= 3\n exit",
            "call bpf_get_prandom_u32\n w0 s>>= 31\n exit",
            "call bpf_get_prandom_u32\n if r0 > 1 goto +1\n exit\n r0 = 0\n exit",
            "r0 = map[values] ll\n exit",
        ] {
            different.extend(differs(kind, attach, text));
        }
    }
    none_differ(different);
}

#[test]
fn packet_memory_is_judged_alike() {
    if skip("packet_memory_is_judged_alike") {
        return;
    }
    let mut different = Vec::new();
    for (kind, attach) in kinds_and_places() {
        let place =
            |wanted: FieldKind| ContextField::all(kind).into_iter().find(|field| field.kind() == wanted);
        let (Some(start), Some(end)) = (place(FieldKind::PacketStart), place(FieldKind::PacketEnd)) else {
            continue;
        };
        let checked = |body: &str| {
            format!(
                "r6 = r1\n r2 = *(u{0} *)(r1 + {1})\n r3 = *(u{0} *)(r1 + {2})\n r4 = r2\n r4 += 16\n
                 if r4 > r3 goto out\n {body}\nout:\n r0 = 1\n exit",
                start.size() * 8,
                start.offset(),
                end.offset()
            )
        };
        let value = "*(u32 *)(r10 - 4) = 0\n r7 = r2\n r1 = map[values] ll\n r2 = r10\n r2 += -4\n
                     call bpf_map_lookup_elem\n if r0 == 0 goto out\n";
        for body in [
            "r5 = *(u64 *)(r2 + 8)".to_owned(),
            "r5 = *(u64 *)(r2 + 9)".to_owned(),
            "*(u64 *)(r2 + 0) = 1".to_owned(),
            "*(u32 *)(r2 + 0) = r3".to_owned(),
            "r5 = 1\n lock *(u32 *)(r2 + 0) += r5".to_owned(),
            "r1 = map[words] ll\n call bpf_map_lookup_elem".to_owned(),
            "r1 = map[words] ll\n r3 = r2\n r3 += 4\n r4 = 0\n call bpf_map_update_elem".to_owned(),
            "r1 = map[queue] ll\n call bpf_map_pop_elem".to_owned(),
            "r1 = r2\n r2 = 8\n call bpf_trace_printk".to_owned(),
            "r1 = 0\n r3 = r2\n r2 = 0\n r4 = 8\n r5 = 0\n call bpf_csum_diff".to_owned(),
            "r1 = r6\n r3 = r2\n r2 = 0\n r4 = 4\n call bpf_skb_load_bytes".to_owned(),
            format!("{value} *(u64 *)(r0 + 0) = r7"),
        ] {
            different.extend(differs(kind, attach, &checked(&body)));
        }
    }
    none_differ(different);
}

#[test]
fn kernel_functions_are_offered_as_in_the_kernel() {
    if skip("kernel_functions_are_offered_as_in_the_kernel") {
        return;
    }
    let mut different = Vec::new();
    for (kind, attach) in kinds_and_places() {
        // The kernel gives metadata to programs that are bound to a device, and asks for that first.
        for kfunc in Kfunc::ALL.iter().filter(|kfunc| !kfunc.name().starts_with("bpf_xdp_metadata")) {
            let mut program = program(kind, attach, "r0 = 0\n exit");
            let call = weir_ebpf::Insn::CallKfunc { btf_id: *kfunc as i32, off: 0 };
            program.insns.insert(0, call);
            let (_, log) = verdict(&program).unwrap();
            let offered = !log.contains("is not allowed");
            // All types of cgroups share a list there; those without an skb have nothing to give it.
            // So it is with connections: it is the context's type that tells them apart then.
            let of_context = kfunc.name().starts_with("bpf_skb_ct_") && kind.view() != View::Skb
                || kfunc.name().starts_with("bpf_xdp_ct_") && kind.view() != View::Xdp;
            let alike = offered && of_context || *kfunc == Kfunc::DynptrFromSkb && kind.view() != View::Skb;
            if offered != kfunc.offered_to(kind) && !alike {
                different.push(format!("{} to {kind}: kernel {offered}", kfunc.name()));
            }
        }
    }
    none_differ(different);
}

#[test]
fn maps_of_sockets_are_judged_alike() {
    if skip("maps_of_sockets_are_judged_alike") {
        return;
    }
    let mut different = Vec::new();
    let key = "*(u32 *)(r10 - 4) = 0\n r6 = r1\n r1 = map[socks] ll\n r2 = r10\n r2 += -4\n";
    let looked = format!("{key} call bpf_map_lookup_elem\n if r0 == 0 goto out\n r7 = r0\n");
    let out = "out:\n r0 = 1\n exit";
    let mut texts = vec![
        format!("{looked} r1 = r7\n call bpf_sk_release\n {out}"),
        format!("{looked} {out}"),
        format!("{looked} r1 = *(u32 *)(r7 + 4)\n {out}"),
        format!("{key} call bpf_map_delete_elem\n {out}"),
        format!("{key} r3 = r2\n r4 = 0\n call bpf_map_update_elem\n {out}"),
        format!(
            "{looked} r1 = map[socks] ll\n r2 = r10\n r2 += -4\n r3 = r7\n r4 = 0\n
             call bpf_map_update_elem\n r1 = r7\n call bpf_sk_release\n {out}"
        ),
    ];
    for offset in (0..84).step_by(1) {
        for bits in [8, 16, 32, 64].iter().filter(|bits| offset % (*bits / 8) == 0) {
            let load = format!("r1 = *(u{bits} *)(r7 + {offset})\n");
            texts.push(format!("{looked} {load} r1 = r7\n call bpf_sk_release\n {out}"));
        }
    }
    for (kind, attach) in kinds_and_places() {
        let tried = if kind == ProgramType::Xdp { texts.len() } else { 6 };
        different.extend(texts[..tried].iter().filter_map(|text| differs(kind, attach, text)));
    }
    none_differ(different);
}
