//! To whom a request belongs: a user, or an address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};

use super::authenticated::caller;
use super::edge::EdgeState;
use super::rate_limit::Key;
use crate::config::Networks;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The key for rate limits: the user who sends the request, or otherwise the address as it is counted.
pub(super) fn key(edge: &EdgeState, request: &HttpRequest) -> Key {
    user_or(request, || Key::address(address(edge, request)))
}

/// The key for waiting: the user, or otherwise the [`network`].
pub(super) fn waiting_key(edge: &EdgeState, request: &HttpRequest) -> Key {
    user_or(request, || Key::Address(network(address(edge, request))))
}

fn user_or(request: &HttpRequest, other: impl FnOnce() -> Key) -> Key {
    match caller(request).ok().flatten() {
        Some(claims) => Key::User(claims.sub),
        None => other(),
    }
}

/// The address of the client, as the outermost trusted proxy saw it.
pub(super) fn address(edge: &EdgeState, request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let forwarded = request.headers().get_all(FORWARDED_FOR);
    outermost(peer, forwarded, &edge.trusted_proxies)
}

/// The most that one customer has: an IPv4 address, or an IPv6 network of 56 bits (RIPE-690).
///
/// It is the key for shares of a waiting room. There are few shares: with one share for each /64, a single customer would have 256 of them,
/// which is all of the room. Allowances ([`counted_as`](super::rate_limit::counted_as)) are not shares of anything.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - 56)))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Each proxy appends the address that it got the request from. So read from the right: the peer wrote the last entry, and the address in
/// that entry wrote the one before. An entry is only as trustworthy as its writer. The first address that is not trusted is the client.
fn outermost<'a>(peer: IpAddr, forwarded: impl Iterator<Item = &'a HeaderValue>, trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted.contain(client) {
        return client;
    }
    let lines: Vec<&HeaderValue> = forwarded.collect();
    let entries = lines
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for entry in entries {
        // An entry that can't be read names nobody. The entries beyond it can't be trusted either.
        let Some(address) = parse(entry.trim()) else { break };
        client = address;
        if !trusted.contain(client) {
            break;
        }
    }
    client
}

/// Some proxies also write the port.
fn parse(entry: &str) -> Option<IpAddr> {
    let address = entry.parse().ok();
    address
        .or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = Networks::parse("10.0.0.0/8, 192.0.2.7, fd00::/8").unwrap();
        let lines: Vec<_> = forwarded
            .iter()
            .map(|line| HeaderValue::from_str(line).unwrap())
            .collect();
        outermost(peer.parse().unwrap(), lines.iter(), &trusted).to_string()
    }

    #[test]
    fn the_first_from_the_right_who_is_not_trusted_is_the_client() {
        assert_eq!(client("10.1.2.3", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("10.1.2.3", &["203.0.113.9, 198.51.100.1, 192.0.2.7, fd12::1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.1.2.3", &["203.0.113.9", "198.51.100.1,10.0.0.1"]),
            "198.51.100.1"
        );
        // If clients can also come past the proxies, they can write any header they like.
        assert_eq!(client("198.51.100.1", &["203.0.113.9"]), "198.51.100.1");
        assert_eq!(client("10.1.2.3", &["10.0.0.9, 10.0.0.1"]), "10.0.0.9");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn what_can_not_be_read_names_nobody() {
        assert_eq!(client("10.1.2.3", &["198.51.100.1, unknown"]), "10.1.2.3");
        assert_eq!(client("10.1.2.3", &["198.51.100.1, unknown, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(client("10.1.2.3", &[""]), "10.1.2.3");
    }

    #[test]
    fn an_address_has_several_spellings() {
        assert_eq!(client("::ffff:10.1.2.3", &["::ffff:198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.1.2.3", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(client("10.1.2.3", &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    #[test]
    fn addresses_of_one_customer_are_one_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:ff::1"), of("2001:db8:0:12:3::2"));
        assert_ne!(of("2001:db8:0:100::1"), of("2001:db8:0:ff::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
