use super::*;
use PasskeyProblem::{CrossOrigin, DuplicateKey, Malformed, WrongChallenge, WrongType};

/// 32 bytes of zero in base64url.
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn with(more: &str) -> String {
    format!(r#"{{"type":"webauthn.get","challenge":"{ZEROS}","origin":"https://example.org"{more}}}"#)
}

fn check(text: &str) -> Result<(), PasskeyProblem> {
    ClientData::read(text.as_bytes())?.check_ceremony("webauthn.get", &[0; 32])
}

#[test]
fn members_may_stand_in_any_order_with_others_and_escapes() {
    for good in [
        with(""),
        with(r#","crossOrigin":false"#),
        with(r#","x":null,"y":[1,-2,"z",{"a":true}],"tokenBinding":{"status":"supported"}"#),
        with(r#","TYPE":"other","":1"#),
        format!(" {}\r\n\t", with("")),
        format!(
            r#"{{"origin":"https:\/\/example.org","ch\u0061llenge":"{ZEROS}","type":"webauthn\u002eget"}}"#
        ),
    ] {
        assert_eq!(check(&good), Ok(()), "{good}");
    }
}

#[test]
fn refuses_a_key_that_stands_twice_however_it_is_spelled_and_wherever() {
    for bad in [
        with(r#","type":"webauthn.get""#),
        with(r#","origin":"https://evil.example""#),
        with(r#","\u0074ype":"webauthn.create""#),
        with(r#","x":1,"x":1"#),
        with(r#","x":{"a":1,"b":2,"a":3}"#),
        with(r#","x":[[{"a":1,"\u0061":1}]]"#),
    ] {
        assert_eq!(check(&bad), Err(DuplicateKey), "{bad}");
    }
}

#[test]
fn refuses_what_is_no_object_with_the_three_texts() {
    let text = with("");
    for bad in [
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        r#""type""#.to_owned(),
        "{}".to_owned(),
        text.replace(r#""type":"webauthn.get","#, ""),
        text.replace(r#""origin""#, r#""Origin""#),
        text.replace(r#""webauthn.get""#, "1"),
        text.replace(r#""webauthn.get""#, r#"["webauthn.get"]"#),
        with(r#","crossOrigin":0"#),
        with(r#","crossOrigin":"false""#),
        with(r#","crossOrigin":null"#),
        with(","),
        with(r#","x":1.5"#),
        with(r#","x":1e400"#),
        with(r#","x":01"#),
        with(r#","x":"\ud800""#),
        with(",'x':1"),
        text.replace('}', ""),
        format!("{text}{text}"),
        format!("\u{feff}{text}"),
    ] {
        assert_eq!(check(&bad), Err(Malformed), "{bad}");
    }
    let not_utf8 = [&with(r#","x":""#).as_bytes()[..with(r#","x":""#).len() - 1], b"\xff\"}"].concat();
    assert_eq!(ClientData::read(&not_utf8), Err(Malformed));
}

#[test]
fn refuses_another_ceremony_challenge_or_a_page_within_a_page() {
    assert_eq!(check(&with("").replace(".get", ".create")), Err(WrongType));
    assert_eq!(check(&with("").replace("webauthn.get", "payment.get")), Err(WrongType));
    assert_eq!(check(&with("").replace("AAAA\"", "AAAB\"")), Err(WrongChallenge), "other unused bits");
    assert_eq!(check(&with("").replace("AAAA\"", "AAAA=\"")), Err(WrongChallenge));
    assert_eq!(check(&with("").replace("AAAA\"", "AAA\"")), Err(WrongChallenge));
    assert_eq!(check(&with(r#","crossOrigin":true"#)), Err(CrossOrigin));
    assert_eq!(check(&with(r#","topOrigin":"https://example.org""#)), Err(CrossOrigin));
    assert_eq!(check(&with(r#","crossOrigin":false,"topOrigin":null"#)), Err(CrossOrigin));
}

#[test]
fn i14_size_depth_and_members_are_bounded() {
    let sized = |bytes: usize| format!("{}{}", with(""), " ".repeat(bytes - with("").len()));
    assert_eq!(check(&sized(CLIENT_DATA_MAX_BYTES)), Ok(()));
    assert_eq!(check(&sized(CLIENT_DATA_MAX_BYTES + 1)), Err(Malformed));
    let nested = |depth: usize| with(&format!(r#","x":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(check(&nested(DEPTH_MAX - 1)), Ok(()));
    assert_eq!(check(&nested(DEPTH_MAX)), Err(Malformed));
    assert_eq!(check(&with(r#","x":"[[[[[[\"[[[[{{{{""#)), Ok(()), "brackets in a string");
    let members = |count: usize| {
        let more: Vec<String> = (0..count).map(|name| format!(",\"{name}\":1")).collect();
        with(&more.concat())
    };
    assert_eq!(check(&members(MEMBERS_MAX - 3)), Ok(()));
    assert_eq!(check(&members(MEMBERS_MAX - 2)), Err(Malformed));
}
