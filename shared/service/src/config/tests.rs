//! The layers of the configuration, and how errors name the wrong key.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use event_log::mongo::MongoDb;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Serialize, Deserialize)]
struct Program {
    mongodb: MongoDb,
    auth: Auth,
    timelines: Timelines,
    cors: Cors,
    rate_limit: RateLimit,
    telemetry: Telemetry,
}

/// The section of one program.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Timelines {
    window: NonZeroU32,
    fan_out_limit: NonZeroU32,
    #[serde(with = "humantime_serde")]
    idle_after: Duration,
}

impl Default for Timelines {
    fn default() -> Self {
        Self {
            window: const { NonZeroU32::new(800).unwrap() },
            fan_out_limit: const { NonZeroU32::new(10_000).unwrap() },
            idle_after: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct OnlyHttp {
    http: Http,
}

const URI: (&str, &str) = ("MICROBLOG__MONGODB__URI", "mongodb://ada:s3cret@db/");

fn with(variables: &[(&str, &str)]) -> Result<Program, ConfigError> {
    load(None, &std::iter::once(&URI).chain(variables).copied().collect())
}

fn refusal(variables: &[(&str, &str)]) -> String {
    with(variables).unwrap_err().to_string()
}

#[test]
fn defaults_are_complete_but_for_the_database() {
    let program = with(&[]).unwrap();
    assert_eq!(program.mongodb.events_database, "microblog_events");
    assert_eq!(program.mongodb.views_uri().expose(), URI.1);
    assert_eq!(program.timelines.window.get(), 800);
    assert_eq!(program.timelines.idle_after, Duration::from_secs(30 * 24 * 60 * 60));
    assert!(program.rate_limit.enabled);
    let missing = load::<Program>(None, &Environment::default()).unwrap_err().to_string();
    assert!(missing.contains("mongodb.uri (MICROBLOG__MONGODB__URI)"), "{missing}");
}

#[test]
fn the_environment_sets_every_kind_of_value() {
    let program = with(&[
        ("MICROBLOG__TIMELINES__WINDOW", "4"),
        ("MICROBLOG__TIMELINES__FAN_OUT_LIMIT", "3"),
        ("MICROBLOG__TIMELINES__IDLE_AFTER", "90s"),
        ("MICROBLOG__RATE_LIMIT__ENABLED", "false"),
        ("MICROBLOG__RATE_LIMIT__LOGIN__BURST", "1"),
        ("MICROBLOG__RATE_LIMIT__LOGIN__PER_MINUTE", "2"),
        (
            "MICROBLOG__CORS__ALLOWED_ORIGINS",
            "https://a.example, https://b.example",
        ),
        ("MICROBLOG__MONGODB__VIEWS_URI", "mongodb://elsewhere/"),
        ("MICROBLOG__TELEMETRY__FORMAT", "text"),
        ("MICROBLOG__TELEMETRY__SAMPLE_RATIO", "0.25"),
        ("MICROBLOG__TELEMETRY__OTLP_ENDPOINT", ""),
        ("MICROBLOG_SOMETHING_ELSE", "is none of our business"),
    ])
    .unwrap();
    assert_eq!(
        (program.timelines.window.get(), program.timelines.fan_out_limit.get()),
        (4, 3)
    );
    assert_eq!(program.timelines.idle_after, Duration::from_secs(90));
    assert!(!program.rate_limit.enabled);
    assert_eq!(program.rate_limit.login, Quota::new(1, 2));
    assert_eq!(
        program.cors.allowed_origins,
        StringList::from(["https://a.example", "https://b.example"])
    );
    assert_eq!(program.mongodb.views_uri().expose(), "mongodb://elsewhere/");
    assert_eq!(program.telemetry.format, LogFormat::Text);
    assert!((program.telemetry.sample_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(program.telemetry.otlp_endpoint, None);
}

#[test]
fn a_wrong_value_is_named_with_what_it_should_be() {
    let window = refusal(&[("MICROBLOG__TIMELINES__WINDOW", "many")]);
    assert!(
        window.starts_with("timelines.window (MICROBLOG__TIMELINES__WINDOW): "),
        "{window}"
    );
    assert!(window.contains("integer") && window.contains("many"), "{window}");
    let zero = refusal(&[("MICROBLOG__TIMELINES__WINDOW", "0")]);
    assert!(
        zero.starts_with("timelines.window ") && zero.contains("nonzero"),
        "{zero}"
    );
    let idle = refusal(&[("MICROBLOG__TIMELINES__IDLE_AFTER", "soon")]);
    assert!(
        idle.starts_with("timelines.idle_after (MICROBLOG__TIMELINES__IDLE_AFTER): "),
        "{idle}"
    );
    let enabled = refusal(&[("MICROBLOG__RATE_LIMIT__ENABLED", "perhaps")]);
    assert!(
        enabled.starts_with("rate_limit.enabled (MICROBLOG__RATE_LIMIT__ENABLED): "),
        "{enabled}"
    );
    assert!(enabled.contains("boolean"), "{enabled}");
    let format = refusal(&[("MICROBLOG__TELEMETRY__FORMAT", "xml")]);
    assert!(
        format.starts_with("telemetry.format ") && format.contains("json"),
        "{format}"
    );
    let burst = refusal(&[
        ("MICROBLOG__RATE_LIMIT__LOGIN__BURST", "-1"),
        ("MICROBLOG__RATE_LIMIT__LOGIN__PER_MINUTE", "1"),
    ]);
    assert!(
        burst.starts_with("rate_limit.login.burst (MICROBLOG__RATE_LIMIT__LOGIN__BURST): "),
        "{burst}"
    );
    let half = refusal(&[("MICROBLOG__RATE_LIMIT__LOGIN__BURST", "1")]);
    assert!(half.starts_with("rate_limit.login.per_minute "), "{half}");
    let key = refusal(&[("MICROBLOG__AUTH__SIGNING_KEY", "/no/such/file.pem")]);
    assert!(
        key.starts_with("auth.signing_key (MICROBLOG__AUTH__SIGNING_KEY): "),
        "{key}"
    );
}

#[test]
fn a_wrong_address_is_refused_without_its_password() {
    let uri = load::<Program>(
        None,
        &[("MICROBLOG__MONGODB__URI", "postgres://ada:s3cret@db/")]
            .into_iter()
            .collect(),
    );
    let uri = uri.unwrap_err().to_string();
    assert!(
        uri.starts_with("mongodb.uri (MICROBLOG__MONGODB__URI): must begin with mongodb://"),
        "{uri}"
    );
    assert!(!uri.contains("s3cret"), "{uri}");
}

#[test]
fn proxies_are_named_by_their_networks() {
    let http = |value: &str| {
        load::<OnlyHttp>(
            None,
            &[("MICROBLOG__HTTP__TRUSTED_PROXIES", value)].into_iter().collect(),
        )
    };
    let trusts = |networks: &Networks, address: &str| networks.contain(address.parse().unwrap());
    let proxies = http("10.42.0.0/16, fd00::/8,192.0.2.1").unwrap().http.trusted_proxies;
    for address in ["10.42.255.1", "fd12::1", "192.0.2.1", "::ffff:10.42.0.1"] {
        assert!(trusts(&proxies, address), "{address}");
    }
    for address in ["10.43.0.1", "fe80::1", "192.0.2.2"] {
        assert!(!trusts(&proxies, address), "{address}");
    }
    assert_eq!(http("").unwrap().http.trusted_proxies, Networks::default());
    // In earlier versions the value was a number of proxies.
    for number in ["0", "1", "2"] {
        let refusal = http(number).unwrap_err().to_string();
        assert!(
            refusal.starts_with("http.trusted_proxies (MICROBLOG__HTTP__TRUSTED_PROXIES): "),
            "{refusal}"
        );
        assert!(
            refusal.contains("10.42.0.0/16") && refusal.contains("number of proxies"),
            "{refusal}"
        );
    }
    let refusal = http("10.42.0.0/33").unwrap_err().to_string();
    assert!(refusal.contains("\"10.42.0.0/33\""), "{refusal}");
    let directory = tempfile::tempdir().unwrap();
    let in_file = |line: &str| {
        let path = directory.path().join("microblog.toml");
        fs::write(&path, format!("[http]\ntrusted_proxies = {line}\n")).unwrap();
        load::<OnlyHttp>(Some(&path), &Environment::default()).map_err(|error| error.to_string())
    };
    let listed = in_file("[\"10.42.0.0/16\", \"fd00::/8\"]").unwrap();
    let printed = print_config(&listed).unwrap();
    assert!(
        trusts(&listed.http.trusted_proxies, "fd12::1") && printed.contains("10.42.0.0/16"),
        "{printed}"
    );
    let number = in_file("1").unwrap_err();
    assert!(number.contains("number of proxies"), "{number}");
}

#[test]
fn slips_of_the_pen_are_refused_by_name() {
    let key = refusal(&[("MICROBLOG__TIMELINES__WINDWO", "4")]);
    assert!(
        key.starts_with("timelines.windwo (MICROBLOG__TIMELINES__WINDWO): "),
        "{key}"
    );
    assert!(key.contains("window"), "{key}");
    let section = refusal(&[("MICROBLOG__TIMELINE__WINDOW", "4")]);
    assert!(
        section.contains("\"timeline\"") && section.contains("timelines"),
        "{section}"
    );
    let deeper = refusal(&[("MICROBLOG__RATE_LIMIT__LOGIN__RATE", "4")]);
    assert!(deeper.starts_with("rate_limit.login.rate "), "{deeper}");
}

#[test]
fn the_sections_of_other_programs_are_left_alone() {
    assert!(
        with(&[
            ("MICROBLOG__QUERY__LISTEN", "127.0.0.1:8082"),
            ("MICROBLOG__PROJECTOR__ANYTHING", "1")
        ])
        .is_ok()
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let toml = directory.path().join("microblog.toml");
    fs::write(
        &toml,
        "[mongodb]\nuri = 'mongodb://file/'\n[timelines]\nwindow = 5\nfan_out_limit = 6\n",
    )
    .unwrap();
    let environment: Environment = [("MICROBLOG__TIMELINES__WINDOW", "7")].into_iter().collect();
    let program: Program = load(Some(&toml), &environment).unwrap();
    assert_eq!(
        (program.timelines.window.get(), program.timelines.fan_out_limit.get()),
        (7, 6)
    );
    assert_eq!(program.mongodb.uri.expose(), "mongodb://file/");
    let yaml = directory.path().join("microblog.yaml");
    fs::write(
        &yaml,
        "mongodb:\n  uri: mongodb://yaml/\ncors:\n  allowed_origins: [https://a.example]\n",
    )
    .unwrap();
    let environment: Environment = [("MICROBLOG_CONFIG", yaml.to_str().unwrap())].into_iter().collect();
    let program: Program = load(None, &environment).unwrap();
    assert_eq!(program.mongodb.uri.expose(), "mongodb://yaml/");
    assert_eq!(program.cors.allowed_origins, StringList::from(["https://a.example"]));
}

#[test]
fn a_file_that_can_not_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        load::<Program>(Some(&path), &[URI].into_iter().collect())
            .unwrap_err()
            .to_string()
    };
    assert!(refusal("a.toml", "[timelines").contains("a.toml"));
    assert!(refusal("b.ini", "").contains(".toml, .yaml or .yml"));
    let section = refusal("c.toml", "[timeline]\nwindow = 1");
    assert!(
        section.contains("\"timeline\"") && section.contains("c.toml"),
        "{section}"
    );
    let key = refusal("d.toml", "[timelines]\nwindwo = 1");
    assert!(key.starts_with("timelines.windwo "), "{key}");
    let missing = load::<Program>(Some(&directory.path().join("none.toml")), &[URI].into_iter().collect());
    assert!(missing.unwrap_err().to_string().contains("none.toml"));
}

#[test]
fn what_is_printed_can_be_read_again_but_for_the_secrets() {
    let mut environment: Environment = [URI].into_iter().collect();
    environment.set("auth.refresh_secret", "hush-hush-hush-hush");
    environment.set("auth.signing_key", crate::auth::generate_signing_key_pem());
    environment.set("telemetry.otlp_endpoint", "https://ada:s3cret@collector:4317");
    let program: Program = load(None, &environment).unwrap();
    let printed = print_config(&program).unwrap();
    assert!(
        !printed.contains("s3cret") && !printed.contains("hush") && !printed.contains("BEGIN"),
        "{printed}"
    );
    assert!(printed.contains("uri = \"mongodb://***@db/\""), "{printed}");
    assert!(printed.contains("refresh_secret = \"***\""), "{printed}");
    assert!(printed.contains("\"https://***@collector:4317\""), "{printed}");
    assert!(printed.contains("idle_after = \"30days\""), "{printed}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("printed.toml");
    let readable: String = printed
        .lines()
        .filter(|line| !line.contains("\"***\""))
        .map(|l| format!("{l}\n"))
        .collect();
    fs::write(&path, readable).unwrap();
    let again: Program = load(Some(&path), &Environment::default()).unwrap();
    assert_eq!(again.timelines.idle_after, program.timelines.idle_after);
}
