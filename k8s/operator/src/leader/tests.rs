use service::telemetry::MetricsRegistry;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

/// The client sends no request, because the decision needs no server.
fn candidate(identity: &str) -> Election {
    event_log::crypto::install_provider();
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let metrics = OperatorMetrics::register(&MetricsRegistry::default());
    Election::new(
        client,
        "blog",
        "operator",
        identity,
        (DURATION, Duration::from_secs(5)),
        metrics,
    )
}

fn lease(holder: Option<&str>, seconds: Option<i32>) -> Lease {
    Lease {
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    }
}

#[tokio::test]
async fn a_lease_is_taken_when_it_is_free_or_has_not_moved_for_its_duration() {
    let one = candidate("one");
    let just_now = Duration::ZERO;
    for free in [lease(None, None), lease(Some(""), Some(15)), Lease::default()] {
        assert!(one.may_take(&free, just_now));
    }
    assert!(one.may_take(&lease(Some("one"), Some(15)), just_now));
    let held = lease(Some("two"), Some(15));
    assert!(!one.may_take(&held, DURATION - Duration::from_millis(1)));
    assert!(one.may_take(&held, DURATION));
    // The holder's own duration counts. If it names none, ours counts.
    assert!(!one.may_take(&lease(Some("two"), Some(60)), DURATION));
    assert!(one.may_take(&lease(Some("two"), None), DURATION));
}

#[tokio::test]
async fn a_held_lease_names_its_holder_and_how_long_it_lasts() {
    let held = candidate("one").held(3);
    assert_eq!(held.holder_identity.as_deref(), Some("one"));
    assert_eq!(
        (held.lease_duration_seconds, held.lease_transitions),
        (Some(15), Some(3))
    );
}
