//! What a browser keeps for us: who is logged in, in a form that only the gateway can read, and what the visitor has just changed.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::COOKIE;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use event_log::consistency::ConsistencyToken;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::config::{ConfigError, Secret};

use crate::config::Gateway;

const SESSION: &str = "session";
/// A session lasts as long as its refresh token, 30 days after its last use.
const SESSION_LASTS: Duration = Duration::days(30);
/// Each command has a cookie of its own. Otherwise two commands at once would overwrite each other's.
const SEEN: &str = "seen-";
/// Views are behind for less than a second, and the page after a command comes at once.
const SEEN_LASTS: Duration = Duration::minutes(1);
/// What the key is for, and what is encrypted with it.
const PURPOSE: &[u8] = b"sessions of the web pages";
const SHORTEST_SECRET: usize = 32;

/// Who is logged in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) handle: String,
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    /// When the access token is over, in seconds since 1970.
    pub(super) expires_at: i64,
    /// A form must have it. Another site can't know it.
    pub(super) form_token: String,
}

/// Encrypts cookies.
#[derive(Debug, Clone)]
pub(crate) struct Jar(Arc<Keys>);

#[derive(Debug)]
struct Keys {
    /// None: nobody can log in.
    current: Option<RandomizedNonceKey>,
    /// What it has encrypted can still be read.
    former: Option<RandomizedNonceKey>,
    client_secret: Option<Secret>,
}

impl Jar {
    pub(crate) fn new(config: &Gateway) -> Result<Self, ConfigError> {
        let key = |name, secret: &Secret| {
            let secret = secret.expose();
            if secret.chars().count() < SHORTEST_SECRET {
                return Err(ConfigError::invalid(name, "must have 32 characters or more"));
            }
            // The same secret for another purpose would give another key.
            let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), PURPOSE);
            RandomizedNonceKey::new(&AES_256_GCM, key.as_ref())
                .map_err(|_| ConfigError::invalid(name, "is not good for a key"))
        };
        let (current, former) = (config.cookie_secret.as_ref(), config.former_cookie_secret.as_ref());
        let current = current.map(|it| key("gateway.cookie_secret", it)).transpose()?;
        let former = former.map(|it| key("gateway.former_cookie_secret", it)).transpose()?;
        Ok(Self(Arc::new(Keys {
            current,
            former,
            client_secret: config.client_secret.clone(),
        })))
    }

    /// Adds to a login or a refresh what shows that it is ours.
    pub(super) fn prove(&self, mut request: Value) -> Value {
        if let Some(secret) = &self.0.client_secret {
            request["client_secret"] = secret.expose().into();
        }
        request
    }

    pub(super) fn allows_login(&self) -> bool {
        self.0.current.is_some()
    }

    /// Who is logged in, by the cookies of a request. Nobody, if they can't be decrypted.
    pub(super) fn session(&self, request: &HttpRequest) -> Option<Session> {
        let cookie = sent(request).find(|cookie| cookie.name() == SESSION)?;
        let keys = self.0.current.iter().chain(&self.0.former);
        let json = keys.into_iter().find_map(|key| decrypted(key, cookie.value()))?;
        serde_json::from_slice(&json).ok()
    }

    /// The header that keeps a session, or ends it.
    pub(super) fn keep(&self, session: Option<&Session>, secure: bool) -> Option<String> {
        let Some(session) = session else {
            return Some(cookie(SESSION, "", secure, Duration::ZERO));
        };
        let json = serde_json::to_vec(session).ok()?;
        let value = encrypted(self.0.current.as_ref()?, json)?;
        Some(cookie(SESSION, &value, secure, SESSION_LASTS))
    }
}

/// Nonce ‖ ciphertext ‖ tag, as text.
fn encrypted(key: &RandomizedNonceKey, mut bytes: Vec<u8>) -> Option<String> {
    let nonce = key.seal_in_place_append_tag(Aad::from(PURPOSE), &mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &bytes].concat()))
}

fn decrypted(key: &RandomizedNonceKey, text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
    let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
    let json = key.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).ok()?;
    Some(json.to_vec())
}

/// A `Set-Cookie` header. No script can read the cookie, and no other site's form carries it.
fn cookie(name: &str, value: &str, secure: bool, lasts: Duration) -> String {
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax);
    cookie.secure(secure).max_age(lasts).build().to_string()
}

/// What the visitor has changed lately. A query must show it.
pub(super) fn seen(request: &HttpRequest) -> Option<ConsistencyToken> {
    let tokens = sent(request).filter(|cookie| cookie.name().starts_with(SEEN));
    // Whoever writes such a cookie by hand harms nobody but themselves: a token that can't be read is left out.
    let tokens = tokens.filter_map(|cookie| cookie.value().parse::<ConsistencyToken>().ok());
    tokens.reduce(|mut all, token| {
        all.merge(&token);
        all
    })
}

/// The header that keeps what a command has answered.
pub(super) fn keep_seen(token: &str, secure: bool) -> String {
    let name: String = token
        .chars()
        .rev()
        .filter(char::is_ascii_alphanumeric)
        .take(8)
        .collect();
    cookie(&format!("{SEEN}{name}"), token, secure, SEEN_LASTS)
}

fn sent(request: &HttpRequest) -> impl Iterator<Item = Cookie<'static>> {
    let lines = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| Cookie::split_parse(line.to_owned()));
    cookies.filter_map(Result::ok).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn jar(current: &str, former: Option<&str>) -> Jar {
        let secret = |text: &str| Secret::new(text.repeat(32));
        let config = Gateway {
            cookie_secret: Some(secret(current)),
            former_cookie_secret: former.map(secret),
            ..Gateway::default()
        };
        Jar::new(&config).unwrap()
    }

    fn read(jar: &Jar, header: &str) -> Option<String> {
        let (cookie, _) = header.split_once(';').unwrap();
        let request = TestRequest::get().insert_header((COOKIE, cookie)).to_http_request();
        jar.session(&request).map(|session| session.handle)
    }

    #[test]
    fn a_session_is_read_with_the_key_that_wrote_it() {
        let session = Session {
            handle: "ann".to_owned(),
            access_token: "canary".to_owned(),
            refresh_token: "canary".to_owned(),
            expires_at: 0,
            form_token: "canary".to_owned(),
        };
        let header = jar("a", None).keep(Some(&session), true).unwrap();
        assert!(!header.contains("canary") && !header.contains("ann"), "{header}");
        for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(header.contains(attribute), "{header}");
        }
        assert_eq!(read(&jar("a", None), &header).unwrap(), "ann");
        assert_eq!(read(&jar("b", Some("a")), &header).unwrap(), "ann", "keys rotate");
        assert_eq!(read(&jar("b", None), &header), None);
        let forged = header.replacen("session=", "session=A", 1);
        assert_eq!(read(&jar("a", None), &forged), None);
        let nobody = Jar::new(&Gateway::default()).unwrap();
        assert!(!nobody.allows_login() && nobody.keep(Some(&session), true).is_none());
        let short = Gateway {
            cookie_secret: Some(Secret::new("short")),
            ..Gateway::default()
        };
        let short = Jar::new(&short).unwrap_err().to_string();
        assert!(short.contains("gateway.cookie_secret"), "{short}");
    }
}
