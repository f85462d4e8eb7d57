//! A text is an id in one spelling but for capitals, or none; in JSON it is the same id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::ids::UserId;

fuzz_target!(|text: &str| {
    let id = text.parse::<UserId>().ok();
    let in_json: Option<UserId> = serde_json::from_value(text.into()).ok();
    assert_eq!(in_json, id);
    if let Some(id) = id {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        // Neither needs a UUID of version 7.
        let _time = id.time();
        assert!(id.partition().index() < usize::from(model::ids::PARTITIONS));
    }
});
