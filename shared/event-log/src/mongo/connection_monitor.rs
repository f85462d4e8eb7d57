//! Noticing that connections are lost while requests wait for answers on them.

use std::io;
use std::pin::pin;
use std::time::Duration;

use mongodb::error::Error;
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use tokio::sync::watch;

/// A request that is under way when a connection is lost may be on another connection. It gets so much time to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Notices when the driver loses connections to a deployment. Clones are the same monitor.
///
/// A node or a pod that vanishes closes no connection: requests on its connections wait until the kernel gives up, after a quarter of an
/// hour. The driver ends such waiting only if its own monitor, too, sent a request and got no answer. If that monitor got an error (its
/// connection was closed, the host name has no address), the driver opens new connections, and requests on the old ones go on waiting.
/// So whatever has no time limit of its own runs [`until_lost`](ConnectionMonitor::until_lost).
#[derive(Debug, Clone, Default)]
pub struct ConnectionMonitor(watch::Sender<()>);

impl ConnectionMonitor {
    /// For the options of each client to monitor.
    ///
    /// The driver reports a cleared pool before it gives out the next connection: a request that begins later is not on a lost one.
    pub(super) fn handler(&self) -> EventHandler<CmapEvent> {
        let monitor = self.0.clone();
        EventHandler::callback(move |event| {
            if matches!(event, CmapEvent::PoolCleared(_)) {
                monitor.send_replace(());
            }
        })
    }

    /// Notices losses from now on.
    pub fn watch(&self) -> ConnectionWatch {
        ConnectionWatch(self.0.subscribe())
    }

    /// The result of the work, or a transient error if connections were lost meanwhile and the work does not end soon. Whether it was done
    /// is then unknown, as after any network error.
    pub async fn until_lost<T, E: From<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.watch().until_lost(work).await
    }
}

/// Notices losses between pieces of work, too: for a request that is sent in one and answered in another.
#[derive(Debug)]
pub struct ConnectionWatch(watch::Receiver<()>);

impl ConnectionWatch {
    /// As [`ConnectionMonitor::until_lost`], for connections that were lost since the last piece of work ended. If this is dropped before
    /// it ends, no loss is forgotten.
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
    async fn work_that_waits_in_vain_ends_and_work_that_goes_on_does_not() {
        let monitor = ConnectionMonitor::default();
        let waits = monitor.until_lost(std::future::pending::<Result<(), Error>>());
        let goes_on = monitor.until_lost(async {
            tokio::time::sleep(GRACE / 10).await;
            Ok::<i32, Error>(1)
        });
        let (waited, went_on, ()) = tokio::join!(waits, goes_on, async {
            monitor.clone().0.send_replace(());
        });
        assert!(is_transient(&waited.unwrap_err()));
        assert_eq!(went_on.unwrap(), 1);
        let later: Result<i32, Error> = monitor.until_lost(async { Ok(2) }).await;
        assert_eq!(later.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_watch_forgets_no_earlier_loss_even_if_it_was_dropped() {
        let monitor = ConnectionMonitor::default();
        let mut watch = monitor.watch();
        monitor.0.send_replace(());
        let given_up = watch.until_lost(std::future::pending::<Result<(), Error>>());
        assert!(tokio::time::timeout(GRACE / 2, given_up).await.is_err());
        let waited = watch.until_lost(std::future::pending::<Result<(), Error>>()).await;
        assert!(is_transient(&waited.unwrap_err()));
        assert!(!watch.0.has_changed().unwrap(), "no loss since");
    }
}
