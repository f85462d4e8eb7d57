//! The address of a database, which may hold a password.

use std::fmt;

use mongodb::error::ErrorKind;
use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MASK: &str = "***";

/// The address of a database. It prints only what is known to be no secret: hosts, the database, and [`HARMLESS`] options.
#[derive(Clone)]
pub struct MongoUri(SecretString);

/// The options that are printed, in lower case. A URI may spell them in any case.
const HARMLESS: [&str; 35] = [
    "appname",
    "authmechanism",
    "authsource",
    "compressors",
    "connecttimeoutms",
    "directconnection",
    "heartbeatfrequencyms",
    "journal",
    "loadbalanced",
    "localthresholdms",
    "maxconnecting",
    "maxidletimems",
    "maxpoolsize",
    "maxstalenessseconds",
    "minpoolsize",
    "readconcernlevel",
    "readpreference",
    "readpreferencetags",
    "replicaset",
    "retryreads",
    "retrywrites",
    "servermonitoringmode",
    "serverselectiontimeoutms",
    "sockettimeoutms",
    "srvmaxhosts",
    "srvservicename",
    "ssl",
    "tls",
    "tlsallowinvalidcertificates",
    "tlscafile",
    "tlsinsecure",
    "w",
    "waitqueuetimeoutms",
    "wtimeoutms",
    "zlibcompressionlevel",
];

impl MongoUri {
    /// # Errors
    /// Says what the driver can't read, and shows only what may be printed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !["mongodb://", "mongodb+srv://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err("must begin with mongodb:// or mongodb+srv://".to_owned());
        }
        let uri = Self(SecretString::from(text.to_owned()));
        if ConnectionString::parse(text).is_ok() {
            return Ok(uri);
        }
        // The driver's message may hold any part of the URI. So it gets only what may be shown.
        let reason = match ConnectionString::parse(uri.written("user:password", None)) {
            Err(error) => match *error.kind {
                ErrorKind::InvalidArgument { message, .. } => message,
                other => other.to_string(),
            },
            Ok(_) => "a part that is not shown here is wrong; user, password and values must be percent-encoded, and a port is a number"
                .to_owned(),
        };
        Err(format!("{uri} can't be read: {reason}"))
    }

    /// The whole address, with the password.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The address with replacements for the user and password, and for options that may be secret.
    fn written(&self, user: &str, option: Option<&str>) -> String {
        let Some((scheme, rest)) = self.expose().split_once("://") else {
            return MASK.to_owned();
        };
        // A password that is not percent-encoded may hold any character, so the last '@' ends it.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((_, rest)) => (format!("{user}@"), rest),
            None => (String::new(), rest),
        };
        let (place, options) = rest.split_once('?').unzip();
        let place = place.unwrap_or(rest);
        let (hosts, database) = place.split_once('/').unzip();
        let hosts: Vec<_> = hosts
            .unwrap_or(place)
            .split(',')
            .map(|host| shown(host, is_host))
            .collect();
        let mut written = format!("{scheme}://{user}{}", hosts.join(","));
        if let Some(database) = database {
            written.push('/');
            written.push_str(shown(database, is_name));
        }
        let options: Vec<_> = options
            .into_iter()
            .flat_map(|options| options.split('&'))
            .filter_map(|pair| if is_harmless(pair) { Some(pair) } else { option })
            .collect();
        if !options.is_empty() {
            written.push('?');
            written.push_str(&options.join("&"));
        }
        written
    }

    fn masked(&self) -> String {
        self.written(MASK, Some(MASK))
    }
}

fn shown(text: &str, is_known: impl Fn(&str) -> bool) -> &str {
    if is_known(text) { text } else { MASK }
}

/// A name, an address or a socket, and a port. If the '@' is missing, a password is where the port should be.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let is_address = name.starts_with('[') && name.ends_with(']');
    let name = name.trim_start_matches('[').trim_end_matches(']');
    port.bytes().all(|byte| byte.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_%".contains(&byte) || (is_address && byte == b':'))
}

fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_harmless(pair: &str) -> bool {
    let name = pair.split_once('=').map(|(name, _)| name.to_ascii_lowercase());
    name.is_some_and(|name| HARMLESS.contains(&name.as_str()))
}

impl fmt::Debug for MongoUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for MongoUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for MongoUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MongoUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(uri: &str) -> String {
        MongoUri(SecretString::from(uri.to_owned())).to_string()
    }

    #[test]
    fn harmless_parts_of_a_uri_are_printed() {
        for open in [
            "mongodb://db",
            "mongodb+srv://db.example.org/x",
            "mongodb://a:1,[::1]:2,[fd00::1]/?replicaSet=rs0&W=majority&connectTimeoutMS=5&tlsCAFile=/etc/ca.pem",
        ] {
            assert_eq!(printed(open), open);
        }
        assert_eq!(
            printed("mongodb://ada:s3cr:et@db:27017/x?w=1"),
            "mongodb://***@db:27017/x?w=1"
        );
        assert_eq!(printed("mongodb+srv://ada@db"), "mongodb+srv://***@db");
        assert_eq!(
            format!("{:?}", MongoUri::parse("mongodb://a:b@c").unwrap()),
            "mongodb://***@c"
        );
    }

    #[test]
    fn other_parts_of_a_uri_are_not_printed() {
        for uri in [
            "mongodb://db/?tlsCertificateKeyFilePassword=s3cret",
            "mongodb://db/?tls=true&TLSCERTIFICATEKEYFILEPASSWORD=ab&s3cret&w=1",
            "mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:s3cret",
            "mongodb://db/?proxyPassword=s3cret",
            "mongodb://db/?s3cret",
            "mongodb://db/?s3cret=1",
            "mongodb://ada:s3/cret@db/x",
            "mongodb://ada:?x=s3cret@db/x",
            "mongodb://ada:s3cret/db",
            "mongodb://ada:s3cret",
            "mongodb://db/s3cret!",
        ] {
            let printed = printed(uri);
            assert!(!printed.contains("cret") && printed.contains("***"), "{uri}: {printed}");
            if let Err(reason) = MongoUri::parse(uri) {
                assert!(!reason.contains("cret"), "{uri}: {reason}");
            }
        }
    }

    #[test]
    fn an_address_that_can_not_be_read_is_refused_at_once() {
        let refusal = |uri: &str| MongoUri::parse(uri).unwrap_err();
        let port = refusal("mongodb://ada:s3cret@db:99999/");
        assert!(
            port.starts_with("mongodb://***@db:99999/ can't be read: ") && port.contains("port"),
            "{port}"
        );
        let hidden = refusal("mongodb://ada:s3cret/db");
        assert_eq!(hidden.split(" can't").next(), Some("mongodb://***/db"), "{hidden}");
        assert!(refusal("mongodb://ada:s3/cret@db/").contains("percent-encoded"));
        assert!(refusal("mongodb://db/?w=1&w1").contains("***"));
        assert!(refusal("postgres://db").contains("mongodb://"));
    }
}
