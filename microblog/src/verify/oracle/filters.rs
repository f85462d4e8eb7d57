//! Filters: what each user does not want to read, and in which posts it is. Phrases are sought place by place.

use std::cmp::Reverse;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::api;
use model::events::{Filter, FilterContent, PostContent};
use model::ids::FilterId;
use model::phrases::{folded, is_of_a_word};
use model::values::{FilterAction, FilterContext};

use super::{Entry, Oracle, PostFacts, Sight, UserIndex};

#[derive(Debug)]
struct State {
    version: i64,
    owner: UserIndex,
    /// None: it is deleted.
    content: Option<FilterContent>,
}

/// The state of all filters.
#[derive(Debug, Default)]
pub(super) struct FilterFacts(HashMap<FilterId, State>);

impl FilterFacts {
    pub(super) fn apply(&mut self, owner: UserIndex, version: i64, filter: &Filter) {
        let state = State {
            version,
            owner,
            content: filter.content.clone().filter(|_| !filter.deleted),
        };
        match self.0.get_mut(&filter.id) {
            Some(known) if known.version >= version => {}
            Some(known) => *known = state,
            None => drop(self.0.insert(filter.id, state)),
        }
    }

    /// The filters of each user, the last one made first.
    pub(super) fn into_lists(self) -> HashMap<UserIndex, Vec<api::Filter>> {
        let mut lists: HashMap<UserIndex, Vec<api::Filter>> = HashMap::new();
        for (id, state) in self.0 {
            if let Some(content) = state.content {
                lists
                    .entry(state.owner)
                    .or_default()
                    .push(api::Filter::new(id, content));
            }
        }
        for list in lists.values_mut() {
            list.sort_unstable_by_key(|filter| Reverse(filter.id));
        }
        lists
    }
}

/// The texts in which filters look, as they compare.
pub(super) fn sought_in(content: &PostContent) -> Box<[Box<[char]>]> {
    let texts = std::iter::once(content.text.as_str()).chain(content.warning.as_deref());
    texts.map(|text| folded(text).chars().collect()).collect()
}

fn is_in(phrase: &str, text: &[char], whole_word: bool) -> bool {
    let phrase: Vec<char> = folded(phrase).chars().collect();
    let is_cut = |at: usize| at > 0 && at < text.len() && is_of_a_word(text[at - 1]) && is_of_a_word(text[at]);
    text.windows(phrase.len())
        .enumerate()
        .any(|(at, part)| part == phrase && !(whole_word && (is_cut(at) || is_cut(at + phrase.len()))))
}

impl Oracle {
    /// The filters of a user, the last one made first.
    pub(in crate::verify) fn filters_of(&self, user: UserIndex) -> &[api::Filter] {
        self.filters.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Those that are not over.
    pub(in crate::verify) fn filters_at(&self, user: UserIndex, now: DateTime<Utc>) -> Vec<api::Filter> {
        let filters = self.filters_of(user).iter();
        let lasting = filters.filter(|filter| filter.expires_at.is_none_or(|end| now < end));
        lasting.cloned().collect()
    }

    /// What the viewer's filters find in an entry of this author.
    pub(in crate::verify) fn filtered(
        &self,
        context: FilterContext,
        author: UserIndex,
        entry: Entry,
        sight: &Sight,
    ) -> Vec<api::Filtered> {
        if sight.filters.is_empty() {
            return Vec::new();
        }
        let original = entry.original.and_then(|original| self.posts.get(&original));
        let itself = self.posts.get(&entry.id).filter(|_| sight.viewer != Some(author));
        let quoted = original.or(self.posts.get(&entry.id)).and_then(PostFacts::quoted);
        let quoted = quoted.and_then(|quoted| self.quoted(quoted, context, sight));
        let shown = original.into_iter().chain(quoted);
        let by_others = shown.filter(|post| sight.viewer != Some(post.author)).chain(itself);
        let texts: Vec<&[char]> = by_others
            .flat_map(|post| &post.sought_in)
            .map(|text| &text[..])
            .collect();
        let in_context = sight.filters.iter().filter(|filter| filter.contexts.contains(&context));
        let found = in_context.map(|filter| {
            let is_there = |phrase: &&String| texts.iter().any(|text| is_in(phrase, text, filter.whole_word));
            api::Filtered {
                id: filter.id,
                action: filter.action,
                phrases: filter.phrases.iter().filter(is_there).cloned().collect(),
            }
        });
        found.filter(|found| !found.phrases.is_empty()).collect()
    }

    /// Whether no filter of the viewer hides an entry of this author.
    pub(in crate::verify) fn wants(
        &self,
        context: FilterContext,
        author: UserIndex,
        entry: Entry,
        sight: &Sight,
    ) -> bool {
        let found = self.filtered(context, author, entry, sight);
        found.iter().all(|found| found.action != FilterAction::Hide)
    }
}
