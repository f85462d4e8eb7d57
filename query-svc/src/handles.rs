//! Which user an id or a handle names.

use std::str::FromStr;

use model::ids::UserId;
use model::values::Handle;

use crate::read_model::{ReadError, ReadModel};

/// How a client names a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserName {
    Id(UserId),
    Handle(Handle),
}

#[derive(Debug, thiserror::Error)]
#[error("must be a user's id, or a handle with an @ in front")]
pub(crate) struct InvalidUserName;

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        match text.strip_prefix('@') {
            Some(handle) => handle.parse().map(Self::Handle).map_err(|_| InvalidUserName),
            None => text.parse().map(Self::Id).map_err(|_| InvalidUserName),
        }
    }
}

/// Users by handle, in memory. A handle stays with its user forever, so no entry ever becomes wrong.
#[derive(Debug)]
pub(crate) struct Handles(quick_cache::sync::Cache<Handle, UserId>);

impl Default for Handles {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(50_000))
    }
}

impl Handles {
    pub(crate) async fn find(&self, read_model: &ReadModel, name: UserName) -> Result<Option<UserId>, ReadError> {
        let handle = match name {
            UserName::Id(id) => return Ok(Some(id)),
            UserName::Handle(handle) => handle,
        };
        if let Some(id) = self.0.get(&handle) {
            return Ok(Some(id));
        }
        let profile = read_model
            .ask(read_model.views.profiles.live_by_handle(handle.as_str()))
            .await?;
        Ok(profile.map(|profile| {
            self.0.insert(handle, profile.id);
            profile.id
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_id_or_by_handle() {
        let id = UserId::from_bytes([7; 16]);
        assert_eq!(id.to_string().parse::<UserName>().unwrap(), UserName::Id(id));
        assert_eq!(
            "@Ada_1".parse::<UserName>().unwrap(),
            UserName::Handle(Handle::parse("ada_1").unwrap())
        );
        for neither in ["", "ada", "@", "@a b", "@@ada", "123"] {
            assert!(neither.parse::<UserName>().is_err(), "{neither}");
        }
    }
}
