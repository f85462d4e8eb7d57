//! Log lines as a collector reads them, and traces that continue.

use std::io::Write;
use std::sync::{Arc, Mutex};

use event_log::trace::{current_trace_id, current_traceparent, set_parent};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tracing::{info, info_span};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(telemetry: &config::Telemetry, act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let provider = tracer_provider(telemetry, "test").unwrap();
    let dispatch = dispatch(telemetry, "test", &provider, move || writer.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, act);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_line_is_an_object_with_its_trace_and_its_spans() {
    let log = logged(&config::Telemetry::default(), || {
        let request = info_span!("request", correlation_id = "c-1", route = "/v1/posts");
        set_parent(&request, Some(PARENT));
        let _in_request = request.enter();
        let _in_append = info_span!("append", route = "inner").entered();
        info!(events = 3, text = "two\n\"lines\"", "appended");
    });
    assert_eq!(log.lines().count(), 1);
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["message"], "appended");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["service"], "test");
    assert_eq!(line["events"], 3);
    assert_eq!(line["text"], "two\n\"lines\"");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
    assert_eq!(line["span"]["name"], "append");
    assert_eq!(line["span"]["correlation_id"], "c-1");
    assert_eq!(line["span"]["route"], "inner");
}

#[test]
fn a_field_can_not_pose_as_the_lines_own() {
    let log = logged(&config::Telemetry::default(), || {
        info!(level = "forged", service = "forged", "hello")
    });
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["service"], "test");
}

#[test]
fn a_trace_goes_on_through_what_an_event_stores() {
    logged(&config::Telemetry::default(), || {
        let request = info_span!("request");
        set_parent(&request, Some(PARENT));
        let stored = request.in_scope(current_traceparent).unwrap();
        assert!(stored.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{stored}");
        assert_ne!(stored, PARENT);
        let projection = info_span!("projection");
        set_parent(&projection, Some(&stored));
        projection.in_scope(|| {
            assert_eq!(current_trace_id().as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        });
    });
}

#[test]
fn a_traceparent_that_can_not_be_read_begins_a_new_trace() {
    logged(&config::Telemetry::default(), || {
        for unreadable in [
            None,
            Some(""),
            Some("00-xyz"),
            Some("00-00000000000000000000000000000000-0000000000000000-00"),
        ] {
            let span = info_span!("projection");
            set_parent(&span, unreadable);
            let trace = span.in_scope(current_trace_id).unwrap();
            assert_ne!(trace, "0".repeat(32));
        }
    });
}

#[test]
fn outside_of_spans_there_is_no_trace() {
    assert_eq!(current_traceparent(), None);
}

#[test]
fn the_filter_decides_what_is_written() {
    let quiet = config::Telemetry {
        filter: "warn".to_owned(),
        ..config::Telemetry::default()
    };
    assert_eq!(logged(&quiet, || info!("hello")), "");
    let text = config::Telemetry {
        format: LogFormat::Text,
        ..config::Telemetry::default()
    };
    assert!(logged(&text, || info!("hello")).contains("hello"));
}

#[test]
fn a_wrong_filter_is_named() {
    let telemetry = config::Telemetry {
        filter: "a=b=c".to_owned(),
        ..config::Telemetry::default()
    };
    let provider = tracer_provider(&telemetry, "test").unwrap();
    let error = dispatch(&telemetry, "test", &provider, io::stderr).unwrap_err();
    assert!(error.to_string().contains("MICROBLOG__TELEMETRY__FILTER"), "{error}");
}

#[tokio::test]
async fn a_collector_that_is_not_there_does_no_harm() {
    let telemetry = config::Telemetry {
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..config::Telemetry::default()
    };
    let provider = tracer_provider(&telemetry, "test").unwrap();
    let dispatch = dispatch(&telemetry, "test", &provider, io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        let stored = info_span!("request").in_scope(current_traceparent).unwrap();
        assert!(stored.ends_with("-01"), "{stored}");
    });
    TelemetryGuard { provider }.shutdown().await;
}

#[tokio::test]
async fn spans_are_sent_to_the_collector_before_the_end() {
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let telemetry = config::Telemetry {
        otlp_endpoint: Some(endpoint),
        ..config::Telemetry::default()
    };
    let provider = tracer_provider(&telemetry, "the-service").unwrap();
    let dispatch = dispatch(&telemetry, "the-service", &provider, io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || info_span!("the-span").in_scope(|| ()));
    let shutdown = tokio::spawn(TelemetryGuard { provider }.shutdown());
    let received = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        let (mut socket, _) = collector.accept().await.unwrap();
        let mut bytes = Vec::new();
        let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        while !(has(&bytes, "the-span") && has(&bytes, "the-service")) {
            assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the exporter hung up");
        }
    });
    received.await.unwrap();
    shutdown.await.unwrap();
}
