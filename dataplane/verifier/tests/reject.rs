//! What a refusal and a log look like.

use std::sync::Arc;

use weir_ebpf::program::{Line, Program, ProgramType};
use weir_verifier::{Options, Reject, verify};

const CODE: &str = "
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 14
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 + 23)
out:
    r0 = 2
    exit
";

fn refused(log_level: u8) -> Reject {
    let insns = weir_ebpf::asm::assemble(CODE).expect("code");
    let mut program = Program::from_insns("bad", ProgramType::Xdp, insns);
    program.lines.push(Line {
        slot: 5,
        file: Arc::from("bad.c"),
        text: Arc::from("  if (ip->protocol == 17) return XDP_DROP;"),
        line: 9,
        column: 7,
    });
    let options = Options { log_level, ..Options::default() };
    *verify(Arc::new(program), &options).expect_err("a refusal")
}

#[test]
fn a_refusal_says_where_why_and_what_to_try() {
    let shown = refused(0).to_string();
    let wanted = "\
error[packet-past-end]: access past the checked part of the packet
 --> bad.c:9:7
  |
9 |   if (ip->protocol == 17) return XDP_DROP;
  |       ^^^^^^^^^^^^ insn 5: touches byte 23, and 14 are checked
  |
  = help: if (data + 24 > data_end) return XDP_DROP;
  = note: Packet bytes are compared with data_end before they are touched.
  = note: kernel says: invalid access to packet, off=23 size=1, R2(id=0,off=23,r=14)";
    assert_eq!(shown, wanted);
}

#[test]
fn the_log_reads_like_the_kernels() {
    let wanted = "\
func#0 @0
0: R1=ctx() R10=fp0
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)
1: (61) r3 = *(u32 *)(r1 +4)          ; R1=ctx() R3=pkt_end()
2: (bf) r4 = r2                       ; R2=pkt(r=0) R4=pkt(r=0)
3: (07) r4 += 14                      ; R4=pkt(off=14,r=0)
4: (2d) if r4 > r3 goto pc+1          ; R3=pkt_end() R4=pkt(off=14,r=14)
5: (71) r0 = *(u8 *)(r2 +23)
invalid access to packet, off=23 size=1, R2(id=0,off=23,r=14)
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";
    assert_eq!(refused(2).log, wanted);
}
