use super::*;
use crate::test_people::Person;
use crate::{Measurement, Version};
use proptest::prelude::*;

/// Of OpenSSH's documentation (PROTOCOL.sshsig, 1): the key in its example.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICSsaCwSQYr1DzU1CVErJUE7doQ46Myrx2qynjfLmBao";

fn keys(text: &str) -> Result<ReleaseKeys, Refusal> {
    ReleaseKeys::parse(text.as_bytes())
}

fn release() -> Release {
    Release {
        measurement: Measurement::from_bytes([3; 48]),
        version: Version::new(1, 0, 0),
        channel: Channel::Release,
    }
}

fn rule_of(people: &[&Person], threshold: u8) -> Rule {
    let list: String = people.iter().map(|person| person.line()).collect();
    Rule::new(keys(&list).unwrap(), threshold).unwrap()
}

#[test]
fn reads_people_comments_and_the_namespace() {
    let list =
        format!("# release keys\n\nalice@example.org namespaces=\"git,countersign-image\" {KEY} laptop\n");
    assert_eq!(keys(&list).unwrap().people(), ["alice@example.org"]);
    assert_eq!(keys(&format!("alice {KEY}\n")).unwrap().people(), ["alice"]);
    assert_eq!(keys(&format!("alice Namespaces=\"countersign-image\" {KEY}")).unwrap().people(), ["alice"]);
    assert!(keys("").unwrap().people().is_empty());
}

#[test]
fn refuses_what_openssh_takes_and_a_ceremony_should_not() {
    for line in [
        format!("*@example.org {KEY}"),
        format!("alice,bob {KEY}"),
        format!("alice cert-authority {KEY}"),
        format!("alice cert-authority,namespaces=\"countersign-image\" {KEY}"),
        format!("alice namespaces=\"countersign-image\",cert-authority {KEY}"),
        format!("alice valid-before=\"20300101\" {KEY}"),
        format!("alice unheard-of {KEY}"),
        format!("alice namespaces=\"git\" {KEY}"),
        format!("alice namespaces=\"*\" {KEY}"),
        format!("alice namespaces=\"countersign-image,!git\" {KEY}"),
        format!("alice namespaces=countersign-image {KEY}"),
        format!("alice namespaces=\"countersign-image {KEY}"),
        format!("alice\t{KEY}"),
        format!("alice  {KEY}"),
        format!(" alice {KEY}"),
        format!("alice {KEY}\r"),
        format!("\"alice\" {KEY}"),
        format!("alice {}", KEY.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 ")),
        format!("alice {}", &KEY[..KEY.len() - 4]),
        format!("alice {KEY}A="),
        "alice ssh-ed25519".to_owned(),
        "alice".to_owned(),
        KEY.to_owned(),
    ] {
        let refused = keys(&line).expect_err(&line);
        assert_eq!(refused.word(), "release-keys-damaged", "{line}");
    }
}

#[test]
fn refuses_a_key_under_two_people_or_twice_under_one() {
    for second in ["alice", "bob"] {
        let refused = keys(&format!("alice {KEY}\n{second} {KEY} again\n")).unwrap_err();
        assert!(refused.to_string().contains("line 2: this key stands there already"), "{refused}");
    }
}

#[test]
fn refuses_rsa_and_other_curves() {
    let rsa = Person::with_key("alice", "rsa");
    assert!(keys(&rsa.line()).unwrap_err().to_string().contains("neither Ed25519"), "RSA");
}

#[test]
fn refuses_a_threshold_of_nobody_and_one_above_the_number_of_people() {
    let alice = Person::with_key("alice", "ed25519");
    let again = Person::with_key("alice", "ecdsa");
    let list = alice.line() + &again.line();
    assert!(Rule::new(keys(&list).unwrap(), 1).is_ok());
    for threshold in [0, 2] {
        let refused = Rule::new(keys(&list).unwrap(), threshold).unwrap_err();
        assert_eq!(refused, Refusal::BadThreshold { threshold, people: 1 }, "two keys are one person");
    }
}

#[test]
fn enough_people_release_an_image_with_either_kind_of_key() {
    let [alice, bob] = [Person::with_key("alice", "ed25519"), Person::with_key("bob", "ecdsa")];
    let rule = rule_of(&[&alice, &bob], 2);
    let message = release().message();
    let both =
        [alice.sign(message.as_bytes()), bob.sign_for(NAMESPACE, "sha256", message.as_bytes())].concat();
    assert_eq!(rule.check(&release(), &both).unwrap(), ["alice", "bob"]);
}

#[test]
fn refuses_one_person_too_few_and_two_signatures_of_one_person() {
    let [alice, bob, again] = [("alice", "ed25519"), ("bob", "ed25519"), ("alice", "ecdsa")]
        .map(|(name, kind)| Person::with_key(name, kind));
    let rule = rule_of(&[&alice, &bob, &again], 2);
    let message = release().message();
    let [one, same_key, other_key] = [&alice, &alice, &again].map(|person| person.sign(message.as_bytes()));
    for signatures in [one.clone(), [one.clone(), same_key].concat(), [one, other_key].concat()] {
        let refused = rule.check(&release(), &signatures).unwrap_err();
        let Refusal::TooFewPeople { signed, threshold: 2, .. } = refused else { panic!("{refused}") };
        assert_eq!(signed, ["alice"]);
    }
}

#[test]
fn refuses_signatures_of_strangers_of_other_images_and_for_other_purposes() {
    let [alice, stranger] = [Person::with_key("alice", "ed25519"), Person::with_key("mallory", "ed25519")];
    let rule = rule_of(&[&alice], 1);
    let message = release().message();
    let newer = Release { version: Version::new(2, 0, 0), ..release() };
    let other = Release { measurement: Measurement::from_bytes([4; 48]), ..release() };
    for (signatures, why) in [
        (stranger.sign(message.as_bytes()), "of no release key"),
        (alice.sign(newer.message().as_bytes()), "not of this image"),
        (alice.sign(other.message().as_bytes()), "not of this image"),
        (alice.sign(&message.as_bytes()[..message.len() - 1]), "not of this image"),
        (alice.sign_for("file", "sha512", message.as_bytes()), "another namespace"),
    ] {
        let refused = rule.check(&release(), &signatures).unwrap_err();
        assert_eq!(refused.word(), "too-few-people");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert!(rule.check(&release(), &alice.sign(message.as_bytes())).is_ok());
}

#[test]
fn refuses_unsigned_images_and_those_for_development() {
    let alice = Person::with_key("alice", "ed25519");
    let rule = rule_of(&[&alice], 1);
    assert_eq!(rule.check(&release(), b""), Err(Refusal::ImageUnsigned));
    let development = Release { channel: Channel::Development, ..release() };
    let signature = alice.sign(development.message().as_bytes());
    assert_eq!(rule.check(&development, &signature), Err(Refusal::DevelopmentImage));
}

proptest! {
    #[test]
    fn any_line_is_refused_or_names_one_person(text in "[ -~\n]{0,200}") {
        let lines = format!("alice {KEY}\n{text}");
        if let Ok(keys) = keys(&lines) {
            prop_assert!(keys.people().iter().all(|person| !person.contains(['*', '?', ',', ' '])));
        }
    }
}
