//! A service for callers in the same process: its routes, limits and metrics, without a socket.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use actix_service::boxed::{RcService, rc_service};
use actix_service::{IntoServiceFactory, ServiceExt};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Payload, RequestHead, Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, Error, HttpResponse};
use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::sync::OnceCell;

type Requests = RcService<actix_http::Request, ServiceResponse<BoxBody>, Error>;

/// A service that any thread can open for itself.
#[derive(Clone)]
pub struct InProcess(Arc<dyn Fn() -> LocalBoxFuture<'static, Requests> + Send + Sync>);

/// A service of one thread. It begins to exist with the first request.
#[derive(Clone)]
pub struct Opened {
    service: InProcess,
    requests: Rc<OnceCell<Requests>>,
}

impl InProcess {
    pub(super) fn new<T, B>(app: impl Fn() -> App<T> + Send + Sync + 'static) -> Self
    where
        T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
            + 'static,
        T::Future: 'static,
        B: MessageBody + 'static,
    {
        Self(Arc::new(move || {
            let opening = app().into_factory().new_service(AppConfig::default());
            async {
                let service = opening.await.expect("a service needs nothing to begin");
                rc_service(service.map(ServiceResponse::map_into_boxed_body))
            }
            .boxed_local()
        }))
    }

    /// For the thread that calls this.
    pub fn open(&self) -> Opened {
        Opened {
            service: self.clone(),
            requests: Rc::default(),
        }
    }
}

impl Opened {
    pub async fn answer(&self, head: RequestHead, body: Payload) -> HttpResponse {
        let requests = self.requests.get_or_init(|| (self.service.0)()).await;
        let mut request = actix_http::Request::with_payload(body);
        *request.head_mut() = head;
        match requests.call(request).await {
            Ok(answer) => answer.into_parts().1,
            Err(error) => error.error_response(),
        }
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}
