//! Seeing what is to be approved, approving and declining it.

use crate::arguments::{ApproveArguments, WhereArguments};
use crate::device::Here;
use crate::device::file::DeviceFile;
use crate::device::show::{ActShown, ApprovedShown};
use crate::failure::Failure;
use crate::show::{self, Show, hex};
use crate::{codes, receipts};
use countersign_client::device::statement::IntentState;
use countersign_client::device::{Device, IntentSeen};
use countersign_wire::reason::Reason;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long to wait before asking again whether it was signed.
const POLL: Duration = Duration::from_secs(1);

/// `device approve`.
pub(super) fn approve(
    arguments: &ApproveArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = arguments.receipt.as_deref().filter(|file| file.symlink_metadata().is_ok()) {
        return Err(Failure::Usage(format!("{} is there already; name a new file", file.display())));
    }
    let mut here = Here::open(&arguments.place, config)?;
    let shown = here.with_device(|device, file| {
        let seen = device.view(arguments.intent)?;
        let mut shown = ApprovedShown::new(&seen, device.hsm().identity().clock.word(), arguments.verbose);
        say_what(&shown, json)?;
        device.may_approve(&seen)?;
        // Nothing is approved that was not shown: a code from anywhere but the command line is read only now.
        let code = codes::one(arguments.code.as_deref())?.ok_or(Reason::ApprovalMissing)?;
        // Before it is sent: an answer that is lost must not leave a signature that this device does not know.
        file.contents.remember(hex(&seen.view().intent_hash()), &seen.view().summary);
        file.save()?;
        device.approve(&seen, code.expose())?;
        shown.state = wait_for_signature(device, arguments).word();
        if shown.state == IntentState::Signed.word() {
            keep_receipt(device, &seen, arguments, file, &mut shown)?;
        }
        Ok(shown)
    })?;
    if json { Ok(show::text(&shown, true)) } else { Ok(shown.outcome()) }
}

/// All of it, before anything is asked for; to where people look even when a program reads the answer.
fn say_what(shown: &ApprovedShown, json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    shown.for_people(&mut text);
    let written = if json {
        anstream::stderr().write_all(text.as_bytes())
    } else {
        let mut out = anstream::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    written.map_err(Failure::Output)
}

/// What became of it, as far as could be learned: it is approved in any case.
fn wait_for_signature(device: &Device<'_>, arguments: &ApproveArguments) -> IntentState {
    let end = Instant::now() + Duration::from_secs(arguments.wait);
    loop {
        let state = device.view(arguments.intent).map_or(IntentState::Approved, |seen| seen.view().state);
        if state == IntentState::Signed || Instant::now() + POLL > end {
            return state;
        }
        std::thread::sleep(POLL);
    }
}

fn keep_receipt(
    device: &Device<'_>,
    seen: &IntentSeen,
    arguments: &ApproveArguments,
    file: &mut DeviceFile,
    shown: &mut ApprovedShown,
) -> Result<(), Failure> {
    let receipt = match device.receipt(seen) {
        Ok(receipt) => receipt,
        // An address for the list of payees is set, not signed: there is no receipt of it.
        Err(countersign_client::device::DeviceError::Refused(_)) if arguments.receipt.is_none() => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    file.contents.keep(receipt.to_file());
    file.save()?;
    if let Some(out) = &arguments.receipt {
        receipts::save(out, &receipt)?;
        shown.receipt_file = Some(out.display().to_string());
    }
    shown.counter = Some(receipt.receipt().counter);
    Ok(())
}

/// `device decline`.
pub(super) fn decline(
    intent: [u8; 16],
    place: &WhereArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    let mut here = Here::open(place, config)?;
    here.with_device(|device, _| {
        let seen = device.view(intent)?;
        Ok(device.decline(&seen)?)
    })?;
    let account = here.file.contents.account.clone();
    Ok(show::text(&ActShown { account, state: IntentState::Declined.word() }, json))
}
