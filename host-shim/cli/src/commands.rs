//! One function for each command: words in, request out, answer shown.

use crate::arguments::{
    AccountCommand, Arguments, ClockCommand, Command, EnrollArguments, KeyCommand, NewAccountArguments,
    ReceiptCommand, SignArguments, TwoCodesArguments, WalletCommand,
};
use crate::failure::Failure;
use crate::qr::{self, QrFile};
use crate::session::{Session, expect_answer};
use crate::show::account::{AccountShown, EnrolledShown};
use crate::show::{self, Advanced, ClockShown, KeyShown, KeysShown, SignedShown, StatusShown};
use crate::wallet::{self, WalletShown};
use crate::{attest, codes, device, doctor, image, intents, log, payload, policy, receipts, relay};
use countersign_client::{advance_clock, new_request_id};
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, CreateKey, Enroll, KeyInfo, KeyQuery, Sign, TotpParameters,
    TrustPayee, TwoCodes,
};
use countersign_wire::names::{AccountName, KeyLabel, KeyName};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;
use std::io::IsTerminal;
use zeroize::Zeroizing;

/// Carries out a command and returns what is to be printed.
pub(crate) fn run(arguments: &Arguments) -> Result<Zeroizing<String>, Failure> {
    let json = arguments.json;
    let config = arguments.config.as_deref();
    match &arguments.command {
        Command::Policy(command) => policy::run(command, json),
        Command::Image(command) => image::run(command, json),
        Command::Relay(arguments) => relay::run(arguments, config),
        Command::Doctor(arguments) => doctor::run(arguments, config, json),
        Command::Device(command) => device::run(command, config, json),
        Command::Attest(arguments) => attest::run(arguments, config, json),
        Command::Receipt(ReceiptCommand::Verify { file, root }) => {
            Ok(show::text(&receipts::verify(file, root)?, json))
        }
        Command::Log(command) => log::run(command, config, json),
        _ => ask(&Session::open(config)?, arguments, json),
    }
}

/// The commands of whoever has an API key, and those that the HSM answers to everybody.
fn ask(session: &Session, arguments: &Arguments, json: bool) -> Result<Zeroizing<String>, Failure> {
    match &arguments.command {
        Command::Policy(_)
        | Command::Image(_)
        | Command::Relay(_)
        | Command::Doctor(_)
        | Command::Device(_)
        | Command::Attest(_)
        | Command::Log(_)
        | Command::Receipt(ReceiptCommand::Verify { .. }) => {
            unreachable!("these have no session: they are carried out before")
        }
        Command::Intent(command) => intents::run(session, command, json),
        Command::Receipt(ReceiptCommand::Find { key, payload, out }) => {
            Ok(show::text(&receipts::find(session, key, payload, out)?, json))
        }
        Command::Identity { root } => Ok(show::text(&receipts::identity(session, root.as_ref())?, json)),
        Command::Address { key, index, change } => {
            let found = session.find_keys(KeyQuery::Label(key.parse()?))?.keys;
            let key = found.first().ok_or(Reason::UnknownKey)?;
            Ok(show::text(&wallet::address(key, *index, *change)?, json))
        }
        Command::Wallet(WalletCommand::Show { account }) => {
            Ok(show::text(&WalletShown::of(&session.show_account(account.parse()?)?), json))
        }
        Command::Status => Ok(show::text(&StatusShown::from(session.status()?), json)),
        Command::Clock(ClockCommand::Show) => Ok(show::text(&ClockShown::from(session.status()?), json)),
        Command::Clock(ClockCommand::Advance { secs }) => {
            let unix_time = advance_clock(&session.config, *secs)?;
            Ok(show::text(&Advanced { unix_time }, json))
        }
        Command::Account(command) => account(session, command, json),
        Command::Key(KeyCommand::Create { label, plan }) => {
            let create = CreateKey { label: label.parse()?, plan: plan.plan(ApprovalKind::Code) };
            let created = expect_answer!(session.ask(Act::CreateKey(create))?, Key)?;
            Ok(show::text(&KeyShown::from(&created), json))
        }
        Command::Key(KeyCommand::List { which, id }) => {
            let keys = list_keys(session, which.as_deref(), *id)?;
            Ok(show::text(&KeysShown { keys: keys.iter().map(KeyShown::from).collect() }, json))
        }
        Command::Sign(arguments) => Ok(show::text(&sign(session, arguments)?, json)),
    }
}

fn account(session: &Session, command: &AccountCommand, json: bool) -> Result<Zeroizing<String>, Failure> {
    let info = match command {
        AccountCommand::Enroll(arguments) => {
            return enroll(session, arguments, json);
        }
        AccountCommand::Invite(arguments) => {
            return Ok(show::text(&intents::invite(session, arguments)?, json));
        }
        AccountCommand::Confirm(arguments) => {
            expect_answer!(session.ask(Act::Confirm(two_codes(arguments)?))?, Account)?
        }
        AccountCommand::Unlock(arguments) => {
            expect_answer!(session.ask(Act::Unlock(two_codes(arguments)?))?, Account)?
        }
        AccountCommand::Trust { account, address, code }
        | AccountCommand::Distrust { account, address, code } => {
            let approval = codes::one(code.as_deref())?.map(Approval::Code);
            let known = matches!(command, AccountCommand::Trust { .. });
            let trust = TrustPayee { account: account.parse()?, address: address.clone(), known, approval };
            expect_answer!(session.ask(Act::TrustPayee(trust))?, Account)?
        }
        AccountCommand::Show { account } => session.show_account(account.parse()?)?,
    };
    Ok(show::text(&AccountShown::from(info), json))
}

fn two_codes(arguments: &TwoCodesArguments) -> Result<TwoCodes, Failure> {
    let account = arguments.account.parse()?;
    let (first, second) = codes::two(&arguments.codes)?;
    Ok(TwoCodes { account, first, second })
}

/// A new account as it travels.
pub(crate) fn new_account(
    arguments: &NewAccountArguments,
    usual_floor: ApprovalKind,
) -> Result<Enroll, Failure> {
    Ok(Enroll {
        account: AccountName::parse(&arguments.account)?,
        totp: TotpParameters {
            hash: arguments.hash.into(),
            digits: arguments.digits,
            period_secs: arguments.period,
        },
        key: KeyName::parse(&arguments.key)?,
        plan: arguments.plan.plan(usual_floor),
    })
}

fn enroll(session: &Session, arguments: &EnrollArguments, json: bool) -> Result<Zeroizing<String>, Failure> {
    let EnrollArguments { new, qr: wanted } = arguments;
    if json && wanted.qr_terminal {
        return Err(Failure::Usage("--qr-terminal cannot be used with --json".to_owned()));
    }
    let request = new_account(new, ApprovalKind::Code)?;
    let api_key = session.api_key()?;
    // Made first: a secret that is shown only once must not be lost to a file that cannot be written.
    let file = wanted.qr.as_deref().map(QrFile::create).transpose()?;
    let enrolled = expect_answer!(session.client.call(Some(&api_key), Act::Enroll(request))?, Enrolled)?;
    let mut shown = EnrolledShown::new(&new.account, &enrolled);
    if let (Some(file), Some(path)) = (file, &wanted.qr) {
        match file.save(&enrolled.otpauth) {
            Ok(()) => shown.qr_file = Some(path.display().to_string()),
            // The account is enrolled all the same, and its secret follows on standard output.
            Err(error) => eprintln!("The QR code could not be saved to {}: {error}", path.display()),
        }
    }
    if !json && (wanted.qr_terminal || std::io::stdout().is_terminal()) {
        shown.qr = qr::for_terminal(&enrolled.otpauth);
    }
    Ok(show::text(&shown, json))
}

fn list_keys(session: &Session, which: Option<&str>, id: Option<[u8; 16]>) -> Result<Vec<KeyInfo>, Failure> {
    match (which, id) {
        (_, Some(id)) => Ok(session.find_keys(KeyQuery::Id(ByteArray::new(id)))?.keys),
        (Some(label), None) if label.contains('/') => {
            Ok(session.find_keys(KeyQuery::Label(label.parse::<KeyLabel>()?))?.keys)
        }
        (Some(account), None) => Ok(session.show_account(account.parse()?)?.keys),
        (None, None) => all_keys(session),
    }
}

fn all_keys(session: &Session) -> Result<Vec<KeyInfo>, Failure> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = session.find_keys(KeyQuery::All(cursor))?;
        keys.extend(page.keys);
        match page.next {
            None => return Ok(keys),
            // A page that leads to itself would never end.
            next if next == cursor => return Err(Reason::HsmUnreachable.into()),
            next => cursor = next,
        }
    }
}

fn sign(session: &Session, arguments: &SignArguments) -> Result<SignedShown, Failure> {
    if arguments.code.as_deref() == Some("-") && arguments.payload.reads_stdin() {
        return Err(Failure::Usage(
            "standard input holds either what is signed or the code, not both".to_owned(),
        ));
    }
    let key: KeyLabel = arguments.key.parse()?;
    let payload = payload::of(&arguments.payload)?;
    let api_key = session.api_key()?;
    let approval = if arguments.prior {
        Some(Approval::Prior)
    } else {
        codes::one(arguments.code.as_deref())?.map(Approval::Code)
    };
    let id = arguments.request_id.unwrap_or_else(new_request_id);
    let act = Act::Sign(Sign { key, payload, approval });
    let signed = expect_answer!(session.client.call_with_id(id, Some(&api_key), act)?, Signed)?;
    Ok(SignedShown::from(signed))
}
