//! Who may ask how often: a bucket of tokens for each client address, and one for all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The most addresses that are told apart at a time; the rest share one bucket.
const ADDRESSES_MAX: usize = 8192;

/// How many times what one address may ask all of them together may.
const TOTAL_FACTOR: u32 = 20;

/// Tokens that come back evenly over a minute, up to a minute's worth.
#[derive(Clone, Copy)]
struct Bucket {
    /// In tokens, times the nanoseconds that one takes to come back.
    filled: Duration,
    since: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { filled: Duration::from_mins(1), since: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        self.filled = (self.filled + passed).min(Duration::from_mins(1));
        self.since = now;
    }

    /// Takes one token, or says how long until there is one.
    fn take(&mut self, per_minute: u32, now: Instant) -> Result<(), Duration> {
        let cost = Duration::from_mins(1) / per_minute.max(1);
        self.refill(now);
        match self.filled.checked_sub(cost) {
            Some(left) => {
                self.filled = left;
                Ok(())
            }
            None => Err(cost.saturating_sub(self.filled)),
        }
    }
}

struct Buckets {
    of: HashMap<IpAddr, Bucket>,
    others: Bucket,
    all: Bucket,
}

/// The rates of one relay.
pub(crate) struct Rates {
    per_minute: u32,
    buckets: Mutex<Buckets>,
}

impl Rates {
    pub(crate) fn new(per_minute: u32, now: Instant) -> Self {
        let full = Bucket::full(now);
        Self { per_minute, buckets: Mutex::new(Buckets { of: HashMap::new(), others: full, all: full }) }
    }

    /// Counts one request of this client; an error says after how many seconds another can succeed.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Buckets { of, others, all } = &mut *buckets;
        let client = counted_as(client);
        if of.len() >= ADDRESSES_MAX && !of.contains_key(&client) {
            // Who did not ask for a minute has a full bucket, which is what an address without one has.
            of.retain(|_, bucket| now.saturating_duration_since(bucket.since) < Duration::from_mins(1));
        }
        let bucket = if of.len() < ADDRESSES_MAX || of.contains_key(&client) {
            of.entry(client).or_insert_with(|| Bucket::full(now))
        } else {
            others
        };
        // The client first: who asked too often takes nothing from the others.
        bucket.take(self.per_minute, now).map_err(in_secs)?;
        all.take(self.per_minute.saturating_mul(TOTAL_FACTOR), now).map_err(in_secs)
    }
}

fn in_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// One customer of a provider has a whole /64 of IPv6 (RFC 6177), so that counts as one.
fn counted_as(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_client_has_a_minutes_worth_and_then_waits() {
        let now = Instant::now();
        let rates = Rates::new(6, now);
        for _ in 0..6 {
            assert_eq!(rates.take(address(1), now), Ok(()));
        }
        assert_eq!(rates.take(address(1), now), Err(10));
        assert_eq!(rates.take(address(2), now), Ok(()), "one client's rate is not another's");
        assert_eq!(rates.take(address(1), now + Duration::from_secs(9)), Err(1));
        assert_eq!(rates.take(address(1), now + Duration::from_secs(10)), Ok(()));
        assert_eq!(rates.take(address(1), now + Duration::from_secs(10)), Err(10));
        let later = now + Duration::from_hours(1);
        assert_eq!((0..9).filter(|_| rates.take(address(1), later).is_ok()).count(), 6, "no more than full");
    }

    #[test]
    fn all_clients_together_have_a_rate_too() {
        let now = Instant::now();
        let rates = Rates::new(1, now);
        let taken = (0..100).filter(|n| rates.take(address(*n), now).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(rates.take(address(200), now), Err(3));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_did_not_ask() {
        let now = Instant::now();
        let rates = Rates::new(1_000_000, now);
        for n in 0..20_000 {
            let _ = rates.take(address(n), now);
        }
        assert_eq!(rates.buckets.lock().unwrap().of.len(), ADDRESSES_MAX);
        let _ = rates.take(address(20_001), now + Duration::from_mins(1));
        assert_eq!(rates.buckets.lock().unwrap().of.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_itself() {
        let of = |text: &str| counted_as(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
