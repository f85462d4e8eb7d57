//! From the raw texts of a request to values, with all that is wrong told at once.

use std::fmt;

use super::problem::{FieldError, Problem};

/// Collects what is wrong with the fields of a request while they are parsed.
///
/// ```
/// # use service::http::{Fields, Problem};
/// # use model::values::{Email, Handle};
/// fn parse(handle: &str, email: &str) -> Result<(Handle, Email), Problem> {
///     let mut fields = Fields::default();
///     let handle = fields.parse("handle", handle, Handle::parse);
///     let email = fields.parse("email", email, Email::parse);
///     // `take` is only reached when every field could be parsed.
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
    /// The value of a field, or None, which [`Fields::finish`] will explain.
    pub fn parse<R, T, E: fmt::Display>(
        &mut self,
        field: &str,
        raw: R,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        parse(raw).map_err(|error| self.refuse(field, error)).ok()
    }

    /// The same for a field that may be missing.
    pub fn parse_optional<R, T, E: fmt::Display>(
        &mut self,
        field: &str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        raw.and_then(|raw| self.parse(field, raw, parse))
    }

    /// Notes something else that is wrong with a field.
    pub fn refuse(&mut self, field: &str, message: impl fmt::Display) {
        self.errors.push(FieldError {
            field: field.to_owned(),
            message: message.to_string(),
        });
    }

    /// All that is wrong, as one 422.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::validation(self.errors))
        }
    }

    /// A field that was parsed, after [`Fields::finish`] has agreed.
    pub fn take<T>(field: Option<T>) -> Result<T, Problem> {
        field.ok_or_else(|| Problem::validation(Vec::new()))
    }
}
