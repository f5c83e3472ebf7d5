//! Enrolled and confirmed accounts in any number, each with one key for digests and one for Ethereum.
//!
//! For development only: it keeps the TOTP secrets, which in the real world only phones have. They lie as otpauth
//! URIs in one file that its owner alone can read, a line for each account.

use crate::hsm::status;
use crate::phone::Phone;
use anyhow::{Context, Result, anyhow, bail};
use countersign_client::Client;
use countersign_wire::client::{
    AccountInfo, Act, Answer, ClockMode, CreateKey, Enroll, KeyInfo, KeyPlan, Mechanism, TotpParameters,
    TwoCodes,
};
use countersign_wire::names::{AccountName, ApiKey, KeyLabel, KeyName, TypedCode};
use countersign_wire::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// How many accounts are enrolled at once. Their commits share one sync, so more threads than cores pay.
const THREADS: usize = 16;

/// One account with everything that its user and its backend hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON that scripts read")]
pub(crate) struct Account {
    pub(crate) account: String,
    pub(crate) otpauth: String,
    pub(crate) keys: Vec<Key>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON that scripts read")]
pub(crate) struct Key {
    pub(crate) label: String,
    pub(crate) id: String,
    pub(crate) public_key: String,
    pub(crate) ethereum_address: String,
    pub(crate) mechanisms: Vec<&'static str>,
}

impl From<&KeyInfo> for Key {
    fn from(key: &KeyInfo) -> Self {
        Self {
            label: key.label.to_string(),
            id: hex(key.id.as_slice()),
            public_key: hex(key.public_key.as_slice()),
            ethereum_address: key.ethereum_address.clone(),
            mechanisms: key.plan.mechanisms.iter().map(|mechanism| mechanism.word()).collect(),
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// One line of the file of secrets.
#[derive(Serialize, Deserialize)]
struct Line {
    account: String,
    otpauth: String,
}

/// The otpauth URIs of all accounts that were ever enrolled here. A later line replaces an earlier one.
pub(crate) struct Secrets {
    file: Mutex<File>,
    known: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads the file, or begins it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path);
        let file = open().with_context(|| format!("cannot open {}", path.display()))?;
        let mut known = BTreeMap::new();
        for line in BufReader::new(&file).lines() {
            let line: Line = serde_json::from_str(&line?)
                .map_err(|_| anyhow!("{} holds something else than accounts", path.display()))?;
            known.insert(line.account, line.otpauth);
        }
        Ok(Self { file: Mutex::new(file), known })
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn keep(&self, account: &AccountName, otpauth: &str) -> Result<()> {
        let line = Line { account: account.to_string(), otpauth: otpauth.to_owned() };
        let line = serde_json::to_string(&line)? + "\n";
        let mut file = self.file.lock().map_err(|_| anyhow!("another thread failed"))?;
        Ok(file.write_all(line.as_bytes())?)
    }
}

/// Sees to it that `user-0000` and so on, `count` of them, are enrolled and confirmed and have their keys.
pub(crate) fn ensure(
    client: &Client,
    api_key: &ApiKey,
    secrets: &Secrets,
    count: usize,
) -> Result<Vec<Account>> {
    let clock = status(client)?.clock;
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<Vec<Account>> {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            if index > 0 && index % 1000 == 0 {
                eprintln!("xtask: {index} accounts");
            }
            let name = format!("user-{index:04}");
            let one = Enrolment { client, api_key, secrets, clock, account: AccountName::parse(&name)? };
            match one.ensure().with_context(|| name) {
                Ok(account) => done.push(account),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let mut accounts = Vec::with_capacity(count);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS.min(count)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            accounts.extend(worker.join().map_err(|_| anyhow!("a thread that enrols panicked"))??);
        }
        Ok::<(), anyhow::Error>(())
    })?;
    accounts.sort_by_key(|account| account.account[5..].parse::<usize>().unwrap_or(usize::MAX));
    Ok(accounts)
}

/// One account on its way.
struct Enrolment<'a> {
    client: &'a Client,
    api_key: &'a ApiKey,
    secrets: &'a Secrets,
    clock: ClockMode,
    account: AccountName,
}

impl Enrolment<'_> {
    /// Picks up wherever an earlier run stopped.
    fn ensure(&self) -> Result<Account> {
        let known = self.secrets.known.get(self.account.as_str());
        let (otpauth, info) = match (known, self.show()) {
            (Some(otpauth), Ok(info)) => (otpauth.clone(), info),
            (None, Ok(_)) => bail!("the account exists, but its secret was not kept; use another --home"),
            (_, Err(Refusal { reason: Reason::UnknownAccount | Reason::EnrolmentExpired, .. })) => {
                (self.enroll()?, self.show()?)
            }
            (_, Err(refusal)) => return Err(refusal.into()),
        };
        let mut info = if info.confirmed { info } else { self.confirm(&otpauth)? };
        if info.keys.len() < 2 {
            self.create_key("ethereum", Mechanism::Ethereum)?;
            info = self.show()?;
        }
        let keys = info.keys.iter().map(Key::from).collect();
        Ok(Account { account: self.account.to_string(), otpauth, keys })
    }

    fn call(&self, act: Act) -> Result<Answer, Refusal> {
        self.client.call(Some(self.api_key), act)
    }

    fn show(&self) -> Result<AccountInfo, Refusal> {
        match self.call(Act::ShowAccount(self.account.clone()))? {
            Answer::Account(info) => Ok(info),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    /// The secret is kept before anything else is done: it is shown this once.
    fn enroll(&self) -> Result<String> {
        let enroll = Enroll {
            account: self.account.clone(),
            totp: TotpParameters::default(),
            key: KeyName::parse("digest")?,
            plan: KeyPlan::of(vec![Mechanism::Digest]),
        };
        match self.call(Act::Enroll(enroll))? {
            Answer::Enrolled(enrolled) => {
                self.secrets.keep(&self.account, &enrolled.otpauth)?;
                Ok(enrolled.otpauth.clone())
            }
            _ => bail!("the HSM answered something else than an enrolment"),
        }
    }

    /// With the codes of the two steps before this one, so that the code that the phone shows now is free for the first signature.
    fn confirm(&self, otpauth: &str) -> Result<AccountInfo> {
        let phone = Phone::scan(otpauth)?;
        let now = phone.wait_for_steady_codes(self.clock, status(self.client)?.unix_time_secs);
        let (first, second) = phone.two_codes_before(now);
        let codes = TwoCodes {
            account: self.account.clone(),
            first: TypedCode::new(&first)?,
            second: TypedCode::new(&second)?,
        };
        match self.call(Act::Confirm(codes))? {
            Answer::Account(info) => Ok(info),
            _ => bail!("the HSM answered something else than an account"),
        }
    }

    fn create_key(&self, name: &str, mechanism: Mechanism) -> Result<()> {
        let label = KeyLabel { account: self.account.clone(), key: KeyName::parse(name)? };
        self.call(Act::CreateKey(CreateKey { label, plan: KeyPlan::of(vec![mechanism]) }))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_private_and_outlive_the_process() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts");
        let alice = AccountName::parse("alice").unwrap();
        let secrets = Secrets::open(&path).unwrap();
        secrets.keep(&alice, "otpauth://totp/old").unwrap();
        secrets.keep(&alice, "otpauth://totp/new").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Secrets::open(&path).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(again.known["alice"], "otpauth://totp/new");
        std::fs::write(&path, "garbage").unwrap();
        assert!(!format!("{:?}", Secrets::open(&path).err().unwrap()).contains("garbage"));
    }
}
