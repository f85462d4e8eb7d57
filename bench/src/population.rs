//! People and their posts, in numbers that API calls could not make in time.
//!
//! Two people are registered, one follows the other and reads a post, all through the services. Their rows are copied with other ids for
//! all other people. So all rows are in the projector's format, whatever it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::clock::SystemClock;
use model::ids::{EventId, ListId, PostId, SessionId, UserId};
use mongodb::options::InsertManyOptions;
use serde_json::json;
use service::auth::{CREDENTIALS, SCOPE_USER, SESSIONS, Signer, Subject};
use service::config::{self, Auth};
use views::{RelationId, collection_name};

use crate::http::{Call, Connection};
use crate::stack::Stack;

/// How many documents one command inserts.
pub(crate) const BATCH: usize = 1_000;
const AT_ONCE: usize = 4;

/// A user who can send requests.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) handle: String,
    pub(crate) token: String,
    session: SessionId,
}

/// The reader of a home timeline, and what its first page shows.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) person: Person,
    pub(crate) authors: Vec<UserId>,
    /// Newest first.
    pub(crate) posts: Vec<(PostId, UserId)>,
}

/// Makes people.
pub(crate) struct Population {
    signer: Signer,
    profile: Document,
    follow: Document,
    post: Document,
    list: Document,
    list_member: Document,
    /// That somebody likes a post, and the group of such.
    notification: Document,
    group: Document,
    registered: usize,
    /// Owners whose window is full, once they are made.
    pub(crate) full: Option<Arc<Vec<Reader>>>,
}

/// Rows that are not inserted yet.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    profiles: Vec<Document>,
    posts: Vec<Document>,
    relations: Vec<Document>,
    pub(crate) entries: Vec<Document>,
    lists: Vec<Document>,
    list_members: Vec<Document>,
    notifications: Vec<Document>,
    groups: Vec<Document>,
    sessions: Vec<Document>,
    credentials: Vec<Document>,
}

impl Population {
    pub(crate) async fn begin(stack: &mut Stack) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Section {
            auth: Auth,
        }
        let section: Section = config::load(None, &stack.environment())?;
        let mut population = Self {
            signer: Signer::from_config(&section.auth, SystemClock::shared())?,
            profile: Document::new(),
            follow: Document::new(),
            post: Document::new(),
            list: Document::new(),
            list_member: Document::new(),
            notification: Document::new(),
            group: Document::new(),
            registered: 0,
            full: None,
        };
        let author = population.register(stack).await?;
        let reader = population.register(stack).await?;
        let mut command = Connection::to(&stack.command.address).await?;
        let follow = Call::put(format!("/v1/users/{}/follow", author.id)).by(&reader.token);
        command.send(&follow).await?;
        let listing = Call::post("/v1/lists", json!({ "title": "A list" })).by(&reader.token);
        let listed = command.send(&listing).await?.json()?;
        let list: ListId = listed["id"].as_str().context("a list has an id")?.parse()?;
        let member = Call::put(format!("/v1/lists/{list}/members/{}", author.id)).by(&reader.token);
        let listed = command.send(&member).await?.token;
        let text = "A post of the usual length, about the weather of the #day and what @somebody thinks of it.";
        let posted = command
            .send(&Call::post("/v1/posts", json!({ "text": text })).by(&author.token))
            .await?;
        let token = posted.token.as_deref().context("a command answers with a token")?;
        // With the first event, a new store's views are to be filled. Until they are, nothing is answered.
        stack.wait_for_query().await?;
        let mut query = Connection::to(&stack.query.address).await?;
        let home = Call::get("/v1/timelines/home").by(&reader.token).after(token);
        let shown = query.send(&home).await?.json()?;
        ensure!(
            shown["items"].as_array().is_some_and(|items| items.len() == 1),
            "{shown}"
        );

        let id = shown["items"][0]["id"].as_str().context("a post has an id")?;
        let post: PostId = id.parse()?;
        population.profile = row(stack, "profiles", Bson::Binary(author.id.to_bson())).await?;
        population.follow = row(stack, "relations", RelationId::follow(reader.id, author.id).into()).await?;
        population.post = row(stack, "posts", Bson::Binary(post.to_bson())).await?;
        let listed = listed.context("a command answers with a token")?;
        query
            .send(&Call::get("/v1/lists").by(&reader.token).after(&listed))
            .await?;
        population.list = row(stack, "lists", Bson::Binary(list.to_bson())).await?;
        population.list_member = row(stack, "list_members", member_key(list, author.id).into()).await?;
        let like = Call::put(format!("/v1/posts/{post}/like")).by(&reader.token);
        let liked = command.send(&like).await?.token;
        let liked = liked.context("a command answers with a token")?;
        let told = Call::get("/v1/notifications").by(&author.token).after(&liked);
        query.send(&told).await?;
        population.notification = told_of_like(stack, "notifications", author.id).await?;
        population.group = told_of_like(stack, "notification_groups", author.id).await?;
        Ok(population)
    }

    /// Registers a user through the API, who will write.
    pub(crate) async fn register(&mut self, stack: &Stack) -> Result<Person> {
        self.register_at(&stack.command.address).await
    }

    /// The same with another command-svc.
    pub(crate) async fn register_at(&mut self, address: &str) -> Result<Person> {
        self.registered += 1;
        let handle = format!("person{}", self.registered);
        let registration = json!({
            "handle": handle, "email": format!("{handle}@example.org"), "password": "measured with a stopwatch",
        });
        let mut command = Connection::to(address).await?;
        let answer = command.send(&Call::post("/v1/users", registration)).await?.json()?;
        let id: UserId = answer["id"].as_str().context("a user has an id")?.parse()?;
        self.person(id, &handle)
    }

    fn person(&self, id: UserId, handle: &str) -> Result<Person> {
        let session = SessionId::new(Utc::now());
        let subject = Subject {
            user: id,
            handle: handle.parse()?,
            session,
            scope: SCOPE_USER,
        };
        let token = self.signer.issue(&subject)?.token;
        Ok(Person {
            id,
            handle: handle.to_owned(),
            token,
            session,
        })
    }

    pub(crate) fn user(&self, rows: &mut Rows) -> Result<Person> {
        let id = UserId::new(Utc::now());
        // Nobody looks up handles here, and the row's index is not unique.
        let handle = format!("u{:x}", id.as_uuid().as_u128() & 0xffff_ffff_ffff);
        let mut profile = self.profile.clone();
        profile.insert("_id", id.to_bson());
        profile.insert("handle", &handle);
        rows.profiles.push(profile);
        self.person(id, &handle)
    }

    /// Makes the person's session live. Otherwise query-svc would end streams of it within a second.
    pub(crate) fn session(rows: &mut Rows, person: &Person) {
        let expires_at = bson::DateTime::from_chrono(Utc::now() + TimeDelta::hours(1));
        rows.sessions.push(doc! {
            "_id": person.session.to_bson(), "user": person.id.to_bson(), "epoch": 0_i64, "expires_at": expires_at,
        });
        rows.credentials
            .push(doc! { "_id": person.id.to_bson(), "epoch": 0_i64 });
    }

    pub(crate) fn follow(&self, rows: &mut Rows, follower: UserId, followee: UserId) {
        let mut follow = self.follow.clone();
        follow.insert("_id", RelationId::follow(follower, followee).to_bson());
        follow.insert("viewer", follower.to_bson());
        follow.insert("target", followee.to_bson());
        follow.insert("order", EventId::new(Utc::now()).to_bson());
        rows.relations.push(follow);
    }

    pub(crate) fn mute(&self, rows: &mut Rows, muter: UserId, muted: UserId) {
        self.follow(rows, muter, muted);
        if let Some(mute) = rows.relations.last_mut() {
            let id = RelationId::mute(muter, muted);
            mute.insert("_id", id.to_bson());
            mute.insert("kind", "mute");
        }
    }

    pub(crate) fn post(&self, rows: &mut Rows, author: UserId, at: DateTime<Utc>) -> PostId {
        let id = PostId::new(at);
        let mut post = self.post.clone();
        post.insert("_id", id.to_bson());
        post.insert("author", author.to_bson());
        rows.posts.push(post);
        id
    }

    /// A post of this user that so many users like in the hour after it, as its author is told of it.
    pub(crate) fn liked_post(&self, rows: &mut Rows, author: UserId, likes: usize) -> Result<()> {
        // A page reads no more of them.
        const LIVE: usize = 20;
        let posted = Utc::now() - TimeDelta::hours(1);
        let post = self.post(rows, author, posted);
        if let Some(row) = rows.posts.last_mut() {
            row.insert("counts", doc! { "likes": i64::try_from(likes)? });
        }
        let group = binary([&author.as_bytes()[..], b"L", post.as_bytes()].concat());
        let between = TimeDelta::hours(1) / i32::try_from(likes)?;
        let mut newest = EventId::new(posted);
        for number in 0..likes {
            let user = match likes - number <= LIVE {
                true => self.user(rows)?.id,
                false => UserId::new(Utc::now()),
            };
            newest = EventId::new(newest.time() + between);
            let id = [&author.as_bytes()[..], b"L", user.as_bytes(), post.as_bytes()].concat();
            let mut like = self.notification.clone();
            like.insert("_id", binary(id));
            like.insert("owner", author.to_bson());
            like.insert("user", user.to_bson());
            like.insert("post", post.to_bson());
            like.insert("group", group.clone());
            like.insert("place", newest.to_bson());
            rows.notifications.push(like);
        }
        let mut row = self.group.clone();
        row.insert("_id", group);
        row.insert("owner", author.to_bson());
        row.insert("post", post.to_bson());
        row.insert("newest", newest.to_bson());
        rows.groups.push(row);
        Ok(())
    }

    /// A list of these users.
    pub(crate) fn list(&self, rows: &mut Rows, owner: UserId, members: &[UserId]) -> ListId {
        let id = ListId::new(Utc::now());
        let mut list = self.list.clone();
        list.insert("_id", id.to_bson());
        list.insert("owner", owner.to_bson());
        rows.lists.push(list);
        for &user in members {
            let mut member = self.list_member.clone();
            member.insert("_id", member_key(id, user));
            member.insert("list", id.to_bson());
            member.insert("owner", owner.to_bson());
            member.insert("user", user.to_bson());
            member.insert("order", EventId::new(Utc::now()).to_bson());
            rows.list_members.push(member);
        }
        id
    }

    pub(crate) fn entry(rows: &mut Rows, owner: UserId, post: PostId, author: UserId) {
        rows.entries.push(entry(owner, post, author));
    }

    /// A reader with so many followees, who have each written so many posts. The newest posts have entries.
    pub(crate) fn reader(
        &self,
        rows: &mut Rows,
        followees: usize,
        posts_each: usize,
        entries: usize,
    ) -> Result<Reader> {
        let person = self.user(rows)?;
        self.reader_who_is(person, rows, followees, posts_each, entries)
    }

    /// The same, for somebody who exists.
    pub(crate) fn reader_who_is(
        &self,
        person: Person,
        rows: &mut Rows,
        followees: usize,
        posts_each: usize,
        entries: usize,
    ) -> Result<Reader> {
        let mut authors = Vec::with_capacity(followees);
        for _ in 0..followees {
            let author = self.user(rows)?.id;
            self.follow(rows, person.id, author);
            authors.push(author);
        }
        let newest = Utc::now() - TimeDelta::seconds(60);
        let mut posts = Vec::with_capacity(followees * posts_each);
        let mut at = newest;
        for _ in 0..posts_each {
            for &author in &authors {
                at -= TimeDelta::milliseconds(10);
                posts.push((self.post(rows, author, at), author));
            }
        }
        for &(post, author) in posts.iter().take(entries) {
            Self::entry(rows, person.id, post, author);
        }
        Ok(Reader { person, authors, posts })
    }
}

/// The key is owner ‖ post, as the projector writes it.
pub(crate) fn entry(owner: UserId, post: PostId, author: UserId) -> Document {
    doc! { "_id": key(owner, post.as_bytes()), "a": author.to_bson() }
}

pub(crate) fn key(owner: UserId, entry: &[u8; 16]) -> Binary {
    binary([owner.as_bytes().as_slice(), entry].concat())
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

async fn told_of_like(stack: &Stack, view: &str, owner: UserId) -> Result<Document> {
    let rows = stack.databases.views.collection::<Document>(&named(view));
    rows.find_one(doc! { "owner": owner.to_bson(), "kind": "like" })
        .await?
        .with_context(|| format!("no like in {view}"))
}

fn member_key(list: ListId, user: UserId) -> Binary {
    binary([*list.as_bytes(), *user.as_bytes()].concat())
}

/// The name of a view's collection in the only generation.
pub(crate) fn named(view: &str) -> String {
    collection_name(view, 1)
}

async fn row(stack: &Stack, view: &str, id: Bson) -> Result<Document> {
    let rows = stack.databases.views.collection::<Document>(&named(view));
    rows.find_one(doc! { "_id": id })
        .await?
        .with_context(|| format!("no row in {view}"))
}

impl Rows {
    pub(crate) async fn insert(self, stack: &Stack) -> Result<()> {
        for (view, rows) in [
            ("profiles", self.profiles),
            ("posts", self.posts),
            ("relations", self.relations),
            ("home_timelines", self.entries),
            ("lists", self.lists),
            ("list_members", self.list_members),
            ("notifications", self.notifications),
            ("notification_groups", self.groups),
        ] {
            insert(&stack.databases.views, &named(view), &rows).await?;
        }
        let events = &stack.databases.events;
        insert(events, SESSIONS, &self.sessions).await?;
        insert(events, CREDENTIALS, &self.credentials).await?;
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.profiles.len() + self.posts.len() + self.relations.len() + self.entries.len()
    }
}

async fn insert(database: &mongodb::Database, name: &str, rows: &[Document]) -> Result<()> {
    let collection = database.collection::<Document>(name);
    let unordered = InsertManyOptions::builder().ordered(false).build();
    stream::iter(rows.chunks(BATCH))
        .map(|chunk| {
            let inserting = collection.insert_many(chunk).with_options(unordered.clone());
            async move { inserting.await.map(drop) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .with_context(|| format!("{} rows for {name}", rows.len()))
}

/// Waits until query-svc's change stream has shown everything that was written directly. Otherwise that work would be measured, too.
pub(crate) async fn settle(stack: &Stack, author: &Person, reader: &Person) -> Result<()> {
    settle_at(&stack.command.address, &stack.query.address, author, reader).await
}

/// The same with another command-svc and its query-svc.
pub(crate) async fn settle_at(command: &str, query: &str, author: &Person, reader: &Person) -> Result<()> {
    let mut command = Connection::to(command).await?;
    let posted = command
        .send(&Call::post("/v1/posts", json!({ "text": "Settled." })).by(&author.token))
        .await?;
    let token = posted.token.as_deref().context("a command answers with a token")?;
    let home = Call::get("/v1/timelines/home").by(&reader.token).after(token);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let mut query = Connection::to(query).await?;
        match query.send(&home).await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            // A query waits only for a limited time for a token. This loop may wait longer.
            Err(_) => {}
        }
    }
}
