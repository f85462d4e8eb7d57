//! The server: it binds, serves, and drains.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
#[cfg(target_os = "linux")]
use std::time::Duration;

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, LINK, LOCATION, RETRY_AFTER};
use actix_web::middleware::{Compress, Condition, from_fn};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, Error, HttpServer};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tracing_actix_web::TracingLogger;

use super::edge::{Edge, EdgeState};
use super::in_process::InProcess;
use super::observe::RequestSpan;
use super::probes::Readiness;
use super::{admission, docs, drain, observe, probes};
use crate::config;
use event_log::consistency;

/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// A peer that takes nothing for this long, while something waits for it, is gone. Otherwise it would keep its connection, and what waits,
/// for as long as it likes.
#[cfg(target_os = "linux")]
const TAKES_NOTHING: Duration = Duration::from_secs(60);

/// A server that has its address but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    http: config::Http,
    shutdown: config::Shutdown,
    readiness: Readiness,
    shell: Shell,
}

impl Server {
    /// Takes the address. Port 0 means any free port. Must be called inside a tokio runtime.
    pub fn bind(address: SocketAddr, edge: Edge) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("can't listen on {address}: {error}"));
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        // The accepted connections have it from here.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(TAKES_NOTHING))?;
        socket.bind(address).map_err(named)?;
        let listener = socket.listen(BACKLOG).map_err(named)?.into_std()?;
        let address = listener.local_addr()?;
        let state = Data::new(EdgeState::new(&edge));
        let Edge {
            http,
            cors,
            shutdown,
            readiness,
            openapi,
            asyncapi,
            ..
        } = edge;
        Ok(Self {
            listener,
            address,
            http,
            shutdown,
            readiness,
            shell: Shell {
                state,
                cors: Arc::new(cors),
                openapi: openapi.map(Arc::new),
                asyncapi: asyncapi.map(Arc::new),
            },
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The same answers, limits and metrics for callers in this process, which need no socket.
    pub fn in_process<F>(&self, routes: F) -> InProcess
    where
        F: Fn(&mut ServiceConfig) + Clone + Send + Sync + 'static,
    {
        let shell = self.shell.clone();
        InProcess::new(move || shell.around(routes.clone()))
    }

    /// Serves until `shutdown` is cancelled, then drains: `/readyz` turns 503, the server accepts no more connections after the drain
    /// delay, and running requests have the grace period to end.
    ///
    /// `routes` is called once in each worker. Declare routes as `web::resource("/v1/posts/{id}").route(web::get()…)`, with one resource
    /// for each pattern. Otherwise another method would not be answered 405.
    pub async fn run<F>(self, routes: F, shutdown: CancellationToken) -> io::Result<()>
    where
        F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        let address = self.address;
        let running = self.start(routes, shutdown)?;
        running.await?;
        tracing::info!(%address, "stopped");
        Ok(())
    }

    /// Separate from `run`, because the future of `run` would otherwise hold values that can't move between threads.
    fn start<F>(self, routes: F, shutdown: CancellationToken) -> io::Result<actix_web::dev::Server>
    where
        F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        let Self {
            listener,
            address,
            http,
            shutdown: ending,
            readiness,
            shell,
        } = self;
        let workers = http.workers.map_or_else(
            || available_parallelism().map_or(1, NonZeroUsize::get),
            |workers| usize::try_from(workers.get()).unwrap_or(1),
        );
        let connections = usize::try_from(http.max_connections.get()).unwrap_or(usize::MAX);
        let stop = async move {
            shutdown.cancelled().await;
            readiness.drain();
            tracing::info!(%address, "draining");
            tokio::time::sleep(ending.drain_delay).await;
        };
        let server = HttpServer::new(move || shell.around(routes.clone()));
        let running = server
            .workers(workers)
            .max_connections((connections / workers).max(1))
            .keep_alive(http.keep_alive)
            // Otherwise the last part of a long answer, and the next event of a stream, wait until the client has acknowledged what came before:
            // up to 40 ms.
            .tcp_nodelay(true)
            .client_request_timeout(http.head_timeout)
            .shutdown_timeout(ending.grace.as_secs())
            .shutdown_signal(stop)
            .listen(listener)?
            .run();
        Ok(running)
    }
}

/// What is around the routes of a service.
#[derive(Clone)]
struct Shell {
    state: Data<EdgeState>,
    cors: Arc<config::Cors>,
    openapi: Option<Arc<Value>>,
    asyncapi: Option<Arc<Value>>,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").finish_non_exhaustive()
    }
}

impl Shell {
    fn around<F: FnOnce(&mut ServiceConfig)>(
        &self,
        routes: F,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<F>>,
            Error = Error,
            InitError = (),
        > + use<F>,
    > {
        let Self {
            state,
            cors,
            openapi,
            asyncapi,
        } = self;
        App::new()
            .app_data(state.clone())
            .configure(probes::configure)
            .configure(|service| {
                if let Some(openapi) = openapi {
                    docs::configure(service, openapi, asyncapi.as_deref());
                }
            })
            .configure(routes)
            // The last `wrap` sees a request first. `Compress`, which can refuse an encoding, must be inside `observe`, which explains
            // errors.
            .wrap(Compress::default())
            .wrap(from_fn(admission::admit))
            .wrap(Condition::new(!cors.allowed_origins.is_empty(), cross_origin(cors)))
            .wrap(from_fn(observe::observe))
            .wrap(from_fn(drain::close_when_draining))
            .wrap(TracingLogger::<RequestSpan>::new())
    }
}

fn cross_origin(config: &config::Cors) -> Cors {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let token = HeaderName::from_static(consistency::HEADER);
    let named = |name: &'static str| HeaderName::from_static(name);
    let base = Cors::default()
        .allowed_methods(methods)
        .allowed_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            named("idempotency-key"),
            named("x-request-id"),
            named("traceparent"),
            token.clone(),
        ])
        .expose_headers([
            LINK,
            ETAG,
            LOCATION,
            RETRY_AFTER,
            token,
            named("x-request-id"),
            named("x-ratelimit-limit"),
            named("x-ratelimit-remaining"),
            named("x-ratelimit-reset"),
        ])
        .max_age(usize::try_from(config.max_age.as_secs()).unwrap_or(usize::MAX));
    config
        .allowed_origins
        .iter()
        .fold(base, |cors, origin| match origin.as_str() {
            "*" => cors.allow_any_origin(),
            origin => cors.allowed_origin(origin),
        })
}
