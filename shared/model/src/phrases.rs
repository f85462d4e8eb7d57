//! How texts compare when somebody looks for a phrase in them.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// The form in which texts compare when case, width and composition make no difference: NFKC, then Unicode's default case folding, then
/// NFKC again, because folding may decompose.
pub fn folded(text: &str) -> String {
    // ASCII has only one form, and folds to its lower case. This is much faster.
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().default_case_fold().nfkc().collect()
}

/// Whether a word goes on with this character: a letter, a mark, a digit, or what connects such characters (`\w` in UTS #18).
pub fn is_of_a_word(c: char) -> bool {
    regex_syntax::is_word_character(c)
}
