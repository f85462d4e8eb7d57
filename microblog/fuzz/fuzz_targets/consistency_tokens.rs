//! A text is a consistency token that survives being written and read again, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::consistency::ConsistencyToken;

fuzz_target!(|text: &str| {
    let Ok(token) = text.parse::<ConsistencyToken>() else {
        return;
    };
    assert_eq!(token.to_string().parse().as_ref(), Ok(&token));
    let mut merged = token.clone();
    merged.merge(&token);
    assert_eq!(merged, token);
});
