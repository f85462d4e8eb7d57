//! A trace goes from the request through the event, which stores its `traceparent`, into the projection.

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The W3C `traceparent` of the current span, as an event stores it. None outside of spans, and where no
/// telemetry was started.
pub fn current_traceparent() -> Option<String> {
    let context = current()?;
    Some(format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    ))
}

/// The trace that the current span belongs to: 32 hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    current().map(|context| context.trace_id().to_string())
}

fn current() -> Option<SpanContext> {
    let context = Span::current().context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Lets a span, which must not have been entered yet, continue a stored or received `traceparent`. One that can't
/// be read is ignored: a trace is never a reason to refuse work.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    let Some(context) = traceparent.map(extract) else {
        return;
    };
    if context.span().span_context().is_valid()
        && let Err(error) = span.set_parent(context)
    {
        // Without telemetry, or for a span that the filter leaves out, there is nothing to continue.
        tracing::trace!(?error, "a trace is not continued");
    }
}

/// The context that a `traceparent` names.
fn extract(traceparent: &str) -> opentelemetry::Context {
    let carrier = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract(&carrier)
}
