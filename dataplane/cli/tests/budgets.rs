//! What a proof may take, as `weir check` is told: instructions, memory, time. The program is a loop of a thousand
//! turns; what weir says of it stands in `budgets.trycmd`.

use std::path::Path;

/// `r0 = 0`, then `r0 += 1` while r0 is less than 1000, then `exit`.
const LOOP: [u8; 32] = [
    0xb7, 0, 0, 0, 0, 0, 0, 0, 0x07, 0, 0, 0, 1, 0, 0, 0, 0xa5, 0, 0xfe, 0xff, 0xe8, 3, 0, 0, 0x95, 0, 0, 0,
    0, 0, 0, 0,
];

#[test]
fn each_budget_refuses_what_takes_more() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("budgets");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("loop.bin"), LOOP).unwrap();
    std::fs::write(folder.join("loop.json"), r#"{"type":"xdp"}"#).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/budgets.trycmd");
    trycmd::TestCases::new().case(cases);
}
