//! A text is either no cursor, or the only spelling of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use query_svc::{Cursor, Since};

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(cursor.below() <= cursor && cursor <= cursor.above());
    }
    if let Ok(since) = text.parse::<Since>() {
        assert_eq!(since.to_string(), text);
    }
});
