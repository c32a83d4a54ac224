//! What the documents say happens: each ```console block is run from the repository's root.

use std::path::Path;

#[test]
fn every_console_block_of_the_documents_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(root).unwrap();
    // The other pages of `dataplane/` speak to a running weir: tests/tests/pages.rs runs them, as root.
    trycmd::TestCases::new().case("README.md").case("dataplane/ARCHITECTURE.md");
}
