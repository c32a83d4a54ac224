//! BTF: every type has a size or none, and a value or none, and the walk of each comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_object::Btf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes) else { return };
    let zeros = [0; 4096];
    for (id, _) in btf.iter().take(100) {
        let _ = btf.name(id);
        let _ = btf.size_of(id);
        let _ = btf.special_fields(id);
        let _ = btf.value(id, &zeros);
    }
});
