//! Looks up what the bus does not say, and what no bus tells: once for all streams of the process.

use std::sync::Arc;
use std::time::Duration;

use model::ids::PostId;
use model::values::Visibility;
use service::auth::LiveSessions;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use views::Post;

use super::hub::Lookup;
use super::index::Key;
use super::mailbox::{Cut, News};
use super::stream::Live;
use crate::read_model::ReadError;
use crate::shown::Candidate;

/// How often the counts of a post are told at most, and how soon the end of a session is seen at the latest.
const EVERY: Duration = Duration::from_secs(1);
/// The most lookups at a time.
const AT_ONCE: usize = 200;

/// Works until `shutdown`.
pub(crate) async fn run(
    live: Arc<Live>,
    mut lookups: Receiver<Lookup>,
    sessions: LiveSessions,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(AT_ONCE);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {
                tell_counts(&live).await;
                end_sessions(&live, &sessions).await;
            }
            _ = lookups.recv_many(&mut batch, AT_ONCE) => {
                if let Err(error) = look_up(&live, &batch).await {
                    // The pages find what could not be looked up.
                    tracing::warn!(%error, "streams begin again, because the views could not be read");
                    live.hub.cut_all(Cut::Bus);
                }
                batch.clear();
            }
        }
    }
}

async fn look_up(live: &Live, lookups: &[Lookup]) -> Result<(), ReadError> {
    let read_model = live.take().await?;
    let ids = lookups.iter().filter_map(|lookup| match lookup {
        Lookup::Changed(id) | Lookup::Untagged(_, id) => Some(*id),
        Lookup::Profile(_) => None,
    });
    let rows = read_model.posts(ids.collect()).await?;
    for lookup in lookups {
        match *lookup {
            Lookup::Changed(id) => {
                if let Some(Some(post)) = rows.get(&id) {
                    let news = News::Changed {
                        candidate: Candidate::from(post.as_ref()),
                        hidden: post.hidden,
                    };
                    live.hub.tell(post, news, keys_of(post));
                }
            }
            Lookup::Untagged(tag, id) => match rows.get(&id) {
                Some(Some(post)) => {
                    let news = News::Untagged(Candidate::from(post.as_ref()));
                    live.hub.tell(post, news, vec![Key::Tag(tag)]);
                }
                _ => live.hub.tell_deleted(id, &[Key::Tag(tag)]),
            },
            Lookup::Profile(user) => {
                if read_model.profiles(vec![user]).await?.remove(&user).flatten().is_none() {
                    live.hub.connections.end(user, None);
                }
            }
        }
    }
    Ok(())
}

fn keys_of(post: &Post) -> Vec<Key> {
    let public = post.visibility == Visibility::Public && post.repost_of.is_none();
    let parent = post.in_reply_to.map(|parent| parent.post);
    Key::of_post(post.id, post.author, parent, public, &post.tags)
}

async fn tell_counts(live: &Live) {
    let ids: Vec<PostId> = live.hub.take_counted();
    if ids.is_empty() {
        return;
    }
    let told = async {
        let read_model = live.take().await?;
        let rows = read_model.posts(ids).await?;
        for post in rows.values().flatten() {
            live.hub
                .tell(post, News::Counts(Candidate::from(&**post)), keys_of(post));
        }
        Ok::<(), ReadError>(())
    };
    if let Err(error) = told.await {
        // The next change of the counts tells them.
        tracing::warn!(%error, "the counts of posts could not be told");
    }
}

/// Ends the connections of sessions that are over.
async fn end_sessions(live: &Live, sessions: &LiveSessions) {
    let open = live.hub.connections.all();
    if open.is_empty() {
        return;
    }
    match live.read_models.gate.ask(sessions.over(open)).await {
        Ok(ended) => {
            for (user, session) in ended {
                live.hub.connections.end(user, Some(session));
            }
        }
        // They are looked up again in a second, and each connection ends with its access token.
        Err(error) => tracing::warn!(%error, "sessions could not be looked up"),
    }
}
