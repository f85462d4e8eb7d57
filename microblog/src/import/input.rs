//! The lines of a file: plain or gzip, in UTF-8, read as a stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 128 * 1024;
/// The most bytes that a line, or a record of several lines, may have. A post is many times smaller.
pub(super) const LONGEST: usize = 256 * 1024;

/// Something in a file can't be read. Names the file and the line.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} line {line}: {problem}", .path.display())]
    Line { path: PathBuf, line: u64, problem: Problem },
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("is longer than {LONGEST} bytes")]
    TooLong,
    #[error("a quote is opened and never closed")]
    UnclosedQuote,
    #[error("a quoted field goes on after its closing quote, or an earlier quote was not closed")]
    AfterQuote,
    #[error("expected two names, as in `a b`, found {0:?}")]
    NotAnEdge(String),
    #[error("has another separator than most lines: put names that contain one in quotes, or give --separator")]
    Separator,
    #[error("the first line must name the columns, `author` and `text` among them")]
    Columns,
    #[error("expected {expected} fields, as the first line has, found {found}")]
    Fields { expected: usize, found: usize },
}

/// The lines of a file, without their ends and without a byte order mark.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// The number of the line that was read last.
    line: u64,
}

impl Lines {
    /// Opens a file. Its first bytes say whether it is compressed, not its name.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let failed = |source| InputError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?);
        let compressed = file.fill_buf().map_err(failed)?.starts_with(&GZIP_MAGIC);
        Ok(Self {
            path: path.to_owned(),
            reader: if compressed {
                Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
            } else {
                Box::new(file)
            },
            line: 0,
        })
    }

    pub(super) fn error(&self, line: u64, problem: Problem) -> InputError {
        InputError::Line {
            path: self.path.clone(),
            line,
            problem,
        }
    }

    fn read(&mut self) -> Result<Option<(u64, String)>, InputError> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.reader).take(LONGEST as u64 + 1);
        if let Err(source) = bounded.read_until(b'\n', &mut bytes) {
            let path = self.path.clone();
            return Err(InputError::Io { path, source });
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() > LONGEST {
            return Err(self.error(self.line, Problem::TooLong));
        }
        let text = String::from_utf8(bytes).map_err(|_| self.error(self.line, Problem::NotUtf8))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let text = match self.line {
            1 => text.strip_prefix('\u{FEFF}').unwrap_or(text),
            _ => text,
        };
        Ok(Some((self.line, text.to_owned())))
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, String), InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(in crate::import) fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    pub(in crate::import) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(content: &[u8]) -> Result<Vec<(u64, String)>, String> {
        let lines = Lines::open(file(content).path()).unwrap();
        lines.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_read_plain_and_compressed_without_a_byte_order_mark() {
        let text = "\u{FEFF}a\r\n\nc\u{FEFF}".as_bytes();
        for content in [text.to_vec(), gzip(text)] {
            let expected = [(1, "a"), (2, ""), (3, "c\u{FEFF}")].map(|(line, text)| (line, text.to_owned()));
            assert_eq!(read(&content).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named_with_their_line() {
        let error = read(b"a\nb\nZo\xeb\nd").unwrap_err();
        assert!(error.ends_with("line 3: is not UTF-8"), "{error}");
        let long = [b"a\n".to_vec(), vec![b'x'; LONGEST + 1]].concat();
        assert!(read(&long).unwrap_err().contains("line 2: is longer"));
    }
}
