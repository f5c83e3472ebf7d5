//! `countersign image`: what those do who release images, and those who check them. Nothing here asks the HSM.

use crate::arguments::{ImageCommand, VerifyArguments};
use crate::failure::Failure;
use crate::show::{self, Show, headline, line};
use countersign_release::image::IMAGE_MAX_BYTES;
use countersign_release::keys::KEYS_MAX_BYTES;
use countersign_release::signatures::{self, SIGNATURES_MAX_BYTES};
use countersign_release::{
    Channel, Image, Manifest, Measurement, Refusal, Release, ReleaseKeys, Rule, Version,
};
use countersign_release_build::compare::{Differences, differences};
use countersign_release_build::inside::Counts;
use countersign_release_build::{Plan, build};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Carries out one of the commands.
pub(crate) fn run(command: &ImageCommand, json: bool) -> Result<Zeroizing<String>, Failure> {
    match command {
        ImageCommand::Build { source, channel, out } => {
            Ok(show::text(&BuiltShown::of(source, (*channel).into(), out.as_deref())?, json))
        }
        ImageCommand::Inspect { image } => Ok(show::text(&Inspected::of(image)?, json)),
        ImageCommand::Sign { image, key } => Ok(show::text(&sign(image, key)?, json)),
        ImageCommand::Verify(arguments) => Ok(show::text(&verify(arguments)?, json)),
        ImageCommand::Compare { first, second } => compare(first, second, json),
    }
}

/// Reads a file within its bound; `beyond` is what to say of a longer one.
fn read(path: &Path, bytes_max: usize, beyond: impl FnOnce() -> Refusal) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() > bytes_max { Err(beyond().into()) } else { Ok(bytes) }
}

fn read_image(path: &Path) -> Result<Vec<u8>, Failure> {
    read(path, IMAGE_MAX_BYTES, || Refusal::ImageDamaged("it is too large"))
}

/// Where the signatures of an image lie: its name and `.sig`.
fn signatures_of(image: &Path) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".sig");
    name.into()
}

/// Where there are none yet, nobody has signed.
fn read_signatures(image: &Path) -> Result<Vec<u8>, Failure> {
    let path = signatures_of(image);
    match path.try_exists() {
        Ok(false) => Ok(Vec::new()),
        _ => read(&path, SIGNATURES_MAX_BYTES, || Refusal::SignaturesDamaged("the file is too long".into())),
    }
}

/// `image build`.
#[derive(Serialize)]
struct BuiltShown {
    image: PathBuf,
    measurement: Measurement,
    version: Version,
    channel: Channel,
    crates: Sizes,
    lines: Sizes,
    #[serde(skip)]
    counts: Counts,
}

/// Ours and those of others.
#[derive(Serialize)]
struct Sizes {
    own: usize,
    others: usize,
}

impl BuiltShown {
    fn of(source: &Path, channel: Channel, out: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error| Failure::Usage(format!("{error:#}"));
        let plan = Plan::here(source).map_err(failed)?;
        let image = out.map_or_else(|| plan.folder.join("countersign.image"), Path::to_owned);
        let built = build(&plan, channel).map_err(failed)?;
        built.write(&image).map_err(failed)?;
        let counts = built.counts;
        Ok(Self {
            image,
            measurement: built.measurement,
            version: built.line.version,
            channel,
            crates: Sizes { own: counts.own_crates, others: counts.other_crates },
            lines: Sizes { own: counts.own_lines, others: counts.other_lines },
            counts,
        })
    }
}

impl Show for BuiltShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "The image is built.");
        line(out, "File", &self.image.display().to_string());
        line(out, "Measurement", &self.measurement.to_hex());
        line(out, "Version", &format!("{}, for {}", self.version, self.channel));
        line(out, "Inside", &self.counts.sentence());
    }
}

/// `image inspect`.
#[derive(Serialize)]
struct Inspected {
    measurement: Measurement,
    manifest: Manifest,
    signatures: usize,
}

impl Inspected {
    fn of(path: &Path) -> Result<Self, Failure> {
        let file = read_image(path)?;
        let image = Image::parse(&file)?;
        let signatures = match read_signatures(path)? {
            none if none.is_empty() => 0,
            some => signatures::parse(&some)?.len(),
        };
        Ok(Self { measurement: image.measurement, manifest: image.manifest, signatures })
    }
}

impl Show for Inspected {
    fn for_people(&self, out: &mut String) {
        let Manifest { version, channel, target, elf_bytes, succeeds, sbom, .. } = &self.manifest;
        line(out, "Measurement", &self.measurement.to_hex());
        line(out, "Version", &format!("{version}, for {channel}"));
        line(out, "Target", target);
        line(out, "Executable", &format!("{elf_bytes} bytes"));
        for measurement in succeeds {
            line(out, "Succeeds", &measurement.to_hex());
        }
        line(out, "Signatures", &format!("{}, not verified here", self.signatures));
        line(out, "Inside", &format!("{} components", sbom.components.len()));
        for component in &sbom.components {
            line(out, "", &format!("{} {}", component.name, component.version));
        }
    }
}

/// `image sign`.
#[derive(Serialize)]
struct SignedShown {
    signatures: PathBuf,
    key: String,
    succeeds: Vec<Measurement>,
    #[serde(flatten)]
    release: ReleaseShown,
}

/// What was signed or verified.
#[derive(Serialize)]
struct ReleaseShown {
    measurement: Measurement,
    version: Version,
    channel: Channel,
}

impl From<Release> for ReleaseShown {
    fn from(Release { measurement, version, channel }: Release) -> Self {
        Self { measurement, version, channel }
    }
}

impl Show for SignedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "The image is signed.");
        line(out, "Measurement", &self.release.measurement.to_hex());
        line(out, "Version", &self.release.version.to_string());
        line(out, "Key", &self.key);
        line(out, "Signatures", &self.signatures.display().to_string());
    }
}

fn sign(path: &Path, key: &Path) -> Result<SignedShown, Failure> {
    let file = read_image(path)?;
    let image = Image::parse(&file)?;
    let (release, succeeds) = (image.release(), image.manifest.succeeds);
    if release.channel != Channel::Release {
        return Err(Refusal::DevelopmentImage.into());
    }
    let there = read_signatures(path)?;
    let before = if there.is_empty() { Vec::new() } else { signatures::parse(&there)? };
    let message = release.message();
    // Standard output has the answer alone; ssh-keygen asks for passphrase or touch on the terminal.
    let _ = write!(std::io::stderr(), "{}You sign:\n{message}", takes_over(&succeeds));
    let armored = ssh_keygen(key, message.as_bytes())?;
    let signature = signatures::made_now(&armored, message.as_bytes())?;
    if before.iter().any(|other| other.public_key() == signature.public_key()) {
        return Err(Failure::Usage("this key has signed the image already; nothing was changed".into()));
    }
    let signatures = signatures_of(path);
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", signatures.display()));
    let mut out = OpenOptions::new().create(true).append(true).open(&signatures).map_err(unwritable)?;
    out.write_all(&armored).and_then(|()| out.sync_all()).map_err(unwritable)?;
    let key = signatures::fingerprint(&signature);
    Ok(SignedShown { signatures, key, succeeds, release: release.into() })
}

/// Whose state the image may take over, for those who sign it: the measurement covers this, and does not show it.
fn takes_over(succeeds: &[Measurement]) -> String {
    if succeeds.is_empty() {
        return "This image takes over no other image's state: HSMs can only be initialised with it.\n"
            .to_owned();
    }
    let begin =
        "This image takes over the state of these, which plugin/measurements.toml must name as releases:\n"
            .to_owned();
    succeeds.iter().fold(begin, |lines, one| lines + "succeeds " + &one.to_hex() + "\n")
}

/// What `ssh-keygen -Y sign` makes of the message.
fn ssh_keygen(key: &Path, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |what: &str| Failure::Usage(format!("ssh-keygen {what}; nothing was signed"));
    let mut signing = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", countersign_release::message::NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => failed("is not installed: it comes with OpenSSH (openssh-client)"),
            _ => failed(&format!("cannot be started: {error}")),
        })?;
    let mut stdin = signing.stdin.take().expect("it is piped");
    // One that ended already has said why.
    let _ = stdin.write_all(message);
    drop(stdin);
    let output =
        signing.wait_with_output().map_err(|error| failed(&format!("cannot be waited for: {error}")))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(&format!("failed ({})", output.status)))
    }
}

/// `image verify`.
#[derive(Serialize)]
struct VerifiedShown {
    signed_by: Vec<String>,
    threshold: u8,
    #[serde(flatten)]
    release: ReleaseShown,
}

impl Show for VerifiedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "Enough people signed this image.");
        line(out, "Measurement", &self.release.measurement.to_hex());
        line(out, "Version", &self.release.version.to_string());
        line(out, "Signed by", &format!("{} ({} needed)", self.signed_by.join(", "), self.threshold));
    }
}

fn verify(arguments: &VerifyArguments) -> Result<VerifiedShown, Failure> {
    let file = read_image(&arguments.image)?;
    let release = Image::parse(&file)?.release();
    let too_long = || Refusal::ReleaseKeysDamaged("the file is too long".into());
    let keys = ReleaseKeys::parse(&read(&arguments.release_keys, KEYS_MAX_BYTES, too_long)?)?;
    let rule = Rule::new(keys, arguments.threshold)?;
    let signed_by = rule.check(&release, &read_signatures(&arguments.image)?)?;
    Ok(VerifiedShown { signed_by, threshold: rule.threshold(), release: release.into() })
}

/// `image compare`.
#[derive(Serialize)]
struct Compared {
    same: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<Differences>,
}

impl Show for Compared {
    fn for_people(&self, out: &mut String) {
        match &self.differs {
            None => headline(out, "The images are the same, bit by bit."),
            Some(differences) => {
                show::warning(out, "The images differ.");
                line(out, "First", &differences.to_string());
            }
        }
    }
}

fn compare(first: &Path, second: &Path, json: bool) -> Result<Zeroizing<String>, Failure> {
    let differs = differences(&read_image(first)?, &read_image(second)?);
    let compared = Compared { same: differs.is_none(), differs };
    let shown = show::text(&compared, json);
    if compared.same { Ok(shown) } else { Err(Failure::Told(shown)) }
}
