//! A user makes a filter, changes it or deletes it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use model::events::{Event, Filter, FilterContent};
use model::ids::{FilterId, UserId};
use model::values::{FilterAction, FilterContext};

/// What the owner changes. `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub phrases: Option<Vec<String>>,
    pub whole_word: Option<bool>,
    pub contexts: Option<BTreeSet<FilterContext>>,
    pub action: Option<FilterAction>,
    /// `Some(None)`: it has no end any more.
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

#[derive(Debug, Clone)]
pub enum Command {
    Create {
        id: FilterId,
        owner: UserId,
        content: FilterContent,
        now: DateTime<Utc>,
    },
    Change {
        changes: Changes,
        now: DateTime<Utc>,
    },
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is none, or it is deleted.
    Gone,
    AlreadyCreated,
    /// The filter would be over already.
    Over,
}

pub fn evolve(event: Event) -> Option<Filter> {
    match event {
        Event::FilterCreated(filter) | Event::FilterChanged(filter) | Event::FilterDeleted(filter) => Some(filter),
        _ => None,
    }
}

pub fn decide(state: Option<&Filter>, command: Command) -> Result<Option<Event>, Refusal> {
    match (state, command) {
        (
            None,
            Command::Create {
                id,
                owner,
                content,
                now,
            },
        ) => {
            lasts(content.expires_at, now)?;
            Ok(Some(Event::FilterCreated(Filter {
                id,
                owner,
                content: Some(content),
                deleted: false,
            })))
        }
        (Some(_), Command::Create { .. }) => Err(Refusal::AlreadyCreated),
        (Some(filter), Command::Change { changes, now }) => {
            let content = filter.content.as_ref().ok_or(Refusal::Gone)?;
            // A filter that is over may be changed. Only a new end must be in the future.
            let expires_at = match changes.expires_at {
                Some(expires_at) if expires_at != content.expires_at => {
                    lasts(expires_at, now)?;
                    expires_at
                }
                _ => content.expires_at,
            };
            let changed = FilterContent {
                phrases: changes.phrases.unwrap_or_else(|| content.phrases.clone()),
                whole_word: changes.whole_word.unwrap_or(content.whole_word),
                contexts: changes.contexts.unwrap_or_else(|| content.contexts.clone()),
                action: changes.action.unwrap_or(content.action),
                expires_at,
            };
            let event = (changed != *content).then(|| {
                Event::FilterChanged(Filter {
                    content: Some(changed),
                    ..filter.clone()
                })
            });
            Ok(event)
        }
        (Some(filter), Command::Delete) if !filter.deleted => Ok(Some(Event::FilterDeleted(Filter {
            content: None,
            deleted: true,
            ..filter.clone()
        }))),
        (_, Command::Change { .. } | Command::Delete) => Err(Refusal::Gone),
    }
}

fn lasts(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Refusal> {
    match expires_at {
        Some(end) if end <= now => Err(Refusal::Over),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::example::user_id;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn content(expires_at: Option<DateTime<Utc>>) -> FilterContent {
        FilterContent {
            phrases: vec!["spoiler".to_owned()],
            whole_word: false,
            contexts: BTreeSet::from([FilterContext::Home]),
            action: FilterAction::Warn,
            expires_at,
        }
    }

    fn filter(content: Option<FilterContent>) -> Filter {
        Filter {
            id: FilterId::new(at(0)),
            owner: user_id(1),
            deleted: content.is_none(),
            content,
        }
    }

    fn change(state: Option<&Filter>, changes: Changes) -> Result<Option<Event>, Refusal> {
        decide(state, Command::Change { changes, now: at(100) })
    }

    #[test]
    fn given_none_when_creating_then_created_unless_it_would_be_over() {
        for (end, refused) in [(None, false), (Some(101), false), (Some(100), true), (Some(7), true)] {
            let content = content(end.map(at));
            let made = filter(Some(content.clone()));
            let create = Command::Create {
                id: made.id,
                owner: made.owner,
                content,
                now: at(100),
            };
            let expected = match refused {
                true => Err(Refusal::Over),
                false => Ok(Some(Event::FilterCreated(made.clone()))),
            };
            assert_eq!(decide(None, create.clone()), expected, "{end:?}");
            assert_eq!(decide(Some(&made), create), Err(Refusal::AlreadyCreated));
        }
    }

    #[test]
    fn given_a_filter_when_changing_then_only_what_is_given_changes() {
        let before = filter(Some(content(Some(at(50)))));
        let changed = |change: fn(&mut FilterContent)| {
            let mut after = before.clone();
            change(after.content.as_mut().unwrap());
            Ok(Some(Event::FilterChanged(after)))
        };
        let hide = Changes {
            action: Some(FilterAction::Hide),
            ..Changes::default()
        };
        // It is over already, and stays so.
        assert_eq!(
            change(Some(&before), hide),
            changed(|content| content.action = FilterAction::Hide)
        );
        let all = Changes {
            phrases: Some(vec!["other".to_owned()]),
            whole_word: Some(true),
            contexts: Some(BTreeSet::from([FilterContext::Public])),
            action: None,
            expires_at: Some(Some(at(101))),
        };
        let expected = changed(|content| {
            *content = FilterContent {
                phrases: vec!["other".to_owned()],
                whole_word: true,
                contexts: BTreeSet::from([FilterContext::Public]),
                action: FilterAction::Warn,
                expires_at: Some(at(101)),
            }
        });
        assert_eq!(change(Some(&before), all), expected);
        let end = |expires_at| Changes {
            expires_at: Some(expires_at),
            ..Changes::default()
        };
        assert_eq!(
            change(Some(&before), end(None)),
            changed(|content| content.expires_at = None)
        );
        assert_eq!(change(Some(&before), end(Some(at(100)))), Err(Refusal::Over));
        for nothing in [Changes::default(), end(Some(at(50)))] {
            assert_eq!(change(Some(&before), nothing), Ok(None));
        }
    }

    #[test]
    fn given_a_filter_when_deleting_then_nothing_of_it_is_left() {
        let there = filter(Some(content(None)));
        let gone = Filter {
            content: None,
            deleted: true,
            ..there.clone()
        };
        assert_eq!(
            decide(Some(&there), Command::Delete),
            Ok(Some(Event::FilterDeleted(gone.clone())))
        );
        for none in [None, Some(&gone)] {
            assert_eq!(decide(none, Command::Delete), Err(Refusal::Gone));
            assert_eq!(change(none, Changes::default()), Err(Refusal::Gone));
        }
    }
}
