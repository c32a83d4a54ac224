//! Every helper on packets made by hand.

use super::*;

#[test]
fn every_row_has_a_body_of_its_own_or_shares_a_harmless_one() {
    for helper in Helper::ALL {
        let _ = body(*helper);
    }
}
