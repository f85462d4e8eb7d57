//! Networks of IP addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Networks (`10.42.0.0/16`, `fd00::/8`) and single addresses: a list in a file, separated by commas in an environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

const NUMBER: &str = "must be the networks that the proxies ask from, as in 10.42.0.0/16,fd00::/8 (or nothing, to trust no proxy); \
                      a number of proxies, as in earlier versions, does not say which they are";

impl Networks {
    /// # Errors
    ///
    /// Names the part that is not a network, and gives an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the address is in one of them. An IPv4 address may be written as IPv6.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(item: &str) -> Result<IpNet, String> {
    if item.parse::<u64>().is_ok() {
        return Err(NUMBER.to_owned());
    }
    let network = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("must be networks, as in 10.42.0.0/16,fd00::/8; {item:?} is not a network"))
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(IpNet::to_string))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of networks, or networks separated by commas")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Networks, E> {
                Networks::parse(text).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Networks, E> {
                Err(E::custom(NUMBER))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Networks, E> {
                Err(E::custom(NUMBER))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Networks, A::Error> {
                let mut networks = Vec::new();
                while let Some(item) = seq.next_element::<String>()? {
                    networks.push(network(item.trim()).map_err(de::Error::custom)?);
                }
                Ok(Networks(networks))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
