//! The users of an import: their handles, their derived passwords, and their sessions.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::ids::UserId;
use model::values::{DisplayName, Handle};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::api_client::{Answer, ApiClient, Call, CallError, Problem};

/// A token that ends sooner is refreshed before it is used.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);
/// A session that can't be ended ends by itself.
const LOG_OUT_FOR: Duration = Duration::from_secs(5);

/// The place of a user among the [`Accounts`].
pub(super) type AccountIndex = u32;

/// Everybody whom the files name, by order of appearance. A user takes about 200 bytes, and 700 more with a session.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    list: Vec<Account>,
    by_handle: HashMap<Handle, AccountIndex>,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) handle: Handle,
    /// The name as the file spells it, if it differs from the handle.
    name: Option<Box<str>>,
    /// Known once the user is registered.
    id: OnceLock<UserId>,
    /// Held during a login or a refresh, so that other tasks wait and use the same session.
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
enum Session {
    #[default]
    None,
    Open(Box<Tokens>),
    /// The login fails for good. Another attempt would only cost the server another hash.
    Refused(Box<Problem>),
}

#[derive(Debug)]
struct Tokens {
    access: String,
    refresh: String,
    ends: Instant,
}

impl Accounts {
    /// The account of a handle. Makes it when the handle is named for the first time.
    pub(super) fn add(&mut self, handle: Handle, name: &str) -> AccountIndex {
        if let Some(&known) = self.by_handle.get(&handle) {
            return known;
        }
        let index = AccountIndex::try_from(self.list.len()).expect("an import has fewer than four billion users");
        let name = (name != handle.as_str()).then(|| name.into());
        self.by_handle.insert(handle.clone(), index);
        self.list.push(Account {
            name,
            ..Account::of(handle)
        });
        index
    }

    pub(super) fn find(&self, handle: &Handle) -> Option<AccountIndex> {
        self.by_handle.get(handle).copied()
    }

    pub(super) fn get(&self, index: AccountIndex) -> &Account {
        &self.list[index as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

impl Account {
    pub(crate) fn of(handle: Handle) -> Self {
        Self {
            handle,
            name: None,
            id: OnceLock::new(),
            session: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> Option<UserId> {
        self.id.get().copied()
    }

    /// Stores an id that the journal or an answer gave. The first one stays.
    pub(super) fn set_id(&self, id: UserId) {
        // Another task may have stored the same id at the same time.
        let _ = self.id.set(id);
    }

    /// Used when the session turns out to belong to another store.
    pub(super) async fn forget_session(&self) {
        *self.session.lock().await = Session::None;
    }

    fn display_name(&self) -> Option<DisplayName> {
        self.name.as_deref().and_then(|name| DisplayName::parse(name).ok())
    }
}

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Registration {
    New(UserId),
    /// Registered before, with the password that is derived here.
    Known(UserId),
    Refused(Problem),
}

/// Why nothing can be sent as this user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{}", .0.detail)]
    Refused(Problem),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Registers users and keeps their sessions.
#[derive(Debug)]
pub(crate) struct Registrar {
    api: ApiClient,
    passwords: Passwords,
}

/// How a user's password is known.
enum Passwords {
    Derived(Box<hmac::Key>),
    /// That of the one user who imports something.
    Given(String),
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

#[derive(Deserialize)]
struct NewSession {
    access_token: String,
    refresh_token: String,
    /// Seconds.
    expires_in: u64,
}

#[derive(Deserialize)]
struct Subject {
    sub: UserId,
}

impl Registrar {
    pub(super) fn new(api: ApiClient, secret: &[u8]) -> Self {
        Self {
            api,
            passwords: Passwords::Derived(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))),
        }
    }

    /// Keeps the session of one user, whose password somebody has given.
    pub(crate) fn of_user(api: ApiClient, password: String) -> Self {
        Self {
            api,
            passwords: Passwords::Given(password),
        }
    }

    /// HMAC-SHA256 of the handle, in base64url. Whoever has the secret can log in as any imported user.
    fn password(&self, handle: &Handle) -> String {
        match &self.passwords {
            Passwords::Derived(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, handle.as_str().as_bytes())),
            Passwords::Given(password) => password.clone(),
        }
    }

    /// Sends a call as this user to one of the services, with another token if the first one is refused.
    pub(super) async fn send(
        &self,
        service: &ApiClient,
        account: &Account,
        call: &Call<'_>,
    ) -> Result<Answer, SessionError> {
        let token = self.access_token(account, None).await?;
        let answer = service.call(&call.clone().bearer(&token)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let token = self.access_token(account, Some(&token)).await?;
        Ok(service.call(&call.clone().bearer(&token)).await?)
    }

    pub(super) async fn register(&self, account: &Account) -> Result<Registration, CallError> {
        let handle = &account.handle;
        let mut body = json!({
            "handle": handle.as_str(),
            // A name that can never be a mailbox (RFC 2606).
            "email": format!("{handle}@import.invalid"),
            "password": self.password(handle),
        });
        if let Some(name) = account.display_name() {
            body["display_name"] = name.as_str().into();
        }
        let answer = self.api.call(&Call::post("/v1/users", body)).await?;
        match answer.status {
            StatusCode::CREATED => {
                let user: model::api::User = answer.success()?;
                account.set_id(user.id);
                Ok(Registration::New(user.id))
            }
            // An earlier run has registered the handle, or a request of this run whose answer was lost. Then the password is ours.
            StatusCode::CONFLICT => match self.access_token(account, None).await {
                Ok(token) => {
                    let id = subject(&token).ok_or_else(|| answer.unexpected())?;
                    account.set_id(id);
                    Ok(Registration::Known(id))
                }
                Err(SessionError::Refused(_)) => Ok(Registration::Refused(answer.problem())),
                Err(SessionError::Call(error)) => Err(error),
            },
            status if status.is_client_error() => Ok(Registration::Refused(answer.problem())),
            _ => Err(answer.unexpected()),
        }
    }

    /// The user id of this account, from a new login with its password.
    pub(super) async fn who_is(&self, account: &Account) -> Result<UserId, SessionError> {
        let token = self.access_token(account, None).await?;
        subject(&token).ok_or_else(|| {
            SessionError::Refused(Problem {
                title: "the access token names no user".to_owned(),
                detail: String::new(),
            })
        })
    }

    /// A token that is valid for at least a minute. `refused` is a token that a service has refused: it is replaced.
    pub(crate) async fn access_token(&self, account: &Account, refused: Option<&str>) -> Result<String, SessionError> {
        let mut session = account.session.lock().await;
        let refresh_token = match &*session {
            Session::Refused(problem) => return Err(SessionError::Refused(Problem::clone(problem))),
            Session::None => None,
            Session::Open(tokens) => {
                let usable = tokens.ends > Instant::now() + REFRESH_BEFORE;
                if usable && refused != Some(tokens.access.as_str()) {
                    return Ok(tokens.access.clone());
                }
                Some(tokens.refresh.clone())
            }
        };
        let refreshed = match refresh_token {
            Some(token) => self.refresh(&token).await?,
            None => None,
        };
        let tokens = match refreshed {
            Some(tokens) => tokens,
            None => match self.log_in(&account.handle).await {
                Err(SessionError::Refused(problem)) => {
                    *session = Session::Refused(Box::new(problem.clone()));
                    return Err(SessionError::Refused(problem));
                }
                other => other?,
            },
        };
        let access = tokens.access.clone();
        *session = Session::Open(Box::new(tokens));
        Ok(access)
    }

    /// Ends the session of this user.
    pub(crate) async fn log_out(&self, command_url: &Url, account: &Account) -> anyhow::Result<()> {
        let command = ApiClient::new(command_url, LOG_OUT_FOR)?;
        let call = Call::delete("/v1/sessions/current");
        let answer = self.send(&command, account, &call).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(answer.unexpected().into()),
        }
    }

    async fn log_in(&self, handle: &Handle) -> Result<Tokens, SessionError> {
        let body = json!({ "handle": handle.as_str(), "password": self.password(handle) });
        let answer = self.api.call(&Call::post("/v1/sessions", body)).await?;
        if answer.status.is_client_error() {
            return Err(SessionError::Refused(answer.problem()));
        }
        Ok(answer.success::<NewSession>()?.into())
    }

    /// `None` if the session has ended at the service.
    async fn refresh(&self, refresh_token: &str) -> Result<Option<Tokens>, CallError> {
        let call = Call::post("/v1/sessions/refresh", json!({ "refresh_token": refresh_token }));
        let answer = self.api.call(&call).await?;
        if answer.status.is_client_error() {
            return Ok(None);
        }
        Ok(Some(answer.success::<NewSession>()?.into()))
    }
}

impl From<NewSession> for Tokens {
    fn from(session: NewSession) -> Self {
        Self {
            access: session.access_token,
            refresh: session.refresh_token,
            ends: Instant::now() + Duration::from_secs(session.expires_in),
        }
    }
}

/// The user whom an access token is for. It comes directly from its issuer, so that it needs no verification.
fn subject(access_token: &str) -> Option<UserId> {
    let payload = URL_SAFE_NO_PAD.decode(access_token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Subject>(&payload)
        .ok()
        .map(|subject| subject.sub)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn a_user_that_both_files_name_is_one_user() {
        let mut accounts = Accounts::default();
        let handle = Handle::parse("ann").unwrap();
        let first = accounts.add(handle.clone(), "ann");
        assert_eq!(accounts.add(handle.clone(), "Ann"), first);
        assert_eq!((accounts.len(), accounts.find(&handle)), (1, Some(first)));
    }

    #[test]
    fn the_name_is_shown_only_where_it_says_more_than_the_handle() {
        let mut accounts = Accounts::default();
        let plain = accounts.add(Handle::parse("ann").unwrap(), "ann");
        let capital = accounts.add(Handle::parse("bob").unwrap(), "Bob");
        assert_eq!(accounts.get(plain).display_name(), None);
        assert_eq!(accounts.get(capital).display_name().unwrap().as_str(), "Bob");
    }

    #[test]
    fn the_subject_is_read_from_the_token() {
        let id = UserId::new(Utc::now());
        let payload = URL_SAFE_NO_PAD.encode(json!({ "sub": id, "iss": "x" }).to_string());
        assert_eq!(subject(&format!("e30.{payload}.c2ln")), Some(id));
        assert_eq!(subject("nonsense"), None);
    }
}
