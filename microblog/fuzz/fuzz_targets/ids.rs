//! A text is either no id, or the only spelling of one except for capitals. In JSON it is the same id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::ids::UserId;

fuzz_target!(|text: &str| {
    let id = text.parse::<UserId>().ok();
    let in_json: Option<UserId> = serde_json::from_value(text.into()).ok();
    assert_eq!(in_json, id);
    if let Some(id) = id {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        // Neither call requires a UUID of version 7.
        let _time = id.time();
        assert!(id.partition().index() < usize::from(model::ids::PARTITIONS));
    }
});
