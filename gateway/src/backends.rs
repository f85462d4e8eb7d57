//! Which service answers a request, and how it is reached.

use actix_web::dev::{Payload, RequestHead};
use actix_web::http::Method;
use actix_web::{HttpResponse, ResponseError};
use service::http::{InProcess, Opened};

use crate::forward::Remote;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Command,
    Query,
}

impl Side {
    /// Queries read, and commands write. But only command-svc knows of accounts, sessions and keys.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let within = |prefix: &str| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads || path == "/v1/users/me" || within("/v1/sessions") || within("/.well-known") {
            Self::Command
        } else {
            Self::Query
        }
    }
}

/// How a service is reached.
#[derive(Debug, Clone)]
pub enum Backend {
    /// At another address.
    Remote(Box<Remote>),
    /// In this process.
    InProcess(InProcess),
}

/// Both services.
#[derive(Debug, Clone)]
pub struct Backends {
    pub command: Backend,
    pub query: Backend,
}

/// A service, for one thread.
#[derive(Debug)]
enum Reached {
    Remote(Box<Remote>),
    InProcess(Opened),
}

/// Both services, for one thread.
#[derive(Debug)]
pub(crate) struct Services {
    command: Reached,
    query: Reached,
}

impl Backend {
    fn reach(&self) -> Reached {
        match self {
            Self::Remote(remote) => Reached::Remote(Box::new(remote.for_this_thread())),
            Self::InProcess(service) => Reached::InProcess(service.open()),
        }
    }
}

impl Backends {
    pub(crate) fn reach(&self) -> Services {
        Services {
            command: self.command.reach(),
            query: self.query.reach(),
        }
    }
}

impl Services {
    pub(crate) async fn answer(&self, head: RequestHead, body: Payload) -> HttpResponse {
        let service = match Side::of(&head.method, head.uri.path()) {
            Side::Command => &self.command,
            Side::Query => &self.query,
        };
        match service {
            Reached::InProcess(service) => service.answer(head, body).await,
            Reached::Remote(service) => {
                let answered = service.forward(&head, body).await;
                answered.unwrap_or_else(|problem| problem.error_response())
            }
        }
    }
}
