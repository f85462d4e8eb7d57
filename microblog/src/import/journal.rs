//! What an import stores on disk, so that it can continue after an interruption: a file of JSON lines, to which lines are only appended. A
//! last line that is cut off is ignored.
//!
//! A lost line costs time, but never correctness, because everything that an import sends is safe to send again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::ids::UserId;
use model::values::Handle;
use serde::{Deserialize, Serialize};

use super::tally::Tally;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line: which import this is.
    Import(String),
    User {
        handle: Handle,
        id: UserId,
    },
    Items {
        done: u64,
        tally: Tally,
    },
}

/// What an earlier run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) users: Vec<(Handle, UserId)>,
    pub(super) done: u64,
    pub(super) tally: Tally,
}

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    import: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} contains another import ({found}); name another file with --state, or give --restart", .path.display())]
    Another { path: PathBuf, found: String },
    #[error("{} is not the state of an import", .path.display())]
    NotAJournal { path: PathBuf },
}

impl Journal {
    /// Opens the journal of an import, and returns what it contains. With `restart`, the content is dropped, even if it is of another
    /// import.
    pub(super) fn open(path: &Path, import: &str, restart: bool) -> Result<(Self, Remembered), JournalError> {
        let failed = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut remembered = Remembered::default();
        let mut named = None;
        let mut whole: u64 = 0;
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
            let Ok(parsed) = serde_json::from_slice::<Line>(&line) else {
                break;
            };
            if !line.ends_with(b"\n") {
                break;
            }
            whole += length as u64;
            match parsed {
                Line::Import(name) => named = Some(name),
                Line::User { handle, id } => remembered.users.push((handle, id)),
                Line::Items { done, tally } => (remembered.done, remembered.tally) = (done, tally),
            }
        }
        drop(reader);
        match named {
            Some(found) if found != import && !restart => {
                return Err(JournalError::Another {
                    path: path.to_owned(),
                    found,
                });
            }
            // Never truncates a file that somebody named by mistake.
            None if file.metadata().map_err(failed)?.len() > 0 => {
                return Err(JournalError::NotAJournal { path: path.to_owned() });
            }
            _ => {}
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
            import: import.to_owned(),
        };
        if restart || whole == 0 {
            journal.restart()?;
            remembered = Remembered::default();
        }
        Ok((journal, remembered))
    }

    /// Drops everything that is remembered.
    pub(super) fn restart(&mut self) -> Result<(), JournalError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.write(&Line::Import(self.import.clone()))
    }

    pub(super) fn user(&mut self, handle: &Handle, id: UserId) -> Result<(), JournalError> {
        self.write(&Line::User {
            handle: handle.clone(),
            id,
        })
    }

    pub(super) fn items(&mut self, done: u64, tally: &Tally) -> Result<(), JournalError> {
        self.write(&Line::Items {
            done,
            tally: tally.clone(),
        })
    }

    /// Each line is one write. So a killed process leaves only whole lines, except perhaps the last.
    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut text = serde_json::to_vec(line).expect("a line of the journal is plain JSON");
        text.push(b'\n');
        self.file.write_all(&text).map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::super::tally::{Kind, Outcome};
    use super::*;

    #[test]
    fn a_journal_tells_what_was_written_and_ignores_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/import.jsonl");
        let (mut journal, empty) = Journal::open(&path, "a", false).unwrap();
        assert_eq!(empty, Remembered::default());
        let (handle, id) = (Handle::parse("ann").unwrap(), UserId::new(Utc::now()));
        let mut tally = Tally::default();
        tally.note(Outcome::Accepted(Kind::Follow));
        journal.user(&handle, id).unwrap();
        journal.items(1, &tally).unwrap();
        drop(journal);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"items\":{\"do")
            .unwrap();

        let (mut journal, remembered) = Journal::open(&path, "a", false).unwrap();
        let expected = Remembered {
            users: vec![(handle.clone(), id)],
            done: 1,
            tally: tally.clone(),
        };
        assert_eq!(remembered, expected);
        journal.items(2, &tally).unwrap();
        assert_eq!(Journal::open(&path, "a", false).unwrap().1.done, 2);
        assert!(matches!(
            Journal::open(&path, "b", false),
            Err(JournalError::Another { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_journal_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "author,text\n").unwrap();
        assert!(matches!(
            Journal::open(file.path(), "a", true),
            Err(JournalError::NotAJournal { .. })
        ));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "author,text\n");
    }

    #[test]
    fn a_restart_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("import.jsonl");
        let (mut journal, _) = Journal::open(&path, "a", false).unwrap();
        journal.items(5, &Tally::default()).unwrap();
        drop(journal);
        // The import is another one, because the file has grown.
        assert_eq!(Journal::open(&path, "b", true).unwrap().1, Remembered::default());
        assert!(matches!(
            Journal::open(&path, "a", false),
            Err(JournalError::Another { .. })
        ));
        assert_eq!(Journal::open(&path, "b", false).unwrap().1, Remembered::default());
    }
}
