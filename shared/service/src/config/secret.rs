//! Values that must not be printed, and lists that an environment variable can hold.

use std::fmt;
use std::fs;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(super) const MASK: &str = "***";

/// A text that neither `--print-config` nor `{:?}` prints.
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

/// A key in PEM, given as the text itself or as the path of a file. The file is read together with the configuration, so a missing file
/// stops the start.
///
/// An environment variable may write line ends as `\n`.
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

/// A list of texts: a list in a file, `a,b` in an environment variable.
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

/// Several keys, each like [`Pem`]: a list in a file, separated by commas in an environment variable.
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
