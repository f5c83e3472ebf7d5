//! What every command needs to ask the HSM with the tenant's rights.

use crate::failure::Failure;
use countersign_client::device::{Hsm, Root};
use countersign_client::{Client, HostConfig};
use countersign_wire::client::{AccountInfo, Act, Answer, KeyPage, KeyQuery, Status};
use countersign_wire::names::{AccountName, ApiKey};
use countersign_wire::reason::Reason;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What every command needs to ask the HSM.
pub(crate) struct Session {
    pub(crate) config: HostConfig,
    pub(crate) client: Client,
}

/// Takes the one answer that the client has already checked to be of the right kind.
macro_rules! expect_answer {
    ($outcome:expr, $kind:ident) => {
        match $outcome {
            Answer::$kind(answer) => Ok(answer),
            _ => Err(Failure::from(Reason::HsmUnreachable)),
        }
    };
}

impl Session {
    pub(crate) fn open(config: Option<&Path>) -> Result<Self, Failure> {
        let config = config.map_or_else(HostConfig::load, HostConfig::from_file)?;
        Ok(Self { client: Client::new(config.clone()), config })
    }

    pub(crate) fn api_key(&self) -> Result<ApiKey, Failure> {
        Ok(self.config.api_key()?)
    }

    pub(crate) fn ask(&self, act: Act) -> Result<Answer, Failure> {
        Ok(self.client.call(Some(&self.api_key()?), act)?)
    }

    pub(crate) fn status(&self) -> Result<Status, Failure> {
        expect_answer!(self.client.call(None, Act::Status)?, Status)
    }

    /// Who the HSM says it is, if it is the one of this root; without one, whoever it is.
    pub(crate) fn identity(&self, root: Option<&Root>) -> Result<Hsm, Failure> {
        if let Some(root) = root {
            return Ok(Hsm::identify(&self.client, root)?);
        }
        let endorsed = expect_answer!(self.client.call(None, Act::Identity)?, Identity)?;
        let own = Root(Sha256::digest(endorsed.root.as_slice()).into());
        Ok(Hsm::check(endorsed, &own)?)
    }

    pub(crate) fn show_account(&self, account: AccountName) -> Result<AccountInfo, Failure> {
        expect_answer!(self.ask(Act::ShowAccount(account))?, Account)
    }

    pub(crate) fn find_keys(&self, query: KeyQuery) -> Result<KeyPage, Failure> {
        expect_answer!(self.ask(Act::FindKeys(query))?, Keys)
    }
}

pub(crate) use expect_answer;
