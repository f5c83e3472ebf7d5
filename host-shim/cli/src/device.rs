//! The command line as a user's own device. Has no API key, and trusts the HSM's root alone.
//!
//! * `approve`: seeing what is to be approved, approving and declining it;
//! * `enrol`: making keys and enrolling an account;
//! * `file`: where the keys lie, encrypted;
//! * `passphrase`: what they are encrypted under;
//! * `show`: what is shown.

mod approve;
mod enrol;
mod file;
mod passphrase;
mod show;

use crate::arguments::{DeviceCommand, DeviceTwoCodesArguments, WhereArguments};
use crate::failure::Failure;
use crate::{codes, show as answers};
use countersign_client::device::{Carrier, Device, HttpRelay, Keys, Owner, Root};
use countersign_client::{Client, HostConfig};
use file::DeviceFile;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Carries out one of the commands.
pub(crate) fn run(
    command: &DeviceCommand,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    match command {
        DeviceCommand::Enroll(arguments) => enrol::run(arguments, config, json),
        DeviceCommand::Confirm(arguments) => with_codes(arguments, config, json, TwoCodes::Confirm),
        DeviceCommand::Unlock(arguments) => with_codes(arguments, config, json, TwoCodes::Unlock),
        DeviceCommand::Approve(arguments) => approve::approve(arguments, config, json),
        DeviceCommand::Decline { intent, place } => approve::decline(*intent, place, config, json),
        DeviceCommand::History { place } => {
            let mut here = Here::open(place, config)?;
            let seen = here.with_device(|device, _| Ok(device.account()?))?;
            Ok(answers::text(&show::HistoryShown::new(&seen, &here.file.contents), json))
        }
        DeviceCommand::Show { place } => {
            let mut here = Here::open(place, config)?;
            let shown = here.with_device(|device, file| {
                Ok(show::DeviceShown::new(device.hsm(), device.account()?.view(), &file.contents))
            })?;
            Ok(answers::text(&shown, json))
        }
        DeviceCommand::Freeze { yes, place } => freeze(*yes, place, config, json),
        DeviceCommand::CancelRecovery { place } => {
            let mut here = Here::open(place, config)?;
            here.with_device(|device, _| Ok(device.cancel_recovery()?))?;
            Ok(answers::text(&here.done("recovery-cancelled"), json))
        }
    }
}

/// A device's file, and the way to its HSM.
struct Here {
    file: DeviceFile,
    carrier: Box<dyn Carrier>,
}

impl Here {
    fn open(place: &WhereArguments, config: Option<&Path>) -> Result<Self, Failure> {
        // The way first: nobody types a passphrase for an address that cannot be right.
        let carrier = carrier(place, config)?;
        let path = path_of(place)?;
        DeviceFile::is_one(&path)?;
        Ok(Self { file: DeviceFile::open(&path, &passphrase::known()?)?, carrier })
    }

    /// Does something as this device, once the HSM has shown who it is.
    fn with_device<T>(
        &mut self,
        act: impl FnOnce(&Device<'_>, &mut DeviceFile) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let contents = &self.file.contents;
        let owner = Owner { tenant: contents.tenant.parse()?, account: contents.account.parse()? };
        let keys = Keys::of_secret(&*self.file.secret()?);
        let root = Root(file::hex_fixed(&contents.root)?);
        let known = file::hex_fixed(&contents.hsm)?;
        let device = Device::connect(&*self.carrier, &root, Some(known), owner, keys)?;
        let measurement = answers::hex(&device.hsm().identity().measurement);
        if measurement != self.file.contents.measurement {
            eprintln!(
                "The HSM runs another image than when this device last saw it, endorsed by its root: measurement {measurement}. \
                 The custodian publishes which images it runs."
            );
            self.file.contents.measurement = measurement;
            self.file.save()?;
        }
        act(&device, &mut self.file)
    }

    fn done(&self, state: &'static str) -> show::ActShown {
        show::ActShown { account: self.file.contents.account.clone(), state }
    }
}

fn carrier(place: &WhereArguments, config: Option<&Path>) -> Result<Box<dyn Carrier>, Failure> {
    if let Some(relay) = &place.relay {
        return Ok(Box::new(HttpRelay::new(relay).map_err(|why| Failure::Usage(why.to_string()))?));
    }
    let config = config.map_or_else(HostConfig::load, HostConfig::from_file)?;
    Ok(Box::new(Client::new(config)))
}

/// `--keys`, else `countersign/device` in the XDG data folder (XDG Base Directory Specification).
fn path_of(place: &WhereArguments) -> Result<PathBuf, Failure> {
    if let Some(path) = &place.keys {
        return Ok(path.clone());
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).and_then(absolute);
    let data = data.or_else(|| std::env::home_dir().and_then(absolute).map(|home| home.join(".local/share")));
    let none = || Failure::Usage("there is no home folder: name the device's file with --keys".to_owned());
    Ok(data.ok_or_else(none)?.join("countersign/device"))
}

/// What takes the codes of two consecutive time steps.
#[derive(Clone, Copy)]
enum TwoCodes {
    Confirm,
    Unlock,
}

fn with_codes(
    arguments: &DeviceTwoCodesArguments,
    config: Option<&Path>,
    json: bool,
    purpose: TwoCodes,
) -> Result<Zeroizing<String>, Failure> {
    let mut here = Here::open(&arguments.place, config)?;
    let state = here.with_device(|device, _| {
        let (first, second) = codes::two(&arguments.codes)?;
        let both = (first.expose(), second.expose());
        Ok(match purpose {
            TwoCodes::Confirm => device.confirm(both).map(|()| "confirmed"),
            TwoCodes::Unlock => device.unlock(both).map(|()| "unlocked"),
        }?)
    })?;
    Ok(answers::text(&here.done(state), json))
}

fn freeze(
    yes: bool,
    place: &WhereArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    if !yes && !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "say --yes: a frozen account signs nothing until an operator lifts it".to_owned(),
        ));
    }
    let mut here = Here::open(place, config)?;
    if !yes {
        let account = &here.file.contents.account;
        eprintln!("{account} will sign nothing and check no code until the HSM's operators lift it.");
        if *codes::ask("Type the account's name to freeze it")? != **account {
            return Err(Failure::Usage("nothing was frozen: that is not the account's name".to_owned()));
        }
    }
    here.with_device(|device, _| Ok(device.freeze()?))?;
    Ok(answers::text(&here.done("frozen"), json))
}
