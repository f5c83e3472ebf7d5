//! What a request asks and how it went, in words from short lists: all that is read of the messages that pass.
//!
//! A message is skimmed where it lies, without taking a copy of anything in it. Its one valid encoding
//! ([`countersign_wire::decode`]) has fields and variants at known places; whatever does not look like that has the word
//! [`OTHER`]. The firmware decides nothing by it: the plugin reads every message strictly.

use countersign_wire::client::Act;
use countersign_wire::hal::{Fault, Op};
use countersign_wire::reason::Reason;

/// Anything that is in no list.
pub const OTHER: &str = "other";

/// How the wire calls an outcome that is no refusal.
const DONE: &str = "done";

/// Every kind of call, as the metrics name it.
pub const CALLS: [&str; 13] = [
    "random",
    "read-store",
    "cut-store",
    "commit",
    "archive",
    "generate-key-pair",
    "sign-digest",
    "wrap-mac-key",
    "mac",
    "endorse",
    "attest",
    "room",
    "read-archive",
];

/// How a call may end.
pub const CALL_OUTCOMES: [&str; 7] =
    ["done", "rng", "store", "store-full", "store-unreadable", "keystore", "limits"];

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// One of [`Act::WORDS`], or [`OTHER`].
    pub act: &'static str,
    /// The tenant that it names. Nothing is proved by it.
    pub tenant: Option<Named<'a>>,
}

/// Where a request names its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// In the API key.
    ByKey(&'a str),
    /// In what is asked, as users' devices do, which have no API key.
    InAct(&'a str),
}

impl<'a> Named<'a> {
    /// The same place, another name.
    pub fn with<'b>(self, rename: impl FnOnce(&'a str) -> &'b str) -> Named<'b> {
        match self {
            Named::ByKey(name) => Named::ByKey(rename(name)),
            Named::InAct(name) => Named::InAct(rename(name)),
        }
    }
}

/// Acts that the plugin answers to anybody, whatever stands as API key.
const ANYBODYS: [&str; 2] = ["status", "identity"];

/// Reasons that are given, by the firmware or by the plugin, before an API key was looked at.
const BEFORE_THE_KEY: [Reason; 6] = [
    Reason::MalformedRequest,
    Reason::WrongApiKey,
    Reason::Busy,
    Reason::HsmUnreachable,
    Reason::HsmNotReady,
    Reason::InternalError,
];

/// The tenant that a request names, where its answer shows that it came from there; `reason` is `None` where it was done. A refusal
/// of what a device asked shows nothing: anybody may ask.
pub fn proven_tenant<'a>(asked: &Asked<'a>, reason: Option<&str>) -> Option<&'a str> {
    let is_late = |word: &str| {
        Reason::ALL.iter().any(|reason| reason.word() == word && !BEFORE_THE_KEY.contains(reason))
    };
    match (asked.tenant?, reason) {
        (Named::ByKey(name) | Named::InAct(name), None) => (!ANYBODYS.contains(&asked.act)).then_some(name),
        (Named::ByKey(name), Some(reason)) => is_late(reason).then_some(name),
        (Named::InAct(_), Some(_)) => None,
    }
}

/// Reads as much of a request as [`Asked`] tells.
pub fn asked(payload: &[u8]) -> Asked<'_> {
    skim_request(&mut Reader(payload)).unwrap_or(Asked { act: OTHER, tenant: None })
}

/// Reads of a reply whether it refuses: the reason's word, or [`OTHER`]; `None` where it does not.
pub fn refused(payload: &[u8]) -> Option<&'static str> {
    Some(skim_reply(&mut Reader(payload)).unwrap_or(OTHER)).filter(|word| *word != DONE)
}

/// What a call is called.
pub const fn call(op: &Op) -> &'static str {
    match op {
        Op::Random { .. } => "random",
        Op::ReadStore { .. } => "read-store",
        Op::CutStore { .. } => "cut-store",
        Op::Commit { .. } => "commit",
        Op::Archive { .. } => "archive",
        Op::GenerateKeyPair => "generate-key-pair",
        Op::SignDigest { .. } => "sign-digest",
        Op::WrapMacKey { .. } => "wrap-mac-key",
        Op::Mac { .. } => "mac",
        Op::Endorse { .. } => "endorse",
        Op::Attest { .. } => "attest",
        Op::Room => "room",
        Op::ReadArchive { .. } => "read-archive",
    }
}

/// What came of a call.
pub const fn call_outcome<T>(result: &Result<T, Fault>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(Fault::Rng) => "rng",
        Err(Fault::Store) => "store",
        Err(Fault::StoreFull) => "store-full",
        Err(Fault::StoreUnreadable) => "store-unreadable",
        Err(Fault::Keystore) => "keystore",
        Err(Fault::Limits) => "limits",
    }
}

fn skim_request<'a>(reader: &mut Reader<'a>) -> Option<Asked<'a>> {
    reader.map(3)?;
    reader.exactly("id")?;
    reader.bytes()?;
    reader.exactly("api_key")?;
    let api_key = reader.text_or_null()?;
    reader.exactly("act")?;
    let has_content = reader.map(1).is_some();
    let word = reader.text()?;
    let act = Act::WORDS.iter().copied().find(|known| *known == word)?;
    // An API key is cs1_, 64 digits, _ and the tenant's name.
    let of_key = api_key.strip_prefix("cs1_").and_then(|rest| rest.split_once('_')).map(|(_, tenant)| tenant);
    let mut in_act = || if has_content { reader.tenant_field() } else { None };
    let tenant = of_key.map(Named::ByKey).or_else(|| in_act().map(Named::InAct));
    Some(Asked { act, tenant })
}

/// [`DONE`], or the reason of a refusal.
fn skim_reply(reader: &mut Reader<'_>) -> Option<&'static str> {
    reader.map(2)?;
    reader.exactly("id")?;
    reader.bytes()?;
    reader.exactly("outcome")?;
    reader.map(1)?;
    match reader.text()? {
        DONE => Some(DONE),
        "refused" => {
            reader.map(2)?;
            reader.exactly("reason")?;
            let word = reader.text()?;
            let reason = Reason::ALL.iter().find(|reason| reason.word() == word)?;
            Some(reason.word())
        }
        _ => None,
    }
}

/// Reads items of CBOR (RFC 8949 section 3) off the front; `None` where there is another one.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    const BYTES: u8 = 2;
    const TEXT: u8 = 3;
    const MAP: u8 = 5;
    const NULL: u8 = 0xf6;

    /// The argument of an item of this major type, if one is next. Otherwise nothing is taken.
    fn head(&mut self, major: u8) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        if first >> 5 != major {
            return None;
        }
        let (argument, rest) = match first & 31 {
            small @ 0..=23 => (usize::from(small), rest),
            24 => rest.split_first().map(|(byte, rest)| (usize::from(*byte), rest))?,
            25 => {
                rest.split_first_chunk().map(|(two, rest)| (usize::from(u16::from_be_bytes(*two)), rest))?
            }
            // Nothing that is skimmed is longer.
            _ => return None,
        };
        self.0 = rest;
        Some(argument)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn map(&mut self, entries: usize) -> Option<()> {
        let before = self.0;
        let is_it = self.head(Self::MAP) == Some(entries);
        if !is_it {
            self.0 = before;
        }
        is_it.then_some(())
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.head(Self::BYTES)?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.head(Self::TEXT)?;
        core::str::from_utf8(self.take(length)?).ok()
    }

    /// A text; an empty one for null.
    fn text_or_null(&mut self) -> Option<&'a str> {
        if self.0.first() == Some(&Self::NULL) {
            self.take(1)?;
            return Some("");
        }
        self.text()
    }

    fn exactly(&mut self, text: &str) -> Option<()> {
        (self.text()? == text).then_some(())
    }

    /// The value of a struct's first field, where that is the tenant.
    fn tenant_field(&mut self) -> Option<&'a str> {
        self.head(Self::MAP)?;
        self.exactly("tenant")?;
        self.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::{Answer, Outcome, Reply, Request};
    use countersign_wire::device::ViewIntent;
    use countersign_wire::encode;
    use countersign_wire::names::{ApiKey, TenantName};
    use countersign_wire::reason::Refusal;
    use proptest::prelude::*;
    use serde_bytes::ByteArray;

    fn request(api_key: Option<ApiKey>, act: Act) -> Vec<u8> {
        encode(&Request { id: [7; 16].into(), api_key, act })
    }

    #[test]
    fn a_request_tells_its_act_and_the_tenant_that_it_names() {
        let acme = TenantName::parse("acme").unwrap();
        let (key, by_key) = (|| Some(ApiKey::from_random(&[1; 32], &acme)), Some(Named::ByKey("acme")));
        assert_eq!(asked(&request(None, Act::Status)), Asked { act: "status", tenant: None });
        assert_eq!(asked(&request(key(), Act::Login)), Asked { act: "login", tenant: by_key });
        assert_eq!(asked(&request(key(), Act::Random(9))), Asked { act: "random", tenant: by_key });
        let view = ViewIntent {
            tenant: acme.clone(),
            account: "alice".parse().unwrap(),
            intent: [2; 16].into(),
            device_nonce: ByteArray::new([3; 32]),
        };
        let found = request(None, Act::ViewIntent(view));
        assert_eq!(asked(&found), Asked { act: "view-intent", tenant: Some(Named::InAct("acme")) });
    }

    #[test]
    fn a_tenant_is_proven_by_what_comes_after_its_key_was_looked_at_and_by_nothing_else() {
        let by_key = |act| Asked { act, tenant: Some(Named::ByKey("acme")) };
        let in_act = |act| Asked { act, tenant: Some(Named::InAct("acme")) };
        let proves_tenant =
            |asked: &Asked<'_>, reason: Option<&str>| proven_tenant(asked, reason) == Some("acme");
        assert!(proves_tenant(&by_key("login"), None));
        assert!(proves_tenant(&in_act("approve"), None), "a device of the tenant's signed it");
        assert!(!proves_tenant(&Asked { act: "login", tenant: None }, None));
        for act in ANYBODYS {
            assert!(Act::WORDS.contains(&act) && !proves_tenant(&by_key(act), None), "{act}");
        }
        let proven: Vec<_> =
            Reason::ALL.iter().filter(|reason| proves_tenant(&by_key("sign"), Some(reason.word()))).collect();
        assert_eq!(proven.len() + BEFORE_THE_KEY.len(), Reason::ALL.len());
        assert!(proven.iter().all(|reason| !BEFORE_THE_KEY.contains(reason)));
        assert!(!proves_tenant(&by_key("sign"), Some(OTHER)), "a reply that cannot be read");
        for reason in Reason::ALL {
            assert!(!proves_tenant(&in_act("approve"), Some(reason.word())), "{reason}");
        }
    }

    #[test]
    fn a_reply_tells_every_reason_and_nothing_of_an_answer() {
        let id = [7; 16].into();
        for reason in Reason::ALL {
            let refusal = Refusal { reason: *reason, retry_after_secs: Some(300) };
            let reply = encode(&Reply { id, outcome: Outcome::Refused(refusal) });
            assert_eq!(refused(&reply), Some(reason.word()));
        }
        assert_eq!(refused(&encode(&Reply { id, outcome: Outcome::Done(Answer::Approved) })), None);
    }

    #[test]
    fn what_is_no_message_has_no_word_of_its_own() {
        let good = request(None, Act::Random(9));
        for cut in 0..good.len() - 4 {
            assert_eq!(asked(&good[..cut]).tenant, None);
        }
        assert_eq!(asked(b"").act, OTHER);
        assert_eq!(asked(&good[..good.len() - 8]).act, OTHER);
        assert_eq!(refused(b"\xa2"), Some(OTHER));
        let mut strange = good;
        let at = strange.windows(6).position(|window| window == b"random").unwrap();
        strange[at] = b'R';
        assert_eq!(asked(&strange).act, OTHER, "a word that is in no list");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_word_that_is_in_no_list(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let act = asked(&bytes).act;
            prop_assert!(act == OTHER || Act::WORDS.contains(&act));
            refused(&bytes);
        }

        #[test]
        fn a_changed_request_is_skimmed_without_harm(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = request(None, Act::Random(9));
            let at = at.index(bytes.len());
            bytes[at] = with;
            let act = asked(&bytes).act;
            prop_assert!(act == OTHER || Act::WORDS.contains(&act));
        }
    }
}
