//! The two input files: who follows whom, and who wrote what. Plain or gzip, read as streams.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use shared::crypto::sha256;
use shared::values::Handle;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 128 * 1024;

/// Something in a file can't be read. Names the file and the line.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} line {line}: expected two names, as in `a b`, found {found:?}", .path.display())]
    NotAnEdge { path: PathBuf, line: u64, found: String },
    #[error("{}: {source}", .path.display())]
    Csv { path: PathBuf, source: csv::Error },
    #[error("{}: the first line must name the columns, `author` and `text` among them", .path.display())]
    Columns { path: PathBuf },
}

/// Opens a file; whether it is compressed is told by its first bytes, not by its name.
fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, InputError> {
    let failed = |source| InputError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?);
    let compressed = file.fill_buf().map_err(failed)?.starts_with(&GZIP_MAGIC);
    Ok(if compressed {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// One line of the edge list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) line: u64,
    pub(super) from: String,
    pub(super) to: String,
}

/// Reads the edge list line by line. Empty lines and those that begin with `#` say nothing; what follows the two
/// names (a weight, a time) is ignored.
pub(super) fn edges(path: &Path) -> Result<impl Iterator<Item = Result<Edge, InputError>> + Send + use<>, InputError> {
    let path = path.to_owned();
    let lines = open(&path)?.lines();
    Ok(lines.zip(1..).filter_map(move |(text, line)| {
        let text = match text {
            Ok(text) => text,
            Err(source) => {
                return Some(Err(InputError::Io {
                    path: path.clone(),
                    source,
                }));
            }
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let mut names = text.split([' ', '\t', ',', ';']).filter(|name| !name.is_empty());
        Some(match (names.next(), names.next()) {
            (Some(from), Some(to)) => Ok(Edge {
                line,
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err(InputError::NotAnEdge {
                path: path.clone(),
                line,
                found: text.chars().take(60).collect(),
            }),
        })
    }))
}

/// One row of the posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the row begins.
    pub(super) line: u64,
    pub(super) author: String,
    pub(super) text: String,
}

/// Reads the rows of a CSV file whose first line names the columns; `author` and `text` are needed.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row, InputError>> + Send + use<>, InputError> {
    let path = path.to_owned();
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(open(&path)? as Box<dyn Read + Send>);
    let headers = reader.headers().map_err(|source| InputError::Csv {
        path: path.clone(),
        source,
    })?;
    let column = |name| {
        headers
            .iter()
            .position(|header: &str| header.trim().eq_ignore_ascii_case(name))
    };
    let (Some(author), Some(text)) = (column("author"), column("text")) else {
        return Err(InputError::Columns { path });
    };
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|source| InputError::Csv {
            path: path.clone(),
            source,
        })?;
        let field = |index| record.get(index).unwrap_or_default().to_owned();
        Ok(Row {
            line: record.position().map_or(0, csv::Position::line),
            author: field(author),
            text: field(text),
        })
    }))
}

/// The handle under which a name of the files is registered: always the same one for the same name.
///
/// A name that is a handle already stays as it is, so that mentions in the posts still mean somebody; a mere number
/// gets `user_` in front; anything else is made a handle, with a piece of its hash so that no two fall together.
pub(super) fn handle_of(name: &str) -> Handle {
    let name = name.trim();
    let parsed = if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        Handle::parse(&format!("user_{name}"))
    } else {
        Handle::parse(name)
    };
    parsed.unwrap_or_else(|_| {
        let hash = sha256(name.as_bytes());
        let kept: String = name
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() {
                    c
                } else {
                    '_'
                }
            })
            .take(Handle::MAX_LEN - 13)
            .collect();
        let made = format!(
            "{kept}_{}",
            hash[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        Handle::parse(&made).expect("30 characters of letters, digits and underscores are a handle")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn edges_are_read_plain_and_compressed() {
        let text = b"# a comment\n0 1\n\n1\t2 0.5\r\n";
        let expected = [("0", "1", 2), ("1", "2", 4)].map(|(from, to, line)| Edge {
            line,
            from: from.into(),
            to: to.into(),
        });
        for content in [text.to_vec(), gzip(text)] {
            let file = file(&content);
            let read: Vec<Edge> = edges(file.path()).unwrap().map(Result::unwrap).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn half_an_edge_is_named_with_its_line() {
        let file = file(b"0 1\nalone\n");
        let error = edges(file.path()).unwrap().nth(1).unwrap().unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("alone"), "{error}");
    }

    #[test]
    fn rows_keep_quotes_line_breaks_and_entities_as_they_are() {
        let file = file(&gzip(
            b"author,text,created_at\nann,\"say \"\"hi\"\"\nthere &amp; then\",2015\nbob,x\n",
        ));
        let read: Vec<Row> = rows(file.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(read[0].text, "say \"hi\"\nthere &amp; then");
        assert_eq!((read[1].author.as_str(), read[1].line), ("bob", 4));
    }

    #[test]
    fn columns_may_stand_in_any_order_but_must_be_there() {
        let swapped = file(b"Text,Author\nhello,ann\n");
        assert_eq!(rows(swapped.path()).unwrap().next().unwrap().unwrap().author, "ann");
        assert!(matches!(
            rows(file(b"a,b\n1,2\n").path()),
            Err(InputError::Columns { .. })
        ));
    }

    #[test]
    fn names_become_handles_that_do_not_fall_together() {
        assert_eq!(handle_of("17").as_str(), "user_17");
        assert_eq!(handle_of("VirginAmerica").as_str(), "virginamerica");
        let (one, other) = (handle_of("Zoë M."), handle_of("Zoé M."));
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("zo__m__"), "{one}");
        assert_eq!(handle_of(&"x".repeat(31)).as_str().len(), 30);
        assert_eq!(handle_of("").as_str().len(), 13);
        assert_eq!(handle_of(&"9".repeat(40)).as_str().len(), 30);
    }
}
