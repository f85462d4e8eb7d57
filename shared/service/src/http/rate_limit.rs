//! How often one caller may send requests to one process (GCRA, by `governor`).
//!
//! Logged-in callers are counted by user, all others by address. (An IPv6 address is counted by its /64, which is the least that a customer
//! has.) Memory is bounded: callers whose allowance is full again are forgotten. If there are still too many, further callers share
//! allowances.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use prometheus_client::encoding::EncodeLabelValue;

use crate::config;
use model::ids::UserId;

/// The classes of requests. Each class has its own allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Class {
    Read,
    Write,
    /// Always by address, even if the caller is logged in.
    Login,
    /// Requests that show whether a password is right, by the account or the session that they try it on. A handler counts them.
    Account,
    /// By session. A handler counts it, because the session is in the body.
    Refresh,
    /// Always by address, whatever the body says, even if it can't be read. Hundreds of people may share an address.
    RefreshAddress,
    /// Always by address, too.
    Register,
}

/// To whom a request is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    User(UserId),
    Address(IpAddr),
    /// Anything else that a handler counts by, such as the account of a login attempt.
    Name(String),
    /// One of the allowances that callers share if there are too many callers.
    Shared(u16),
}

impl Key {
    pub fn address(address: IpAddr) -> Self {
        Self::Address(counted_as(address))
    }
}

/// The address under which requests are counted. An IPv6 address counts as its /64, the smallest network that a customer has.
///
/// Some customers have more of them (up to 256), and so as many allowances. But some providers give each household, or each machine, one
/// /64. There, a larger network would punish neighbours for each other, because a used-up allowance locks people out for minutes. Waiting
/// rooms are shared by larger networks ([`network`](super::client::network)), because a caller there only waits a second and asks again.
pub(super) fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What a caller has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The most requests in a burst.
    pub limit: u32,
    /// The requests that the caller could send now.
    pub remaining: u32,
    /// The time until `remaining` is `limit` again.
    pub reset: Duration,
}

/// The decision on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed(Allowance),
    Refused {
        allowance: Allowance,
        retry_after: Duration,
    },
}

type Store = DashMapStateStore<Key>;

/// The allowances of all callers of one process.
#[derive(Debug)]
pub struct Limiter<C: Clock = DefaultClock> {
    read: Bucket<C>,
    write: Bucket<C>,
    login: Bucket<C>,
    account: Bucket<C>,
    refresh: Bucket<C>,
    refresh_address: Bucket<C>,
    register: Bucket<C>,
}

impl Limiter {
    pub fn new(config: &config::RateLimit) -> Self {
        Self::with_clock(config, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    pub(super) fn with_clock(config: &config::RateLimit, clock: &C) -> Self {
        let bucket = |quota| Bucket::new(quota, config.max_keys.get(), clock.clone());
        Self {
            read: bucket(config.read),
            write: bucket(config.write),
            login: bucket(config.login),
            account: bucket(config.account),
            refresh: bucket(config.refresh),
            refresh_address: bucket(config.refresh_address),
            register: bucket(config.register),
        }
    }
}

impl<C: Clock> Limiter<C> {
    /// Takes one request from the caller's allowance, if one is left.
    pub fn check(&self, class: Class, key: Key) -> Decision {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
            Class::Login => &self.login,
            Class::Account => &self.account,
            Class::Refresh => &self.refresh,
            Class::RefreshAddress => &self.refresh_address,
            Class::Register => &self.register,
        }
        .check(key)
    }
}

#[derive(Debug)]
struct Bucket<C: Clock> {
    limiter: RateLimiter<Key, Store, C, StateInformationMiddleware>,
    clock: C,
    quota: config::Quota,
    max_keys: usize,
    swept: Mutex<Instant>,
    hasher: RandomState,
}

/// The shortest time between two searches for callers to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The number of allowances that callers share if there are too many callers.
const SHARED: u16 = 4096;

impl<C: Clock> Bucket<C> {
    fn new(quota: config::Quota, max_keys: u32, clock: C) -> Self
    where
        C: Clone,
    {
        let gcra = Quota::per_minute(quota.per_minute).allow_burst(quota.burst);
        Self {
            limiter: RateLimiter::dashmap_with_clock(gcra, clock.clone()).with_middleware(),
            clock,
            quota,
            max_keys: usize::try_from(max_keys).unwrap_or(usize::MAX),
            swept: Mutex::new(Instant::now()),
            hasher: RandomState::new(),
        }
    }

    fn check(&self, key: Key) -> Decision {
        let key = self.bounded(key);
        match self.limiter.check_key(&key) {
            Ok(state) => Decision::Allowed(self.allowance(state.remaining_burst_capacity())),
            Err(not_until) => Decision::Refused {
                allowance: self.allowance(0),
                retry_after: not_until.wait_time_from(self.clock.now()),
            },
        }
    }

    fn allowance(&self, remaining: u32) -> Allowance {
        let limit = self.quota.burst.get();
        let one = Duration::from_secs(60) / self.quota.per_minute.get();
        Allowance {
            limit,
            remaining,
            reset: one * limit.saturating_sub(remaining),
        }
    }

    fn bounded(&self, key: Key) -> Key {
        // Counting the keys looks at every shard, so most requests should skip it. Half of the room is early enough. `try_lock`, because
        // one sweeper is enough.
        if let Ok(mut swept) = self.swept.try_lock()
            && swept.elapsed() >= SWEEP_EVERY
        {
            *swept = Instant::now();
            if self.limiter.len() > self.max_keys / 2 {
                self.limiter.retain_recent();
                self.limiter.shrink_to_fit();
            }
        }
        if self.limiter.len() < self.max_keys {
            return key;
        }
        let share = self.hasher.hash_one(&key) % u64::from(SHARED);
        Key::Shared(u16::try_from(share).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use chrono::Utc;
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(max_keys: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let config = config::RateLimit {
            write: config::Quota::new(3, 60),
            max_keys: NonZeroU32::new(max_keys).unwrap(),
            ..config::RateLimit::default()
        };
        (Limiter::with_clock(&config, &clock), clock)
    }

    fn remaining(decision: Decision) -> Option<u32> {
        match decision {
            Decision::Allowed(allowance) => Some(allowance.remaining),
            Decision::Refused { .. } => None,
        }
    }

    #[test]
    fn a_burst_then_one_a_second() {
        let (limiter, clock) = limiter(10);
        let user = Key::User(UserId::new(Utc::now()));
        let left: Vec<_> = (0..4)
            .map(|_| remaining(limiter.check(Class::Write, user.clone())))
            .collect();
        assert_eq!(left, [Some(2), Some(1), Some(0), None]);
        let Decision::Refused { allowance, retry_after } = limiter.check(Class::Write, user.clone()) else {
            panic!("a fifth request was let through");
        };
        assert_eq!(
            allowance,
            Allowance {
                limit: 3,
                remaining: 0,
                reset: Duration::from_secs(3)
            }
        );
        assert!(
            retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1),
            "{retry_after:?}"
        );
        clock.advance(retry_after);
        assert_eq!(remaining(limiter.check(Class::Write, user.clone())), Some(0));
        clock.advance(Duration::from_secs(60));
        assert_eq!(remaining(limiter.check(Class::Write, user)), Some(2));
    }

    #[test]
    fn callers_and_classes_are_counted_apart() {
        let (limiter, _) = limiter(10);
        let [ada, bob] = [Key::User(UserId::new(Utc::now())), Key::User(UserId::new(Utc::now()))];
        for _ in 0..3 {
            assert!(remaining(limiter.check(Class::Write, ada.clone())).is_some());
        }
        assert_eq!(remaining(limiter.check(Class::Write, ada.clone())), None);
        assert!(remaining(limiter.check(Class::Read, ada)).is_some());
        assert_eq!(remaining(limiter.check(Class::Write, bob)), Some(2));
    }

    #[test]
    fn memory_is_bounded() {
        let (limiter, _) = limiter(100);
        for number in 0..100_000_u32 {
            limiter.check(Class::Write, Key::address(IpAddr::from(number.to_be_bytes())));
        }
        assert!(
            limiter.write.limiter.len() <= 100 + usize::from(SHARED),
            "{}",
            limiter.write.limiter.len()
        );
    }

    #[test]
    fn addresses_of_one_customer_are_one_caller() {
        let key = |text: &str| Key::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
