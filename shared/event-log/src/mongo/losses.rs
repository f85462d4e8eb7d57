//! Noticing that connections are lost while something waits for an answer on them.

use std::io;
use std::pin::pin;
use std::time::Duration;

use mongodb::error::Error;
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use tokio::sync::watch;

/// What is under way when a connection is lost may be on another, and well: it gets so much time to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The losses of a deployment's connections; clones are the same.
///
/// A node or a pod that vanishes closes nothing: what was asked on its connections waits until the kernel gives up, after
/// a quarter of an hour. The driver ends such waiting only where its monitor, too, asked and got no answer. If the
/// monitor was told (its own connection was closed, the name leads nowhere), the driver starts new connections and
/// leaves the old ones to wait. So whatever has no time limit of its own is run [`until_lost`](Losses::until_lost).
#[derive(Debug, Clone, Default)]
pub struct Losses(watch::Sender<()>);

impl Losses {
    /// For the options of each client whose losses these are.
    ///
    /// The driver tells of a cleared pool before it gives out the next connection: what begins later is not on a lost one.
    pub(super) fn handler(&self) -> EventHandler<CmapEvent> {
        let losses = self.0.clone();
        EventHandler::callback(move |event| {
            if matches!(event, CmapEvent::PoolCleared(_)) {
                losses.send_replace(());
            }
        })
    }

    /// Notices losses from now on.
    pub fn lookout(&self) -> Lookout {
        Lookout(self.0.subscribe())
    }

    /// What the work ends with, or a transient error if connections were lost meanwhile and it does not end soon.
    /// Whether it was done is then unknown, as after any error of the network.
    pub async fn until_lost<T, E: From<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.lookout().until_lost(work).await
    }
}

/// Notices losses between pieces of work, too: for what is asked for in one and answered in another.
#[derive(Debug)]
pub struct Lookout(watch::Receiver<()>);

impl Lookout {
    /// As [`Losses::until_lost`], of connections that were lost since the last piece of work ended. If this is dropped before it ends,
    /// no loss is forgotten.
    pub async fn until_lost<T, E: From<Error>>(&mut self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut lost = self.0.clone();
        let mut work = pin!(work);
        let ended = tokio::select! {
            biased;
            outcome = &mut work => Ok(outcome),
            Ok(()) = lost.changed() => tokio::time::timeout(GRACE, work).await,
        };
        self.0.mark_unchanged();
        ended.unwrap_or_else(|_| {
            let error = io::Error::new(io::ErrorKind::ConnectionReset, "connections to the database were lost");
            Err(Error::from(error).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::is_transient;

    #[tokio::test]
    async fn what_waits_in_vain_ends_and_what_goes_on_does_not() {
        let losses = Losses::default();
        let waits = losses.until_lost(std::future::pending::<Result<(), Error>>());
        let goes_on = losses.until_lost(async {
            tokio::time::sleep(GRACE / 10).await;
            Ok::<i32, Error>(1)
        });
        let (waited, went_on, ()) = tokio::join!(waits, goes_on, async {
            losses.clone().0.send_replace(());
        });
        assert!(is_transient(&waited.unwrap_err()));
        assert_eq!(went_on.unwrap(), 1);
        let later: Result<i32, Error> = losses.until_lost(async { Ok(2) }).await;
        assert_eq!(later.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_lookout_forgets_no_loss_of_before_or_of_what_was_given_up() {
        let losses = Losses::default();
        let mut lookout = losses.lookout();
        losses.0.send_replace(());
        let given_up = lookout.until_lost(std::future::pending::<Result<(), Error>>());
        assert!(tokio::time::timeout(GRACE / 2, given_up).await.is_err());
        let waited = lookout.until_lost(std::future::pending::<Result<(), Error>>()).await;
        assert!(is_transient(&waited.unwrap_err()));
        assert!(!lookout.0.has_changed().unwrap(), "nothing was lost since");
    }
}
