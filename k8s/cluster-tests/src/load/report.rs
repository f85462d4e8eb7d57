//! The outcomes of the requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::front::Lane;
use crate::narration::{quote, say, seconds};

/// How many of the first failures are printed in full. The last one is printed too. The others are similar.
const SHOWN: usize = 8;

/// One request.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) kind: &'static str,
    pub(crate) lane: Lane,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// Why the request counts as failed.
    pub(crate) failure: Option<String>,
}

impl Sample {
    pub(crate) fn ended(&self) -> Instant {
        self.begun + self.took
    }
}

/// Describes a failed request.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure.as_deref().unwrap_or("no failure");
        write!(f, "after {}: {failure}", seconds(self.took))
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    begun: Instant,
    samples: Vec<Sample>,
}

impl Report {
    pub(crate) fn new(begun: Instant, mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.begun);
        Self { begun, samples }
    }

    fn failures(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.failure.is_some())
    }

    pub(crate) fn failed(&self) -> usize {
        self.failures().count()
    }

    /// The time within which this many of a thousand requests ended.
    fn quantile(&self, per_mille: usize) -> Duration {
        let mut times: Vec<Duration> = self.samples.iter().map(|sample| sample.took).collect();
        times.sort_unstable();
        let rank = (times.len() * per_mille / 1000).min(times.len().saturating_sub(1));
        times.get(rank).copied().unwrap_or_default()
    }

    /// Prints the numbers, how often requests failed and why, and the first failures in full.
    pub(crate) fn print(&self, what: &str) {
        say(format_args!("{what}: {self}"));
        let since_begun = |sample: &Sample| seconds(sample.begun - self.begun);
        for (cause, failures) in &self.causes() {
            let (first, last) = (failures.first(), failures.last());
            let times = first
                .zip(last)
                .map(|(first, last)| format!("{} to {}", since_begun(first), since_begun(last)));
            quote(&format!(
                "{} failed from {}: {cause}",
                failures.len(),
                times.unwrap_or_default()
            ));
        }
        let last = self.failures().skip(SHOWN).last();
        for sample in self.failures().take(SHOWN).chain(last) {
            quote(&format!("at {} {sample}", since_begun(sample)));
        }
    }

    /// The failures grouped by what they have in common: the kind of request, and the end of the message without its ids.
    fn causes(&self) -> BTreeMap<String, Vec<&Sample>> {
        let mut causes: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
        for sample in self.failures() {
            let message = sample.failure.as_deref().unwrap_or_default();
            let cause = message.rsplit_once("\"detail\":").or_else(|| message.rsplit_once(": "));
            let cause = cause.map_or(message, |(_, cause)| cause).trim_end_matches('}');
            causes
                .entry(format!("{}: {cause}", sample.kind))
                .or_default()
                .push(sample);
        }
        causes
    }

    pub(crate) fn expect_no_failure(&self) -> Result<()> {
        // A load that sent nothing would have no failure either.
        if self.samples.len() < 50 {
            bail!("only {} requests were sent", self.samples.len());
        }
        match self.failures().next() {
            None => Ok(()),
            Some(first) => bail!(
                "{} of {} requests failed, the first {first}",
                self.failed(),
                self.samples.len()
            ),
        }
    }

    /// The failure that ended last, among the requests that began since `moment`.
    pub(crate) fn last_failure_since(&self, moment: Instant) -> Option<&Sample> {
        let since = self.failures().filter(|sample| sample.begun >= moment);
        since.max_by_key(|sample| sample.ended())
    }

    /// Fails if a request failed that began since `moment`. `what` names what should have been over by then.
    pub(crate) fn expect_no_failure_since(&self, moment: Instant, what: &str) -> Result<()> {
        let failed = self.failures().filter(|sample| sample.begun >= moment).count();
        match self.last_failure_since(moment) {
            None => Ok(()),
            Some(last) => bail!(
                "{failed} requests failed {what}; the last one began {} later and failed {last}",
                seconds(last.begun - moment)
            ),
        }
    }

    /// How many requests succeeded that began after `moment`.
    pub(crate) fn succeeded_since(&self, moment: Instant) -> usize {
        let since = self.samples.iter().filter(|sample| sample.begun >= moment);
        since.filter(|sample| sample.failure.is_none()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for sample in &self.samples {
            *kinds.entry(sample.kind).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let fresh = self.samples.iter().filter(|sample| sample.lane == Lane::Fresh).count();
        write!(
            f,
            "{} requests in {} ({fresh} on fresh connections), {} failed, p50 {}, p99 {}, longest {} ({})",
            self.samples.len(),
            seconds(self.begun.elapsed()),
            self.failed(),
            seconds(self.quantile(500)),
            seconds(self.quantile(990)),
            seconds(self.quantile(1000)),
            kinds.join(", "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(begun: Instant, milliseconds: u64, failure: Option<&str>) -> Sample {
        Sample {
            kind: "home",
            lane: Lane::Fresh,
            begun,
            took: Duration::from_millis(milliseconds),
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn one_failure_in_a_hundred_is_not_none() {
        let begun = Instant::now();
        let mut samples: Vec<Sample> = (0..100).map(|number| sample(begun, number, None)).collect();
        assert!(Report::new(begun, samples).expect_no_failure().is_ok());
        samples = (0..100)
            .map(|number| sample(begun, number, (number == 7).then_some("reset")))
            .collect();
        assert!(Report::new(begun, samples).expect_no_failure().is_err());
    }

    #[test]
    fn a_load_that_never_came_proves_nothing() {
        assert!(Report::new(Instant::now(), Vec::new()).expect_no_failure().is_err());
    }

    #[test]
    fn the_last_failure_since_a_moment_is_what_counts() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(10);
        let report = Report::new(
            begun,
            vec![
                sample(begun, 5_000, Some("before")),
                sample(later, 2_000, Some("timeout")),
                sample(later + Duration::from_secs(5), 1_000, Some("timeout")),
                sample(later + Duration::from_secs(9), 10, None),
            ],
        );
        let last = report.last_failure_since(later).expect("two failed");
        assert_eq!(last.ended() - later, Duration::from_secs(6));
        assert!(report.expect_no_failure_since(later, "afterwards").is_err());
        let much_later = later + Duration::from_secs(7);
        assert!(report.last_failure_since(much_later).is_none());
        assert!(report.expect_no_failure_since(much_later, "afterwards").is_ok());
        assert_eq!(report.succeeded_since(later), 1);
    }

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let begun = Instant::now();
        let report = Report::new(
            begun,
            (0..100).rev().map(|number| sample(begun, number, None)).collect(),
        );
        assert_eq!(report.quantile(500), Duration::from_millis(50));
        assert_eq!(report.quantile(990), Duration::from_millis(99));
        assert_eq!(report.quantile(1000), Duration::from_millis(99));
    }
}
