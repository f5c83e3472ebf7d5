//! What one user was told, and what the HSM must still know after it was killed.

use countersign_tests::backend::{assert_signed_by, digest, enroll_act, operation};
use countersign_tests::phone::STEP_SECS;
use countersign_tests::{Hsm, User};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{Act, Answer, Signed};
use countersign_wire::reason::{Blame, Reason, Refusal};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// The HSM went away in the middle of a request: nobody knows what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

/// How a code and what it is for reach the HSM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// In one request.
    Native,
    /// As the PKCS#11 module sends them: first the code, then the data.
    Pkcs11,
}

/// One user's acknowledged past.
pub(crate) struct Ledger {
    user: User,
    /// The highest step whose code was acknowledged as accepted.
    highest_accepted: u64,
    /// The highest step whose code was ever sent.
    highest_sent: u64,
    /// Acknowledged failures since the last success or lock, and whether there was a lock since the last success.
    failures: u16,
    locked: bool,
    /// Whether a request was cut off since the last restart: it may have succeeded, and then cleared the count.
    cut_off: bool,
    /// Names of acknowledged keys, and of all that were ever asked for.
    keys: BTreeSet<String>,
    keys_asked_for: usize,
    /// Acknowledged enrolments of others, and whether their confirmation was acknowledged.
    enrolled: Vec<(User, bool)>,
    enrolments_asked_for: usize,
    /// Signatures that were received.
    pub(crate) signatures: usize,
    /// Requests that got no answer.
    pub(crate) in_doubt: usize,
    /// Grants that were gone when they were to be used.
    pub(crate) grants_lost: usize,
}

/// The answer, unless there was none.
pub(crate) fn answered<T>(result: Result<T, Refusal>) -> Result<Result<T, Refusal>, Lost> {
    match result {
        Err(refusal) if matches!(refusal.reason, Reason::HsmUnreachable | Reason::HsmNotReady) => Err(Lost),
        Err(refusal) if refusal.reason.blame() == Blame::Device => {
            panic!("a killed HSM says nothing, not: {refusal}")
        }
        answer => Ok(answer),
    }
}

impl Ledger {
    pub(crate) fn new(user: User, now: u64) -> Self {
        // The confirmation spent the code of the step before the present one.
        let spent = now / STEP_SECS - 1;
        let keys = BTreeSet::from([user.key.label.key.to_string()]);
        Self {
            user,
            highest_accepted: spent,
            highest_sent: spent,
            failures: 0,
            locked: false,
            cut_off: false,
            keys,
            keys_asked_for: 0,
            enrolled: Vec::new(),
            enrolments_asked_for: 0,
            signatures: 0,
            in_doubt: 0,
            grants_lost: 0,
        }
    }

    /// Something that users and backends do.
    pub(crate) fn act(&mut self, hsm: &Hsm, random: &mut Rng, now: &AtomicU64) -> Result<(), Lost> {
        let outcome = match random.u8(0..100) {
            0..6 if self.failures < 2 => self.fail(hsm, now),
            6..10 if self.keys_asked_for < 15 => self.create_key(hsm),
            10..14 if self.enrolments_asked_for < 40 => self.enroll(hsm, now),
            _ => {
                let way = if random.bool() { Way::Native } else { Way::Pkcs11 };
                self.sign(hsm, way, random.u8(..), now)
            }
        };
        if outcome.is_err() {
            self.was_cut_off();
        }
        outcome
    }

    /// Nobody knows what became of the last request.
    pub(crate) fn was_cut_off(&mut self) {
        self.in_doubt += 1;
        self.cut_off = true;
    }

    /// A code that was never sent, or nothing where the window holds none; then time goes on.
    pub(crate) fn sign(&mut self, hsm: &Hsm, way: Way, number: u8, now: &AtomicU64) -> Result<(), Lost> {
        let step = now.load(Ordering::Relaxed) / STEP_SECS;
        let next = (self.highest_sent + 1).max(step - 1);
        if next > step + 1 {
            // Another thread may have moved the clock further meanwhile: the newest time is what counts.
            let advanced =
                countersign_client::advance_clock(&hsm.host_config(), STEP_SECS).map_err(|_| Lost)?;
            now.fetch_max(advanced, Ordering::Relaxed);
            return Ok(());
        }
        self.highest_sent = next;
        let code = self.user.phone.code(next * STEP_SECS);
        let logged_in_after = now.load(Ordering::Relaxed);
        let answer = match way {
            Way::Native => answered(hsm.sign(&self.user, digest(number), &code))?,
            Way::Pkcs11 => {
                let operation = operation(&self.user.key, Digest);
                if let Err(refusal) = answered(hsm.context_login(&self.user, &operation, &code))? {
                    Err(refusal)
                } else {
                    self.accepted(next);
                    let answer = answered(hsm.context_sign(&self.user, &operation, digest(number)))?;
                    if answer.as_ref().is_err_and(|refusal| refusal.reason == Reason::ApprovalMissing) {
                        return self.grant_is_gone(hsm, logged_in_after);
                    }
                    answer
                }
            }
        };
        self.check(next, number, answer);
        Ok(())
    }

    /// Grants wait for two minutes, and the other threads move the clock; else the plugin that held it is gone.
    fn grant_is_gone(&mut self, hsm: &Hsm, logged_in_after: u64) -> Result<(), Lost> {
        let Ok(Answer::Status(status)) = hsm.client.call(None, Act::Status) else { return Err(Lost) };
        if status.unix_time_secs < logged_in_after + 120 {
            self.grants_lost += 1;
        }
        Ok(())
    }

    fn accepted(&mut self, step: u64) {
        self.highest_accepted = step;
        self.failures = 0;
        self.locked = false;
    }

    fn failed(&mut self) {
        self.failures += 1;
        if self.failures == 5 {
            self.failures = 0;
            self.locked = true;
        }
    }

    fn check(&mut self, step: u64, number: u8, answer: Result<Signed, Refusal>) {
        match answer {
            Ok(signed) => {
                assert_signed_by(&self.user.key, &[number; 32], &signed.signature[..]);
                self.accepted(step);
                self.signatures += 1;
            }
            // Time may have left the step behind since it was chosen.
            Err(refusal) => match refusal.reason {
                Reason::WrongCode => self.failed(),
                Reason::Locked if self.locked => {}
                other => panic!("a fresh code of step {step} is refused: {other}"),
            },
        }
    }

    /// A wrong code.
    pub(crate) fn fail(&mut self, hsm: &Hsm, now: &AtomicU64) -> Result<(), Lost> {
        let wrong = self.user.phone.wrong_code(now.load(Ordering::Relaxed));
        match answered(hsm.sign(&self.user, digest(0), &wrong))? {
            Err(refusal) if refusal.reason == Reason::WrongCode => self.failed(),
            Err(refusal) if refusal.reason == Reason::Locked && self.locked => {}
            other => panic!("a wrong code: {other:?}"),
        }
        Ok(())
    }

    /// A further key.
    pub(crate) fn create_key(&mut self, hsm: &Hsm) -> Result<(), Lost> {
        self.keys_asked_for += 1;
        let name = format!("key-{}", self.keys_asked_for);
        answered(hsm.create_key(&self.user, &name, &[Digest]))?.expect("a new key of a new name");
        self.keys.insert(name);
        Ok(())
    }

    /// A new account, enrolled and confirmed.
    pub(crate) fn enroll(&mut self, hsm: &Hsm, now: &AtomicU64) -> Result<(), Lost> {
        self.enrolments_asked_for += 1;
        let name = format!("{}-{}", self.user.account, self.enrolments_asked_for);
        let user =
            answered(hsm.enroll(&self.user.api_key, enroll_act(&name, &[Digest])))?.expect("a new name");
        self.enrolled.push((user.clone(), false));
        match answered(hsm.confirm_at(&user, now.load(Ordering::Relaxed)))? {
            Ok(_) => self.enrolled.last_mut().expect("it was put there").1 = true,
            // Another thread moved the clock on.
            Err(refusal) if refusal.reason == Reason::WrongCode => {}
            Err(refusal) => panic!("two right codes: {refusal}"),
        }
        Ok(())
    }

    /// Fails unless the HSM knows all that was acknowledged, and accepts nothing twice.
    pub(crate) fn hold_to_account(&mut self, hsm: &Hsm, when: &str) {
        let user = &self.user;
        let info = hsm.show(user).unwrap_or_else(|refusal| panic!("{when}: {}: {refusal}", user.account));
        assert!(info.confirmed, "{when}");
        let keys: BTreeSet<String> = info.keys.iter().map(|key| key.label.key.to_string()).collect();
        assert!(
            keys.is_superset(&self.keys),
            "{when}: {:?} were acknowledged, {keys:?} are there",
            self.keys
        );
        let counted = info.consecutive_failures >= self.failures || info.locked_for_secs > 0 || self.cut_off;
        assert!(
            counted,
            "{when}: {} failures were told, {} are known",
            self.failures, info.consecutive_failures
        );
        for (enrolled, confirmed) in self.enrolled.drain(..) {
            let info = hsm
                .show(&enrolled)
                .unwrap_or_else(|refusal| panic!("{when}: {}: {refusal}", enrolled.account));
            assert_eq!(info.keys, [enrolled.key], "{when}");
            assert!(info.confirmed || !confirmed, "{when}: {} was confirmed", enrolled.account);
        }
        let code = self.user.phone.code(self.highest_accepted * STEP_SECS);
        let again =
            hsm.sign(&self.user, digest(0xee), &code).expect_err("an accepted code is accepted again");
        let refused = [Reason::CodeUsed, Reason::WrongCode, Reason::Locked];
        assert!(refused.contains(&again.reason), "{when}: {again}");
        // A request that was cut off may have been counted: from here on the count is exact again.
        let info = hsm.show(&self.user).expect("shown before");
        self.failures = info.consecutive_failures;
        self.locked = info.locked_for_secs > 0;
        self.cut_off = false;
    }
}
