//! The words of the pages, in one file for each language.

use std::sync::LazyLock;

use serde::Deserialize;

/// Each word is used by its name. A file that lacks one, or has one too many, is refused.
macro_rules! words {
    ($($name:ident),* $(,)?) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Words {
            $(pub(super) $name: String,)*
        }
    };
}

words![
    account_new,
    away,
    away_title,
    back,
    bookmark,
    bookmarks,
    compose,
    compose_hint,
    delete,
    detached,
    display_name,
    edited,
    email,
    follow,
    followers,
    followers_only,
    following,
    follows_you,
    foreign,
    handle,
    hello,
    hidden,
    home,
    home_empty,
    home_empty_hint,
    language,
    like,
    liked,
    likes,
    log_in,
    log_in_refused,
    log_out,
    mentioned_only,
    missing,
    missing_title,
    newest,
    no_account,
    nobody,
    nothing,
    older,
    password,
    pinned,
    posts,
    protected,
    public,
    public_empty,
    public_timeline,
    publish,
    refused_title,
    replies,
    reply,
    reply_to,
    repost,
    reposted,
    reposted_by,
    reposts,
    requested,
    show_anyway,
    sign_up,
    skip,
    suspended,
    thread,
    too_often,
    unavailable,
    unfollow,
    unlisted,
    visibility,
    visibility_followers,
    visibility_mentioned,
    visibility_public,
    visibility_unlisted,
    warning_label,
    welcome,
];

pub(super) static WORDS: LazyLock<Words> =
    LazyLock::new(|| serde_json::from_str(include_str!("words/en.json")).expect("a test reads it"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there() {
        assert_eq!(WORDS.home, "Home");
    }
}
