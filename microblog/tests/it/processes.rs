//! Several projectors as processes of their own, of which some are killed.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

/// A process that is killed at the end of the test, however the test ends.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    /// SIGKILL: the process stores nothing and releases no lease.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it can be waited for");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many processes share the partitions of the views' subscription.
async fn owners(stack: &Stack) -> usize {
    let databases = stack.databases().await;
    let leases: Vec<Document> = databases
        .views
        .collection::<Document>("leases")
        .find(doc! { "subscription": "views-g1" })
        .await
        .expect("the leases can be read")
        .try_collect()
        .await
        .expect("the leases can be read");
    databases.close().await;
    let owners = leases.iter().filter_map(|lease| lease.get_str("owner").ok());
    owners.collect::<std::collections::BTreeSet<_>>().len()
}

/// Stops the writers, and counts what they write.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    pub(crate) stop: AtomicBool,
    commands: AtomicUsize,
}

impl Writing {
    /// Waits for so many more commands.
    pub(crate) async fn more(&self, commands: usize) {
        let enough = self.commands.load(Ordering::SeqCst) + commands;
        eventually("more is written", || async {
            (self.commands.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
    }
}

/// Between two rounds of one person.
const PAUSE: Duration = Duration::from_millis(300);

/// All people post, edit, repost, delete, follow and unfollow until they are told to stop.
pub(crate) async fn keep_writing(stack: &Stack, people: &[Person], writing: &Writing) {
    let writers = people.iter().enumerate().map(|(number, person)| async move {
        for round in 0.. {
            if writing.stop.load(Ordering::SeqCst) {
                break;
            }
            let other = &people[(number + round + 1) % people.len()];
            if other.id != person.id {
                stack.follow(person, other).await;
            }
            let post = stack.post(person, &format!("{} {round}", person.handle)).await;
            match round % 5 {
                1 => drop(stack.edit(person, post.id, "edited").await),
                2 => stack.repost(other, post.id).await,
                3 if other.id != person.id => stack.unfollow(person, other).await,
                4 => stack.delete(person, post.id).await,
                _ => stack.like(other, post.id).await,
            }
            writing.commands.fetch_add(3, Ordering::SeqCst);
            // A slow machine must not have more to read and to verify than a fast one.
            tokio::time::sleep(PAUSE).await;
        }
    });
    join_all(writers).await;
}

e2e! {
    async fn projectors_that_are_killed_again_and_again_lose_nothing() {
        let stack = Arc::new(Stack::start_without_projector(&[]).await);
        let mut projectors = [Killed(stack.projector_process()), Killed(stack.projector_process())];
        stack.wait_until_ready().await;
        let people = stack.crowd("person", 6).await;
        let writing = Arc::new(Writing::default());
        let writers = tokio::spawn({
            let (stack, writing) = (stack.clone(), writing.clone());
            async move { keep_writing(&stack, &people, &writing).await }
        });
        for round in 0..4 {
            eventually("both projectors have a share", || async { (owners(&stack).await == 2).then_some(()) }).await;
            writing.more(15).await;
            let victim = &mut projectors[round % 2];
            victim.kill();
            *victim = Killed(stack.projector_process());
        }
        writing.more(15).await;
        writing.stop.store(true, Ordering::SeqCst);
        writers.await.expect("the writers do not panic");
        stack.assert_verified().await;
    }
}
