//! Inviting devices, staging intents: what a backend hands to its users.

use crate::arguments::{IntentCommand, InviteArguments};
use crate::commands::new_account;
use crate::failure::Failure;
use crate::payload;
use crate::session::{Session, expect_answer};
use crate::show::intent::{IntentShown, InvitedShown, StagedShown};
use crate::show::{self, hex};
use countersign_client::device::Root;
use countersign_wire::client::{Act, Answer, ApprovalKind, StagePayee, StageSign, StagedIntent, Subject};
use countersign_wire::names::{AccountName, KeyLabel};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Carries out one of the commands.
pub(crate) fn run(
    session: &Session,
    command: &IntentCommand,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    match command {
        IntentCommand::Stage { key, payload, page } => {
            let label: KeyLabel = key.parse()?;
            let account = label.account.clone();
            let subject = Subject::Sign(StageSign { key: label, payload: payload::of(payload)? });
            Ok(show::text(&stage(session, &account, subject, page.as_deref())?, json))
        }
        IntentCommand::Payee { account, address, remove, page } => {
            let account = AccountName::parse(account)?;
            let payee = StagePayee { account: account.clone(), address: address.clone(), known: !remove };
            Ok(show::text(&stage(session, &account, Subject::Payee(payee), page.as_deref())?, json))
        }
        IntentCommand::Show { account, intent } => {
            let asked = StagedIntent { account: account.parse()?, intent: ByteArray::new(*intent) };
            let info = expect_answer!(session.ask(Act::ShowIntent(asked))?, Intent)?;
            Ok(show::text(&IntentShown::new(intent, &info), json))
        }
    }
}

fn stage(
    session: &Session,
    account: &AccountName,
    subject: Subject,
    page: Option<&str>,
) -> Result<StagedShown, Failure> {
    let tenant = session.api_key()?.claimed_tenant();
    let staged = expect_answer!(session.ask(Act::Stage(subject))?, Staged)?;
    let link = page.map(|page| link(page, "approve", &[tenant.as_str(), account.as_str()], &*staged.intent));
    Ok(StagedShown::new(&staged, link))
}

/// `account invite`.
pub(crate) fn invite(session: &Session, arguments: &InviteArguments) -> Result<InvitedShown, Failure> {
    let request = new_account(&arguments.new, ApprovalKind::SealedCode)?;
    let tenant = session.api_key()?.claimed_tenant();
    let hsm = session.identity(None)?;
    let invited = expect_answer!(session.ask(Act::Invite(request))?, Invited)?;
    let account = arguments.new.account.as_str();
    let page = arguments.page.as_deref();
    Ok(InvitedShown {
        account: account.to_owned(),
        tenant: tenant.to_string(),
        invitation: hex(&*invited.invitation),
        expires_in_secs: invited.expires_in_secs,
        root_fingerprint: Root(Sha256::digest(hsm.endorsed().root.as_slice()).into()).to_string(),
        link: page.map(|page| link(page, "enroll", &[tenant.as_str(), account], &*invited.invitation)),
    })
}

/// What stands behind `#` is never sent to the page's server. Of the characters of names, `@` alone would have to be
/// escaped, and may be.
fn link(page: &str, view: &str, whose: &[&str; 2], id: &[u8]) -> String {
    let [tenant, account] = whose.map(|name| name.replace('@', "%40"));
    format!("{page}#{view}/{tenant}/{account}/{}", hex(id))
}
