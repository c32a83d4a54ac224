//! Watching a new generation, and giving it up when it does badly.

use std::time::Instant;

use super::change::Probation;
use crate::counters::Totals;
use crate::reason::Reason;

/// A generation that is being watched.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) generation: u64,
    pub(super) until: Instant,
    pub(super) conditions: Probation,
    /// What was counted before it.
    pub(super) before: Totals,
}

/// What a look at it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Go on watching.
    Well,
    /// The time is over and it did well.
    Over,
    /// It does badly, and this is how.
    Badly(String),
}

impl Watch {
    /// How it does, by what is counted now.
    pub(super) fn look(&self, now: Instant, totals: &Totals) -> Found {
        let since = totals.since(&self.before);
        let came = since.received.packets;
        if came >= self.conditions.packets_min.max(1) {
            let share = |packets: u64| packets as f64 / came as f64;
            let aborted = [Reason::XdpAborted, Reason::ForwardAborted, Reason::XdpInvalid];
            let aborted: u64 = aborted.iter().map(|reason| since.dropped[*reason as usize]).sum();
            for (word, packets, most) in [
                ("aborted", aborted, self.conditions.abort_rate),
                ("dropped", since.dropped_packets(), self.conditions.drop_rate),
            ] {
                if share(packets) > most {
                    return Found::Badly(format!(
                        "{packets} of {came} packets were {word} ({:.2}%, and {:.2}% is the most)",
                        share(packets) * 100.0,
                        most * 100.0
                    ));
                }
            }
        }
        if now >= self.until { Found::Over } else { Found::Well }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_share_counts_when_there_are_enough_packets() {
        let conditions = Probation { drop_rate: 0.5, ..Probation::default() };
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let mut totals = Totals::default();
        totals.received.packets = 1000;
        let watch = Watch { generation: 2, until, conditions, before: totals.clone() };
        totals.received.packets += 99;
        totals.dropped[Reason::XdpAborted as usize] += 99;
        assert_eq!(watch.look(now, &totals), Found::Well, "99 packets say nothing");
        totals.received.packets += 99;
        let Found::Badly(why) = watch.look(now, &totals) else { panic!("half of them were aborted") };
        assert_eq!(why, "99 of 198 packets were aborted (50.00%, and 1.00% is the most)");
        totals.received.packets += 99_000;
        assert_eq!(watch.look(now, &totals), Found::Well);
        assert_eq!(watch.look(until, &totals), Found::Over);
        totals.dropped[Reason::XdpDrop as usize] += 60_000;
        assert!(matches!(watch.look(now, &totals), Found::Badly(why) if why.contains("dropped")));
    }
}
