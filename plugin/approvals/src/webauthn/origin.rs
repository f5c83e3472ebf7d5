//! Where a passkey may be used: an origin, and the domains that it may speak for (WebAuthn level 3 section 5.1.2; the
//! effective domain or a registrable suffix of it, which the browser has checked).

use super::hash;

/// The longest name of a host, in bytes (RFC 1035 section 3.1).
const HOST_MAX_BYTES: usize = 253;

/// The longest label of a name, in bytes.
const LABEL_MAX_BYTES: usize = 63;

const LOCALHOST: &str = "localhost";

/// An origin that may have passkeys, in the form that browsers give it (HTML, serialization of an origin).
#[derive(Debug)]
pub(super) struct Origin<'a> {
    host: &'a str,
}

impl<'a> Origin<'a> {
    /// `https://host[:port]`, or `http://localhost[:port]`. The host is a name in lower case, not an address; a port is
    /// there when it is not the scheme's own.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (is_tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://")?),
        };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let default = if is_tls { "443" } else { "80" };
        if !is_host(host) || port.is_some_and(|port| port == default || !is_port(port)) {
            return None;
        }
        (is_tls || host == LOCALHOST).then_some(Self { host })
    }

    /// The longest of the host and its parent domains with this hash. A parent has two labels at least.
    pub(super) fn rp_id(&self, wanted: &[u8; 32]) -> Option<&'a str> {
        let shorter = |name: &&'a str| name.split_once('.').map(|(_, parent)| parent);
        core::iter::successors(Some(self.host), shorter)
            .filter(|name| *name == LOCALHOST || name.contains('.'))
            .find(|name| hash(name.as_bytes()) == *wanted)
    }
}

/// A name of letters, digits and hyphens, in lower case (RFC 1123 section 2.1), whose last label is no number.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let inner = !label.starts_with('-') && !label.ends_with('-');
        let of = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        inner && (1..=LABEL_MAX_BYTES).contains(&label.len()) && label.bytes().all(of)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= HOST_MAX_BYTES
        && host.split('.').all(is_label)
        && !host.rsplit('.').next().is_some_and(is_number)
        && (host == LOCALHOST || host.contains('.'))
}

/// A number from 1 to 65535 in its shortest form.
fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::ORIGIN_MAX_BYTES;

    #[test]
    fn the_rp_id_is_the_longest_domain_that_fits() {
        let origin = Origin::parse("https://pay.bank.example.org").unwrap();
        for name in ["pay.bank.example.org", "bank.example.org", "example.org"] {
            assert_eq!(origin.rp_id(&hash(name.as_bytes())), Some(name));
        }
        for name in ["org", "", "ay.bank.example.org", "x.pay.bank.example.org", "example.com", LOCALHOST] {
            assert_eq!(origin.rp_id(&hash(name.as_bytes())), None, "{name}");
        }
        let local = Origin::parse("http://localhost:8080").unwrap();
        assert_eq!(local.rp_id(&hash(b"localhost")), Some("localhost"));
        assert_eq!(local.rp_id(&hash(b"")), None);
    }

    #[test]
    fn origins_have_one_form() {
        for origin in [
            "https://example.org",
            "https://a-b.example.org:8443",
            "https://xn--bcher-kva.example",
            "http://localhost",
            "http://localhost:5173",
            "https://localhost:1",
            "https://1.example.org:65535",
        ] {
            assert!(Origin::parse(origin).is_some(), "{origin}");
        }
        for origin in [
            "http://example.org",
            "https://example.org/",
            "https://example.org:443",
            "http://localhost:80",
            "https://example.org:0",
            "https://example.org:08443",
            "https://example.org:65536",
            "https://example.org:",
            "https://example.org:1:2",
            "https://Example.org",
            "https://user@example.org",
            "https://example.org?x",
            "https://example..org",
            "https://example.org.",
            "https://-a.example.org",
            "https://org",
            "https://192.0.2.1",
            "https://[2001:db8::1]",
            "https://a_b.example.org",
            "http://sub.localhost",
            "HTTPS://example.org",
            "android:apk-key-hash:x",
            "https://",
            "",
            "null",
        ] {
            assert!(Origin::parse(origin).is_none(), "{origin}");
        }
        let long = format!("https://{}.org", vec!["a"; 125].join("."));
        assert!(Origin::parse(&long).is_some(), "253 bytes");
        let longest = format!("{long}:65535");
        assert_eq!((Origin::parse(&longest).is_some(), longest.len()), (true, ORIGIN_MAX_BYTES));
        assert!(Origin::parse(&long.replace("//a", "//aa")).is_none());
    }
}
