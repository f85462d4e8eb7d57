//! Who follows whom: the edge list, and how its format is detected.
//!
//! A file is read completely before any edge is taken from it, because its format applies to all of its lines.

use std::fmt;
use std::path::Path;

use super::fields::{Separator, split};
use super::input::{InputError, Lines, Problem};

/// Whether the first line names the columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Header {
    /// Detect it: by usual column names, or because the values below are of another kind
    #[default]
    Auto,
    Yes,
    No,
}

/// What the arguments say about an edge list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given {
    pub(super) separator: Option<Separator>,
    pub(super) header: Header,
}

/// One line of the edge list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) line: u64,
    pub(super) from: String,
    pub(super) to: String,
}

/// The detected format of an edge list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    separator: Separator,
    /// The smallest and the largest number of columns in a line.
    columns: (usize, usize),
    /// The first line that is no comment, and whether it is skipped as a header.
    first: Option<Vec<String>>,
    header: bool,
    comments: u64,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = &self.first else {
            return f.write_str("edges: none");
        };
        match self.columns {
            (least, most) if least < most => write!(f, "edges: {least} to {most} columns, {}, ", self.separator)?,
            (_, most) => write!(f, "edges: {most} columns, {}, ", self.separator)?,
        }
        if self.header {
            write!(f, "header {:?} left out", first.join(","))?;
        } else {
            write!(f, "no header, the first is from {:?} to {:?}", first[0], first[1])?;
        }
        match self.comments {
            0 => Ok(()),
            1 => f.write_str(", 1 comment left out"),
            comments => write!(f, ", {comments} comments left out"),
        }
    }
}

/// Usual column names, in lower case and with letters only. `id` or `nodeid` may follow.
const PAIRS: [[&str; 2]; 9] = [
    ["source", "target"],
    ["from", "to"],
    ["src", "dst"],
    ["src", "dest"],
    ["follower", "followee"],
    ["follower", "followed"],
    ["follower", "following"],
    ["user", "friend"],
    ["user", "follower"],
];

fn are_names_of_columns(first: &[String]) -> bool {
    let plain = |field: &String| {
        let letters: String = field.chars().filter(|c| c.is_alphanumeric()).collect();
        letters.to_lowercase()
    };
    let [from, to] = [plain(&first[0]), plain(&first[1])];
    let is = |field: &str, name: &str| {
        let rest = field.strip_prefix(name);
        rest.is_some_and(|rest| ["", "id", "nodeid"].contains(&rest))
    };
    PAIRS.iter().any(|[one, other]| is(&from, one) && is(&to, other))
}

/// The text before the numbers, as in "x1" and "x2".
fn numbered(first: &[String]) -> Option<&str> {
    let stem = first[0].strip_suffix('1')?;
    let is_stem = stem.ends_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '-' | ' '));
    (is_stem && first[1].strip_suffix('2') == Some(stem)).then_some(stem)
}

/// Whether a name in another line shows that the first line contains users, not column names: it is one of them, or has the next number.
fn is_like(first: &[String], name: &String) -> bool {
    let is_of_row = |stem| {
        let rest = name.strip_prefix(stem);
        rest.is_some_and(|rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    first[..2].contains(name) || numbered(first).is_some_and(is_of_row)
}

fn is_number(field: &str) -> bool {
    field.contains(|c: char| c.is_ascii_digit()) && field.parse::<f64>().is_ok()
}

/// Whether a field is a word that does not stand for a missing value.
fn could_name_a_column(field: &str) -> bool {
    field.starts_with(char::is_alphabetic)
        && !["na", "nan", "none", "null"].contains(&field.to_ascii_lowercase().as_str())
}

/// The next line that is neither empty nor a comment.
fn said(lines: &mut Lines, comments: &mut u64) -> Result<Option<(u64, String)>, InputError> {
    for line in lines {
        let (line, text) = line?;
        match text.trim_start().chars().next() {
            None => {}
            Some('#' | '%') => *comments += 1,
            Some(_) => return Ok(Some((line, text))),
        }
    }
    Ok(None)
}

/// The fields of a line: at least two, with names in the first two.
fn fields(text: &str, separator: Separator) -> Result<Vec<String>, Problem> {
    let fields: Vec<String> = split(text.trim(), separator)?
        .iter()
        .map(|field| field.trim().to_owned())
        .collect();
    match fields.as_slice() {
        [from, to, ..] if !from.is_empty() && !to.is_empty() => Ok(fields),
        _ => Err(Problem::NotAnEdge(text.chars().take(60).collect())),
    }
}

/// What separates the fields of most lines: a tab, a semicolon or a comma outside quotes. Otherwise blanks, if all lines have them.
fn separator(path: &Path) -> Result<Separator, InputError> {
    let candidates = [Separator::Tab, Separator::Semicolon, Separator::Comma];
    let (mut lines, mut count) = (Lines::open(path)?, 0_u64);
    let mut fits = [0_u64; 3];
    // The first line whose first name would change if blanks separated its fields.
    let mut other_than_blanks = None;
    while let Some((line, text)) = said(&mut lines, &mut 0)? {
        count += 1;
        let split = candidates.map(|candidate| fields(&text, candidate));
        if split.iter().all(|split| split == &Err(Problem::UnclosedQuote)) {
            return Err(lines.error(line, Problem::UnclosedQuote));
        }
        let blanks = fields(&text, Separator::Blank);
        for (split, fits) in split.into_iter().zip(&mut fits) {
            let Ok(split) = split else { continue };
            *fits += 1;
            if blanks.as_ref().is_ok_and(|blanks| blanks[0] != split[0]) {
                other_than_blanks.get_or_insert(line);
            }
        }
    }
    let fit = |least: u64| (0..3).find(|&index| fits[index] > 0 && fits[index] >= least);
    match (fit(count).or_else(|| fit(count / 2 + 1)), other_than_blanks) {
        (Some(index), _) => Ok(candidates[index]),
        (None, Some(line)) => Err(lines.error(line, Problem::Separator)),
        (None, None) => Ok(Separator::Blank),
    }
}

impl Shape {
    /// Detects the format by reading the whole file.
    pub(super) fn of(path: &Path, given: Given) -> Result<Self, InputError> {
        let separator = match given.separator {
            Some(separator) => separator,
            None => separator(path)?,
        };
        let mut shape = Self {
            separator,
            columns: (usize::MAX, 0),
            first: None,
            header: false,
            comments: 0,
        };
        let mut lines = Lines::open(path)?;
        let mut below = 0_u64;
        // For each column of the first line: whether it has a word there and a number in all other lines.
        let mut numbers_below: Vec<bool> = Vec::new();
        let mut people = false;
        while let Some((line, text)) = said(&mut lines, &mut shape.comments)? {
            let fields = fields(&text, separator).map_err(|problem| lines.error(line, problem))?;
            let (least, most) = shape.columns;
            shape.columns = (least.min(fields.len()), most.max(fields.len()));
            let Some(first) = &shape.first else {
                numbers_below = fields.iter().map(|field| could_name_a_column(field)).collect();
                shape.first = Some(fields);
                continue;
            };
            below += 1;
            for (column, all) in numbers_below.iter_mut().enumerate() {
                *all = *all && fields.get(column).is_some_and(|field| is_number(field));
            }
            people |= fields[..2].iter().any(|name| is_like(first, name));
        }
        shape.header = match (given.header, &shape.first) {
            (_, None) | (Header::No, _) => false,
            (Header::Yes, _) => true,
            (Header::Auto, Some(first)) => {
                // The values below are numbers as users, or there is a weight or a time.
                let is_of_another_kind =
                    below > 0 && (numbers_below[..2] == [true, true] || numbers_below[2..].contains(&true));
                !people && (is_of_another_kind || are_names_of_columns(first) || numbered(first).is_some())
            }
        };
        Ok(shape)
    }

    /// The edges of the file of which this is the format.
    pub(super) fn edges(
        &self,
        path: &Path,
    ) -> Result<impl Iterator<Item = Result<Edge, InputError>> + Send + use<>, InputError> {
        let (separator, mut lines) = (self.separator, Lines::open(path)?);
        let mut next = move || {
            let Some((line, text)) = said(&mut lines, &mut 0)? else {
                return Ok(None);
            };
            let fields = fields(&text, separator).map_err(|problem| lines.error(line, problem))?;
            let [from, to] = [&fields[0], &fields[1]].map(String::clone);
            Ok(Some(Edge { line, from, to }))
        };
        Ok(std::iter::from_fn(move || next().transpose()).skip(usize::from(self.header)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::{file, gzip};
    use super::*;

    fn read_as(content: &str, given: Given) -> Result<(String, Vec<(String, String)>), String> {
        let file = file(content.as_bytes());
        let read = || {
            let shape = Shape::of(file.path(), given)?;
            let edges: Result<Vec<Edge>, InputError> = shape.edges(file.path())?.collect();
            Ok((shape.to_string(), edges?))
        };
        let (shape, edges) = read().map_err(|error: InputError| error.to_string())?;
        Ok((shape, edges.into_iter().map(|edge| (edge.from, edge.to)).collect()))
    }

    fn read(content: &str) -> Result<(String, Vec<(String, String)>), String> {
        read_as(content, Given::default())
    }

    fn pairs(names: &[[&str; 2]]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|[from, to]| (from.to_string(), to.to_string()))
            .collect()
    }

    #[test]
    fn edges_are_read_plain_and_compressed() {
        let text = b"# a comment\n0 1\n\n1\t2 0.5\r\n% another\n";
        let expected = [("0", "1", 2), ("1", "2", 4)].map(|(from, to, line)| Edge {
            line,
            from: from.into(),
            to: to.into(),
        });
        for content in [text.to_vec(), gzip(text)] {
            let file = file(&content);
            let shape = Shape::of(file.path(), Given::default()).unwrap();
            let read: Vec<Edge> = shape.edges(file.path()).unwrap().map(Result::unwrap).collect();
            assert_eq!(read, expected);
            assert_eq!(
                shape.to_string(),
                "edges: 2 to 3 columns, blanks, no header, the first is from \"0\" to \"1\", 2 comments left out"
            );
        }
    }

    #[test]
    fn a_file_has_one_separator() {
        for (content, separator, expected) in [
            (
                "Ann Lee,Bob Ray\nBob Ray, Ann Lee\n",
                "comma",
                [["Ann Lee", "Bob Ray"], ["Bob Ray", "Ann Lee"]],
            ),
            ("\"Lee, Ann\",b\nb,c\n", "comma", [["Lee, Ann", "b"], ["b", "c"]]),
            ("a;b;0,5\nb;c;1,5\n", "semicolon", [["a", "b"], ["b", "c"]]),
            (
                "Lee, Ann\tRay, Bob\nA\tB\n",
                "tab",
                [["Lee, Ann", "Ray, Bob"], ["A", "B"]],
            ),
            (
                "\"Ann Lee\"  \"Ray, Bob\"\na b\n",
                "blanks",
                [["Ann Lee", "Ray, Bob"], ["a", "b"]],
            ),
            ("\u{FEFF}a,b\nb,a\n", "comma", [["a", "b"], ["b", "a"]]),
        ] {
            let (shape, edges) = read(content).unwrap();
            assert!(shape.contains(&format!(" columns, {separator}, no header")), "{shape}");
            assert_eq!(edges, pairs(&expected), "{content}");
        }
        let given = Given {
            separator: Some(Separator::Blank),
            ..Given::default()
        };
        assert_eq!(read_as("1 2 {'a':1,'b':2}\n", given).unwrap().1, pairs(&[["1", "2"]]));
    }

    #[test]
    fn a_header_is_left_out_where_the_file_shows_it() {
        for (content, header) in [
            ("x1,x2\n1,2\n", "x1,x2"),
            ("x1,x2\n17,user_17\n", "x1,x2"),
            ("id_1,id_2\nann,bob\n", "id_1,id_2"),
            ("Source,Target,Weight\nann,bob,1\n", "Source,Target,Weight"),
            ("from_node_id\tto-node-id\nann\tbob\n", "from_node_id,to-node-id"),
            ("# SNAP\nFollower Followee\nann bob\n", "Follower,Followee"),
            ("ego,alter,since\nann,bob,2015\n", "ego,alter,since"),
        ] {
            let (shape, edges) = read(content).unwrap();
            assert!(shape.contains(&format!("header {header:?} left out")), "{shape}");
            assert_eq!(edges.len(), 1, "{content}");
        }
        for people in [
            "x1,x2\nx2,x3\n",
            "x1,x2\nx3,x4\n",
            "user_1,user_2\n17,user_17\n",
            "11,12\nann,bob\n",
            "1,2\nann,bob\n",
            "ann,bob\ncid,dan\n",
            "source,target\ntarget,ann\n",
            "ann,bob\n1,2\n2,ann\n",
            "ann,1\n2,3\n",
            "ann,bob,NA\ncid,dan,1\n",
            "ann,bob,\ncid,dan,1\n",
            "1,2\n3,4\n",
        ] {
            let (shape, edges) = read(people).unwrap();
            assert!(shape.contains("no header"), "{shape}");
            assert_eq!(edges.len(), people.lines().count(), "{people}");
        }
        for (header, left) in [(Header::Yes, 1), (Header::No, 2)] {
            let given = Given {
                header,
                ..Given::default()
            };
            assert_eq!(read_as("x1,x2\n1,2\n", given).unwrap().1.len(), left);
        }
        assert_eq!(read("# nothing\n").unwrap(), ("edges: none".to_owned(), vec![]));
    }

    #[test]
    fn what_would_be_misread_is_an_error_with_its_line() {
        for (content, expected) in [
            (
                "0 1\nalone\n",
                "line 2: expected two names, as in `a b`, found \"alone\"",
            ),
            ("a,b\nb,c\nAnn Lee\n", "line 3: expected two names"),
            ("a,b\nb,\nc,d\n", "line 2: expected two names"),
            ("a b\nb c\nc,d\n", "line 3: expected two names"),
            ("Ann Lee\tBob Ray\nb\tc\nAnn Lee\n", "line 3: expected two names"),
            ("a b\nb c\nAnn Lee,Bob Ray\n", "line 3: has another separator"),
            ("a b\nb c\nAnn Lee\tBob Ray\n", "line 3: has another separator"),
            ("a,b\n\"b,c\n", "line 2: a quote is opened and never closed"),
            ("a,b\nb,\"c\nc,d\n", "line 2: a quote is opened and never closed"),
            ("a,b\n\"b\"x,c\nc,d\n", "line 2: a quoted field goes on"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
