//! The steps, in order. Each says in plain words what it shows, and checks it.

use super::Stage;
use super::backend::{Backend, Refused};
use super::ethereum::{Transfer, is_low_s, keccak256, parse_address, recover};
use super::hand::{Hand, Time};
use super::narrator::Narrator;
use crate::accounts::hex;
use crate::hsm::{
    Clock, Hsm, Log, NotServing, RunningHsm, status, wait_for_end, write_host_toml, write_private,
};
use crate::phone::Phone;
use crate::stop::on_stop_signal;
use anyhow::{Context, Result, anyhow, bail};
use countersign_client::{Client, HostConfig};
use countersign_wire::client::{
    Act, Answer, Approval, Enroll, KeyPlan, Mechanism, Payload, Sign, TotpParameters, TwoCodes,
};
use countersign_wire::names::{AccountName, ApiKey, KeyName, TypedCode};
use countersign_wire::reason::{Reason, Refusal};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use rustix::fd::OwnedFd;
use rustix::process::{Signal, pidfd_send_signal};
use serde_bytes::ByteBuf;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How `countersign-hsm run` ends when the plugin refused its store.
const EXIT_REFUSED_AT_START: i32 = 4;

const DAY_SECS: u64 = 24 * 60 * 60;

/// The HSM's process, for the thread that handles signals.
static HSM_PROCESS: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// A user with one key for Ethereum.
struct User {
    label: String,
    address: String,
    hand: Hand,
}

/// What all steps share.
struct Scene<'a> {
    stage: &'a Stage,
    hsm: &'a Hsm,
    clock: Clock,
    api_key: ApiKey,
    config: HostConfig,
    client: Client,
}

/// Tells the story. Returns an error only where it cannot go on.
pub(super) fn tell(stage: &Stage, hsm: &Hsm, clock: Clock, say: &mut Narrator) -> Result<()> {
    stop_the_hsm_on_signals()?;
    say.title("Countersign: no signature without the user's code, checked inside the HSM");
    let (scene, running) = an_hsm(stage, hsm, clock, say)?;
    let alice = scene.enrol("alice", say)?;
    let bob = scene.enrol("bob", say)?;
    let yesterday = scene.keep_a_copy_of_the_store(say)?;

    let backend = Backend::connect(&stage.module, scene.api_key.expose())?;
    let transfer =
        Transfer { nonce: 0, to: parse_address(&bob.address)?, value_wei: 250_000_000_000_000_000 };
    without_a_code(&backend, &alice, &transfer, say)?;
    let used = scene.with_the_code(&backend, &alice, &transfer, say)?;
    the_same_code_again(&backend, &alice, &transfer, &used, say)?;
    scene.on_another_users_key(&backend, &alice, &bob, &transfer, say)?;
    scene.ten_guesses(&backend, &bob, &transfer, say)?;

    let (backend, running) =
        scene.killed_and_started_again(backend, running, &alice, &transfer, &used, say)?;
    scene.yesterdays_store(running, &yesterday, backend, &alice, say)
}

/// A signal ends this process, but the HSM before it.
fn stop_the_hsm_on_signals() -> Result<()> {
    on_stop_signal(|signal| {
        let hsm = HSM_PROCESS.lock().ok().and_then(|mut process| process.take());
        if let Some(hsm) = hsm
            && pidfd_send_signal(&hsm, Signal::TERM).is_ok()
        {
            // Whether or not it can be watched to its end, this process ends now.
            let _ = wait_for_end(&hsm);
        }
        std::process::exit(128 + signal);
    })
}

fn an_hsm<'a>(
    stage: &'a Stage,
    hsm: &'a Hsm,
    clock: Clock,
    say: &mut Narrator,
) -> Result<(Scene<'a>, RunningHsm)> {
    say.step("An HSM in a temporary folder");
    let api_key = hsm.init(stage.keystore, clock)?;
    write_private(&stage.folder.join("api-key"), api_key.expose())?;
    let running = start(stage, hsm)?;
    let config = running.host_config();
    let client = Client::new(config.clone());
    let status = status(&client)?;
    say.detail("keystore", &status.keystore);
    say.detail("clock", status.clock.word());
    say.detail("measurement", &stage.measurement);
    if !status.missing_sandbox_layers.is_empty() {
        say.detail("not sandboxed", &status.missing_sandbox_layers.join(", "));
    }
    let measured = hex(status.measurement.as_slice());
    say.check(
        measured == stage.measurement && running.serving.measurement == stage.measurement,
        "the HSM runs exactly the image that was built: the bytes it measured are the bytes it runs",
        "",
    );
    Ok((Scene { stage, hsm, clock, api_key, config, client }, running))
}

fn start(stage: &Stage, hsm: &Hsm) -> Result<RunningHsm> {
    let running = hsm.start(&Log::File(&stage.folder.join("hsm.log")))?;
    *HSM_PROCESS.lock().map_err(|_| anyhow!("the thread that handles signals failed"))? =
        Some(running.pidfd()?);
    write_host_toml(&stage.folder.join("host.toml"), &running.serving, &stage.folder.join("api-key"))?;
    Ok(running)
}

fn without_a_code(backend: &Backend, alice: &User, transfer: &Transfer, say: &mut Narrator) -> Result<()> {
    say.step("The backend asks for a signature without Alice's code");
    say.tell("It has the PKCS#11 module and the API key, as an attacker who took it over would have.");
    let outcome = backend.sign_without_code(&alice.label, &transfer.unsigned())?;
    expect_refusal(say, &outcome, "CKR_USER_NOT_LOGGED_IN", "refused: the API key alone signs nothing");
    Ok(())
}

fn the_same_code_again(
    backend: &Backend,
    alice: &User,
    transfer: &Transfer,
    used: &str,
    say: &mut Narrator,
) -> Result<()> {
    say.step("The backend uses the same code again");
    let outcome = backend.sign(&alice.label, &transfer.unsigned(), used)?;
    expect_refusal(say, &outcome, "CKR_PIN_INCORRECT", "refused: one code gives at most one signature");
    Ok(())
}

fn expect_refusal(say: &mut Narrator, outcome: &Result<Vec<u8>, Refused>, expected: &str, what: &str) {
    match outcome {
        Err(Refused(seen)) => say.check(seen == expected, what, seen),
        Ok(_) => say.check(false, what, "it was signed"),
    }
}

impl Scene<'_> {
    fn time(&self) -> Time<'_> {
        Time { client: &self.client, config: &self.config }
    }

    fn call(&self, act: Act) -> Result<Answer, Refusal> {
        self.client.call(Some(&self.api_key), act)
    }

    fn enrol(&self, name: &str, say: &mut Narrator) -> Result<User> {
        say.step(&format!("{} enrols", title_case(name)));
        let account = AccountName::parse(name)?;
        let enroll = Enroll {
            account: account.clone(),
            totp: TotpParameters::default(),
            key: KeyName::parse("ethereum")?,
            plan: KeyPlan::of(vec![Mechanism::Ethereum]),
        };
        let Answer::Enrolled(enrolled) = self.call(Act::Enroll(enroll))? else {
            bail!("the HSM answered something else than an enrolment")
        };
        // Only Alice's phone may be a real one; the others are played in any case.
        let person = self.stage.interactive && name == "alice";
        if name == "alice" {
            say.tell("The HSM made her key and her TOTP secret. Her app scans this once:");
            say.tell(&qr(&enrolled.otpauth)?);
        }
        if person {
            say.detail("or by hand", &enrolled.otpauth);
        }
        let hand = if person { Hand::Person } else { Hand::Played(Phone::scan(&enrolled.otpauth)?) };
        let confirmed = self.confirm(&account, &hand, say)?;
        say.detail("address", &enrolled.key.ethereum_address);
        say.check(confirmed, "two codes in a row: the account is confirmed and may sign", "");
        let address = enrolled.key.ethereum_address.clone();
        Ok(User { label: enrolled.key.label.to_string(), address, hand })
    }

    /// A person may mistype; a played phone does not.
    fn confirm(&self, account: &AccountName, hand: &Hand, say: &Narrator) -> Result<bool> {
        let mut tries_left = if matches!(hand, Hand::Person) { 3 } else { 1 };
        loop {
            tries_left -= 1;
            let (first, second) = hand.two_codes(&self.time(), say)?;
            let codes = TwoCodes {
                account: account.clone(),
                first: TypedCode::new(&first)?,
                second: TypedCode::new(&second)?,
            };
            match self.call(Act::Confirm(codes)) {
                Ok(Answer::Account(info)) => return Ok(info.confirmed),
                Ok(_) => bail!("the HSM answered something else than an account"),
                Err(refusal) if tries_left > 0 => say.tell(refusal.reason.sentence()),
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// What a thief of backups has: the untrusted disk as it was before anything was signed.
    fn keep_a_copy_of_the_store(&self, say: &mut Narrator) -> Result<PathBuf> {
        let copy = self.stage.folder.join("yesterday");
        copy_files(&self.hsm.home.join("store"), &copy)?;
        say.tell("\nSomeone copies the HSM's untrusted disk.");
        if self.clock == Clock::Manual {
            self.time().advance(DAY_SECS)?;
            say.tell("A day goes by.");
        }
        Ok(copy)
    }

    /// Returns the code, which is now used.
    fn with_the_code(
        &self,
        backend: &Backend,
        alice: &User,
        transfer: &Transfer,
        say: &mut Narrator,
    ) -> Result<String> {
        say.step("The backend asks with Alice's code: 0.25 ETH to Bob, an EIP-1559 transaction");
        let code = alice.hand.next_code(&self.time(), say)?;
        let unsigned = transfer.unsigned();
        match backend.sign(&alice.label, &unsigned, &code)? {
            Err(Refused(seen)) => say.check(false, "signed", &seen),
            Ok(signature) => show_signature(alice, transfer, &signature, say)?,
        }
        Ok(code)
    }

    fn on_another_users_key(
        &self,
        backend: &Backend,
        alice: &User,
        bob: &User,
        transfer: &Transfer,
        say: &mut Narrator,
    ) -> Result<()> {
        say.step("The backend uses Alice's next code, a fresh one, on Bob's key");
        let code = alice.hand.next_code(&self.time(), say)?;
        let outcome = backend.sign(&bob.label, &transfer.unsigned(), &code)?;
        expect_refusal(say, &outcome, "CKR_PIN_INCORRECT", "refused: a code opens only its owner's keys");
        Ok(())
    }

    fn ten_guesses(
        &self,
        backend: &Backend,
        bob: &User,
        transfer: &Transfer,
        say: &mut Narrator,
    ) -> Result<()> {
        say.step("The backend guesses Bob's code ten times");
        let Hand::Played(phone) = &bob.hand else { bail!("Bob's phone is always played") };
        let unsigned = transfer.unsigned();
        let mut seen = Vec::new();
        for guess in wrong_codes(phone, self.time().now()?) {
            seen.push(match backend.sign(&bob.label, &unsigned, &guess)? {
                Err(Refused(name)) => name,
                Ok(_) => "signed".to_owned(),
            });
        }
        // Alice's code on Bob's key was his first failure.
        let wrong = seen.iter().take_while(|name| *name == "CKR_PIN_INCORRECT").count();
        let locked = seen.iter().skip(wrong).filter(|name| *name == "CKR_PIN_LOCKED").count();
        let summary = format!("{wrong} times CKR_PIN_INCORRECT, then {locked} times CKR_PIN_LOCKED");
        let kept = seen.len() == 10 && wrong == 4 && locked == 6;
        say.check(kept, "refused, and after the fifth failure in a row the account is locked", &summary);
        let right = phone.code_at(self.time().now()?);
        let outcome = backend.sign(&bob.label, &unsigned, &right)?;
        let what = "while it is locked even the right code is refused, so guessing on is of no use";
        expect_refusal(say, &outcome, "CKR_PIN_LOCKED", what);
        Ok(())
    }

    fn killed_and_started_again(
        &self,
        backend: Backend,
        running: RunningHsm,
        alice: &User,
        transfer: &Transfer,
        used: &str,
        say: &mut Narrator,
    ) -> Result<(Backend, RunningHsm)> {
        say.step("The HSM is killed with SIGKILL and started again");
        running.kill()?;
        let running = start(self.stage, self.hsm)?;
        let backend = backend.reconnect()?;
        let outcome = backend.sign(&alice.label, &transfer.unsigned(), used)?;
        expect_refusal(say, &outcome, "CKR_PIN_INCORRECT", "the used code is still refused after the crash");
        if self.clock == Clock::Manual {
            // The clock has moved one step since, so the code is still in the window: only its use refuses it.
            let refusal = self.ask_natively(alice, transfer, used)?;
            let what = "and the reason is its use, not its age: the HSM remembers across a crash";
            say.check(refusal == Some(Reason::CodeUsed), what, refusal.map_or("signed", Reason::word));
        }
        Ok((backend, running))
    }

    /// Asks without PKCS#11, where the reason of a refusal is told exactly. `None`: it was signed.
    fn ask_natively(&self, user: &User, transfer: &Transfer, code: &str) -> Result<Option<Reason>> {
        let sign = Sign {
            key: user.label.parse()?,
            payload: Payload::Ethereum(ByteBuf::from(transfer.unsigned())),
            approval: Some(Approval::Code(TypedCode::new(code)?)),
        };
        Ok(self.call(Act::Sign(sign)).err().map(|refusal| refusal.reason))
    }

    fn yesterdays_store(
        &self,
        running: RunningHsm,
        yesterday: &Path,
        backend: Backend,
        alice: &User,
        say: &mut Narrator,
    ) -> Result<()> {
        let which =
            if self.clock == Clock::Manual { "Yesterday's store" } else { "The earlier copy of the store" };
        say.step(&format!("{which} is put back, from before the code was used"));
        running.stop()?;
        let (store, today) = (self.hsm.home.join("store"), self.stage.folder.join("today"));
        fs::rename(&store, &today)?;
        copy_files(yesterday, &store)?;
        let what = "the HSM refuses to start on a store that was rolled back";
        match start(self.stage, self.hsm) {
            Ok(_) => say.check(false, what, "it started"),
            Err(error) => {
                let refused = error.downcast::<NotServing>()?;
                let code = refused.status.code();
                say.check(code == Some(EXIT_REFUSED_AT_START), what, &refused.status.to_string());
                say.tell(&last_line(&refused.said));
            }
        }
        fs::remove_dir_all(&store)?;
        fs::rename(&today, &store)?;
        let running = start(self.stage, self.hsm)?;
        let backend = backend.reconnect()?;
        say.tell("The right store is put back.");
        let code = alice.hand.next_code(&self.time(), say)?;
        let next = Transfer { nonce: 1, to: [0x11; 20], value_wei: 1 };
        let signature = backend.sign(&alice.label, &next.unsigned(), &code)?;
        let address = parse_address(&alice.address)?;
        let good = signature.is_ok_and(|signature| recover(&next.unsigned(), &signature, address).is_some());
        say.check(good, "the HSM opens again, nothing is lost, and Alice's next code signs", "");
        running.stop()
    }
}

fn show_signature(alice: &User, transfer: &Transfer, signature: &[u8], say: &mut Narrator) -> Result<()> {
    let found = recover(&transfer.unsigned(), signature, parse_address(&alice.address)?);
    let what = "signed, and the signer recovered from the transaction is Alice's address";
    say.check(found.is_some(), what, &alice.address);
    say.check(is_low_s(signature), "s is in the lower half, as Ethereum demands", "");
    if let Some(found) = found {
        let raw = transfer.signed(&found);
        say.detail("hash", &format!("0x{}", hex(&keccak256(&raw))));
        say.detail("raw", &format!("0x{}", hex(&raw)));
    }
    Ok(())
}

/// Ten codes of which none is right at any step near `now`.
fn wrong_codes(phone: &Phone, now: u64) -> Vec<String> {
    let right: Vec<_> = (0..9).map(|step| phone.code_at(now + step * 30 - 120)).collect();
    let candidates = (0..).map(|n| format!("{:06}", (314_159 + n * 271_829) % 1_000_000));
    candidates.filter(|code| !right.contains(code)).take(10).collect()
}

fn qr(text: &str) -> Result<String> {
    let code = QrCode::new(text).context("the otpauth URI does not fit a QR code")?;
    // Light modules are drawn, so that it scans on a dark terminal.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn title_case(name: &str) -> String {
    name.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }).collect()
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

/// Copies a folder of plain files.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_codes_are_ten_different_ones_and_never_right() {
        let phone =
            Phone::scan("otpauth://totp/x:y?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=x").unwrap();
        for now in [1_000_000_000, 2_000_000_000] {
            let wrong = wrong_codes(&phone, now);
            let different: std::collections::BTreeSet<_> = wrong.iter().collect();
            assert_eq!(different.len(), 10);
            for step in [now - 60, now - 30, now, now + 30, now + 60] {
                assert!(!wrong.contains(&phone.code_at(step)));
            }
        }
    }

    #[test]
    fn the_qr_code_is_drawn_light_on_dark_with_its_quiet_zone() {
        let drawn = qr("otpauth://totp/x").unwrap();
        assert!(drawn.lines().next().is_some_and(|line| line.chars().all(|c| c == '█')), "{drawn}");
    }
}
