//! The command line of `countersign-hsm`.

use crate::ceremony::{self, TenantTerms, TermsChange};
use crate::home::{Home, Initialisation, Initialised};
use crate::image::{self, SealedImage};
use crate::keystore::KeystoreKind;
use crate::keystore::softhsm_token::{CONFIGURATION_VARIABLE, TokenFiles};
use crate::sandbox::{self, Layer, Layers, stages};
use crate::supervisor::{self, RunPlan};
use crate::{HsmError, hardening};
use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::LogNames;
use countersign_wire::names::{AccountName, TenantName};
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

/// The HSM simulator: measures the Countersign image, runs it in a sandbox, and serves it.
///
/// Exit codes: 0 done; 1 it failed; 2 usage; 3 the image is not the pinned one; 4 the store or NVRAM was refused;
/// 5 a layer of the sandbox is missing.
#[derive(Debug, Parser)]
#[command(name = "countersign-hsm", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pack or inspect an image file
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make a new HSM in a folder; prints its id, measurement and API keys, which are shown only here
    Init(InitArguments),
    /// Manage the tenants of a stopped HSM
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Run an HSM in the foreground; prints one line of JSON when it serves
    Run(RunArguments),
    /// Say which layers of the sandbox this machine has
    Sandbox,
    #[command(hide = true)]
    Launch(StageArguments),
    #[command(hide = true)]
    Confine(StageArguments),
    #[command(hide = true)]
    Probe { layer: Layer },
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Pack a static executable into an image file
    Pack {
        /// The static executable
        #[arg(long, value_name = "FILE")]
        elf: PathBuf,
        /// Version of the plugin
        #[arg(long)]
        version: String,
        /// Target triple that it was built for
        #[arg(long)]
        target: String,
        /// Where to write the image
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check an image file and print its manifest and measurement
    Inspect {
        /// The image file
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct InitArguments {
    /// The folder; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The image that this HSM will run, and no other
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Where keys are used
    #[arg(long, value_enum, default_value = "embedded")]
    keystore: KeystoreChoice,
    /// SoftHSM's library, if it is not where Debian puts it
    #[arg(long, value_name = "PATH")]
    softhsm_module: Option<PathBuf>,
    /// Where time comes from; a manual clock is for tests and development only
    #[arg(long, value_enum, default_value = "system")]
    clock: ClockChoice,
    /// A tenant to begin with; may be repeated
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: Vec<TenantName>,
    /// The policy document of these tenants [default: the plugin's own, for development]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// Add a tenant; prints its API key, which is shown only here
    Add {
        /// The folder of the HSM
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The new tenant
        #[arg(long)]
        name: TenantName,
        /// Whether its backend may see TOTP secrets at enrolment
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
        plain_enrolment: bool,
        /// Failed checks allowed an hour across the tenant [default: the greater of 100 and 1 % of its accounts]
        #[arg(long, value_name = "N")]
        failures_per_hour: Option<u32>,
        /// The most accounts, unconfirmed enrolments included [default: 100000]
        #[arg(long, value_name = "N")]
        accounts_max: Option<u32>,
        /// What its audit log calls accounts
        #[arg(long, value_enum, default_value = "plain")]
        log_names: NamesChoice,
        /// Its policy document [default: the plugin's own, for development]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Change the terms of a tenant; prints them
    Set(SetArguments),
    /// Give a tenant a policy document, in force from the next start on
    SetPolicy {
        /// The folder of the HSM
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The tenant
        #[arg(long)]
        name: TenantName,
        /// The document; `countersign policy check` says whether it is good
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
    },
    /// Lift a freeze that a user put on his account, from the next start on
    LiftFreeze {
        /// The folder of the HSM
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The tenant
        #[arg(long)]
        name: TenantName,
        /// The account
        #[arg(long)]
        account: AccountName,
        /// The freeze's number, as `countersign account show` tells it
        #[arg(long, value_name = "N")]
        freeze: u64,
    },
    /// Replace the API key of a tenant, which stops working; prints the new one, which is shown only here
    NewApiKey {
        /// The folder of the HSM
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The tenant
        #[arg(long)]
        name: TenantName,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["plain_enrolment", "failures_per_hour", "accounts_max", "log_names"]))]
struct SetArguments {
    /// The folder of the HSM
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The tenant
    #[arg(long)]
    name: TenantName,
    /// Whether its backend may see TOTP secrets at enrolment
    #[arg(long)]
    plain_enrolment: Option<bool>,
    /// Failed checks allowed an hour across the tenant, or `default`
    #[arg(long, value_name = "N|default")]
    failures_per_hour: Option<Limit>,
    /// The most accounts, unconfirmed enrolments included, or `default`
    #[arg(long, value_name = "N|default")]
    accounts_max: Option<Limit>,
    /// What its audit log calls accounts from the next start on; what was recorded before stays as it is
    #[arg(long, value_enum)]
    log_names: Option<NamesChoice>,
}

/// A limit, or the word for the plugin's own.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<u32>);

impl core::str::FromStr for Limit {
    type Err = core::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "default" { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The folder of the HSM
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The image; only the one that the HSM was initialised with is run
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Start although layers of the sandbox are missing; the HSM's status names them
    #[arg(long)]
    weak_sandbox: bool,
    /// A further user whose processes may connect; may be repeated
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
}

#[derive(Debug, clap::Args)]
struct StageArguments {
    #[arg(long = "layer")]
    layers: Vec<Layer>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeystoreChoice {
    Embedded,
    Softhsm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NamesChoice {
    /// By their names
    Plain,
    /// By a keyed hash of their names
    Hashed,
}

impl From<NamesChoice> for LogNames {
    fn from(choice: NamesChoice) -> Self {
        match choice {
            NamesChoice::Plain => Self::Plain,
            NamesChoice::Hashed => Self::Hashed,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClockChoice {
    System,
    Manual,
}

impl Cli {
    /// Does what the command line asks.
    pub fn act(self) -> Result<ExitCode> {
        match self.command {
            Command::Image(command) => image_command(&command)?,
            Command::Init(arguments) => init(&arguments)?,
            Command::Tenant(command) => tenant(&command)?,
            Command::Run(arguments) => run(arguments)?,
            Command::Sandbox => return Ok(print_layers(&sandbox::probe()?)),
            Command::Launch(stage) => return Ok(stages::launch(&Layers::of(&stage.layers))?.into()),
            Command::Confine(stage) => match stages::confine(&Layers::of(&stage.layers))? {},
            Command::Probe { layer } => stages::probe(layer)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn image_command(command: &ImageCommand) -> Result<(), HsmError> {
    match command {
        ImageCommand::Pack { elf, version, target, out } => {
            let image = image::pack(&image::read_file(elf)?, version, target)?;
            std::fs::write(out, &image).map_err(HsmError::io(format!("write {}", out.display())))?;
            println!("{}", json!({ "image": out, "measurement": image::measure(&image).to_hex() }));
        }
        ImageCommand::Inspect { file } => {
            let image = image::read_file(file)?;
            let (manifest, _) = image::parse(&image)?;
            println!("{}", json!({ "manifest": manifest, "measurement": image::measure(&image).to_hex() }));
        }
    }
    Ok(())
}

fn init(arguments: &InitArguments) -> Result<(), HsmError> {
    hardening::harden()?;
    let home = Home::at(&arguments.home)?;
    let keystore = match arguments.keystore {
        KeystoreChoice::Embedded => KeystoreKind::Embedded,
        KeystoreChoice::Softhsm => KeystoreKind::Softhsm,
    };
    with_softhsm_configured(&home, keystore)?;
    let image = SealedImage::load(&arguments.image)?;
    let policy = arguments.policy.as_deref().map(read_document).transpose()?;
    let Initialised { hsm_id, root_fingerprint, api_keys } = home.initialise(&Initialisation {
        measurement: image.measurement(),
        keystore,
        softhsm_module: arguments.softhsm_module.clone(),
        clock: match arguments.clock {
            ClockChoice::System => ClockMode::System,
            ClockChoice::Manual => ClockMode::Manual,
        },
        tenants: arguments.tenant.clone(),
        policy,
    })?;
    let api_keys: serde_json::Map<_, _> =
        api_keys.iter().map(|(name, key)| (name.to_string(), key.expose().into())).collect();
    let (hsm_id, measurement) = (HEXLOWER.encode(&hsm_id), image.measurement().to_hex());
    let root_fingerprint = HEXLOWER.encode(&root_fingerprint);
    println!(
        "{}",
        json!({ "hsm_id": hsm_id, "measurement": measurement, "root_fingerprint": root_fingerprint,
            "api_keys": api_keys })
    );
    Ok(())
}

fn read_document(file: &Path) -> Result<Vec<u8>, HsmError> {
    std::fs::read(file).map_err(HsmError::io(format!("read {}", file.display())))
}

fn tenant(command: &TenantCommand) -> Result<(), HsmError> {
    hardening::harden()?;
    let (TenantCommand::Add { home, .. }
    | TenantCommand::Set(SetArguments { home, .. })
    | TenantCommand::SetPolicy { home, .. }
    | TenantCommand::LiftFreeze { home, .. }
    | TenantCommand::NewApiKey { home, .. }) = command;
    let home = Home::at(home)?;
    let _lock = home.lock()?;
    let tenants = home.tenants();
    let answer = match command {
        TenantCommand::Add {
            name,
            plain_enrolment,
            failures_per_hour,
            accounts_max,
            log_names,
            policy,
            ..
        } => {
            let document = policy.as_deref().map(read_document).transpose()?;
            let terms = TenantTerms {
                plain_enrolment: *plain_enrolment,
                failures_per_hour: *failures_per_hour,
                accounts_max: *accounts_max,
                log_names: (*log_names).into(),
            };
            let api_key = ceremony::add_tenant(&tenants, name, terms)?;
            if let Some(document) = document {
                ceremony::set_policy(&tenants, name, &document)?;
            }
            json!({ "tenant": name, "api_key": api_key.expose() })
        }
        TenantCommand::Set(SetArguments {
            name,
            plain_enrolment,
            failures_per_hour,
            accounts_max,
            log_names,
            ..
        }) => {
            let change = TermsChange {
                plain_enrolment: *plain_enrolment,
                failures_per_hour: failures_per_hour.map(|limit| limit.0),
                accounts_max: accounts_max.map(|limit| limit.0),
                log_names: log_names.map(Into::into),
            };
            let TenantTerms { plain_enrolment, failures_per_hour, accounts_max, log_names } =
                ceremony::change_terms(&tenants, name, change)?;
            json!({ "tenant": name, "plain_enrolment": plain_enrolment,
                "failures_per_hour": failures_per_hour, "accounts_max": accounts_max,
                "log_names": log_names.word() })
        }
        TenantCommand::SetPolicy { name, policy, .. } => {
            let document = read_document(policy)?;
            ceremony::set_policy(&tenants, name, &document)?;
            json!({ "tenant": name, "policy_sha256": HEXLOWER.encode(&Sha256::digest(&document)) })
        }
        TenantCommand::LiftFreeze { name, account, freeze, .. } => {
            ceremony::lift_freeze(&tenants, name, account, *freeze)?;
            json!({ "tenant": name, "account": account, "freeze": freeze })
        }
        TenantCommand::NewApiKey { name, .. } => {
            let api_key = ceremony::replace_api_key(&tenants, name)?;
            json!({ "tenant": name, "api_key": api_key.expose() })
        }
    };
    println!("{answer}");
    Ok(())
}

fn run(arguments: RunArguments) -> Result<(), HsmError> {
    hardening::harden()?;
    let home = Home::at(&arguments.home)?;
    let claim = home.claim()?;
    with_softhsm_configured(&home, claim.fuses.keystore)?;
    hardening::raise_open_files();
    hardening::lock_memory();
    supervisor::run(RunPlan {
        home,
        claim,
        image: arguments.image,
        weak_sandbox: arguments.weak_sandbox,
        allow_uids: arguments.allow_uid,
    })
}

/// SoftHSM reads where its token is from the environment, which a process with threads must not change: so this
/// process becomes the same program with the same arguments once more, and the variable set.
fn with_softhsm_configured(home: &Home, keystore: KeystoreKind) -> Result<(), HsmError> {
    let configuration = TokenFiles::in_folder(&home.keystore()).configuration();
    let set = std::env::var_os(CONFIGURATION_VARIABLE);
    if keystore == KeystoreKind::Embedded || set.as_deref() == Some(configuration.as_os_str()) {
        return Ok(());
    }
    let error = Process::new(sandbox::OWN_PROGRAM)
        .arg0(sandbox::OWN_NAME)
        .args(std::env::args_os().skip(1))
        .env(CONFIGURATION_VARIABLE, configuration)
        .exec();
    Err(HsmError::io("start again with SoftHSM's configuration")(error))
}

fn print_layers(missing: &[sandbox::MissingLayer]) -> ExitCode {
    let missing_words: serde_json::Map<_, _> =
        missing.iter().map(|layer| (layer.layer.to_string(), layer.why.as_str().into())).collect();
    println!("{}", json!({ "layers": Layer::ALL.map(Layer::word), "missing": missing_words }));
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(5) }
}
