use super::*;

#[test]
fn a_family_and_a_letter_with_marks_count_as_one_character() {
    assert!(PostText::parse(&"👨‍👩‍👧‍👦".repeat(500)).is_ok());
    assert!(PostText::parse(&"e\u{301}\u{323}".repeat(500)).is_ok());
    assert_eq!(
        PostText::parse(&"x".repeat(501)),
        Err(InvalidValue::TooLong {
            max: 500,
            actual: 501,
            unit: "characters"
        })
    );
}

#[test]
fn few_graphemes_of_many_bytes_are_refused() {
    let zalgo = format!("a{}", "\u{301}".repeat(MAX_TEXT_BYTES));
    assert!(matches!(
        PostText::parse(&zalgo),
        Err(InvalidValue::TooLong { unit: "bytes", .. })
    ));
}

#[test]
fn text_is_trimmed_normalised_and_has_unix_lines() {
    assert_eq!(
        PostText::parse("  cafe\u{301}\r\nbar\t ").unwrap().as_str(),
        "café\nbar"
    );
    assert_eq!(PostText::parse(" \n "), Err(InvalidValue::Empty));
    assert_eq!(PostText::parse("a\u{0}b"), Err(InvalidValue::ControlCharacter(0)));
    assert_eq!(PostText::parse("a\rb"), Err(InvalidValue::ControlCharacter(0x0D)));
    assert_eq!(DisplayName::parse("a\nb"), Err(InvalidValue::ControlCharacter(0x0A)));
    assert_eq!(Bio::parse("").unwrap().as_str(), "");
}

#[test]
fn handles_ignore_case_and_refuse_everything_else() {
    assert_eq!(Handle::parse("Ada_99").unwrap().as_str(), "ada_99");
    for bad in ["", "a b", "ä", "a-b", "@ada", &"a".repeat(31)] {
        assert!(Handle::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_cannot_be_seen_is_empty() {
    for invisible in [
        '\u{200B}',
        '\u{200D}',
        '\u{2060}',
        '\u{3164}',
        '\u{115F}',
        '\u{FFA0}',
        '\u{2800}',
        '\u{AD}',
        '\u{34F}',
        '\u{FEFF}',
        '\u{FE0F}',
        '\u{180E}',
        '\u{E0020}',
        '\u{1D159}',
        '\u{2028}',
    ] {
        let text = format!("{invisible} {invisible}");
        assert_eq!(PostText::parse(&text), Err(InvalidValue::Empty), "{invisible:?}");
        assert!(DisplayName::parse(&text).is_err(), "{invisible:?}");
        assert!(PostText::parse(&format!("{invisible}a")).is_ok(), "{invisible:?}");
        assert!(Bio::parse(&text).is_ok(), "{invisible:?}");
    }
    assert_eq!(PostText::parse("\u{202E}"), Err(InvalidValue::Empty));
    assert_eq!(DisplayName::parse("\u{202E}\u{202C}"), Err(InvalidValue::Empty));
}

#[test]
fn a_display_name_keeps_to_its_line_and_its_direction() {
    for separator in ['\u{2028}', '\u{2029}'] {
        let name = format!("Ada{separator}Lovelace");
        assert_eq!(
            DisplayName::parse(&name),
            Err(InvalidValue::ControlCharacter(separator.into()))
        );
        assert!(PostText::parse(&name).is_ok());
    }
    for open in [
        "Ada\u{202E}",
        "\u{202A}Ada",
        "\u{2067}Ada",
        "\u{2067}\u{202E}Ada\u{202C}",
        // The PDF is inside the isolate, so it does not close the override outside.
        "\u{202E}\u{2067}Ada\u{202C}\u{2069}",
        "Ada\u{202C}",
        "\u{2068}Ada\u{2069}\u{2069}",
    ] {
        assert!(
            matches!(DisplayName::parse(open), Err(InvalidValue::Malformed(_))),
            "{open:?}"
        );
    }
    for closed in [
        "עדה",
        "\u{200F}Ada!",
        "\u{202B}עדה\u{202C}",
        "\u{2068}\u{202E}adA\u{2069} L.",
        "\u{202E}\u{2067}adA\u{2069}\u{202C}",
    ] {
        assert!(DisplayName::parse(closed).is_ok(), "{closed:?}");
    }
}

#[test]
fn passwords_are_8_to_256_characters_and_stay_secret() {
    assert!(Password::parse("1234567").is_err());
    assert!(Password::parse(&"p".repeat(257)).is_err());
    // Counted in the form in which they are compared.
    assert!(Password::parse(&"e\u{301}".repeat(7)).is_err());
    assert!(Password::parse(&"e\u{301}".repeat(256)).is_ok());
    let password = Password::parse("correct horse").unwrap();
    assert!(!format!("{password:?}").contains("horse"));
}

#[test]
fn passwords_are_the_same_however_they_were_typed() {
    let parsed = |raw: &str| Password::parse(raw).map(|password| password.expose().to_owned());
    for (raw, expected) in [
        // The examples of RFC 8265, section 4.3, if they are long enough.
        ("correct horse battery staple", "correct horse battery staple"),
        ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
        ("\u{3C0}\u{DF}\u{E5}12345", "\u{3C0}\u{DF}\u{E5}12345"),
        ("Jack of \u{2666}s", "Jack of \u{2666}s"),
        ("foo\u{1680}bar baz", "foo bar baz"),
        // One system composes characters that another one decomposes.
        ("Cafe\u{301} Zu\u{308}rich", "Caf\u{E9} Z\u{FC}rich"),
        ("\u{1100}\u{1161}\u{11A8} 1234567", "\u{AC01} 1234567"),
        ("\u{212B}ngstr\u{F6}m", "\u{C5}ngstr\u{F6}m"),
        // Width and spaces at the ends stay as they are.
        ("\u{FF21}\u{3000}1234567", "\u{FF21} 1234567"),
        ("  correct  ", "  correct  "),
    ] {
        assert_eq!(parsed(raw), Ok(expected.to_owned()), "{raw:?}");
    }
    for bad in ["my cat is a \u{9}by", "12345678\u{0}", "12345678\u{85}"] {
        assert!(matches!(parsed(bad), Err(InvalidValue::ControlCharacter(_))), "{bad:?}");
    }
    assert!(parsed("").is_err());
}
