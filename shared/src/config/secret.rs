//! Values that must not be printed, and lists that an environment variable can hold.

use std::fmt;
use std::fs;
use std::path::Path;

use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MASK: &str = "***";

/// A text that is never printed, neither by `--print-config` nor by `{:?}`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(de::Error::custom("must not be empty"));
        }
        Ok(Self::new(text))
    }
}

/// Where a database is. Printed without its password.
#[derive(Clone)]
pub struct MongoUri(SecretString);

impl MongoUri {
    /// Whatever the driver would refuse is refused here, where the key is known. What it says is shown only where it can't quote
    /// the user or password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !["mongodb://", "mongodb+srv://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err("must begin with mongodb:// or mongodb+srv://".to_owned());
        }
        if ConnectionString::parse(text).is_ok() {
            return Ok(Self(SecretString::from(text.to_owned())));
        }
        let anonymous = match (text.find("://"), text.rfind('@')) {
            (Some(scheme), Some(at)) => format!("{}://{}", &text[..scheme], &text[at + 1..]),
            _ => text.to_owned(),
        };
        Err(match ConnectionString::parse(anonymous) {
            Err(error) => format!("is no address of a MongoDB: {error}"),
            Ok(_) => "has a user or password that is not percent-encoded, or names none before the @".to_owned(),
        })
    }

    /// The whole address, password and all.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn masked(&self) -> String {
        let uri = self.expose();
        let Some((scheme, rest)) = uri.split_once("://") else {
            return MASK.to_owned();
        };
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        // A password that was not percent-encoded may hold a slash: the last '@' of all ends it.
        let at = rest[..authority_end].rfind('@').or_else(|| rest.rfind('@'));
        let shown = match at {
            Some(at) => {
                let (userinfo, host) = rest.split_at(at);
                match userinfo.split_once(':') {
                    Some((user, _password)) => format!("{user}:{MASK}{host}"),
                    None => rest.to_owned(),
                }
            }
            None => rest.to_owned(),
        };
        format!("{scheme}://{shown}")
    }
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

/// A key in PEM, given as the text itself or as the path of a file that holds it. The file is read when the
/// configuration is, so that a missing one stops the start.
///
/// An environment variable may write the line ends as `\n`.
#[derive(Clone)]
pub struct Pem(Secret);

impl Pem {
    pub fn parse(text_or_path: &str) -> Result<Self, String> {
        let text = if text_or_path.trim_start().starts_with("-----BEGIN") {
            text_or_path.replace("\\n", "\n")
        } else {
            fs::read_to_string(Path::new(text_or_path))
                .map_err(|error| format!("must be a PEM text or a readable file: {error}"))?
        };
        if text.trim_start().starts_with("-----BEGIN") {
            Ok(Self(Secret::new(text)))
        } else {
            Err("must be in PEM form (-----BEGIN …)".to_owned())
        }
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Pem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Texts in a row: a list in a file, `a,b` in an environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StringList(pub Vec<String>);

impl StringList {
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> From<[&str; N]> for StringList {
    fn from(items: [&str; N]) -> Self {
        Self(items.map(str::to_owned).to_vec())
    }
}

impl<'de> Deserialize<'de> for StringList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = StringList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts, or texts separated by commas")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StringList, E> {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(StringList(items.map(str::to_owned).collect()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<StringList, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<String>()? {
                    items.push(item);
                }
                Ok(StringList(items))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Several keys, each as [`Pem`]: a list in a file, separated by commas in an environment variable.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct PemList(pub Vec<Pem>);

impl<'de> Deserialize<'de> for PemList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = StringList::deserialize(deserializer)?;
        items
            .iter()
            .map(|item| Pem::parse(item))
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_printed_without_its_password() {
        let shown = |uri: &str| MongoUri::parse(uri).unwrap().to_string();
        assert_eq!(
            shown("mongodb://ada:s3cr%3Aet@db:27017/x?w=1"),
            "mongodb://ada:***@db:27017/x?w=1"
        );
        assert_eq!(shown("mongodb://db/?replicaSet=rs0"), "mongodb://db/?replicaSet=rs0");
        assert_eq!(shown("mongodb+srv://ada@db"), "mongodb+srv://ada@db");
        assert_eq!(
            format!("{:?}", MongoUri::parse("mongodb://a:b@c").unwrap()),
            "mongodb://a:***@c"
        );
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hush");
    }

    #[test]
    fn a_key_may_have_escaped_line_ends() {
        let pem = Pem::parse("-----BEGIN X-----\\nAA==\\n-----END X-----").unwrap();
        assert_eq!(pem.expose().lines().count(), 3);
        assert!(Pem::parse("/no/such/file").unwrap_err().contains("readable file"));
    }
}
