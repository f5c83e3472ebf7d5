//! The addresses that an account is known to pay: state of the account, kept in its sealed record.

use serde::{Deserialize, Serialize};

/// The most addresses of one account; they bound its record.
pub const PAYEES_MAX: usize = 64;

/// The longest address, in bytes: a Bitcoin output script without an address is `script:` and its hex, and is not put on
/// the list if it is longer.
pub const ADDRESS_MAX_BYTES: usize = 128;

/// The account's list. Ascending by address, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Payees {
    list: Vec<Payee>,
}

/// One address of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payee {
    /// In its one canonical form.
    pub address: String,
    /// Since when, in seconds of elapsed time.
    pub since_elapsed_secs: u64,
}

/// Why an address does not go on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotListed {
    /// There are [`PAYEES_MAX`] already.
    Full,
    /// It is empty, longer than [`ADDRESS_MAX_BYTES`], or not printable ASCII.
    BadAddress,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Form(Vec<Payee>);

impl From<Payees> for Form {
    fn from(payees: Payees) -> Self {
        Self(payees.list)
    }
}

impl TryFrom<Form> for Payees {
    type Error = &'static str;
    fn try_from(Form(list): Form) -> Result<Self, Self::Error> {
        let ascending = list.windows(2).all(|pair| pair[0].address < pair[1].address);
        let bounded = list.len() <= PAYEES_MAX && list.iter().all(|payee| is_address(&payee.address));
        if ascending && bounded { Ok(Self { list }) } else { Err("not a list of payees") }
    }
}

impl Payees {
    /// Puts an address on the list. One that is on it stays as old as it is.
    pub fn add(&mut self, address: &str, elapsed_secs: u64) -> Result<(), NotListed> {
        if !is_address(address) {
            return Err(NotListed::BadAddress);
        }
        if let Err(at) = self.position(address) {
            if self.list.len() >= PAYEES_MAX {
                return Err(NotListed::Full);
            }
            let payee = Payee { address: address.to_owned(), since_elapsed_secs: elapsed_secs };
            self.list.insert(at, payee);
        }
        Ok(())
    }

    /// Takes an address off the list; says whether it was on it.
    pub fn remove(&mut self, address: &str) -> bool {
        self.position(address).map(|at| self.list.remove(at)).is_ok()
    }

    /// The list, ascending by address.
    pub fn list(&self) -> &[Payee] {
        &self.list
    }

    /// How long until this address has been on the list for `delay_secs`: 0 if it has; `None` if it is not on it.
    pub(crate) fn known_in_secs(&self, address: &str, delay_secs: u64, elapsed_secs: u64) -> Option<u64> {
        let payee = self.list.get(self.position(address).ok()?)?;
        Some(payee.since_elapsed_secs.saturating_add(delay_secs).saturating_sub(elapsed_secs))
    }

    fn position(&self, address: &str) -> Result<usize, usize> {
        self.list.binary_search_by(|payee| payee.address.as_str().cmp(address))
    }
}

fn is_address(text: &str) -> bool {
    (1..=ADDRESS_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_after_the_delay_and_not_a_second_earlier() {
        let mut payees = Payees::default();
        payees.add("0xA", 1000).unwrap();
        payees.add("0xA", 2000).unwrap();
        assert_eq!(payees.known_in_secs("0xA", 60, 1059), Some(1));
        assert_eq!(payees.known_in_secs("0xA", 60, 1060), Some(0));
        assert_eq!(payees.known_in_secs("0xB", 60, 1060), None);
    }

    #[test]
    fn an_address_that_comes_back_begins_again() {
        let mut payees = Payees::default();
        payees.add("0xA", 1000).unwrap();
        assert!(payees.remove("0xA"));
        assert!(!payees.remove("0xA"));
        payees.add("0xA", 2000).unwrap();
        assert_eq!(payees.known_in_secs("0xA", 60, 2000), Some(60));
    }

    #[test]
    fn refuses_more_addresses_than_a_record_holds_and_what_is_no_address() {
        let mut payees = Payees::default();
        for number in 0..PAYEES_MAX {
            payees.add(&format!("0x{number}"), 0).unwrap();
        }
        assert_eq!(payees.add("one more", 0), Err(NotListed::BadAddress));
        assert_eq!(payees.add("one-more", 0), Err(NotListed::Full));
        assert_eq!(payees.add("0x0", 0), Ok(()));
        assert_eq!(Payees::default().add("", 0), Err(NotListed::BadAddress));
        assert_eq!(Payees::default().add(&"a".repeat(ADDRESS_MAX_BYTES + 1), 0), Err(NotListed::BadAddress));
    }

    #[test]
    fn refuses_a_written_list_with_repeats_disorder_or_too_many() {
        let payee = |address: &str| Payee { address: address.to_owned(), since_elapsed_secs: 1 };
        let read = |list: Vec<Payee>| {
            countersign_wire::decode_packed::<Payees>(&countersign_wire::encode_packed(&list)).is_ok()
        };
        assert!(read(vec![payee("a"), payee("b")]));
        assert!(!read(vec![payee("a"), payee("a")]));
        assert!(!read(vec![payee("b"), payee("a")]));
        assert!(!read(vec![payee("")]));
        assert!(!read((0..=PAYEES_MAX).map(|number| payee(&format!("{number:03}"))).collect()));
    }
}
