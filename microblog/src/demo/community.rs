//! The people and what they say. All of it is made up.

use model::values::Visibility;

pub(super) struct Person {
    pub(super) handle: &'static str,
    pub(super) display_name: &'static str,
    pub(super) bio: &'static str,
    /// Names and values.
    pub(super) fields: &'static [(&'static str, &'static str)],
}

pub(super) struct Post {
    pub(super) author: &'static str,
    pub(super) text: &'static str,
    /// The index of an earlier post.
    pub(super) reply_to: Option<usize>,
    pub(super) visibility: Visibility,
    pub(super) warning: Option<&'static str>,
    pub(super) language: Option<&'static str>,
}

impl Post {
    const fn to(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    const fn warning_of(self, warning: &'static str) -> Self {
        let warning = Some(warning);
        Self { warning, ..self }
    }

    const fn in_language(self, language: &'static str) -> Self {
        let language = Some(language);
        Self { language, ..self }
    }
}

const fn person(handle: &'static str, display_name: &'static str, bio: &'static str) -> Person {
    Person {
        handle,
        display_name,
        bio,
        fields: &[],
    }
}

impl Person {
    const fn with(self, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields, ..self }
    }
}

const fn post(author: &'static str, text: &'static str) -> Post {
    Post {
        author,
        text,
        reply_to: None,
        visibility: Visibility::Public,
        warning: None,
        language: None,
    }
}

const fn reply(author: &'static str, reply_to: usize, text: &'static str) -> Post {
    Post {
        reply_to: Some(reply_to),
        ..post(author, text)
    }
}

pub(super) const PEOPLE: &[Person] = &[
    person(
        "ada",
        "Ada Birk",
        "Bicycles, compilers, bread. In that order on Sundays.",
    )
    .with(&[("Pronouns", "she/her"), ("Workshop", "https://bicycles.example/ada")]),
    person("benno", "Benno Okafor", "Runs the tool library on Mill Street."),
    person("chen", "Chen Lihua 陈丽华", "Botanist. 植物不说谎。"),
    person("dora", "Dora Sandoval", "Night trains and where they go."),
    person("emil", "Emil Lindqvist", "Bakes. Ask me about rye."),
    person("farah", "Farah Haddad", "Radio engineer, mostly listening. مرحبا"),
    person("goran", "Goran Petrić", "Maps, old and new."),
    person("hana", "Hana Mori 森 花", "Draws one thing every day."),
    person("ivo", "Ivo Castellani", "Choir, second bass."),
    person("juno", "Juno Abara", "Goalkeeper of the Harbour Herons."),
    person("kofi", "Kofi Mensah", "Weather, measured on my own roof.").with(&[
        ("Station", "Roof, 31 m"),
        ("Since", "2009"),
        ("Rain gauge", "200 cm²"),
    ]),
    person("lina", "Lina Weber", "Books with maps in the front."),
];

/// Whom each of them follows.
pub(super) const FOLLOWS: &[(&str, &str)] = &[
    ("ada", "benno chen dora emil kofi hana"),
    ("benno", "ada emil juno kofi goran"),
    ("chen", "ada hana kofi lina"),
    ("dora", "ada goran lina farah"),
    ("emil", "ada benno ivo juno kofi"),
    ("farah", "dora kofi ivo ada"),
    ("goran", "dora lina chen ada"),
    ("hana", "chen lina emil ada juno"),
    ("ivo", "emil farah lina"),
    ("juno", "benno emil hana ada"),
    ("kofi", "farah chen benno ada emil"),
    ("lina", "goran hana chen dora ivo"),
];

/// Which tags each of them follows.
pub(super) const TAGS: &[(&str, &str)] = &[
    ("ada", "Maps radio"),
    ("dora", "maps"),
    ("juno", "weather bread"),
    ("lina", "maps"),
];

/// Whose list it is, its title, who is in it, and a tag. Nobody else sees it.
pub(super) const LISTS: &[(&str, &str, &str, &str)] = &[
    ("dora", "Map makers", "lina goran", "maps"),
    ("juno", "Bakers", "emil benno", "bread"),
];

/// A later version adds posts at the end, and changes none: people may have loaded the others.
pub(super) const POSTS: &[Post] = &[
    /* 0 */
    post(
        "kofi",
        "Roof station, 06:00: 4.2 °C, wind from the north-west, first frost on the rail. #weather",
    ),
    /* 1 */
    post(
        "emil",
        "New batch of rye: 30 hours, three feeds, no yeast. The crumb holds a knife upright. #bread",
    ),
    /* 2 */ reply("ada", 1, "Keep me half a loaf? I'll trade you a trued wheel."),
    /* 3 */ reply("emil", 2, "Deal. It's behind the counter with your name on it."),
    /* 4 */
    post(
        "chen",
        "The ginkgo at the station dropped every leaf overnight. 一夜之间，全部落下。",
    ),
    /* 5 */
    post(
        "hana",
        "Day 1,204: the ginkgo, ten minutes after the last leaf. 🍂 Thank you @chen for the tip",
    ),
    /* 6 */
    post(
        "goran",
        "Found: a 1911 harbour chart with a pencilled-in reef that no later edition shows. #maps",
    ),
    /* 7 */ reply("lina", 6, "Every good story starts with a reef that isn't on the map."),
    /* 8 */ reply("dora", 6, "Does it show the old ferry line as well?"),
    /* 9 */ reply("goran", 8, "It does! Two stops more than anyone remembers."),
    /* 10 */
    post(
        "dora",
        "The night train south is back from next week: sleeper, couchette, and a dining car with real plates. 🚂",
    ),
    /* 11 */
    post(
        "farah",
        "Heard a station 9,000 km away on ten watts this morning. The sky was very kind. #radio",
    ),
    /* 12 */ reply("kofi", 11, "That fits: pressure was up to 1034 hPa here all night."),
    /* 13 */
    post(
        "juno",
        "Herons 2 – Gulls 2. I owe the first goal to the wind and the second to my left glove. @kofi, explain yourself.",
    ),
    /* 14 */ reply("kofi", 13, "Gusts to 61 km/h at kick-off. I only measure it!"),
    /* 15 */
    post(
        "benno",
        "Back in the tool library: the big drill. Still missing: whoever has the 14 mm spanner. You know who you are.",
    ),
    /* 16 */ reply("ada", 15, "…I may know who I am. Tomorrow, promise."),
    /* 17 */
    post(
        "ivo",
        "Rehearsal tonight moves to the chapel; the hall's heating sings a semitone flat.",
    ),
    /* 18 */
    post(
        "lina",
        "Finished a novel whose map was wrong on purpose. The best trick I've read all year. https://books.example/false-map",
    ),
    /* 19 */
    post(
        "ada",
        "Rewrote the loop, deleted the cache, and it got faster. There's a lesson in there that I'll forget by Friday. #compilers",
    ),
    /* 20 */
    reply(
        "benno",
        19,
        "Same with the workshop: threw out half the shelves, found everything.",
    ),
    /* 21 */
    post(
        "ada",
        "For those who know me: the allotment key is under the blue pot this week. Please take tomatoes.",
    )
    .to(Visibility::Followers),
    /* 22 */
    post(
        "chen",
        "Moss survey, day two: seven species on one wall. The wall has been there for 140 years, and so, I suspect, have they.",
    ),
    /* 23 */ reply("hana", 22, "May I draw the wall?"),
    /* 24 */ reply("chen", 23, "Please do. Bring a lens, and knees that don't mind."),
    /* 25 */ post("hana", "Day 1,205: a wall, from very close. 👩‍🎨"),
    /* 26 */
    post(
        "kofi",
        "Rain gauge: 18.4 mm since midnight.\nThe forecast said \"a few drops\".\nI have emptied the few drops twice.",
    ),
    /* 27 */
    post(
        "emil",
        "Open until noon tomorrow. There will be cinnamon knots, until there won't.",
    ),
    /* 28 */
    post(
        "benno",
        "@ada @emil I found the 14 mm spanner. It was in my own coat. Not a word to anybody.",
    )
    .to(Visibility::Mentioned),
    /* 29 */
    post("ivo", "Prova ancora: il do basso esce solo la mattina presto.")
        .in_language("it")
        .to(Visibility::Unlisted),
    /* 30 */
    post(
        "lina",
        "The lighthouse was never there. The cartographer drew it so that his brother would come looking for it.",
    )
    .warning_of("Spoilers: how the novel with the false map ends")
    .in_language("en"),
];

/// Who likes which post.
pub(super) const LIKES: &[(&str, usize)] = &[
    ("ada benno kofi hana", 1),
    ("ada hana lina", 4),
    ("chen lina emil ada", 5),
    ("dora lina chen", 6),
    ("goran farah ada lina", 10),
    ("kofi dora ivo", 11),
    ("benno emil hana", 13),
    ("ada emil juno kofi goran", 15),
    ("goran hana dora", 18),
    ("benno chen emil", 19),
    ("hana kofi lina", 22),
    ("chen emil juno", 25),
    ("benno farah ada", 26),
];

pub(super) const REPOSTS: &[(&str, usize)] = &[
    ("lina", 6),
    ("ada", 10),
    ("farah", 0),
    ("benno", 1),
    ("chen", 5),
    ("juno", 27),
    ("goran", 10),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::entities::Entities;
    use model::tags::TagKey;
    use model::values::PostText;

    use super::*;

    fn is_person(handle: &str) -> bool {
        PEOPLE.iter().any(|person| person.handle == handle)
    }

    #[test]
    fn everyone_and_every_post_that_is_named_exists() {
        let named = FOLLOWS
            .iter()
            .flat_map(|(follower, followees)| followees.split(' ').chain([*follower]));
        let likers = LIKES.iter().flat_map(|(likers, _)| likers.split(' '));
        let others = POSTS
            .iter()
            .map(|post| post.author)
            .chain(REPOSTS.iter().map(|(reposter, _)| *reposter));
        for handle in named.chain(likers).chain(others) {
            assert!(is_person(handle), "{handle}");
        }
        for (index, post) in POSTS.iter().enumerate() {
            assert!(post.reply_to.is_none_or(|to| to < index), "{}", post.text);
        }
        for post in LIKES.iter().chain(REPOSTS).map(|(_, post)| *post) {
            assert!(
                POSTS[post].visibility.is_open(),
                "not everyone may see {}",
                POSTS[post].text
            );
        }
    }

    #[test]
    fn every_tag_that_is_followed_is_in_a_post() {
        let texts = POSTS.iter().map(|post| PostText::parse(post.text).unwrap());
        let written: BTreeSet<TagKey> = texts.flat_map(|text| Entities::of(&text).tags()).collect();
        for (follower, tags) in TAGS {
            assert!(is_person(follower), "{follower}");
            for tag in tags.split(' ') {
                assert!(written.contains(&TagKey::of(tag)), "{tag}");
            }
        }
    }

    #[test]
    fn nobody_follows_themselves() {
        assert!(
            FOLLOWS
                .iter()
                .all(|(follower, followees)| followees.split(' ').all(|followee| followee != *follower))
        );
    }
}
