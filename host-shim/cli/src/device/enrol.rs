//! Making keys and enrolling an account.

use crate::arguments::{DeviceEnrollArguments, QrArguments};
use crate::codes;
use crate::device::file::{Contents, DeviceFile};
use crate::device::show::{EnrolledShown, KeySeen};
use crate::device::{carrier, passphrase, path_of};
use crate::failure::Failure;
use crate::qr::{self, QrFile};
use crate::show::{self, hex};
use countersign_client::device::{Device, Enrolled, Keys, Owner};
use countersign_wire::reason::Reason;
use std::io::{IsTerminal, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// How often the two codes are asked for.
const TRIES: usize = 3;

/// `device enroll`.
pub(super) fn run(
    arguments: &DeviceEnrollArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    if json && arguments.qr.qr_terminal {
        return Err(Failure::Usage("--qr-terminal cannot be used with --json".to_owned()));
    }
    let owner = Owner { tenant: arguments.tenant.parse()?, account: arguments.account.parse()? };
    let carrier = carrier(&arguments.place, config)?;
    let path = path_of(&arguments.place)?;
    let qr_file = arguments.qr.qr.as_deref().map(QrFile::create).transpose()?;
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).expect("a running Linux system always has random bytes");
    let contents =
        Contents::new(&secret, arguments.root.to_string(), owner.tenant.as_str(), owner.account.as_str());
    // Before anything is asked: an account whose keys are lost would be of no use to anybody.
    let mut file = DeviceFile::create(&path, &passphrase::new()?, contents)?;
    let keys = Keys::of_secret(&secret);
    let device_id = hex(&*keys.device_id());
    let connected = Device::connect(&*carrier, &arguments.root, None, owner, keys);
    let enrolled = connected.and_then(|device| {
        let enrolled = device.enroll(arguments.invitation)?;
        Ok((device, enrolled))
    });
    let (device, enrolled) = match enrolled {
        Ok(enrolled) => enrolled,
        Err(error) => {
            file.remove();
            return Err(error.into());
        }
    };
    let identity = device.hsm().identity();
    (file.contents.hsm, file.contents.measurement) = (hex(&identity.hsm), hex(&identity.measurement));
    file.save()?;
    let mut shown = EnrolledShown::new(&enrolled, device_id, &path);
    shown.qr_file = save_qr(qr_file, &arguments.qr, &enrolled);
    if !json && arguments.codes.is_empty() && std::io::stdin().is_terminal() {
        return at_the_terminal(&device, &enrolled, shown);
    }
    if !json && (arguments.qr.qr_terminal || std::io::stdout().is_terminal()) {
        shown.qr = qr::for_terminal(enrolled.otpauth());
    }
    if !arguments.codes.is_empty() {
        let (first, second) = codes::two(&arguments.codes)?;
        device.confirm((first.expose(), second.expose()))?;
        shown.confirmed = true;
    }
    Ok(show::text(&shown, json))
}

fn save_qr(file: Option<QrFile>, wanted: &QrArguments, enrolled: &Enrolled) -> Option<String> {
    let (file, path) = (file?, wanted.qr.as_ref()?);
    match file.save(enrolled.otpauth()) {
        Ok(()) => Some(path.display().to_string()),
        Err(error) => {
            eprintln!("The QR code could not be saved to {}: {error}", path.display());
            None
        }
    }
}

/// Shows the QR code, then asks for two codes of the authenticator that has scanned it.
fn at_the_terminal(
    device: &Device<'_>,
    enrolled: &Enrolled,
    mut shown: EnrolledShown<'_>,
) -> Result<Zeroizing<String>, Failure> {
    shown.qr = qr::for_terminal(enrolled.otpauth());
    let mut out = anstream::stdout();
    out.write_all(shown.to_scan().as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)?;
    for tried in 1.. {
        let (first, second) = codes::two(&[])?;
        match device.confirm((first.expose(), second.expose())).map_err(Failure::from) {
            Ok(()) => break,
            Err(Failure::Refused(refusal))
                if tried < TRIES && matches!(refusal.reason, Reason::WrongCode | Reason::MalformedCode) =>
            {
                eprintln!("{}", refusal.reason.sentence());
            }
            Err(failure) => return Err(failure),
        }
    }
    shown.confirmed = true;
    let mut text = Zeroizing::new(String::new());
    shown.after_confirming(&mut text);
    Ok(text)
}

/// The keys of a receipt, for showing.
pub(super) fn keys_of(keys: &[countersign_client::device::statement::KeyEntry]) -> Vec<KeySeen> {
    keys.iter().map(KeySeen::from).collect()
}
