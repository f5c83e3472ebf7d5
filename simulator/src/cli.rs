//! The command line of `countersign-hsm`.

use crate::ceremony::{self, TenantTerms, TermsChange};
use crate::home::{Home, Initialisation, Initialised, MachineFiles};
use crate::image::SealedImage;
use crate::keystore::KeystoreKind;
use crate::keystore::softhsm_token::{CONFIGURATION_VARIABLE, TokenFiles};
use crate::observe::{Address, Ratio, Target, Wanted};
use crate::sandbox::{self, Layer, Layers, stages};
use crate::supervisor::{self, RunPlan};
use crate::trust::{self, Plan, Upgraded};
use crate::vm;
use crate::vm::qemu::{self, Acceleration};
use crate::{HsmError, hardening, log};
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use countersign_release::Release;
use countersign_wire::client::ClockMode;
use countersign_wire::hal::LogNames;
use countersign_wire::names::{AccountName, TenantName};
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256, Sha384};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::Duration;

/// The HSM simulator: measures the Countersign image, runs it in a sandbox, and serves it.
///
/// Exit codes: 0 done; 1 it failed; 2 usage; 3 the image was refused, and one line of JSON on standard output says by
/// which word; 4 the store or NVRAM was refused; 5 a layer of the sandbox is missing.
#[derive(Debug, Parser)]
#[command(name = "countersign-hsm", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new HSM in a folder; prints its id, measurement and API keys, which are shown only here
    Init(InitArguments),
    /// Manage the tenants of a stopped HSM
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Run an HSM in the foreground; prints one line of JSON when it serves
    Run(RunArguments),
    /// Move the state of a stopped HSM to a newer image: signed by enough people, of a higher version, and made to
    /// succeed the image that has the state now
    Upgrade {
        /// The folder of the HSM
        #[arg(long, value_name = "DIR")]
        home: PathBuf,
        /// The new image; its signatures lie beside it, in a file of its name and .sig
        #[arg(long, value_name = "FILE")]
        image: PathBuf,
    },
    /// Pack the first root of a virtual machine
    VmRoot {
        /// The static executable `countersign-guest`
        #[arg(long, value_name = "FILE")]
        guest: PathBuf,
        /// The folder `drivers` among the kernel's modules
        #[arg(long, value_name = "DIR")]
        drivers: PathBuf,
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Measure the kernel and the first root of a virtual machine: the platform, as an HSM with them attests it
    VmPlatform {
        /// The kernel
        #[arg(long, value_name = "FILE")]
        vm_kernel: PathBuf,
        /// The first root, made by `vm-root`
        #[arg(long, value_name = "FILE")]
        vm_root: PathBuf,
    },
    /// Say which layers of the sandbox this machine has
    Sandbox,
    #[command(hide = true)]
    Launch(StageArguments),
    #[command(hide = true)]
    Confine(StageArguments),
    #[command(hide = true)]
    Probe { layer: Layer },
    #[command(hide = true)]
    ProbeMachine,
    #[command(hide = true)]
    Machine {
        #[arg(long)]
        firmware: u32,
        #[arg(last = true)]
        qemu: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("purpose").required(true).args(["release_keys", "development"]))]
struct InitArguments {
    /// The folder; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The image that this HSM will run first; with --development, and no other
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Run images for release, signed by these people: a list in the form of ssh-keygen's ALLOWED SIGNERS
    #[arg(long, value_name = "FILE", requires = "threshold")]
    release_keys: Option<PathBuf>,
    /// How many people must sign an image
    #[arg(long, value_name = "K", requires = "release_keys", value_parser = clap::value_parser!(u8).range(1..))]
    threshold: Option<u8>,
    /// Run this image for development, unsigned, for ever. Keep no money there
    #[arg(long)]
    development: bool,
    /// Where keys are used
    #[arg(long, value_enum, default_value = "embedded")]
    keystore: KeystoreChoice,
    /// SoftHSM's library, if it is not where Debian puts it
    #[arg(long, value_name = "PATH")]
    softhsm_module: Option<PathBuf>,
    /// Where time comes from; a manual clock is for tests and development only
    #[arg(long, value_enum, default_value = "system")]
    clock: ClockChoice,
    /// Let an HSM with release keys have a manual clock: for tests, and it attests that it is for development
    #[arg(long, conflicts_with = "development")]
    manual_clock_for_tests: bool,
    /// A tenant to begin with; may be repeated
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: Vec<TenantName>,
    /// The policy document of these tenants [default: the plugin's own, for development]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What the plugin runs in, for the HSM's life: a process in a sandbox, or a virtual machine
    #[arg(long, value_enum, default_value = "process")]
    boundary: BoundaryChoice,
    /// The machine's kernel
    #[arg(long, value_name = "FILE", required_if_eq("boundary", "vm"))]
    vm_kernel: Option<PathBuf>,
    /// The machine's first root, made by `vm-root`
    #[arg(long, value_name = "FILE", required_if_eq("boundary", "vm"))]
    vm_root: Option<PathBuf>,
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
    /// The image: the one that has the HSM's state
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Start although layers of the sandbox are missing; the HSM's status names them
    #[arg(long)]
    weak_sandbox: bool,
    /// Let the processor run the virtual machine itself; without KVM it is slow
    #[arg(long)]
    kvm: bool,
    /// A further user whose processes may connect; may be repeated
    #[arg(long, value_name = "UID", value_parser = further_uid)]
    allow_uid: Vec<u32>,
    #[command(flatten)]
    observe: ObserveArguments,
}

/// What operators see. `docs/observability.md` is the reference.
#[derive(Debug, clap::Args)]
struct ObserveArguments {
    /// How the log is written
    #[arg(long, value_enum, default_value = "text")]
    log_format: log::Format,
    /// Serve /metrics, /healthz and /readyz on a loopback address or a unix socket
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH")]
    metrics: Option<Address>,
    /// Count requests by tenant, too: the names of tenants are then in the metrics
    #[arg(long, requires = "metrics")]
    metrics_tenants: bool,
    /// How long metrics can still be read when the HSM cannot serve, and say why
    #[arg(long, value_name = "SECONDS", default_value = "30", requires = "metrics")]
    metrics_linger: u16,
    /// Write traces: lines of OTLP/JSON, to a file or a unix socket
    #[arg(long, value_name = "FILE|unix:PATH")]
    traces: Option<Target>,
    /// The share of requests that is traced, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value = "0.01", requires = "traces")]
    traces_ratio: Ratio,
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

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum BoundaryChoice {
    Process,
    Vm,
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
            Command::Init(arguments) => init(&arguments)?,
            Command::Tenant(command) => tenant(&command)?,
            Command::Run(arguments) => run(arguments)?,
            Command::Upgrade { home, image } => upgrade(&home, &image)?,
            Command::VmRoot { guest, drivers, out } => {
                let root = vm::pack_root(&guest, &drivers)?;
                std::fs::write(&out, &root).map_err(HsmError::io(format!("write {}", out.display())))?;
                println!("{}", json!({ "root": out, "sha384": HEXLOWER.encode(&Sha384::digest(&root)) }));
            }
            Command::VmPlatform { vm_kernel: kernel, vm_root: root } => {
                let platform = vm::measure_files(&MachineFiles { kernel, root })?;
                println!("{}", json!({ "platform": HEXLOWER.encode(&platform) }));
            }
            Command::Sandbox => return Ok(print_layers(&sandbox::probe()?)),
            Command::Launch(stage) => return Ok(stages::launch(&Layers::of(&stage.layers))?.into()),
            Command::Confine(stage) => {
                let layers = Layers::of(&stage.layers);
                // An empty root takes a mount, and so a namespace to make it in.
                let root =
                    if layers.has(Layer::Namespaces) { stages::Root::Empty } else { stages::Root::Whole };
                match stages::confine(&layers, root)? {}
            }
            Command::Probe { layer } => stages::probe(layer)?,
            Command::ProbeMachine => qemu::try_to_lock()?,
            Command::Machine { firmware, qemu } => match qemu::become_qemu(firmware, &qemu)? {},
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn init(arguments: &InitArguments) -> Result<(), HsmError> {
    let clock = arguments.clock().unwrap_or_else(|error| error.exit());
    hardening::harden()?;
    let home = Home::at(&arguments.home)?;
    let keystore = match arguments.keystore {
        KeystoreChoice::Embedded => KeystoreKind::Embedded,
        KeystoreChoice::Softhsm => KeystoreKind::Softhsm,
    };
    with_softhsm_configured(&home, keystore)?;
    let image = SealedImage::load(&arguments.image)?;
    let plan = arguments.plan()?;
    plan.trust(image.release().measurement)?.admit(&image, &arguments.image)?;
    let policy = arguments.policy.as_deref().map(read_document).transpose()?;
    let Initialised { hsm_id, root_fingerprint, platform, api_keys } = home.initialise(&Initialisation {
        first: image.release(),
        plan,
        keystore,
        softhsm_module: arguments.softhsm_module.clone(),
        clock,
        tenants: arguments.tenant.clone(),
        policy,
        machine: arguments.machine(),
    })?;
    let api_keys: serde_json::Map<_, _> =
        api_keys.iter().map(|(name, key)| (name.to_string(), key.expose().into())).collect();
    let Release { measurement, version, channel } = image.release();
    let (hsm_id, root_fingerprint) = (HEXLOWER.encode(&hsm_id), HEXLOWER.encode(&root_fingerprint));
    let mut told = json!({ "hsm_id": hsm_id, "measurement": measurement, "version": version, "channel": channel,
        "root_fingerprint": root_fingerprint, "api_keys": api_keys });
    if let Some(platform) = platform {
        told["platform"] = HEXLOWER.encode(&platform).into();
    }
    println!("{told}");
    Ok(())
}

impl InitArguments {
    /// Whoever sets a clock by hand chooses which code is good: so an HSM for release has one only where somebody says that it
    /// is for tests.
    fn clock(&self) -> Result<ClockMode, clap::Error> {
        match self.clock {
            ClockChoice::System => Ok(ClockMode::System),
            ClockChoice::Manual if self.development || self.manual_clock_for_tests => Ok(ClockMode::Manual),
            ClockChoice::Manual => Err(Cli::command().error(
                ErrorKind::ArgumentConflict,
                "an HSM with release keys has the system's clock, since whoever sets a clock by hand chooses which code is \
                 good; leave out --clock manual, or, for tests alone, pass --manual-clock-for-tests",
            )),
        }
    }

    fn machine(&self) -> Option<MachineFiles> {
        let (kernel, root) = self.vm_kernel.clone().zip(self.vm_root.clone())?;
        (self.boundary == BoundaryChoice::Vm).then_some(MachineFiles { kernel, root })
    }

    fn plan(&self) -> Result<Plan, HsmError> {
        match (&self.release_keys, self.threshold) {
            (Some(keys), Some(threshold)) => Ok(Plan::Release { keys: read_document(keys)?, threshold }),
            _ => Ok(Plan::Development),
        }
    }
}

fn upgrade(home: &Path, image: &Path) -> Result<(), HsmError> {
    hardening::harden()?;
    let home = Home::at(home)?;
    let claim = home.claim()?;
    let Upgraded { from, to, steps, people } = trust::upgrade(&home, &claim, image)?;
    println!(
        "{}",
        json!({ "from": from.measurement, "measurement": to.measurement, "version": to.version, "steps": steps,
            "already": from == to, "signed_by": people })
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
    log::set_format(arguments.observe.log_format);
    hardening::harden()?;
    let home = Home::at(&arguments.home)?;
    let claim = home.claim()?;
    with_softhsm_configured(&home, claim.fuses.keystore)?;
    hardening::raise_open_files();
    hardening::lock_memory();
    let ObserveArguments { metrics, metrics_tenants, metrics_linger, traces, traces_ratio, .. } =
        arguments.observe;
    supervisor::run(RunPlan {
        home,
        claim,
        image: arguments.image,
        weak_sandbox: arguments.weak_sandbox,
        acceleration: if arguments.kvm { Acceleration::Kvm } else { Acceleration::Interpreted },
        allow_uids: arguments.allow_uid,
        wanted: Wanted {
            metrics,
            tenants: metrics_tenants,
            linger: Duration::from_secs(metrics_linger.into()),
            traces,
            ratio: traces_ratio,
        },
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

/// As this user the kernel shows everybody whom the HSM's user namespace does not know (`/proc/sys/kernel/overflowuid`).
const OVERFLOW_UID: u32 = 65_534;

/// A user who may be let in: a certain one.
fn further_uid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(OVERFLOW_UID) => Err("as this user the kernel shows everybody whom it cannot name here; give the client a user of its own".into()),
        Ok(uid) => Ok(uid),
        Err(_) => Err("not a user's number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(options: &[&str]) -> Result<ClockMode, clap::Error> {
        let fixed = ["countersign-hsm", "init", "--home", "h", "--image", "i"];
        match Cli::try_parse_from([&fixed, options].concat())?.command {
            Command::Init(arguments) => arguments.clock(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_hsm_for_release_has_a_manual_clock_only_where_it_is_said_to_be_for_tests() {
        let release = ["--release-keys", "k", "--threshold", "2"];
        let with = |more: &[&'static str]| clock(&[&release[..], more].concat());
        assert_eq!(with(&[]).unwrap(), ClockMode::System);
        let refused = with(&["--clock", "manual"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--manual-clock-for-tests"), "{refused}");
        assert_eq!(with(&["--clock", "manual", "--manual-clock-for-tests"]).unwrap(), ClockMode::Manual);
        assert_eq!(clock(&["--development", "--clock", "manual"]).unwrap(), ClockMode::Manual);
    }

    #[test]
    fn nobody_in_particular_is_let_in() {
        assert_eq!(further_uid("1000"), Ok(1000));
        for bad in ["65534", "-1", "4294967296", "alice", ""] {
            assert!(further_uid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_option_is_in_the_configuration_reference() {
        fn check(command: &clap::Command, page: &str) {
            for argument in command.get_arguments().filter_map(clap::Arg::get_long) {
                let known =
                    matches!(argument, "help" | "version") || page.contains(&format!("`--{argument}"));
                assert!(known, "--{argument} of {} is not in docs/configuration.md", command.get_name());
            }
            command.get_subcommands().filter(|sub| !sub.is_hide_set()).for_each(|sub| check(sub, page));
        }
        check(&Cli::command(), include_str!("../../docs/configuration.md"));
    }
}
