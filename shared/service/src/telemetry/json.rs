//! Log lines as JSON objects, each with its trace.

use std::fmt;
use std::sync::{Arc, OnceLock};

use chrono::{SecondsFormat, Utc};
use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Remembers the dispatch of which it is a part, because tracing does not provide it inside an event.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnDispatch(Arc<OnceLock<WeakDispatch>>);

impl<S: Subscriber> Layer<S> for OwnDispatch {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer is registered with one dispatch, so the first one is the right one.
        let _kept = self.0.set(dispatch.downgrade());
    }
}

/// Writes `timestamp`, `level`, `service`, `target`, `message`, `trace_id`, `span_id`, and the fields of the event. Under `span` it writes
/// the name of the innermost span, and the fields of all spans. If two spans have the same field, the inner one wins.
#[derive(Debug)]
pub(super) struct JsonLines {
    service: &'static str,
    dispatch: OwnDispatch,
}

impl JsonLines {
    pub(super) fn new(service: &'static str, dispatch: OwnDispatch) -> Self {
        Self { service, dispatch }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert(
            "timestamp".into(),
            Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true).into(),
        );
        line.insert("level".into(), metadata.level().as_str().into());
        line.insert("service".into(), self.service.into());
        line.insert("target".into(), metadata.target().into());
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        if let Some(span) = context.parent_span() {
            let dispatch = self.dispatch.0.get().and_then(WeakDispatch::upgrade);
            if let Some(otel) = dispatch.and_then(|dispatch| get_otel_context(&span.id(), &dispatch)) {
                let traced = otel.span().span_context().clone();
                if traced.is_valid() {
                    line.insert("trace_id".into(), traced.trace_id().to_string().into());
                    line.insert("span_id".into(), traced.span_id().to_string().into());
                }
            }
            let mut described = Map::new();
            described.insert("name".into(), span.name().into());
            for span in span.scope() {
                let extensions = span.extensions();
                let written = extensions
                    .get::<FormattedFields<N>>()
                    .map(|fields| fields.fields.as_str());
                if let Some(Ok(Value::Object(of_span))) = written.map(serde_json::from_str) {
                    for (name, value) in of_span {
                        described.entry(name).or_insert(value);
                    }
                }
            }
            line.insert("span".into(), described.into());
        }
        for (name, value) in fields.0 {
            line.entry(name).or_insert(value);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0
            .insert(field.name().trim_start_matches("r#").to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
