//! Any text that is accepted for a post has entities, and each entity is at the place that it names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::entities::Entities;
use model::values::PostText;

fuzz_target!(|text: &str| {
    let Ok(text) = PostText::parse(text) else { return };
    let piece = |start: u32, end: u32| -> String {
        let length = usize::try_from(end - start).expect("32 bits fit");
        let piece: String = text
            .as_str()
            .chars()
            .skip(usize::try_from(start).expect("32 bits fit"))
            .take(length)
            .collect();
        assert_eq!(piece.chars().count(), length, "an entity ends behind the text");
        piece
    };
    let entities = Entities::of(&text);
    for tag in &entities.hashtags {
        assert_eq!(piece(tag.start, tag.end).trim_start_matches(['#', '＃']), tag.tag);
    }
    for link in &entities.links {
        assert_eq!(piece(link.start, link.end), link.url);
    }
    for mention in &entities.mentions {
        let name = piece(mention.start, mention.end).to_ascii_lowercase();
        assert_eq!(name.trim_start_matches(['@', '＠']), mention.handle);
    }

    // A stored text is normalised. Normalising it again changes nothing.
    assert_eq!(PostText::parse(text.as_str()).as_ref(), Ok(&text));
});
