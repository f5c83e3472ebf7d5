//! Who may release images: a list of people with their keys, and how many of them it takes.
//!
//! The list is a file in OpenSSH's form (`ssh-keygen(1)`, ALLOWED SIGNERS), read more strictly than OpenSSH does:
//! ```text
//! # a comment
//! alice@example.org namespaces="countersign-image" ssh-ed25519 AAAA… comment
//! alice@example.org sk-ssh-ed25519@openssh.com AAAA…
//! ```
//! * One principal a line, and it is the person: no patterns, no lists.
//! * `namespaces` must name `countersign-image`; no other option is taken. Dates in particular are not: they would need a clock.
//! * Keys are Ed25519 and ECDSA P-256, as files or on hardware (`sk-`). No RSA, no certificates.
//! * No key stands there twice, under one person or two.

use crate::message::NAMESPACE;
use crate::{Channel, Refusal, Release, signatures};
use ssh_key::PublicKey;
use ssh_key::public::{EcdsaPublicKey, KeyData};

/// The longest list of release keys, in bytes.
pub const KEYS_MAX_BYTES: usize = 64 * 1024;

/// The most keys in a list.
pub const KEYS_MAX: usize = 128;

/// The longest name of a person, in bytes.
pub const PERSON_MAX_BYTES: usize = 128;

/// One key of one person.
#[derive(Clone, Debug)]
pub(crate) struct PersonsKey {
    pub(crate) person: String,
    pub(crate) key: PublicKey,
}

/// The people who may release images. Holding one proves that each key belongs to one person.
#[derive(Clone, Debug)]
pub struct ReleaseKeys {
    keys: Vec<PersonsKey>,
}

/// Who must sign an image: so many of these people.
#[derive(Clone, Debug)]
pub struct Rule {
    keys: ReleaseKeys,
    threshold: u8,
}

impl ReleaseKeys {
    /// Reads a list.
    pub fn parse(file: &[u8]) -> Result<Self, Refusal> {
        if file.len() > KEYS_MAX_BYTES {
            return Err(Refusal::ReleaseKeysDamaged("the file is too long".into()));
        }
        let bad = |line: usize, what: &str| Refusal::ReleaseKeysDamaged(format!("line {line}: {what}"));
        let text =
            core::str::from_utf8(file).map_err(|_| Refusal::ReleaseKeysDamaged("it is not text".into()))?;
        let mut keys: Vec<PersonsKey> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = read_line(line).map_err(|what| bad(number, what))?;
            if keys.iter().any(|other| other.key.key_data() == key.key.key_data()) {
                return Err(bad(number, "this key stands there already"));
            }
            if keys.len() == KEYS_MAX {
                return Err(bad(number, "there are too many keys"));
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Everybody who has a key here, each once, in the order of the list.
    pub fn people(&self) -> Vec<&str> {
        let mut people: Vec<&str> = Vec::new();
        for key in &self.keys {
            if !people.contains(&key.person.as_str()) {
                people.push(&key.person);
            }
        }
        people
    }

    pub(crate) fn owner_of(&self, key: &KeyData) -> Option<&PersonsKey> {
        self.keys.iter().find(|known| known.key.key_data() == key)
    }
}

impl Rule {
    /// So many of these people. Refuses a threshold of nobody, and one that all of them together do not reach.
    pub fn new(keys: ReleaseKeys, threshold: u8) -> Result<Self, Refusal> {
        let people = keys.people().len();
        if threshold == 0 || usize::from(threshold) > people {
            return Err(Refusal::BadThreshold { threshold, people });
        }
        Ok(Self { keys, threshold })
    }

    /// How many it takes.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Whether enough people signed this image, in `signatures`; returns who did, each once. Images for development are
    /// refused, whoever signed them.
    pub fn check(&self, release: &Release, signatures: &[u8]) -> Result<Vec<String>, Refusal> {
        if release.channel != Channel::Release {
            return Err(Refusal::DevelopmentImage);
        }
        let signatures = signatures::parse(signatures)?;
        let message = release.message();
        let (mut signed, mut not_counted) = (Vec::new(), Vec::new());
        for (number, signature) in (1..).zip(&signatures) {
            let Some(owner) = self.keys.owner_of(signature.public_key()) else {
                let key = signatures::fingerprint(signature);
                not_counted.push(format!("signature {number} is of no release key ({key})"));
                continue;
            };
            match signatures::verify(signature, &owner.key, message.as_bytes()) {
                Ok(()) if signed.contains(&owner.person) => {
                    not_counted.push(format!("signature {number} is {}'s once more", owner.person));
                }
                Ok(()) => signed.push(owner.person.clone()),
                Err(why) => not_counted.push(format!("signature {number} ({}): {why}", owner.person)),
            }
        }
        if signed.len() < usize::from(self.threshold) {
            return Err(Refusal::TooFewPeople { signed, threshold: self.threshold, not_counted });
        }
        Ok(signed)
    }
}

/// Whether release keys may be of this kind.
pub(crate) fn is_taken(key: &KeyData) -> bool {
    matches!(
        key,
        KeyData::Ed25519(_)
            | KeyData::Ecdsa(EcdsaPublicKey::NistP256(_))
            | KeyData::SkEd25519(_)
            | KeyData::SkEcdsaSha2NistP256(_)
    )
}

/// One line: principal, options, kind of the key, the key, a comment.
fn read_line(line: &str) -> Result<PersonsKey, &'static str> {
    if line.chars().any(char::is_control) {
        return Err("it has a control character (tabs and carriage returns are not taken)");
    }
    let (person, rest) = line.split_once(' ').ok_or("a line is a person, a kind of key and a key")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@.+-_".contains(&byte);
    if person.is_empty() || person.len() > PERSON_MAX_BYTES || !person.bytes().all(plain) {
        return Err("the person is one name of letters, digits, and @ . + - _");
    }
    let rest = match read_options(rest)? {
        Some((namespaces, rest)) => {
            if !namespaces.split(',').any(|namespace| namespace == NAMESPACE) {
                return Err("the key is not for the namespace countersign-image");
            }
            rest
        }
        None => rest,
    };
    let mut words = rest.splitn(3, ' ');
    let (kind, encoded) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let text = format!("{kind} {encoded}");
    let key = PublicKey::from_openssh(&text).map_err(|_| "the key cannot be read")?;
    if !is_taken(key.key_data()) {
        return Err("the key is neither Ed25519 nor ECDSA P-256 (nor their sk- kinds)");
    }
    if key.to_openssh().ok().as_deref() != Some(text.as_str()) {
        return Err("the key is not in its one encoding");
    }
    Ok(PersonsKey { person: person.to_owned(), key })
}

/// The namespaces, where the line has the option, and what follows it. Any other option is refused: a word that is none of
/// the kinds of keys would otherwise be one that is silently not respected.
fn read_options(rest: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let first = rest.split([' ', '=', ',']).next().unwrap_or_default();
    if first.starts_with("ssh-") || first.starts_with("ecdsa-") || first.starts_with("sk-") {
        return Ok(None);
    }
    // "Option keywords are case-insensitive" (ssh-keygen(1)).
    if !first.eq_ignore_ascii_case("namespaces") {
        return Err("the one option that is taken is namespaces=\"…\"; cert-authority and dates are not");
    }
    let quoted = rest.get(first.len()..).and_then(|rest| rest.strip_prefix("=\""));
    let (namespaces, rest) = quoted.and_then(|rest| rest.split_once('"')).ok_or("namespaces are quoted")?;
    if namespaces.contains(['*', '?', '!', '\\', ' ']) {
        return Err("namespaces are names, not patterns");
    }
    let rest = rest.strip_prefix(' ').ok_or("there is one option, and then the key")?;
    Ok(Some((namespaces, rest)))
}

#[cfg(test)]
mod tests;
