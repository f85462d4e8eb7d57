//! All commands of the write side, without HTTP.
//!
//! The routes call [`Commands`]. The sweep after a user's deletion calls [`Retractions`]. What follows from a block and from the end of a
//! protection calls [`Consequences`]. `microblog role` calls [`Roles`]. All carry out ordinary commands: load, decide (see [`domain`]), append one event.

mod account;
pub mod codes;
mod consequences;
mod credentials;
pub mod domain;
mod error;
mod execute;
mod filters;
mod latest;
mod lists;
mod logins;
mod metrics;
mod moderation;
mod notifications;
mod origins;
mod passwords;
mod pins;
mod posts;
mod reactions;
mod read;
mod relationships;
mod retractions;
mod roles;
mod sessions;
mod settings;
mod setup;
mod tags;
mod users;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use event_log::clock_guard::ClockGuard;
use event_log::consistency::ConsistencyToken;
use event_log::event_store::{EventStore, Retries};
use model::clock::SharedClock;
use model::events::{Filter, FilterContent, List, Post, Report, User};
use model::ids::{EventId, FilterId, ListId, PostId, ReportId, SessionId, UserId};
use model::tags::Tag;
use model::values::{IdempotencyKey, Password, RegistrationPolicy};
use mongodb::Database;
use mongodb::error::Error;
use service::auth::{Signer, Tickets};
use service::config::{Auth, Follows, Lists};
use service::telemetry::MetricsRegistry;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

pub use self::account::Changes;
use self::account::{Account, Owner};
pub use self::consequences::{Consequences, Waited};
pub use self::error::{Broken, CommandError, Refusal, Unavailable};
use self::execute::Command;
use self::execute::Executor;
pub use self::execute::{Cause, Done};
pub use self::filters::FilterChanges;
pub use self::lists::{ListChanges, NewList};
pub use self::logins::{Attempt, Login, SessionInfo};
pub use self::moderation::NewReport;
pub use self::posts::{NewPost, PostChanges};
pub use self::read::Versioned;
use self::relationships::{Change, Relate};
pub use self::relationships::{NewMute, Standing};
pub use self::retractions::Retractions;
pub use self::roles::Roles;
pub use self::sessions::{RefreshTokens, refresh_tokens};
pub use self::settings::CommandSettings;
pub use self::tags::TagStanding;
pub use self::users::Registration;
use crate::codes::Codes;
use crate::credentials::CredentialStore;
pub use crate::credentials::Identifier;
use crate::metrics::{Metrics, Outcome};
use crate::origins::Origins;
use crate::passwords::Passwords;
use crate::sessions::SessionStore;

/// The versions that a client wants to change (`If-Match`). `None` means any version.
#[derive(Debug, Clone, Default)]
pub struct ExpectedVersions(pub Option<Vec<i64>>);

impl ExpectedVersions {
    fn check(&self, version: i64) -> Result<(), Refusal> {
        match &self.0 {
            Some(versions) if !versions.contains(&version) => Err(Refusal::OtherVersion(version)),
            _ => Ok(()),
        }
    }
}

/// What [`Commands`] needs.
#[derive(Debug)]
pub struct Parts {
    /// The database of the event store.
    pub database: Database,
    pub clock: SharedClock,
    pub clock_guard: ClockGuard,
    pub signer: Signer,
    pub refresh_tokens: RefreshTokens,
}

/// Carries out commands within the limits that protect the service.
#[derive(Debug, Clone)]
pub struct Commands(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    executor: Executor,
    credentials: CredentialStore,
    sessions: SessionStore,
    origins: Origins,
    codes: Codes,
    tickets: Tickets,
    registration: RegistrationPolicy,
    passwords: Passwords,
    signer: Signer,
    clock: SharedClock,
    clock_guard: ClockGuard,
    /// How long a command waits until the clock is sure again.
    max_queueing: Duration,
    /// The most accounts that one user may follow.
    max_follows: u32,
    /// The most tags that one user may follow.
    max_followed_tags: u32,
    lists: Lists,
    metrics: Metrics,
    deadline: Duration,
    /// The runtime of the database client. A command that has started there runs to its end, even if its client hangs up.
    runtime: Handle,
}

impl Commands {
    /// Creates what is missing in the database. The database client belongs to the runtime that calls this.
    pub async fn open(
        parts: Parts,
        settings: &CommandSettings,
        follows: &Follows,
        lists: &Lists,
        auth: &Auth,
        registry: &MetricsRegistry,
    ) -> Result<Self, Error> {
        let Parts {
            database,
            clock,
            clock_guard,
            signer,
            refresh_tokens,
        } = parts;
        let metrics = Metrics::registered(registry);
        let store = EventStore::open(database.clone(), clock.clone(), Retries::default()).await?;
        let hashing = settings.max_hashing.map_or_else(
            || available_parallelism().map_or(1, NonZeroUsize::get),
            |hashing| usize::try_from(hashing.get()).unwrap_or(1),
        );
        let at_once = usize::try_from(settings.max_concurrent.get()).unwrap_or(1);
        Ok(Self(Arc::new(Inner {
            executor: Executor::new(store, at_once, settings.max_queueing, metrics.clone()),
            credentials: CredentialStore::open(&database).await?,
            sessions: SessionStore::open(&database, refresh_tokens, auth, clock.clone()).await?,
            origins: Origins::open(&database, auth, clock.clone()).await?,
            codes: Codes::open(&database, clock.clone()).await?,
            tickets: Tickets::open(&database, clock.clone()).await?,
            registration: settings.registration,
            passwords: Passwords::new(hashing, settings.max_queueing, metrics.clone()),
            signer,
            clock,
            clock_guard,
            max_queueing: settings.max_queueing,
            max_follows: follows.max.get(),
            max_followed_tags: follows.max_tags.get(),
            lists: lists.clone(),
            metrics,
            deadline: settings.deadline,
            runtime: Handle::current(),
        })))
    }

    /// A token that has seen what was done, and what `sent` has seen. It leaves out positions of `sent` that this store can't have
    /// promised.
    pub fn token<A>(&self, done: &Done<A>, sent: Option<&ConsistencyToken>) -> ConsistencyToken {
        let store = self.0.executor.store.id();
        let mut token = ConsistencyToken::new(store);
        token.advance(done.partition, done.position);
        // The database's time may be ahead of all other clocks.
        let now = self.0.clock.now().max(done.position.time());
        let max_skew = self.0.clock_guard.max_skew();
        for (partition, position) in sent.iter().flat_map(|sent| sent.credible(store, now, max_skew)) {
            token.advance(partition, position);
        }
        token
    }

    /// The user of `registration` becomes the actor.
    pub async fn register(
        &self,
        mut registration: Registration,
        cause: impl FnOnce(UserId) -> Cause + Send + 'static,
    ) -> Result<Done<Versioned<User>>, CommandError> {
        let inner = self.0.clone();
        self.run("register", async move {
            let invite = inner.invitation(registration.invite.take()).await?;
            registration.invite = invite;
            let hash = inner.passwords.hash(&registration.password).await?;
            let register = users::Register::new(registration, &hash, inner.clock.now());
            let cause = cause(register.id());
            let done = inner.executor.execute(&register, cause).await;
            // Another request has used the code between the check and the use.
            done.map_err(|error| match error {
                CommandError::Refused(Refusal::CodeNotGood(_)) => Refusal::CodeNotGood("invite").into(),
                other => other,
            })
        })
        .await
    }

    /// Returns an account and its e-mail address to a caller whose session is live.
    pub async fn account(&self, user: UserId, session: SessionId) -> Result<(Versioned<User>, String), CommandError> {
        let inner = self.0.clone();
        self.run("show_account", async move {
            let Account { user, credentials } = inner.account(inner.owner(user, session)).await?;
            Ok((user, credentials.email().to_owned()))
        })
        .await
    }

    /// Sets a new password by a one-time code. The actor is the user whose password it sets.
    pub async fn reset_password(
        &self,
        code: String,
        password: Password,
        cause: impl FnOnce(UserId) -> Cause + Send + 'static,
    ) -> Result<Done<()>, CommandError> {
        let inner = self.0.clone();
        self.run("reset_password", async move {
            // Checked first, so that a made-up code causes no password hashing.
            let user = {
                let _place = inner.executor.place().await?;
                inner.codes.user_of(&code).await?
            };
            let user = user.ok_or(Refusal::CodeNotGood("code"))?;
            let reset = account::ResetPassword {
                user,
                code,
                password_hash: inner.passwords.hash(&password).await?,
                now: inner.clock.now(),
            };
            inner.executor.execute(&reset, cause(user)).await
        })
        .await
    }

    /// `current` is `None` if the text that was sent can't be a password. A new password ends all sessions of the actor except `session`,
    /// and makes all addresses unknown except `address`.
    pub async fn change_user(
        &self,
        session: SessionId,
        current: Option<Password>,
        address: IpAddr,
        changes: Changes,
        if_match: ExpectedVersions,
        cause: Cause,
    ) -> Result<Done<Versioned<User>>, CommandError> {
        let inner = self.0.clone();
        self.run("change_user", async move {
            let owner = inner.owner(cause.actor, session);
            let proof = match changes.need_password() {
                true => Some(inner.prove(owner, current.as_ref()).await?),
                false => None,
            };
            let password_hash = match &changes.password {
                Some(password) => Some(inner.passwords.hash(password).await?),
                None => None,
            };
            let change = account::ChangeUser {
                owner,
                changes,
                proof,
                password_hash,
                origins: inner.origins.clone(),
                address,
                if_match,
            };
            inner.executor.execute(&change, cause).await
        })
        .await
    }

    /// Writes the tombstone. The deletion sweep, which the tombstone starts, takes back everything else of the actor.
    pub async fn delete_user(
        &self,
        session: SessionId,
        current: Option<Password>,
        if_match: ExpectedVersions,
        cause: Cause,
    ) -> Result<Done<()>, CommandError> {
        let inner = self.0.clone();
        self.run("delete_user", async move {
            let owner = inner.owner(cause.actor, session);
            let proof = inner.prove(owner, current.as_ref()).await?;
            let delete = account::DeleteUser { owner, proof, if_match };
            inner.executor.execute(&delete, cause).await
        })
        .await
    }

    pub async fn create_post(&self, post: NewPost, cause: Cause) -> Result<Done<Versioned<Post>>, CommandError> {
        let create = posts::CreatePost::new(cause.actor, post, self.0.clock.now());
        self.execute("create_post", create, cause).await
    }

    pub async fn edit_post(
        &self,
        id: PostId,
        changes: PostChanges,
        if_match: ExpectedVersions,
        cause: Cause,
    ) -> Result<Done<Versioned<Post>>, CommandError> {
        let at = milliseconds(self.0.clock.now());
        let edit = posts::EditPost::new(id, cause.actor, changes, if_match, at);
        self.execute("edit_post", edit, cause).await
    }

    pub async fn delete_post(
        &self,
        id: PostId,
        if_match: ExpectedVersions,
        cause: Cause,
    ) -> Result<Done<()>, CommandError> {
        let by = cause.actor;
        self.execute("delete_post", posts::DeletePost { id, by, if_match }, cause)
            .await
    }

    pub async fn like(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("like", reactions::Like { user, post }, cause).await
    }

    pub async fn unlike(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("unlike", reactions::Unlike { user, post }, cause).await
    }

    pub async fn repost(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let (user, now) = (cause.actor, self.0.clock.now());
        self.execute("repost", reactions::MakeRepost { user, post, now }, cause)
            .await
    }

    pub async fn unrepost(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("unrepost", reactions::Unrepost { user, post }, cause)
            .await
    }

    pub async fn bookmark(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("bookmark", reactions::Bookmark { user, post }, cause)
            .await
    }

    pub async fn unbookmark(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("unbookmark", reactions::Unbookmark { user, post }, cause)
            .await
    }

    pub async fn follow(&self, followee: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        let max = self.0.max_follows;
        self.relate("follow", followee, Change::Follow { max }, cause).await
    }

    pub async fn unfollow(&self, followee: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("unfollow", followee, Change::Unfollow, cause).await
    }

    pub async fn accept_follow(&self, follower: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("accept_follow", follower, Change::Accept, cause).await
    }

    pub async fn reject_follow(&self, follower: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("reject_follow", follower, Change::Reject, cause).await
    }

    pub async fn remove_follower(&self, follower: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("remove_follower", follower, Change::Remove, cause).await
    }

    pub async fn block(&self, blocked: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("block", blocked, Change::Block, cause).await
    }

    pub async fn unblock(&self, blocked: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("unblock", blocked, Change::Unblock, cause).await
    }

    pub async fn mute(&self, muted: UserId, mute: NewMute, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("mute", muted, Change::Mute(mute), cause).await
    }

    pub async fn unmute(&self, muted: UserId, cause: Cause) -> Result<Done<Standing>, CommandError> {
        self.relate("unmute", muted, Change::Unmute, cause).await
    }

    async fn relate(
        &self,
        name: &'static str,
        other: UserId,
        change: Change,
        cause: Cause,
    ) -> Result<Done<Standing>, CommandError> {
        let (actor, now) = (cause.actor, self.0.clock.now());
        let relate = Relate {
            actor,
            other,
            change,
            now,
        };
        self.execute(name, relate, cause).await
    }

    pub async fn follow_tag(&self, tag: Tag, cause: Cause) -> Result<Done<TagStanding>, CommandError> {
        let follow = tags::SetTagFollow {
            user: cause.actor,
            tag,
            following: Some(self.0.max_followed_tags),
        };
        self.execute("follow_tag", follow, cause).await
    }

    pub async fn unfollow_tag(&self, tag: Tag, cause: Cause) -> Result<Done<TagStanding>, CommandError> {
        let unfollow = tags::SetTagFollow {
            user: cause.actor,
            tag,
            following: None,
        };
        self.execute("unfollow_tag", unfollow, cause).await
    }

    pub async fn pin(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("pin", pins::Pin { user, post }, cause).await
    }

    pub async fn unpin(&self, post: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let user = cause.actor;
        self.execute("unpin", pins::Unpin { user, post }, cause).await
    }

    pub async fn detach_quote(&self, quoted: PostId, quote: PostId, cause: Cause) -> Result<Done<()>, CommandError> {
        let by = cause.actor;
        self.execute("detach_quote", posts::DetachQuote { quoted, quote, by }, cause)
            .await
    }

    pub async fn create_list(&self, list: NewList, cause: Cause) -> Result<Done<List>, CommandError> {
        let max = self.0.lists.max.get();
        let create = lists::CreateList::new(cause.actor, list, max, self.0.clock.now());
        self.execute("create_list", create, cause).await
    }

    pub async fn change_list(
        &self,
        id: ListId,
        changes: ListChanges,
        cause: Cause,
    ) -> Result<Done<List>, CommandError> {
        let by = cause.actor;
        self.execute("change_list", lists::ChangeList { id, by, changes }, cause)
            .await
    }

    pub async fn delete_list(&self, id: ListId, cause: Cause) -> Result<Done<()>, CommandError> {
        let by = cause.actor;
        self.execute("delete_list", lists::DeleteList { id, by }, cause).await
    }

    pub async fn add_list_member(&self, list: ListId, user: UserId, cause: Cause) -> Result<Done<()>, CommandError> {
        let add = lists::SetMember {
            list,
            by: cause.actor,
            user,
            listed: Some(self.0.lists.max_members.get()),
        };
        self.execute("add_list_member", add, cause).await
    }

    pub async fn remove_list_member(&self, list: ListId, user: UserId, cause: Cause) -> Result<Done<()>, CommandError> {
        let remove = lists::SetMember {
            list,
            by: cause.actor,
            user,
            listed: None,
        };
        self.execute("remove_list_member", remove, cause).await
    }

    /// The answer is the tag as it was written when it came into the list.
    pub async fn add_list_tag(&self, list: ListId, tag: Tag, cause: Cause) -> Result<Done<String>, CommandError> {
        let add = lists::SetTag {
            list,
            by: cause.actor,
            tag,
            listed: Some(self.0.lists.max_tags.get()),
        };
        self.execute("add_list_tag", add, cause).await
    }

    pub async fn remove_list_tag(&self, list: ListId, tag: Tag, cause: Cause) -> Result<Done<String>, CommandError> {
        let remove = lists::SetTag {
            list,
            by: cause.actor,
            tag,
            listed: None,
        };
        self.execute("remove_list_tag", remove, cause).await
    }

    pub async fn create_filter(
        &self,
        content: FilterContent,
        key: Option<IdempotencyKey>,
        cause: Cause,
    ) -> Result<Done<Filter>, CommandError> {
        let create = filters::CreateFilter::new(cause.actor, content, key, self.0.clock.now());
        self.execute("create_filter", create, cause).await
    }

    pub async fn change_filter(
        &self,
        id: FilterId,
        changes: FilterChanges,
        cause: Cause,
    ) -> Result<Done<Filter>, CommandError> {
        let change = filters::ChangeFilter {
            id,
            owner: cause.actor,
            changes,
            now: self.0.clock.now(),
        };
        self.execute("change_filter", change, cause).await
    }

    pub async fn delete_filter(&self, id: FilterId, cause: Cause) -> Result<Done<()>, CommandError> {
        let owner = cause.actor;
        self.execute("delete_filter", filters::DeleteFilter { id, owner }, cause)
            .await
    }

    /// Marks the notifications up to this one as read. Returns up to where they are marked.
    pub async fn mark_notifications_read(&self, up_to: EventId, cause: Cause) -> Result<Done<EventId>, CommandError> {
        let mark = notifications::MarkRead {
            user: cause.actor,
            up_to,
            now: self.0.clock.now(),
            latest: self.latest_id(),
        };
        self.execute("mark_notifications_read", mark, cause).await
    }

    pub async fn dismiss_notification(&self, notification: EventId, cause: Cause) -> Result<Done<()>, CommandError> {
        let dismiss = notifications::Dismiss {
            user: cause.actor,
            notification,
            latest: self.latest_id(),
        };
        self.execute("dismiss_notification", dismiss, cause).await
    }

    pub async fn report(&self, report: NewReport, cause: Cause) -> Result<Done<Report>, CommandError> {
        let make = moderation::MakeReport::new(cause.actor, report, self.0.clock.now());
        self.execute("report", make, cause).await
    }

    pub async fn resolve_report(&self, id: ReportId, cause: Cause) -> Result<Done<Report>, CommandError> {
        let by = cause.actor;
        self.execute("resolve_report", moderation::ResolveReport { id, by }, cause)
            .await
    }

    pub async fn set_hidden(&self, post: PostId, hidden: bool, cause: Cause) -> Result<Done<()>, CommandError> {
        let by = cause.actor;
        let name = if hidden { "hide_post" } else { "unhide_post" };
        self.execute(name, moderation::SetHidden { post, by, hidden }, cause)
            .await
    }

    pub async fn set_suspension(&self, user: UserId, suspended: bool, cause: Cause) -> Result<Done<()>, CommandError> {
        let by = cause.actor;
        let name = if suspended { "suspend" } else { "restore" };
        self.execute(name, moderation::SetSuspension { user, by, suspended }, cause)
            .await
    }

    /// The latest time that an id may have which any process has made until now.
    fn latest_id(&self) -> DateTime<Utc> {
        let now = self.0.clock.now();
        let skew = TimeDelta::from_std(self.0.clock_guard.max_skew()).unwrap_or_default();
        now.checked_add_signed(skew).unwrap_or(now)
    }

    async fn execute<C>(&self, name: &'static str, command: C, cause: Cause) -> Result<Done<C::Answer>, CommandError>
    where
        C: Command + 'static,
        C::Answer: 'static,
    {
        let inner = self.0.clone();
        self.run(name, async move { inner.executor.execute(&command, cause).await })
            .await
    }

    /// Runs the work within the deadline, once the clock is sure, and counts it.
    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, CommandError>> + Send + 'static,
    ) -> Result<T, CommandError> {
        let inner = self.0.clone();
        let span = tracing::info_span!("command", command = name);
        let carried_out = async move {
            let sure_and_done = async {
                let sure = inner.clock_guard.wait_until_sure(inner.max_queueing).await;
                sure.map_err(Unavailable::from)?;
                work.await
            };
            let ended = timeout(inner.deadline, sure_and_done)
                .await
                .unwrap_or_else(|_| Err(Unavailable::Deadline.into()));
            inner.metrics.count(name, outcome(&ended));
            ended
        };
        self.0
            .runtime
            .spawn(carried_out.instrument(span))
            .await
            .map_err(Broken::from)?
    }
}

impl Inner {
    /// The code that the registration must use up, if registration needs one. The code was valid a moment ago.
    async fn invitation(&self, sent: Option<String>) -> Result<Option<String>, CommandError> {
        match (self.registration, sent) {
            (RegistrationPolicy::Open, _) => Ok(None),
            (RegistrationPolicy::Closed, _) => Err(Refusal::RegistrationClosed.into()),
            (RegistrationPolicy::Invite, None) => Err(Refusal::InvitationMissing.into()),
            (RegistrationPolicy::Invite, Some(code)) => {
                let _place = self.executor.place().await?;
                if self.codes.is_invitation(&code).await? {
                    Ok(Some(code))
                } else {
                    Err(Refusal::CodeNotGood("invite").into())
                }
            }
        }
    }

    fn owner(&self, user: UserId, session: SessionId) -> Owner {
        Owner {
            user,
            session,
            now: self.clock.now(),
        }
    }
}

fn outcome<T>(ended: &Result<T, CommandError>) -> Outcome {
    match ended {
        Ok(_) => Outcome::Done,
        Err(CommandError::Refused(_)) => Outcome::Refused,
        Err(CommandError::Unavailable(_)) => Outcome::Unavailable,
        Err(CommandError::Broken(_)) => Outcome::Failed,
    }
}

/// The precision that the database keeps, so that an answer has the same time as a later read.
fn milliseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}
