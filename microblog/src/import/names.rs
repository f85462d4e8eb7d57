//! The handles with which the people of the files are registered.

use event_log::crypto::sha256;
use model::values::Handle;

/// The handle for a name of the files. The same name always gets the same handle.
///
/// A name that is a valid handle stays as it is, so that mentions in the posts still refer to somebody. A number gets the prefix `user_`.
/// Any other name is converted, and gets a part of its hash, so that no two names get the same handle. This includes names of the form
/// `user_` and a number, which would collide with a prefixed number.
pub(super) fn handle_of(name: &str) -> Handle {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = name.trim();
    let lower = name.to_ascii_lowercase();
    if is_number(name) {
        if let Ok(handle) = Handle::parse(&format!("user_{name}")) {
            return handle;
        }
    } else if let Ok(handle) = Handle::parse(name)
        && !lower.strip_prefix("user_").is_some_and(is_number)
    {
        return handle;
    }
    // Capitals do not matter in names that are valid handles.
    let hash = sha256(Handle::parse(name).map_or(name, |_| &lower).as_bytes());
    let kept: String = lower
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '_'
            }
        })
        .take(Handle::MAX_LEN - 13)
        .collect();
    let made = format!("{kept}_{}", hex::encode(&hash[..6]));
    Handle::parse(&made).expect("30 characters of letters, digits and underscores are a handle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_handles_that_do_not_fall_together() {
        assert_eq!(handle_of("17").as_str(), "user_17");
        assert_eq!(handle_of("VirginAmerica").as_str(), "virginamerica");
        assert_eq!(handle_of("user_17a").as_str(), "user_17a");
        let (one, other) = (handle_of("Zoë M."), handle_of("Zoé M."));
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("zo__m__"), "{one}");
        assert_eq!(handle_of(&"x".repeat(31)).as_str().len(), 30);
        assert_eq!(handle_of("").as_str().len(), 13);
        assert_eq!(handle_of(&"9".repeat(40)).as_str().len(), 30);
    }

    #[test]
    fn a_number_and_a_name_of_its_form_are_two_people() {
        let named = handle_of("user_17");
        assert_ne!(named, handle_of("17"));
        assert!(named.as_str().starts_with("user_17_"), "{named}");
        assert_eq!(handle_of("User_17"), named);
    }
}
