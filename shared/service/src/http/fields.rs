//! Turns the raw texts of a request into values, and reports all errors at once.

use std::fmt;

use super::problem::{FieldError, Problem};

/// Collects the errors of a request's fields while they are parsed.
///
/// ```
/// # use service::http::{Fields, Problem};
/// # use model::values::{Email, Handle};
/// fn parse(handle: &str, email: &str) -> Result<(Handle, Email), Problem> {
///     let mut fields = Fields::default();
///     let handle = fields.parse("handle", handle, Handle::parse);
///     let email = fields.parse("email", email, Email::parse);
///     // `take` is reached only if every field could be parsed.
///     fields.finish()?;
///     Ok((Fields::take(handle)?, Fields::take(email)?))
/// }
/// assert_eq!(parse("no spaces", "nor this").unwrap_err().errors.len(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// The value of a field, or `None`. Then [`Fields::finish`] returns the error.
    pub fn parse<R, T, E: fmt::Display>(
        &mut self,
        field: &str,
        raw: R,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        parse(raw).map_err(|error| self.refuse(field, error)).ok()
    }

    /// Does the same for an optional field.
    pub fn parse_optional<R, T, E: fmt::Display>(
        &mut self,
        field: &str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        raw.and_then(|raw| self.parse(field, raw, parse))
    }

    /// Adds another error of a field.
    pub fn refuse(&mut self, field: &str, message: impl fmt::Display) {
        self.errors.push(FieldError {
            field: field.to_owned(),
            message: message.to_string(),
        });
    }

    /// Returns all errors as one 422.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::validation(self.errors))
        }
    }

    /// The value of a parsed field, after [`Fields::finish`] has succeeded.
    pub fn take<T>(field: Option<T>) -> Result<T, Problem> {
        field.ok_or_else(|| Problem::validation(Vec::new()))
    }
}

/// The field that a message of serde is about, and the message without the field's name. The path is that of `serde_path_to_error`;
/// `whole` is the name where no field is at fault.
pub(super) fn named(path: &str, message: &str, whole: &str) -> (String, String) {
    let path = path.trim_matches('.');
    let named = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split('`').next());
    let below = |name: &str| match path.rsplit_once('.') {
        _ if path.is_empty() || path == name => name.to_owned(),
        Some((_, last)) if last == name => path.to_owned(),
        _ => format!("{path}.{name}"),
    };
    if let Some(name) = named("missing field `") {
        (below(name), "is missing".to_owned())
    } else if let Some(name) = named("unknown field `") {
        let known = message.rsplit_once("`, expected ");
        let expected = known.map_or(String::new(), |(_, known)| format!("; expected {known}"));
        (below(name), format!("is not known here{expected}"))
    } else if let Some(name) = named("duplicate field `") {
        (below(name), "is given twice".to_owned())
    } else if path.is_empty() {
        (whole.to_owned(), message.to_owned())
    } else {
        (path.to_owned(), message.to_owned())
    }
}
