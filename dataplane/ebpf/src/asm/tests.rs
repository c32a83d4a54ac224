//! The assembler and the disassembler against each other, and what they say.

use super::{Listing, assemble, assemble_with, disassemble};
use crate::decode::{decode, decode_one};
use crate::encode::encode;
use crate::isa::{Insn, RawInsn, Reg};
use proptest::prelude::*;

fn again(insn: Insn) {
    let insns = if insn.slots() == 2 { vec![insn, Insn::SecondHalf] } else { vec![insn] };
    let text = disassemble(&insns);
    assert_eq!(assemble(&text), Ok(insns), "{text}");
}

/// Every opcode byte under small and odd fields, as in `encode`: whatever decodes must come back
/// from its text.
#[test]
fn text_of_every_form_reads_back() {
    let numbers = [0i32, 1, 3, 8, 16, 32, 64, 0x100, 0x110, -1, 0x41, 0x51, 0xa1, 0xe1, 0xf1, i32::MIN];
    let mut forms = 0;
    for code in 0..=u8::MAX {
        for imm in numbers {
            for off in [0, 1, 8, 16, 32, -1, i16::MIN] {
                for (dst, src) in [(2, 0), (0, 1), (10, 2), (9, 3), (1, 4), (0, 10)] {
                    let raw = RawInsn { code, dst, src, off, imm };
                    if let Ok(insn) = decode_one(raw, Some(RawInsn::default())) {
                        again(insn);
                        forms += 1;
                    }
                }
            }
        }
    }
    assert!(forms > 5_000, "only {forms} forms decoded");
}

proptest! {
    #[test]
    fn text_of_random_bits_reads_back(bits in prop::collection::vec(any::<u64>(), 1..64), high: i32) {
        for word in bits {
            let raw = RawInsn::from_bytes(word.to_le_bytes());
            if let Ok(insn) = decode_one(raw, Some(RawInsn { imm: high, ..RawInsn::default() })) {
                again(insn);
            }
        }
    }

    #[test]
    fn text_from_anywhere_never_panics(text in "[-rw0-9 a-z*()\\[\\]+=<>&;:#./]{0,40}") {
        let _ = assemble(&text);
    }
}

fn one(text: &str) -> Insn {
    assemble(text).unwrap_or_else(|error| panic!("{text}: {error}"))[0]
}

#[test]
fn several_spellings_mean_the_same() {
    let same = [
        "r1 = *(u32 *)(r2 + 4) | w1 = *(u32 *)(r2 +4) | r1 = *(u32*)(r2 + 0x4) // comment | 0: (61) r1 = *(u32 *)(r2 +4)",
        "*(u8 *)(r10 - 1) = r1 | *(u8 *)(r10 + -1) = w1 | *(u8 *)(r10 -1) = r1",
        "call 1 | call bpf_map_lookup_elem | call map_lookup_elem | call bpf_map_lookup_elem#1 | call 0x1",
        "call pc+3 | call +3",
        "goto +1 | goto pc+1 | goto +0x1 <.text+0x138> | x: goto y; exit; y: exit",
        "r0 = xchg_64(r1 + 0, r0) | r0 = atomic_xchg((u64 *)(r1 + 0), r0)",
        "w0 = cmpxchg32_32(r1 - 8, w0, w3) | r0 = atomic_cmpxchg((u32 *)(r1 -8), r0, r3)",
        "r1 &= -16 | r1 &= 0xfffffffffffffff0",
        "w1 = -1 | w1 = 0xffffffff",
        "r0 = 1 | 4: b7 00 00 00 01 00 00 00\tr0 = 0x1 | r0 = 1 # one | label: r0 = 1;",
    ];
    for line in same {
        let mut spellings = line.split(" | ").map(|text| (text, one(text)));
        let first = spellings.next().expect("each line has one").1;
        for (text, insn) in spellings {
            assert_eq!(insn, first, "{text}");
        }
    }
}

#[test]
fn labels_count_slots_and_names_find_maps() {
    let text = "main: r1 = counts ll; r2 = map[flows][8] ll\n if r1 == 0 goto out\n call sub\n r3 = sub ll
                out: exit\n sub: gotol main";
    let insns = assemble_with(text, &["flows", "counts"]).expect("assembles");
    let expected = "r1 = map[1] ll\nr2 = map[0][8] ll\nif r1 == 0 goto +3\ncall pc+3\nr3 = subprog[+2] ll\nexit\ngotol -10\n";
    assert_eq!(disassemble(&insns), expected);
    assert_eq!(decode(&encode(&insns)), Ok(insns.clone()));
    let program = crate::Program::from_insns("main", crate::ProgramType::Xdp, insns);
    assert_eq!(assemble(&Listing(&program).to_string()), Ok(program.insns.clone()));
}

#[test]
fn a_listing_shows_functions_slots_and_names() {
    let text = "r1 = 7 ll; call 1; call sub; goto +0; exit; sub: if w1 s> 5 goto -1; exit";
    let program =
        crate::Program::from_insns("main", crate::ProgramType::Xdp, assemble(text).expect("assembles"));
    let expected = "\
main:
       0: r1 = 0x7 ll
       2: call 1                                   // bpf_map_lookup_elem
       3: call pc+2                                // sub_6
       4: goto +0                                  // to 5
       5: exit
sub_6:
       6: if w1 s> 5 goto -1                       // sub_6
       7: exit
";
    assert_eq!(Listing(&program).to_string(), expected);
}

#[test]
fn errors_say_where_what_and_what_to_try() {
    let cases = [
        (
            "r0 = 1\nr11 = 2",
            "line 2, column 1: found `r11`, wanted an instruction (try: r0 = 1, w1 += w2, r1 = *(u32 *)(r2 + 4), *(u8 *)(r10 - 1) = r1, if r1 > 5 goto +3, call 1, exit)",
        ),
        (
            "r1 = w2",
            "line 1, column 6: found `w2`, wanted a register of 64 bits, as on the left (try: r for 64 bits, w for 32 bits)",
        ),
        (
            "r1 = 0x80000000",
            "line 1, column 6: found `0x80000000`, wanted a number that 32 bits can hold when sign-extended (try: load it into a register with `rN = NUMBER ll` first)",
        ),
        (
            "r1 = *(u32 *)r2",
            "line 1, column 14: found `r2`, wanted `(` (try: an address is written (r1 + 4))",
        ),
        (
            "r1 = *(s64 *)(r2 + 0)",
            "line 1, column 14: found `(`, wanted an access of u64 (try: there is nothing to sign-extend in 64 bits)",
        ),
        (
            "r1 = *(u32 *)(r2 + 40000)",
            "line 1, column 20: found `40000`, wanted an offset from -32768 to 32767",
        ),
        (
            "*(u64 *)(r10 - 8) = w1",
            "line 1, column 21: found `w1`, wanted a 64-bit register for a u64 (try: r instead of w)",
        ),
        (
            "if r1 =! 5 goto +1",
            "line 1, column 8: found `!`, wanted an instruction, a label or a comment (try: comments start with // or #)",
        ),
        ("if r1 > 5 goto nowhere", "line 1, column 16: found `nowhere`, wanted a label of this program"),
        (
            "call bpf_map_lookup",
            "line 1, column 6: found `bpf_map_lookup`, wanted a helper or a label of this program (try: bpf_map_lookup_elem)",
        ),
        (
            "w1 = 5 ll",
            "line 1, column 8: found `ll`, wanted a 64-bit register for a 64-bit load (try: r instead of w)",
        ),
        ("r1 = flow ll", "line 1, column 6: found `flow`, wanted a map or a label of this program"),
        (
            "r0 = be48 r0",
            "line 1, column 6: found `be48`, wanted a register, a number, a load or an operation (try: be16, le32, bswap64, (s8)r2, load_acquire, atomic_fetch_add, NAME ll)",
        ),
        (
            "r0 = 1 r1 = 2",
            "line 1, column 8: found `r1`, wanted the end of the instruction (try: one instruction a line, or `;` between them)",
        ),
        (
            "lock *(u16 *)(r1 + 0) += r2",
            "line 1, column 21: found `)`, wanted an atomic operation on u32 or u64",
        ),
        (
            "a: a: exit",
            "line 1, column 4: found `a`, wanted a label that is not there yet (try: another name)",
        ),
        (
            "mov r0, 1",
            "line 1, column 1: found `mov`, wanted an instruction (try: r0 = 1, w1 += w2, r1 = *(u32 *)(r2 + 4), *(u8 *)(r10 - 1) = r1, if r1 > 5 goto +3, call 1, exit)",
        ),
        (
            "r0 = {",
            "line 1, column 6: found `{`, wanted an instruction, a label or a comment (try: comments start with // or #)",
        ),
        (
            "0: r0 = 1\n2: exit",
            "line 2, column 1: found `2`, wanted slot 1 of the listing (try: the listing has a gap; leave the numbers out, or add the lines)",
        ),
    ];
    for (text, said) in cases {
        let error = assemble(text).expect_err(text);
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn registers_are_written_without_leading_zeros() {
    assert_eq!(one("callx r3"), Insn::CallReg { reg: Reg::R3 });
    assert!(assemble("callx r03").is_err());
}
