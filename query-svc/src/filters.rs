//! Looks for the phrases that a viewer does not want to read.
//!
//! A filter is a wish and no denial: it leaves a post out of a list, or marks it, and nobody is kept from reading it by its address.
//!
//! The filters of a user are compiled into one automaton, so one pass over a text finds the phrases of all of them. Compiled filters are
//! cached by owner ([`crate::documents`]), until a row of the owner changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use chrono::{DateTime, Utc};
use model::api;
use model::phrases::{folded, is_of_a_word};
use model::values::{FilterAction, FilterContext};

/// Where the filters of the viewer look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filtering {
    /// Nowhere.
    Off,
    /// In a list of this kind.
    In(FilterContext),
    /// In a post that the viewer has asked for by its address. It is shown all the same, and names the filters.
    AskedFor(FilterContext),
}

/// The filters of one user.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    /// The last one made first. Those that are over are among them.
    pub(crate) all: Vec<api::Filter>,
    /// Finds the phrases of all filters, each of them once.
    automaton: AhoCorasick,
    /// By pattern of the automaton: which phrases of which filters it is.
    phrases: Vec<Vec<(usize, usize)>>,
}

impl Filters {
    /// The phrases of a user are bounded in number and in length when they are written, so this takes milliseconds.
    pub(crate) fn compile(all: Vec<api::Filter>) -> Result<Self, BuildError> {
        let mut patterns: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (filter, of_filter) in all.iter().enumerate() {
            for (phrase, text) in of_filter.phrases.iter().enumerate() {
                patterns.entry(folded(text)).or_default().push((filter, phrase));
            }
        }
        let (patterns, phrases): (Vec<String>, Vec<_>) = patterns.into_iter().unzip();
        // A DFA would be a bit faster, and take up to a hundred times the memory.
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns)?;
        Ok(Self {
            all,
            automaton,
            phrases,
        })
    }

    /// Those that have a say here and now. None if there are none.
    pub(crate) fn applied(self: Arc<Self>, filtering: Filtering, now: DateTime<Utc>) -> Option<Applied> {
        let (context, asked_for) = match filtering {
            Filtering::Off => return None,
            Filtering::In(context) => (context, false),
            Filtering::AskedFor(context) => (context, true),
        };
        let applies =
            |filter: &api::Filter| filter.contexts.contains(&context) && filter.expires_at.is_none_or(|end| now < end);
        let hides = |filter: &api::Filter| filter.action == FilterAction::Hide && !asked_for;
        let says: Vec<Option<Say>> = self
            .all
            .iter()
            .map(|filter| {
                applies(filter).then(|| match hides(filter) {
                    true => Say::Hide,
                    false => Say::Warn,
                })
            })
            .collect();
        let wanted = |phrases: &Vec<(usize, usize)>| {
            let applied = phrases.iter().filter(|&&(filter, _)| says[filter].is_some());
            applied.fold(Places::default(), |places, &(filter, _)| {
                match self.all[filter].whole_word {
                    true => Places { whole: true, ..places },
                    false => Places { part: true, ..places },
                }
            })
        };
        let wanted: Vec<Places> = self.phrases.iter().map(wanted).collect();
        says.iter().any(Option::is_some).then_some(Applied {
            filters: self,
            says,
            wanted,
        })
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        let of_filters = self.all.iter().map(|filter| {
            let phrases = filter.phrases.iter().map(|phrase| phrase.len() + size_of::<String>());
            let contexts = size_of::<[FilterContext; 16]>();
            size_of::<api::Filter>() + contexts + phrases.sum::<usize>()
        });
        let places = self
            .phrases
            .iter()
            .map(|places| size_of_val(places) + size_of_val(&places[..]));
        size_of::<Self>() + self.automaton.memory_usage() + of_filters.sum::<usize>() + places.sum::<usize>()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    Hide,
    Warn,
}

/// Where a phrase is: as any part of a text, and where no word goes on across its ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Places {
    part: bool,
    whole: bool,
}

impl Places {
    fn count(self) -> usize {
        usize::from(self.part) + usize::from(self.whole)
    }
}

/// The filters of a viewer, in one kind of list at one time.
#[derive(Debug)]
pub(crate) struct Applied {
    filters: Arc<Filters>,
    /// By filter. None if it has no say here and now.
    says: Vec<Option<Say>>,
    /// By pattern: what a filter that has a say asks.
    wanted: Vec<Places>,
}

impl Applied {
    /// What the filters find in the texts of one post. None if one of them hides it.
    pub(crate) fn look<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Option<Vec<api::Filtered>> {
        self.look_by(texts, is_of_a_word)
    }

    /// Each character is asked once whether a word goes on with it, and only if a phrase is found that must be whole. At each place of a text,
    /// the phrases that end there differ in length, so there are no more of them than the longest phrase has characters. Each costs a look at
    /// what is known, however many filters have it.
    fn look_by<'t>(
        &self,
        texts: impl Iterator<Item = &'t str>,
        is_of_a_word: impl Fn(char) -> bool,
    ) -> Option<Vec<api::Filtered>> {
        let Filters {
            all,
            automaton,
            phrases,
        } = &*self.filters;
        let mut missing = self.wanted.clone();
        let mut undecided: usize = missing.iter().map(|places| places.count()).sum();
        let mut found: BTreeSet<(usize, usize)> = BTreeSet::new();
        'texts: for text in texts {
            let text = folded(text);
            let mut cuts: Option<Vec<bool>> = None;
            for part in automaton.find_overlapping_iter(&text) {
                let pattern = part.pattern().as_usize();
                let open = missing[pattern];
                if open == Places::default() {
                    continue;
                }
                let new = Places {
                    part: open.part,
                    whole: open.whole && {
                        let cuts = cuts.get_or_insert_with(|| words_cut_at(&text, &is_of_a_word));
                        !cuts[part.start()] && !cuts[part.end()]
                    },
                };
                if new == Places::default() {
                    continue;
                }
                for &(filter, phrase) in &phrases[pattern] {
                    let Some(say) = self.says[filter] else { continue };
                    if match all[filter].whole_word {
                        true => new.whole,
                        false => new.part,
                    } {
                        if say == Say::Hide {
                            return None;
                        }
                        found.insert((filter, phrase));
                    }
                }
                missing[pattern] = Places {
                    part: false,
                    whole: open.whole && !new.whole,
                };
                undecided -= new.count();
                if undecided == 0 {
                    break 'texts;
                }
            }
        }
        let mut filtered: Vec<api::Filtered> = Vec::new();
        for (filter, phrase) in found {
            let filter = &all[filter];
            let phrase = filter.phrases[phrase].clone();
            match filtered.last_mut().filter(|last| last.id == filter.id) {
                Some(last) => last.phrases.push(phrase),
                None => filtered.push(api::Filtered {
                    id: filter.id,
                    action: filter.action,
                    phrases: vec![phrase],
                }),
            }
        }
        Some(filtered)
    }
}

/// By byte of a text, and for its end: whether a word goes on across this place. Only an end of a part that is of a word itself can cut one.
fn words_cut_at(text: &str, is_of_a_word: impl Fn(char) -> bool) -> Vec<bool> {
    let mut cuts = vec![false; text.len() + 1];
    let mut of_a_word = false;
    for (at, c) in text.char_indices() {
        let before = std::mem::replace(&mut of_a_word, is_of_a_word(c));
        cuts[at] = before && of_a_word;
    }
    cuts
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use chrono::TimeDelta;
    use model::ids::FilterId;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn filter(phrases: &[&str], whole_word: bool, action: FilterAction) -> api::Filter {
        api::Filter {
            id: FilterId::new(NOW),
            phrases: phrases.iter().copied().map(str::to_owned).collect(),
            whole_word,
            contexts: BTreeSet::from([FilterContext::Home, FilterContext::Thread]),
            action,
            expires_at: None,
        }
    }

    fn looked(filters: &[api::Filter], filtering: Filtering, texts: &[&str]) -> Option<Vec<api::Filtered>> {
        let filters = Arc::new(Filters::compile(filters.to_vec()).unwrap());
        match filters.applied(filtering, NOW) {
            Some(applied) => applied.look(texts.iter().copied()),
            None => Some(Vec::new()),
        }
    }

    fn at_home(filters: &[api::Filter], texts: &[&str]) -> Option<Vec<api::Filtered>> {
        looked(filters, Filtering::In(FilterContext::Home), texts)
    }

    #[rstest]
    #[case::inside_a_word("cat", "concatenate", true, false)]
    #[case::alone("cat", "the cat sat", true, true)]
    #[case::at_both_ends("cat", "cat", true, true)]
    #[case::beside_signs("cat", "(cat)!", true, true)]
    #[case::a_word_goes_on("cat", "cats", true, false)]
    #[case::a_digit_goes_on("cat", "cat2", true, false)]
    #[case::an_underscore_goes_on("cat", "cat_food", true, false)]
    #[case::a_later_one_is_whole("cat", "concat cat", true, true)]
    #[case::two_words("season two", "In SEASON Two, she", true, true)]
    #[case::a_phrase_of_signs("++", "c++x", true, true)]
    #[case::signs_at_one_end("c++", "c++x", true, true)]
    #[case::signs_at_one_end_and_a_word_at_the_other("c++", "ac++", true, false)]
    #[case::a_hashtag("#rust", "I like #rust.", true, true)]
    #[case::a_longer_hashtag("#rust", "I like #rustlang.", true, false)]
    #[case::case_folding("STRASSE", "In der Straße", true, true)]
    #[case::greek("ΟΔΟΣ", "η οδος", true, true)]
    #[case::cyrillic("спойлер", "Это СПОЙЛЕР!", true, true)]
    #[case::cyrillic_goes_on("спойлер", "спойлеры", true, false)]
    #[case::full_width("rust", "Ｒｕｓｔ", true, true)]
    #[case::composition("caf\u{e9}", "Cafe\u{301}", true, true)]
    #[case::another_letter("cafe", "caf\u{e9}", false, false)]
    #[case::a_mark_goes_on("x", "x\u{304}", true, false)]
    #[case::arabic("كتاب", "هذا كتاب جديد", true, true)]
    #[case::hindi_goes_on("हिन्द", "हिन्दी", true, false)]
    #[case::emoji("🍿", "film🍿night", true, true)]
    // A script without spaces: everything is one word.
    #[case::japanese_whole("東京", "私は東京にいます", true, false)]
    #[case::japanese_beside_signs("東京", "「東京」", true, true)]
    #[case::japanese("東京", "私は東京にいます", false, true)]
    fn phrases_are_found(#[case] phrase: &str, #[case] text: &str, #[case] whole: bool, #[case] whole_found: bool) {
        let found = |whole_word| {
            let filters = [filter(&[phrase], whole_word, FilterAction::Hide)];
            at_home(&filters, &[text]).is_none()
        };
        assert_eq!(found(whole), whole_found, "whole word: {whole}");
        if whole_found {
            assert!(found(false), "a part");
        }
    }

    #[test]
    fn what_warns_names_each_filter_and_its_phrases_once() {
        let filters = [
            filter(&["two", "One", "absent", "on"], false, FilterAction::Warn),
            filter(&["absent"], false, FilterAction::Hide),
            filter(&["ONE"], true, FilterAction::Warn),
        ];
        let expected = vec![
            api::Filtered {
                id: filters[0].id,
                action: FilterAction::Warn,
                phrases: vec!["two".to_owned(), "One".to_owned(), "on".to_owned()],
            },
            api::Filtered {
                id: filters[2].id,
                action: FilterAction::Warn,
                phrases: vec!["ONE".to_owned()],
            },
        ];
        assert_eq!(at_home(&filters, &["one and one", "Two"]), Some(expected));
        assert_eq!(at_home(&filters, &[]), Some(Vec::new()));
        assert_eq!(at_home(&[], &["one"]), Some(Vec::new()));
    }

    #[test]
    fn a_filter_has_a_say_in_its_contexts_until_it_is_over() {
        let hide = filter(&["one"], false, FilterAction::Hide);
        let named = api::Filtered {
            id: hide.id,
            action: FilterAction::Hide,
            phrases: vec!["one".to_owned()],
        };
        let looked = |filter: &api::Filter, filtering| looked(std::slice::from_ref(filter), filtering, &["one"]);
        let ends = |millis| api::Filter {
            expires_at: Some(NOW + TimeDelta::milliseconds(millis)),
            ..hide.clone()
        };
        let (home, public) = (Filtering::In(FilterContext::Home), Filtering::In(FilterContext::Public));
        assert_eq!(looked(&hide, home), None);
        assert_eq!(looked(&ends(1), home), None);
        assert_eq!(looked(&ends(0), home), Some(Vec::new()));
        assert_eq!(looked(&hide, public), Some(Vec::new()));
        assert_eq!(looked(&hide, Filtering::Off), Some(Vec::new()));
        assert_eq!(
            looked(&hide, Filtering::AskedFor(FilterContext::Thread)),
            Some(vec![named])
        );
        assert_eq!(
            looked(&hide, Filtering::AskedFor(FilterContext::Public)),
            Some(Vec::new())
        );
    }

    /// Whether a phrase is at some place of a text, place by place.
    fn occurs(phrase: &str, text: &str, whole_word: bool) -> bool {
        let (phrase, text): (Vec<char>, Vec<char>) = (folded(phrase).chars().collect(), folded(text).chars().collect());
        let is_word = |index: usize| text.get(index).copied().is_some_and(is_of_a_word);
        let cut = |index: usize| index > 0 && is_word(index - 1) && is_word(index);
        (0..text.len()).any(|at| {
            let end = at + phrase.len();
            text[at..].starts_with(&phrase) && (!whole_word || !cut(at) && !cut(end))
        })
    }

    proptest! {
        #[test]
        fn all_phrases_are_found_that_a_search_by_hand_finds(
            phrases in prop::collection::vec(("[aAbß\u{301} #_東🍿]{1,4}", any::<bool>()), 1..8),
            texts in prop::collection::vec("[aAbBßẞ\u{301} #_東🍿]{0,16}", 1..4),
        ) {
            let filters: Vec<_> = phrases
                .iter()
                .map(|(phrase, whole)| filter(&[phrase], *whole, FilterAction::Warn))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let found: Vec<FilterId> = at_home(&filters, &texts).unwrap().iter().map(|it| it.id).collect();
            let expected: Vec<FilterId> = filters
                .iter()
                .filter(|filter| texts.iter().any(|text| occurs(&filter.phrases[0], text, filter.whole_word)))
                .map(|filter| filter.id)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn each_character_is_judged_once_however_many_phrases_there_are() {
        let mark = '\u{301}';
        let phrases: Vec<String> = (1..=50).map(|length| mark.to_string().repeat(length)).collect();
        let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
        let looked = |filters: Vec<api::Filter>, texts: &[&str]| {
            let filters = Arc::new(Filters::compile(filters).unwrap());
            let applied = filters.applied(Filtering::In(FilterContext::Home), NOW).unwrap();
            let (judged, read) = (Cell::new(0), Cell::new(0));
            let texts = texts.iter().copied().inspect(|_| read.set(read.get() + 1));
            let found = applied.look_by(texts, |c| {
                judged.set(judged.get() + 1);
                is_of_a_word(c)
            });
            (found.unwrap().len(), judged.get(), read.get())
        };
        let text = format!("a{}", mark.to_string().repeat(1_000));
        let length = folded(&text).chars().count();
        // No phrase is whole, so every match of every phrase is looked at.
        let filters = |whole| (0..100).map(|_| filter(&phrases, whole, FilterAction::Warn)).collect();
        assert_eq!(looked(filters(true), &[&text]), (0, length, 1));
        // Where every phrase is found, nothing is looked for any more.
        assert_eq!(looked(filters(false), &[&text, &text]), (100, 0, 1));
        assert_eq!(
            looked(vec![filter(&["a"], true, FilterAction::Warn)], &["b", "c"]),
            (0, 0, 2)
        );
    }

    #[test]
    fn the_most_that_a_user_may_have_fits_into_memory() {
        let alphabet: Vec<char> = ('a'..='z').collect();
        // No two phrases begin alike, so that each needs states of its own.
        let phrase = |number: usize| -> String {
            (0..81)
                .map(|place| alphabet[(number * 7919 + place * (number % 25 + 1) + number / 26) % 26])
                .collect()
        };
        let filters = (0..100).map(|number| {
            let phrases: Vec<String> = (0..50).map(|it| phrase(number * 50 + it)).collect();
            let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
            filter(&phrases, true, FilterAction::Hide)
        });
        let bytes = Filters::compile(filters.collect()).unwrap().bytes();
        assert!(bytes < 64 * 1024 * 1024 / 8, "{bytes}");
    }
}
