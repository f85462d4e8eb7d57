//! Logs, traces and metrics: what a program reports about itself.

mod json;
mod metrics;

pub use metrics::{MetricsRegistry, OPEN_METRICS};

use std::fmt;
use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::dispatcher::{SetGlobalDefaultError, set_global_default};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{self, ConfigError, LogFormat};

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("another log is already started in this process")]
    AlreadyStarted(#[from] SetGlobalDefaultError),
}

/// Keeps the spans that have not been sent yet.
#[must_use = "spans that were not sent yet are lost without `shutdown`"]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
}

impl TelemetryGuard {
    /// Sends the remaining spans. It waits at most a few seconds for the collector, and does not block the runtime.
    pub async fn shutdown(self) {
        let sent = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

impl fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryGuard").finish_non_exhaustive()
    }
}

/// Starts the log on standard error and, if there is a collector, the export of spans. Call it once per process, inside the tokio runtime.
pub fn init(telemetry: &config::Telemetry, service: &'static str) -> Result<TelemetryGuard, TelemetryError> {
    let provider = tracer_provider(telemetry, service)?;
    set_global_default(dispatch(telemetry, service, &provider, io::stderr)?)?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(TelemetryGuard { provider })
}

fn tracer_provider(telemetry: &config::Telemetry, service: &'static str) -> Result<SdkTracerProvider, ConfigError> {
    let provider = SdkTracerProvider::builder().with_resource(Resource::builder().with_service_name(service).build());
    let Some(endpoint) = &telemetry.otlp_endpoint else {
        // Spans still get ids, which logs and events carry. Nothing else is recorded.
        return Ok(provider.with_sampler(Sampler::AlwaysOff).build());
    };
    if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
        return Err(ConfigError::invalid(
            "telemetry.sample_ratio",
            "must be between 0 and 1",
        ));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| ConfigError::invalid("telemetry.otlp_endpoint", error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(telemetry.sample_ratio)));
    Ok(provider.with_sampler(sampler).with_batch_exporter(exporter).build())
}

fn dispatch<W>(
    telemetry: &config::Telemetry,
    service: &'static str,
    provider: &SdkTracerProvider,
    writer: W,
) -> Result<Dispatch, ConfigError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&telemetry.filter)
        .map_err(|error| ConfigError::invalid("telemetry.filter", error.to_string()))?;
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(spans_layer(provider.tracer(service)));
    Ok(match telemetry.format {
        LogFormat::Json => {
            let own = json::OwnDispatch::default();
            let lines = tracing_subscriber::fmt::layer()
                .event_format(json::JsonLines::new(service, own.clone()))
                .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
                .with_writer(writer);
            Dispatch::new(registry.with(own).with(lines))
        }
        LogFormat::Text => Dispatch::new(
            registry.with(
                tracing_subscriber::fmt::layer()
                    .compact()
                    .with_target(false)
                    .with_ansi(io::stderr().is_terminal())
                    .with_writer(writer),
            ),
        ),
    })
}

fn spans_layer<S>(
    tracer: opentelemetry_sdk::trace::SdkTracer,
) -> tracing_opentelemetry::OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // Otherwise the line and the thread of each event would be most of the exported data.
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
}

#[cfg(test)]
mod tests;
