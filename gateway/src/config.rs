//! The configuration of the gateway.

use std::net::SocketAddr;

use hyper::Uri;
use serde::{Deserialize, Serialize};
use service::config::{self, ConfigError, Secret};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub gateway: Gateway,
    pub http: config::Http,
    pub shutdown: config::Shutdown,
    pub telemetry: config::Telemetry,
}

/// Where the gateway listens, and where the services are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    pub listen: SocketAddr,
    /// For example `http://microblog-command:8081`.
    pub command_url: String,
    /// For example `http://microblog-query:8082`.
    pub query_url: String,
    /// What the cookies of the web pages are encrypted with: 32 characters or more. Without it, nobody can log in on the pages.
    pub cookie_secret: Option<Secret>,
    /// The one before. Cookies that it has encrypted are still read.
    pub former_cookie_secret: Option<Secret>,
    /// `auth.client_secret` of command-svc: the gateway keeps the refresh tokens of its visitors. Without it, a visitor whose browser has lost
    /// the answer to a refresh has to log in again.
    pub client_secret: Option<Secret>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            command_url: "http://127.0.0.1:8081".to_owned(),
            query_url: "http://127.0.0.1:8082".to_owned(),
            cookie_secret: None,
            former_cookie_secret: None,
            client_secret: None,
        }
    }
}

/// Host and port of a service.
pub(crate) fn authority(key: &str, url: &str) -> Result<hyper::http::uri::Authority, ConfigError> {
    let url: Uri = url
        .parse()
        .map_err(|error| ConfigError::invalid(key, format!("{url:?} is not a URL: {error}")))?;
    let bare = url.path() == "/" && url.query().is_none();
    match url.authority() {
        Some(authority) if url.scheme_str() == Some("http") && bare => Ok(authority.clone()),
        _ => Err(ConfigError::invalid(key, "must be http://host:port, without a path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_host_and_a_port() {
        let of = |url| authority("gateway.query_url", url).map(|it| it.to_string());
        assert_eq!(of("http://microblog-query:8082").unwrap(), "microblog-query:8082");
        assert_eq!(of("http://[::1]:8082/").unwrap(), "[::1]:8082");
        for wrong in [
            "",
            "microblog-query",
            "https://microblog-query",
            "http://query/v1",
            "http://query?x",
        ] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains("gateway.query_url"), "{wrong}: {error}");
        }
    }
}
