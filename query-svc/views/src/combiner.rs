//! Combines work that is cheaper when it is done for many callers at once.
//!
//! The first caller takes the turn and works for all callers that have queued up meanwhile. The others wait for their result. The more work
//! there is, the larger the groups are. (Flat combining: Hendler, Incze, Shavit, Tzafrir, SPAA 2010.)

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use event_log::mongo::is_transient;
use futures_util::FutureExt;
use mongodb::error::Error;
use tokio::sync::{MutexGuard, oneshot};

/// The kind of work that is combined.
pub(super) trait Job: Sync {
    type Work: fmt::Debug + Send + Sync;
    /// The result for all callers whose work was done together.
    type Answer: fmt::Debug + Clone + Send;
    /// The state that the holder of the turn has, and passes on.
    type State: fmt::Debug + Default + Send;

    /// The limit of a group, as the sum of the sizes of its works.
    const MOST: usize;

    fn size(work: &Self::Work) -> usize;

    /// Does all the work. It may be repeated, and cancelled at any point.
    fn perform(
        &self,
        state: &mut Self::State,
        works: &[&Self::Work],
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

#[derive(Debug)]
pub(super) struct Combiner<J: Job> {
    pub(super) job: J,
    queue: Mutex<Vec<Waiting<J>>>,
    turn: tokio::sync::Mutex<J::State>,
}

#[derive(Debug)]
struct Waiting<J: Job> {
    work: Arc<J::Work>,
    done: oneshot::Sender<Result<J::Answer, Error>>,
}

impl<J: Job> Combiner<J> {
    pub(super) fn new(job: J) -> Self {
        Self {
            job,
            queue: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The state of the turn. While the guard is held, nobody works.
    pub(super) async fn state(&self) -> MutexGuard<'_, J::State> {
        self.turn.lock().await
    }

    pub(super) async fn run(&self, work: J::Work) -> Result<J::Answer, Error> {
        let work = Arc::new(work);
        loop {
            let (done, mut answer) = oneshot::channel();
            self.enqueue(Waiting {
                work: Arc::clone(&work),
                done,
            });
            loop {
                tokio::select! {
                    biased;
                    answered = &mut answer => match answered {
                        Ok(result) => return result,
                        // The holder of the turn was cancelled in the middle of its work, so queue up again.
                        Err(_) => break,
                    },
                    mut turn = self.turn.lock() => {
                        self.perform_all(&mut turn, self.dequeue()).await;
                        drop(turn);
                    }
                }
            }
        }
    }

    fn enqueue(&self, waiting: Waiting<J>) {
        self.queue
            .lock()
            .expect("nobody panics while holding the queue")
            .push(waiting);
    }

    /// Takes the first waiting works, as many as may be done at once.
    fn dequeue(&self) -> Vec<Waiting<J>> {
        let mut queue = self.queue.lock().expect("nobody panics while holding the queue");
        let mut size = 0;
        let fitting = queue
            .iter()
            .take_while(|waiting| {
                size += J::size(&waiting.work);
                size <= J::MOST
            })
            .count();
        // A work that is too large for a group becomes a group of its own.
        let count = fitting.max(1).min(queue.len());
        queue.drain(..count).collect()
    }

    async fn perform_all(&self, state: &mut J::State, group: Vec<Waiting<J>>) {
        if group.is_empty() {
            return;
        }
        let works: Vec<&J::Work> = group.iter().map(|waiting| &*waiting.work).collect();
        let result = self.perform(state, &works).await;
        let alone = group.len() == 1;
        for waiting in group {
            let result = match &result {
                // One of the works caused the error. Each is repeated alone, so that only that one fails.
                Err(error) if !alone && !is_transient(error) => self.perform(state, &[&waiting.work]).await,
                result => result.clone(),
            };
            // A caller that does not wait any more was cancelled.
            let _ = waiting.done.send(result);
        }
    }

    /// A panic becomes an error of those callers whose work was done, not of the caller that holds the turn.
    async fn perform(&self, state: &mut J::State, works: &[&J::Work]) -> Result<J::Answer, Error> {
        let performed = AssertUnwindSafe(self.job.perform(state, works)).catch_unwind().await;
        performed.unwrap_or_else(|_| Err(Error::custom("the work panicked; the log says where")))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    const PANIC: i32 = 13;

    /// Adds numbers as soon as it has a permit. It refuses numbers below zero.
    #[derive(Debug)]
    struct Sum {
        permits: Semaphore,
    }

    impl Job for Sum {
        type Work = i32;
        type Answer = i32;
        type State = Vec<Vec<i32>>;

        const MOST: usize = 4;

        fn size(_: &i32) -> usize {
            1
        }

        async fn perform(&self, groups: &mut Vec<Vec<i32>>, works: &[&i32]) -> Result<i32, Error> {
            self.permits.acquire().await.unwrap().forget();
            let group: Vec<i32> = works.iter().map(|&&work| work).collect();
            groups.push(group.clone());
            assert!(!group.contains(&PANIC), "the test says so");
            if group.iter().any(|&work| work < 0) {
                return Err(Error::custom("below zero"));
            }
            Ok(group.iter().sum())
        }
    }

    type Running = JoinHandle<Result<i32, Error>>;

    /// The first work has the turn and waits for a permit. The others wait for the turn, in this order.
    async fn begun<const N: usize>(works: [i32; N]) -> (Arc<Combiner<Sum>>, [Running; N]) {
        let combiner = Arc::new(Combiner::new(Sum {
            permits: Semaphore::new(0),
        }));
        let mut running = Vec::new();
        for (waiting, work) in works.into_iter().enumerate() {
            let of_task = Arc::clone(&combiner);
            running.push(tokio::spawn(async move { of_task.run(work).await }));
            // The first work is no longer in the queue.
            while combiner.turn.try_lock().is_ok() || combiner.queue.lock().unwrap().len() != waiting {
                yield_now().await;
            }
        }
        (combiner, running.try_into().unwrap())
    }

    #[tokio::test]
    async fn what_waits_is_done_at_once_as_far_as_it_fits() {
        let (combiner, running) = begun([1, 2, 3, 4, 5, 6]).await;
        combiner.job.permits.add_permits(3);
        let mut sums = Vec::new();
        for running in running {
            sums.push(running.await.unwrap().unwrap());
        }
        assert_eq!(sums, [1, 14, 14, 14, 14, 6]);
        assert_eq!(*combiner.state().await, [vec![1], vec![2, 3, 4, 5], vec![6]]);
    }

    #[tokio::test]
    async fn what_fails_fails_alone() {
        let (combiner, [first, second, third, fourth]) = begun([1, 2, -3, 4]).await;
        combiner.job.permits.add_permits(5);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert!(third.await.unwrap().is_err());
        assert_eq!(fourth.await.unwrap().unwrap(), 4);
    }

    #[tokio::test]
    async fn what_panics_fails_alone() {
        let (combiner, [first, second, third, fourth]) = begun([1, 2, PANIC, 4]).await;
        combiner.job.permits.add_permits(5);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert!(third.await.unwrap().is_err());
        assert_eq!(fourth.await.unwrap().unwrap(), 4);
    }

    #[tokio::test]
    async fn whoever_is_cancelled_with_the_turn_leaves_nobody_waiting() {
        let (combiner, [first, second, third]) = begun([1, 2, 3]).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // By now the second or the third works for both.
        while !combiner.queue.lock().unwrap().is_empty() {
            yield_now().await;
        }
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        combiner.job.permits.add_permits(2);
        assert!(third.await.unwrap().unwrap() >= 3);
    }
}
