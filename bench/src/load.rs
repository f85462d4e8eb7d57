//! Two kinds of load: as fast as answers come, to measure throughput, and at a fixed rate, to measure times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// How much work a closed loop does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// As much as possible in this time.
    For(Duration),
    /// So many items, however long they take.
    Items(usize),
}

/// Work in a closed loop by several workers at the same time. Returns how many items were done per second.
///
/// `work` gets the state of its worker and the number of the item.
pub(crate) async fn throughput<S, F>(
    workers: Vec<S>,
    amount: Amount,
    work: impl Fn(S, usize) -> F + Clone + Send + 'static,
) -> Result<f64>
where
    S: Send + 'static,
    F: Future<Output = Result<S>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut worker in workers {
        let (next, work) = (next.clone(), work.clone());
        tasks.spawn(async move {
            let mut done = 0_usize;
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                let is_due = match amount {
                    Amount::For(duration) => begun.elapsed() < duration,
                    Amount::Items(items) => item < items,
                };
                if !is_due {
                    return anyhow::Ok(done);
                }
                worker = work(worker, item).await?;
                done += 1;
            }
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        done += ended??;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "the count stays below the limit of exact values"
    )]
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// The results of a load at a fixed rate.
#[derive(Debug)]
pub(crate) struct Times {
    /// Microseconds.
    histogram: Histogram<u64>,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
}

impl Times {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            histogram: Histogram::new_with_bounds(1, 120_000_000, 3)?,
            failed: 0,
            first_failure: None,
        })
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(microseconds.max(1));
    }

    /// A quantile in milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most two minutes")]
        let microseconds = self.histogram.value_at_quantile(quantile) as f64;
        microseconds / 1_000.0
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }
}

/// An open loop: each request starts when it is due, whatever the others do, and its time counts from when it was due. So a server that
/// stalls is charged for all requests that are due during the stall.
pub(crate) async fn at_rate<S, F>(
    pool: Vec<S>,
    rate: f64,
    duration: Duration,
    work: impl Fn(S, usize) -> F + Clone + Send + 'static,
) -> Result<Times>
where
    S: Send + 'static,
    F: Future<Output = (S, Result<()>)> + Send,
{
    let times = Arc::new(Mutex::new(Times::new()?));
    let (give_back, mut free) = tokio::sync::mpsc::unbounded_channel();
    for state in pool {
        give_back.send(state).ok();
    }
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for number in 0.. {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the count stays below the limit of exact values"
        )]
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        if due - begun >= duration {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        // If all connections are busy, the request waits, and its time counts.
        let Some(state) = free.recv().await else { break };
        let (work, times, give_back) = (work.clone(), times.clone(), give_back.clone());
        tasks.spawn(async move {
            let (state, outcome) = work(state, number).await;
            let took = due.elapsed();
            give_back.send(state).ok();
            let mut times = times.lock().await;
            match outcome {
                Ok(()) => times.record(took),
                Err(error) => {
                    times.failed += 1;
                    times.first_failure.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        });
        while let Some(ended) = tasks.try_join_next() {
            ended?;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    drop(give_back);
    let times = Arc::try_unwrap(times).map_err(|_| anyhow::anyhow!("a task outlived the load"))?;
    Ok(times.into_inner())
}
