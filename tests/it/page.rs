//! The user's page in Chromium, against a real HSM: enrol, approve with a code, approve with a passkey, decline, freeze, history.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_tests::artefacts;
use countersign_tests::backend::{account, digest, label, reason};
use countersign_tests::hsm::{Hsm, Keystore, TENANT};
use countersign_tests::node::Node;
use countersign_tests::on_both_keystores;
use countersign_tests::phone::Phone;
use countersign_tests::relay::{Relay, pictures};
use countersign_tests::transactions;
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, Enroll, KeyPlan, Mechanism, Payload, Sign, Signed, StageSign,
    Subject, TotpParameters,
};
use countersign_wire::reason::{Reason, Refusal};
use serde_json::{Value, json};
use std::process::Command;

on_both_keystores!(a_user_does_everything_on_the_page);

/// A browser with the page, and the HSM behind it.
struct Desk {
    hsm: Hsm,
    relay: Relay,
    browser: Node,
    size: &'static str,
    shots: u32,
}

impl Desk {
    fn new(keystore: Keystore, size: &'static str, [width, height]: [u32; 2], dark: bool) -> Self {
        let hsm = Hsm::start(keystore);
        let relay = Relay::with_page(&hsm);
        let mut browser = Node::start("browser");
        let url = relay.page_url();
        browser.ask("start", json!({ "url": url, "width": width, "height": height, "dark": dark }));
        Self { hsm, relay, browser, size, shots: 0 }
    }

    fn open(&mut self, fragment: &str) {
        let url = format!("{}{fragment}", self.relay.page_url());
        self.browser.ask("open", json!({ "url": url }));
    }

    #[track_caller]
    fn click(&mut self, id: &str) {
        self.browser.ask("click", json!({ "id": id }));
    }

    #[track_caller]
    fn fill(&mut self, id: &str, text: &str) {
        self.browser.ask("fill", json!({ "id": id, "text": text }));
    }

    #[track_caller]
    fn see(&mut self, id: &str) -> String {
        self.browser.ask("see", json!({ "id": id })).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn read(&mut self, id: &str, text: &str) {
        self.browser.ask("read", json!({ "id": id, "text": text }));
    }

    #[track_caller]
    fn attribute(&mut self, id: &str, name: &str) -> String {
        let value = self.browser.ask("attribute", json!({ "id": id, "name": name }));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// The word of the refusal that the page explains.
    #[track_caller]
    fn refusal(&mut self) -> String {
        self.attribute("problem", "data-word")
    }

    /// axe and the width, in this state of the page.
    #[track_caller]
    fn looks_right(&mut self, name: &str) {
        self.shots += 1;
        let name = format!("{}-{:02}-{name}", self.size, self.shots);
        let found = self.browser.ask("inspect", json!({ "name": name, "folder": pictures() }));
        assert_eq!(found, json!([]), "{name}");
    }

    fn invite(&self, name: &str, floor: ApprovalKind) -> String {
        let act = Act::Invite(Enroll {
            account: account(name),
            totp: TotpParameters::default(),
            key: "main".parse().unwrap(),
            plan: KeyPlan { floor, ..KeyPlan::of(vec![Mechanism::Digest, Mechanism::Ethereum]) },
        });
        let Answer::Invited(invited) = self.hsm.ask(act).unwrap() else { panic!("not invited") };
        data_encoding::HEXLOWER.encode(invited.invitation.as_slice())
    }

    fn stage(&self, name: &str, payload: Payload) -> String {
        let key = label(&format!("{name}/main"));
        let act = Act::Stage(Subject::Sign(StageSign { key, payload }));
        let Answer::Staged(staged) = self.hsm.ask(act).unwrap() else { panic!("not staged") };
        data_encoding::HEXLOWER.encode(staged.intent.as_slice())
    }

    fn sign(&self, name: &str, payload: Payload) -> Result<Signed, Refusal> {
        let key = label(&format!("{name}/main"));
        match self.hsm.ask(Act::Sign(Sign { key, payload, approval: Some(Approval::Prior) }))? {
            Answer::Signed(signed) => Ok(signed),
            other => panic!("not a signature: {other:?}"),
        }
    }

    /// Enrols on the page; gives the authenticator that scanned its QR code.
    fn enrol(&mut self, name: &str) -> Phone {
        let invitation = self.invite(name, ApprovalKind::SealedCode);
        self.open(&format!("#enroll/{TENANT}/{name}/{invitation}"));
        self.see("enroll-form");
        self.looks_right("enroll");
        // The website names the root, and the user compares it before anything else.
        let named = self.see("root-named");
        let named: String = named.chars().filter(char::is_ascii_hexdigit).collect();
        assert!(named.contains(&self.hsm.initialised.root_fingerprint), "{named}");
        self.click("enroll-start");
        self.see("root-unconfirmed");
        self.click("root-confirm");
        self.click("enroll-start");
        self.see("qr");
        self.looks_right("secret");
        let uri = self.browser.ask("text", json!({ "id": "secret-uri" }));
        let phone = Phone::scan(uri.as_str().unwrap().trim());
        let now = self.hsm.now();
        self.fill("confirm-first", "000000");
        self.fill("confirm-second", "000000");
        self.click("confirm-submit");
        assert_eq!(self.refusal(), "wrong-code");
        self.fill("confirm-first", &phone.code(now - 30));
        self.fill("confirm-second", &phone.code(now));
        self.click("confirm-submit");
        self.see("enrolled");
        self.looks_right("enrolled");
        phone
    }
}

fn transfer(nonce: u64) -> Payload {
    Payload::Ethereum(transactions::unsigned(&transactions::transfer(nonce)).into())
}

fn a_user_does_everything_on_the_page(keystore: Keystore) {
    let (size, measures, dark) = match keystore {
        // As narrow as a page that is read without scrolling sideways has to fit: WCAG 2.2, 1.4.10.
        Keystore::Embedded => ("phone", [320, 740], false),
        Keystore::Softhsm => ("desktop", [1280, 800], true),
    };
    let mut desk = Desk::new(keystore, size, measures, dark);
    let phone = desk.enrol("alice");
    approves_with_a_code(&mut desk, &phone);
    approves_with_a_passkey(&mut desk);
    declines(&mut desk);
    looks_back(&mut desk);
    freezes(&mut desk);
    let secret = data_encoding::BASE32_NOPAD.encode(phone.secret());
    let kept = desk.browser.ask_plainly("kept");
    let kept = kept.as_str().unwrap();
    assert!(kept.contains("private, extractable: false") && !kept.contains("private, extractable: true"));
    assert!(!kept.contains(&secret), "the authenticator's secret is kept nowhere in the browser");
    assert_eq!(
        desk.browser.ask_plainly("stop"),
        json!([]),
        "nothing on the console, nothing asked of others"
    );
}

fn approves_with_a_code(desk: &mut Desk, phone: &Phone) {
    desk.hsm.advance(30);
    let intent = desk.stage("alice", transfer(5));
    assert_eq!(reason(desk.sign("alice", transfer(5))), Reason::ApprovalMissing);
    desk.open(&format!("#approve/{TENANT}/alice/{intent}"));
    let recipient = transactions::RECIPIENT.to_checksum(None);
    assert!(desk.see("document").contains(&recipient), "the user sees whom he pays");
    desk.looks_right("approve");
    let now = desk.hsm.now();
    desk.fill("code", &phone.wrong_code(now));
    desk.click("approve");
    assert_eq!(desk.refusal(), "wrong-code");
    desk.looks_right("wrong-code");
    let code = phone.code(now);
    desk.fill("code", &format!("{} {}", &code[..3], &code[3..]));
    desk.click("approve");
    desk.see("outcome");
    desk.read("title", "Approved");
    desk.looks_right("approved");
    assert_eq!(reason(desk.sign("alice", transfer(6))), Reason::ApprovalMissing);
    desk.sign("alice", transfer(5)).unwrap();
    assert_eq!(reason(desk.sign("alice", transfer(5))), Reason::ApprovalMissing);
    desk.see("receipt");
    desk.read("title", "Signed");
    desk.looks_right("receipt");

    let intent = desk.stage("alice", transfer(7));
    desk.open(&format!("#approve/{TENANT}/alice/{intent}"));
    desk.fill("code", &code);
    desk.click("approve");
    assert_eq!(desk.refusal(), "code-used");
    assert!(desk.see("next-code").contains("Next code"));
    desk.looks_right("code-used");
}

fn approves_with_a_passkey(desk: &mut Desk) {
    let intent = desk.stage("alice", digest(7));
    desk.open(&format!("#approve/{TENANT}/alice/{intent}"));
    desk.see("warnings");
    desk.looks_right("blind");
    desk.click("approve-passkey");
    desk.see("outcome");
    desk.sign("alice", digest(7)).unwrap();
    desk.see("receipt");
}

fn declines(desk: &mut Desk) {
    let intent = desk.stage("alice", digest(8));
    desk.open(&format!("#approve/{TENANT}/alice/{intent}"));
    desk.click("decline");
    desk.see("declined");
    desk.looks_right("declined");
    assert_eq!(reason(desk.sign("alice", digest(8))), Reason::ApprovalMissing);
}

fn looks_back(desk: &mut Desk) {
    desk.open("");
    desk.see("account-card");
    desk.looks_right("home");
    desk.click("account-link");
    desk.see("history");
    let own = desk.browser.ask("attributes", json!({ "id": "entry", "name": "data-own" }));
    assert_eq!(own, json!(["true", "true"]));
    desk.click("receipt-show");
    desk.see("receipt");
    desk.looks_right("account");
    desk.click("cancel-recovery");
    assert_eq!(desk.refusal(), "no-recovery");
}

fn freezes(desk: &mut Desk) {
    desk.click("freeze");
    desk.see("freeze-dialog");
    desk.looks_right("freeze");
    desk.click("freeze-confirm");
    desk.browser.ask("miss", json!({ "id": "freeze" }));
    assert_eq!(desk.attribute("account-state", "data-state"), "frozen");
    desk.looks_right("frozen");
    let stage = Act::Stage(Subject::Sign(StageSign { key: label("alice/main"), payload: digest(9) }));
    assert_eq!(reason(desk.hsm.ask(stage)), Reason::AccountFrozen);
}

#[test]
fn the_page_and_the_sdk_pass_their_own_tests() {
    let web = artefacts::workspace().join("host-shim/web");
    let checked = Command::new("npm").args(["run", "check"]).current_dir(&web).output().unwrap();
    let told = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(checked.status.success(), "{}{}", told[0], told[1]);
}

/// What the page is made of, so that anybody can compare it with what is served to him.
#[test]
fn the_pages_manifest_names_every_file_with_its_hash() {
    use sha2::{Digest, Sha384};
    let folder = artefacts::page();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_object().expect("the files and their hashes");
    let mut there = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let (name, path) = file.map(|file| (file.file_name().into_string().unwrap(), file.path())).unwrap();
        if name == "manifest.json" {
            continue;
        }
        let hash = data_encoding::BASE64.encode(&Sha384::digest(std::fs::read(path).unwrap()));
        assert_eq!(files[&name]["integrity"].as_str().unwrap(), format!("sha384-{hash}"), "{name}");
        there += 1;
    }
    assert_eq!(there, files.len());
}
