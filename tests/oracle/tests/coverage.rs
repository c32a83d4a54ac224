//! Random programs have every operation in every form.

use weir_oracle::coverage::Coverage;
use weir_oracle::generate::Recipe;

#[test]
fn random_programs_have_every_form_of_instruction() {
    let mut coverage = Coverage::default();
    (1..3_000).for_each(|seed| coverage.add(&Recipe::random(seed).insns()));
    assert_eq!(coverage.missing(), Vec::<String>::new());
}
