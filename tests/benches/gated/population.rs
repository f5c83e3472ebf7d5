//! HSMs with any number of accounts.
//!
//! Through the API a million enrolments take most of an hour. So the plugin's core enrols them in process, over the
//! simulator's own parts, on the home of a real HSM: the same code seals the same records with the same key, and the
//! HSM opens the home afterwards as its own. What makes it fast is that hundreds of enrolments are under way at once
//! and share each sync.
//!
//! It runs as a process of its own ([`Order::carry_out`]): a keystore library belongs to one process, and memory
//! that was needed for this is gone when something is measured.

use crate::in_process::{InProcess, advance_clock};
use countersign_tests::backend::{enroll_act, two_codes};
use countersign_tests::hsm::{Keystore, TENANT};
use countersign_tests::{Hsm, phone::Phone};
use countersign_wire::client::{Act, Answer, Mechanism, Outcome, Reply, Request};
use countersign_wire::names::ApiKey;
use countersign_wire::{decode, encode};
use serde_bytes::ByteArray;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Enrolments under way at once. One tenant may have 768 requests under way.
const IN_FLIGHT: usize = 640;

/// Bytes of a TOTP secret of the default parameters.
const SECRET_BYTES: usize = 20;

/// The file with all of them, in the order of the accounts.
const SECRETS: &str = "secrets";

/// How often progress is told, in accounts.
const TELL_EVERY: usize = 100_000;

/// The name of the account of that number.
pub(crate) fn account_name(number: usize) -> String {
    format!("user-{number:07}")
}

/// An HSM, not running, with this many accounts, and the secret of each.
pub(crate) struct Population {
    pub(crate) hsm: Hsm,
    secrets: Vec<u8>,
}

impl Population {
    /// In a folder of its own below `folder`. What is there already from an earlier run is used again.
    pub(crate) fn provide(folder: &Path, keystore: Keystore, accounts: usize) -> Self {
        let own = folder.join(format!("{}-{accounts}", keystore.word()));
        // The secrets are written last.
        if own.join(SECRETS).exists() {
            eprintln!("{accounts} accounts on {} are there already", keystore.word());
            // Codes of the present step may have been used.
            advance_clock(&own.join("hsm"), 30);
        } else {
            let mut hsm = Hsm::init_at(&own, keystore);
            hsm.set_tenant(TENANT, &["--accounts-max", &accounts.to_string()]);
            Order { folder: own.clone(), keystore: keystore.word().to_owned(), accounts }.have_carried_out();
        }
        let found = Self::found_at(&own, keystore);
        assert_eq!(found.len(), accounts, "the folder is of this size");
        found
    }

    /// One that was provided before.
    pub(crate) fn found_at(folder: &Path, keystore: Keystore) -> Self {
        let secrets = std::fs::read(folder.join(SECRETS)).expect("the secrets were written");
        Self { hsm: Hsm::found_at(folder, keystore), secrets }
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.secrets.len() / SECRET_BYTES
    }

    /// The authenticator of the account of that number.
    pub(crate) fn phone(&self, number: usize) -> Phone {
        Phone::of_secret(&self.secrets[number * SECRET_BYTES..][..SECRET_BYTES])
    }
}

/// What the process that enrols is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Order {
    /// The folder of the HSM and what belongs to it
    #[arg(long)]
    folder: PathBuf,
    /// Its keystore
    #[arg(long)]
    keystore: String,
    /// How many accounts
    #[arg(long)]
    accounts: usize,
}

impl Order {
    /// Starts the process that enrols, and waits for its end.
    fn have_carried_out(&self) {
        eprintln!("enrolling {} accounts on {}", self.accounts, self.keystore);
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("populate").arg("--folder").arg(&self.folder);
        command.args(["--keystore", &self.keystore, "--accounts", &self.accounts.to_string()]);
        // Where SoftHSM's library finds the keystore's token; the variable belongs to another token in this process.
        command.env("SOFTHSM2_CONF", crate::in_process::softhsm_configuration(&self.folder.join("hsm")));
        assert!(
            command.status().expect("this program can be started").success(),
            "the accounts are enrolled"
        );
        let per_second = crate::rounds::as_f64(self.accounts) / began.elapsed().as_secs_f64();
        eprintln!("enrolled {} accounts, {per_second:.0} a second", self.accounts);
    }

    /// Enrols the accounts, in this process.
    pub(crate) fn carry_out(&self) {
        let api_key = std::fs::read_to_string(self.folder.join("api-key")).expect("the HSM's API key");
        let api_key = ApiKey::parse(api_key.trim()).expect("an API key");
        let mut hsm = InProcess::start(&self.folder.join("hsm"));
        let secrets = enroll_all(&mut hsm, &api_key, self.accounts);
        hsm.stop();
        let mut file = OpenOptions::new().create_new(true).write(true).open(self.folder.join(SECRETS));
        let file = file.as_mut().expect("a new file");
        file.write_all(&secrets).expect("the secrets can be written");
    }
}

/// Enrols and confirms all accounts; gives their secrets, one after the other.
fn enroll_all(hsm: &mut InProcess, api_key: &ApiKey, accounts: usize) -> Vec<u8> {
    let now = hsm.now().unix_secs;
    let mut secrets = vec![0; accounts * SECRET_BYTES];
    let (mut asked, mut confirmed) = (0, 0);
    let began = Instant::now();
    while confirmed < accounts {
        while asked < accounts && asked - confirmed < IN_FLIGHT {
            let act = enroll_act(&account_name(asked), &[Mechanism::Digest]);
            hsm.request(ticket(asked, Stage::Enroll), request(api_key, act));
            asked += 1;
        }
        for (done, payload) in hsm.turn() {
            let number = usize::try_from(done / 2).expect("an account's number");
            let reply: Reply = decode(&payload).expect("the plugin answers in its own language");
            match reply.outcome {
                Outcome::Done(Answer::Enrolled(enrolled)) => {
                    let phone = Phone::scan(&enrolled.otpauth);
                    secrets[number * SECRET_BYTES..][..SECRET_BYTES].copy_from_slice(phone.secret());
                    let codes = [-2, -1].map(|steps| phone.code_steps_off(now, steps));
                    let act = Act::Confirm(two_codes(&enrolled.key.label.account, &codes[0], &codes[1]));
                    hsm.request(ticket(number, Stage::Confirm), request(api_key, act));
                }
                Outcome::Done(Answer::Account(account)) if account.confirmed => {
                    confirmed += 1;
                    if confirmed % TELL_EVERY == 0 {
                        let per_second = crate::rounds::as_f64(confirmed) / began.elapsed().as_secs_f64();
                        eprintln!("  {confirmed} of {accounts}, {per_second:.0} a second");
                    }
                }
                other => panic!("account {number} was not enrolled: {other:?}"),
            }
        }
    }
    secrets
}

#[derive(Clone, Copy)]
enum Stage {
    Enroll,
    Confirm,
}

/// Tickets are unique in a boot and lead back to the account.
fn ticket(number: usize, stage: Stage) -> u64 {
    number as u64 * 2 + u64::from(matches!(stage, Stage::Confirm))
}

fn request(api_key: &ApiKey, act: Act) -> Vec<u8> {
    // The id tells nothing here: the ticket does, and no request is sent twice.
    encode(&Request { id: ByteArray::new([1; 16]), api_key: Some(api_key.clone()), act })
}
