//! Which weir this is: said by `weir version`, by the daemon, by `weir_build_info`.

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, when `WEIR_COMMIT` said so to the build.
pub const COMMIT: Option<&str> = option_env!("WEIR_COMMIT");
/// The compiler's version.
pub const RUSTC: &str = env!("WEIR_RUSTC");
/// What it was built for.
pub const TARGET: &str = env!("WEIR_TARGET");
/// `release` or `debug`.
pub const PROFILE: &str = env!("WEIR_PROFILE");
