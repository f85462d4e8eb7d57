//! What a client of the WebSocket asks for.

use model::ids::{ListId, PostId};
use model::tags::Tag;
use model::values::NotificationKind;
use serde::Deserialize;
use service::http::{Problem, parse_json};
use utoipa::ToSchema;

use super::super::notifications::Kinds;
use crate::live::Topic;
use crate::shown::Replies;
use crate::since::Since;
use crate::timelines::TagFilter;

const NAMES: &str = "must be home, public, notifications, tags/{tag}, lists/{id} or posts/{id}";

#[derive(Debug)]
pub(super) enum Command {
    Subscribe(Subscribe),
    Unsubscribe(String),
}

#[derive(Debug)]
pub(super) struct Subscribe {
    /// As the client has written it, because by this name it knows the events.
    pub(super) name: String,
    pub(super) topic: Topic,
    pub(super) after: Option<Since>,
}

// `/asyncapi.json` has these descriptions.
/// One of `subscribe` and `unsubscribe`, and what belongs to the stream
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// The name of a stream: `home`, `public`, `notifications`, `tags/{tag}`, `lists/{id}` or `posts/{id}`
    subscribe: Option<String>,
    /// The name of a stream that was subscribed
    unsubscribe: Option<String>,
    /// The id of the last event of this stream that the client has received, or the `prev` of a page
    #[schema(value_type = Option<String>)]
    after: Option<Since>,
    /// Of `home`
    #[schema(inline)]
    replies: Option<Replies>,
    /// Of `notifications`: only these
    kinds: Option<Vec<NotificationKind>>,
    /// Of `notifications`: all but these
    exclude: Option<Vec<NotificationKind>>,
    /// Of a tag: posts with this tag too
    #[schema(value_type = Option<Vec<String>>)]
    any: Option<Vec<Tag>>,
    /// Of a tag: only posts that also have this tag
    #[schema(value_type = Option<Vec<String>>)]
    all: Option<Vec<Tag>>,
    /// Of a tag: only posts that do not have this tag
    #[schema(value_type = Option<Vec<String>>)]
    none: Option<Vec<Tag>>,
}

/// The name of the stream that a message is about, whatever else is wrong with it.
#[derive(Debug, Deserialize)]
struct Named {
    #[serde(alias = "unsubscribe")]
    subscribe: String,
}

impl Command {
    /// The command, and the stream that it names.
    pub(super) fn parse(text: &str) -> (Option<String>, Result<Self, Problem>) {
        let parsed = parse_json(text.as_bytes()).and_then(Said::command);
        let named = match &parsed {
            Ok(_) => None,
            Err(_) => serde_json::from_str(text).ok(),
        };
        let name = match (&parsed, named) {
            (Ok(Command::Subscribe(subscribe)), _) => Some(subscribe.name.clone()),
            (Ok(Command::Unsubscribe(name)), _) => Some(name.clone()),
            (Err(_), named) => named.map(|named: Named| named.subscribe),
        };
        (name, parsed)
    }
}

impl Said {
    fn command(mut self) -> Result<Command, Problem> {
        let command = match (self.subscribe.take(), self.unsubscribe.take()) {
            (Some(name), None) => {
                let topic = self.topic(&name)?;
                let after = self.after.take();
                Command::Subscribe(Subscribe { name, topic, after })
            }
            (None, Some(name)) => Command::Unsubscribe(name),
            (None, None) | (Some(_), Some(_)) => {
                let message = "must be given, or `unsubscribe`, and not both";
                return Err(Problem::invalid_field("subscribe", message));
            }
        };
        match self.left_over() {
            None => Ok(command),
            Some(field) => Err(Problem::invalid_field(field, "does not belong to this stream")),
        }
    }

    fn topic(&mut self, name: &str) -> Result<Topic, Problem> {
        let (kind, of) = match name.split_once('/') {
            Some((kind, of)) => (kind, Some(of)),
            None => (name, None),
        };
        let wrong = |why: &dyn std::fmt::Display| Problem::invalid_field("subscribe", why);
        match (kind, of) {
            ("home", None) => Ok(Topic::Home(self.replies.take().unwrap_or_default())),
            ("public", None) => Ok(Topic::Public),
            ("notifications", None) => {
                let kinds = self.kinds.take().map(Kinds::from);
                let exclude = Kinds::from(self.exclude.take().unwrap_or_default());
                Ok(Topic::Notifications(Kinds::without(kinds.as_ref(), &exclude)))
            }
            ("tags", Some(tag)) => {
                let tag: Tag = tag.parse().map_err(|error| wrong(&error))?;
                let [any, all, none] = [&mut self.any, &mut self.all, &mut self.none].map(Option::take);
                let [any, all, none] = [any, all, none].map(Option::unwrap_or_default);
                TagFilter::checked(&tag, &any, &all, &none).map(Topic::Tag)
            }
            ("lists", Some(id)) => id.parse::<ListId>().map(Topic::List).map_err(|error| wrong(&error)),
            ("posts", Some(id)) => id.parse::<PostId>().map(Topic::Thread).map_err(|error| wrong(&error)),
            _ => Err(wrong(&NAMES)),
        }
    }

    /// A field that the command does not have.
    fn left_over(&self) -> Option<&'static str> {
        let given = [
            ("after", self.after.is_some()),
            ("replies", self.replies.is_some()),
            ("kinds", self.kinds.is_some()),
            ("exclude", self.exclude.is_some()),
            ("any", self.any.is_some()),
            ("all", self.all.is_some()),
            ("none", self.none.is_some()),
        ];
        given.iter().find(|(_, given)| *given).map(|(field, _)| *field)
    }
}
