//! The fields of a line: one separator, and quotes as in CSV (RFC 4180), strictly. The usual CSV readers accept a quote that is never
//! closed, and make one field of the rest of the file.

use std::fmt;

use super::input::Problem;

/// What separates two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Separator {
    Tab,
    Semicolon,
    Comma,
    /// One or more spaces and tabs
    Blank,
}

impl Separator {
    fn is(self, c: char) -> bool {
        match self {
            Separator::Tab => c == '\t',
            Separator::Semicolon => c == ';',
            Separator::Comma => c == ',',
            Separator::Blank => is_blank(c),
        }
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Separator::Tab => "tab",
            Separator::Semicolon => "semicolon",
            Separator::Comma => "comma",
            Separator::Blank => "blanks",
        })
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Splits a record into its fields. [`Problem::UnclosedQuote`] means that the record may continue in the next line.
pub(super) fn split(record: &str, separator: Separator) -> Result<Vec<String>, Problem> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        if separator == Separator::Blank {
            rest = rest.trim_start_matches(is_blank);
            if rest.is_empty() {
                return Ok(fields);
            }
        }
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (field, after) = rest.split_at(rest.find(|c| separator.is(c)).unwrap_or(rest.len()));
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        let mut after = after.chars();
        match after.next() {
            None => return Ok(fields),
            Some(c) if separator.is(c) => rest = after.as_str(),
            Some(_) => return Err(Problem::AfterQuote),
        }
    }
}

/// The text up to the closing quote, and the text after it.
fn unquote(quoted: &str) -> Result<(String, &str), Problem> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or(Problem::UnclosedQuote)?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_one_separator_outside_quotes() {
        for (separator, record, expected) in [
            (Separator::Comma, "Ann Lee,Bob Ray", vec!["Ann Lee", "Bob Ray"]),
            (
                Separator::Comma,
                "\"Lee, Ann\",\"say \"\"hi\"\"\",",
                vec!["Lee, Ann", "say \"hi\"", ""],
            ),
            (Separator::Comma, "a\"b,c\"", vec!["a\"b", "c\""]),
            (Separator::Tab, "a b\t\tc", vec!["a b", "", "c"]),
            (Separator::Blank, "  a \t \"b c\" d ", vec!["a", "b c", "d"]),
            (Separator::Semicolon, "", vec![""]),
        ] {
            assert_eq!(split(record, separator).unwrap(), expected, "{record}");
        }
    }

    #[test]
    fn quotes_are_taken_at_their_word() {
        assert_eq!(split("a,\"b", Separator::Comma), Err(Problem::UnclosedQuote));
        assert_eq!(split("a,\"b\"\"", Separator::Comma), Err(Problem::UnclosedQuote));
        assert_eq!(split("a,\"b\"c,d", Separator::Comma), Err(Problem::AfterQuote));
    }
}
