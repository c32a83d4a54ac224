//! Where and when figures were measured: without it they mean nothing.

use std::fs;

use serde::Serialize;
use weir_sys::affinity;
use weir_sys::clock::{Clock, now_ns};

/// The machine, its kernel, its load and the day.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub cpu: String,
    pub cores: Vec<usize>,
    pub kernel: String,
    pub jit_hardening: String,
    pub load: String,
    pub date: String,
    pub build: &'static str,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: affinity::allowed().unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease"),
            jit_hardening: read("/proc/sys/net/core/bpf_jit_harden"),
            load: read("/proc/loadavg"),
            date: date(now_ns(Clock::Real) / 1_000_000_000),
            build: if cfg!(debug_assertions) { "unoptimised: figures mean nothing" } else { "release" },
        }
    }
}

/// `YYYY-MM-DD HH:MM UTC` of seconds since 1970 (days to civil date by H. Hinnant's method).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_become_dates() {
        assert_eq!(super::date(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(super::date(1_767_225_599), "2025-12-31 23:59 UTC");
    }
}
