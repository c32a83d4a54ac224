//! The configuration of this machine's kernel, for objects with externs of `.kconfig`: read once, where
//! libbpf reads it. Where there is no file (or no right to read it), only weir's own answers are left.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, LazyLock};

use weir_object::KernelConfig;

/// More text than any configuration has.
const TEXT_MAX: u64 = 8 << 20;

/// What this machine's kernel was configured with.
pub fn host() -> Arc<KernelConfig> {
    static HOST: LazyLock<Arc<KernelConfig>> =
        LazyLock::new(|| Arc::new(KernelConfig::parse(&text().unwrap_or_default())));
    HOST.clone()
}

fn text() -> io::Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let path = format!("/boot/config-{}", release.trim_end());
    let plain = File::open(path).and_then(bounded);
    plain.or_else(|_| bounded(flate2::read::GzDecoder::new(File::open("/proc/config.gz")?)))
}

fn bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(TEXT_MAX).read_to_string(&mut text)?;
    Ok(text)
}
