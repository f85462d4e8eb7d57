//! Who wrote what: CSV whose first line names the columns.

use std::fmt;
use std::path::Path;

use super::fields::{Separator, split};
use super::input::{InputError, LONGEST, Lines, Problem};

/// One row of the posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the row begins.
    pub(super) line: u64,
    pub(super) author: String,
    pub(super) text: String,
}

/// The detected format of a file of posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    names: Vec<String>,
    separator: Separator,
    author: usize,
    text: usize,
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "posts: {} columns, {}, author is {:?}, text is {:?}",
            self.names.len(),
            self.separator,
            self.names[self.author],
            self.names[self.text],
        )
    }
}

/// The rows of a file, and what its first line says.
pub(super) struct Rows {
    lines: Lines,
    pub(super) columns: Columns,
}

impl Rows {
    /// Opens a file whose first line names the columns. The columns `author` and `text` are required.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let mut lines = Lines::open(path)?;
        let first = lines.next().transpose()?.map_or_else(String::new, |(_, text)| text);
        let columns = [Separator::Comma, Separator::Semicolon, Separator::Tab]
            .into_iter()
            .find_map(|separator| Columns::of(&first, separator))
            .ok_or_else(|| lines.error(1, Problem::Columns))?;
        Ok(Self { lines, columns })
    }

    fn read(&mut self) -> Result<Option<Row>, InputError> {
        let says_something =
            |line: &Result<(u64, String), InputError>| !matches!(line, Ok((_, text)) if text.is_empty());
        let Some((line, mut record)) = self.lines.find(says_something).transpose()? else {
            return Ok(None);
        };
        let fields = loop {
            match split(&record, self.columns.separator) {
                Ok(fields) => break fields,
                Err(Problem::UnclosedQuote) => {}
                Err(problem) => return Err(self.lines.error(line, problem)),
            }
            // A quoted text can go on over several lines. It ends at the earliest in a line that contains a quote.
            loop {
                let more = self.lines.next().transpose()?;
                let Some((_, more)) = more.filter(|_| record.len() <= LONGEST) else {
                    return Err(self.lines.error(line, Problem::UnclosedQuote));
                };
                record.push('\n');
                record.push_str(&more);
                if more.contains('"') {
                    break;
                }
            }
        };
        let (expected, found) = (self.columns.names.len(), fields.len());
        if found != expected {
            return Err(self.lines.error(line, Problem::Fields { expected, found }));
        }
        Ok(Some(Row {
            line,
            author: fields[self.columns.author].clone(),
            text: fields[self.columns.text].clone(),
        }))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Columns {
    fn of(first: &str, separator: Separator) -> Option<Self> {
        let names = split(first, separator).ok()?;
        let column = |wanted: &str| names.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted));
        let (author, text) = (column("author")?, column("text")?);
        Some(Self {
            names,
            separator,
            author,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::{file, gzip};
    use super::*;

    fn rows(content: &[u8]) -> Result<Vec<Row>, String> {
        let rows = Rows::open(file(content).path()).map_err(|error| error.to_string())?;
        rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn rows_keep_quotes_line_breaks_and_entities_as_they_are() {
        let read = rows(&gzip(
            b"author,text,created_at\nann,\"say \"\"hi\"\"\n\nthere &amp; then\",2015\n\nbob,x,\n",
        ))
        .unwrap();
        assert_eq!(read[0].text, "say \"hi\"\n\nthere &amp; then");
        assert_eq!((read[1].author.as_str(), read[1].line), ("bob", 6));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn columns_may_stand_in_any_order_but_must_be_there() {
        for swapped in [
            "Text,Author\nhello,ann\n",
            "\u{FEFF}author;text\nann;hello",
            "x\t\"author\"\ttext\n\tann\thello\n",
        ] {
            let read = rows(swapped.as_bytes()).unwrap();
            assert_eq!(
                (read[0].author.as_str(), read[0].text.as_str()),
                ("ann", "hello"),
                "{swapped}"
            );
        }
        for none in ["a,b\n1,2\n", ""] {
            assert!(
                rows(none.as_bytes())
                    .unwrap_err()
                    .contains("line 1: the first line must name")
            );
        }
    }

    #[test]
    fn what_a_file_is_taken_for_is_told() {
        let rows = Rows::open(file(b"Author,x,text\n").path()).unwrap();
        assert_eq!(
            rows.columns.to_string(),
            "posts: 3 columns, comma, author is \"Author\", text is \"text\""
        );
    }

    #[test]
    fn a_row_that_would_be_misread_is_an_error_with_its_line() {
        for (rest, expected) in [
            (
                "ann,\"never closed\nbob,two\n",
                "line 3: a quote is opened and never closed",
            ),
            (
                "ann,\"closed by the next\nbob,\"two\"\n",
                "line 3: a quoted field goes on",
            ),
            (
                "ann,one, two\n",
                "line 3: expected 2 fields, as the first line has, found 3",
            ),
            ("ann\n", "line 3: expected 2 fields, as the first line has, found 1"),
        ] {
            let error = rows(format!("author,text\nzoe,zero\n{rest}").as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let long = "x\n".repeat(LONGEST);
        assert!(
            rows(format!("author,text\nann,\"{long}").as_bytes())
                .unwrap_err()
                .contains("line 2: a quote")
        );
    }
}
