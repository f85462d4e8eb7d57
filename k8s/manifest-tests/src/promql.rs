//! Finds the metrics that a PromQL expression names, and the labels by which it selects them.

/// A metric in an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    pub metric: String,
    /// The labels between the braces.
    pub labels: Vec<String>,
}

const KEYWORDS: [&str; 12] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "atan2",
];

/// The selectors of an expression. promtool has checked that the expression is correct.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let (word, after) = split_word(rest);
            rest = after;
            let next = rest.trim_start();
            match word {
                // The list of labels after this word contains no metric.
                "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" if next.starts_with('(') => {
                    rest = skip_to(next, ')');
                }
                word if KEYWORDS.contains(&word) || next.starts_with('(') => {}
                // An aggregation whose grouping comes first: sum by (job) (…).
                _ if ["by", "without"].contains(&split_word(next).0) => {}
                metric => {
                    let labels = if next.starts_with('{') {
                        let end = next.len() - skip_to(next, '}').len();
                        let labels = labels(&next[1..end - 1]);
                        rest = &next[end..];
                        labels
                    } else {
                        Vec::new()
                    };
                    found.push(Selector {
                        metric: metric.to_owned(),
                        labels,
                    });
                }
            }
        } else if first == '[' {
            rest = skip_to(rest, ']');
        } else if first.is_ascii_digit() {
            // A number, or a duration such as 15m.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The text after the closing character. A closing character inside quotes does not count.
fn skip_to(text: &str, closing: char) -> &str {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c == closing && !quoted => return &text[at + c.len_utf8()..],
            _ => {}
        }
    }
    ""
}

/// The label names in the text between braces: the words before the operators.
fn labels(mut text: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ', '\n']);
        if text.is_empty() {
            return found;
        }
        let (name, after) = split_word(text);
        found.push(name.to_owned());
        // Values in our expressions contain no quotes.
        let Some((_, value)) = after.split_once('"') else {
            return found;
        };
        text = value.split_once('"').map_or("", |(_, rest)| rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expression: &str) -> Vec<String> {
        selectors(expression)
            .into_iter()
            .map(|selector| selector.metric)
            .collect()
    }

    #[test]
    fn metrics_are_found_and_nothing_else() {
        let expression = r#"
            sum by (job, le) (rate(a_total{job=~"x-(y|z)", route="/v1/{id}"}[5m] offset 15m))
              / on (job) group_left (pod) max without (pod) (b) > 0.8 * 2048 or absent(up == 1) unless c{}"#;
        assert_eq!(names(expression), ["a_total", "b", "up", "c"]);
    }

    #[test]
    fn labels_are_found_between_braces() {
        let found = selectors(r#"a{job="b, c", status=~"5.."}"#);
        assert_eq!(found[0].labels, ["job", "status"]);
    }
}
