//! A text is either no consistency token, or one that stays the same when it is written and read again.
#![no_main]

use event_log::consistency::ConsistencyToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(token) = text.parse::<ConsistencyToken>() else {
        return;
    };
    assert_eq!(token.to_string().parse().as_ref(), Ok(&token));
    let mut merged = token.clone();
    merged.merge(&token);
    assert_eq!(merged, token);
});
