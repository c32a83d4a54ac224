//! What this machine's processor can do, asked once.

use std::sync::LazyLock;

/// Whether shifts by any register that leave the flags alone are there (BMI2: `shlx` and its kin).
pub(super) fn has_bmi2() -> bool {
    static BMI2: LazyLock<bool> = LazyLock::new(|| std::arch::is_x86_feature_detected!("bmi2"));
    #[cfg(test)]
    if WITHOUT_BMI2.get() {
        return false;
    }
    *BMI2
}

#[cfg(test)]
thread_local! {
    /// Tests compile as for an old processor with it.
    pub(crate) static WITHOUT_BMI2: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
