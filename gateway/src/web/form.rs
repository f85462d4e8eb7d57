//! A form that was sent. It must come from one of our pages.

use actix_web::dev::Payload;
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use service::http::{Body, Problem};

use super::api::Api;
use super::failure::Failure;

/// The body of a form, not yet read.
#[derive(Debug)]
pub(super) struct Posted {
    body: Bytes,
    /// The browser says that the form is on a page of this address.
    ours: bool,
}

/// What each form of somebody who is logged in has.
#[derive(Deserialize)]
struct WithToken {
    #[serde(default)]
    form_token: String,
}

impl FromRequest for Posted {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        // Every browser sends the origin of a form. A page that hides its own (`null`) is not ours.
        let origin = header(ORIGIN).and_then(|origin| origin.split_once("://"));
        let ours = origin.is_some_and(|(_, host)| Some(host) == header(HOST));
        let is_form = request.content_type() == "application/x-www-form-urlencoded";
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            Ok(Self {
                body: body.await?.0,
                ours: ours && is_form,
            })
        })
    }
}

impl Posted {
    /// The fields, if the form is ours.
    pub(super) fn fields<T: DeserializeOwned>(&self, api: &Api) -> Result<T, Failure> {
        let WithToken { form_token } = serde_html_form::from_bytes(&self.body).map_err(|_| Failure::Foreign)?;
        let expected = api.session().as_ref().map(|session| session.form_token.clone());
        if !self.ours || expected.is_some_and(|expected| expected != form_token) {
            return Err(Failure::Foreign);
        }
        serde_html_form::from_bytes(&self.body).map_err(|error| {
            tracing::debug!(%error, "a form can't be read");
            Failure::of_status(actix_web::http::StatusCode::UNPROCESSABLE_ENTITY)
        })
    }
}
