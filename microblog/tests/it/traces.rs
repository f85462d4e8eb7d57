//! A trace from the client through the command and its event to the projection, as a collector receives it.

use std::sync::{Arc, Mutex};

use local_mongodb::TestDatabase;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::stack::eventually;
use crate::up::Up;

/// Keeps the spans that it receives.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        self.0
            .lock()
            .expect("nobody panics with it")
            .extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens on a free port until the test ends. Returns the address.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        format!("http://{address}")
    }

    fn of_trace(&self, trace: &str) -> Vec<Span> {
        let spans = self.0.lock().expect("nobody panics with it");
        spans
            .iter()
            .filter(|span| hex(&span.trace_id) == trace)
            .cloned()
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_trace_goes_from_the_request_through_the_event_into_the_projection() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let database = TestDatabase::new().await;
    let data = tempfile::tempdir().expect("a directory");
    let up = Up::start_on(
        &database,
        data.path(),
        &[
            ("MICROBLOG__TELEMETRY__OTLP_ENDPOINT", &endpoint),
            ("MICROBLOG__TELEMETRY__FILTER", "info"),
        ],
    );
    let (trace, client) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/users", up.url("writes")))
        .header("traceparent", format!("00-{trace}-{client}-01"))
        .json(&json!({ "handle": "traced", "email": "traced@example.org", "password": "long enough" }))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 201);

    let path = eventually("the projection's span and all above it arrive", || async {
        path_to(client, &collector.of_trace(trace))
    })
    .await;
    assert!(path.len() >= 2, "the request's span lies between: {path:?}");
}

/// The names of the spans from the projection's up to the client's, parent by parent. `None` while one of them is missing.
fn path_to(client: &str, spans: &[Span]) -> Option<Vec<String>> {
    let mut at = spans.iter().find(|span| span.name == "handle")?;
    let mut names = vec![at.name.clone()];
    while hex(&at.parent_span_id) != client {
        at = spans.iter().find(|span| span.span_id == at.parent_span_id)?;
        names.push(at.name.clone());
    }
    Some(names)
}
