//! `cargo xtask dev`: an HSM with enrolled accounts in the foreground, for development.
//!
//! When it serves, stdout gets one line of JSON. In the home folder, `dev/` holds what it takes to print the same
//! line again: the API key, the accounts' secrets and the image. In the real world no such folder exists: the API
//! key is the backend's, and the secrets are on the users' phones.

use crate::accounts::{Account, Secrets, ensure};
use crate::artefacts::{Programs, build_image, build_programs, build_quickly};
use crate::hsm::{
    Clock, Hsm, Keystore, Log, RunningHsm, status, wait_for_end, write_host_toml, write_private,
};
use crate::setup::{Package, ensure_packages};
use crate::stop::on_stop_signal;
use crate::workspace::say;
use anyhow::{Context, Result, bail};
use countersign_client::Client;
use countersign_wire::names::ApiKey;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

/// The options of `cargo xtask dev`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where keys are used [default: embedded, or as the home was made]
    #[arg(long, value_enum)]
    keystore: Option<Keystore>,
    /// How many accounts to have, user-0000 and on [default: 1, or as many as the home has]
    #[arg(long, value_name = "N")]
    accounts: Option<usize>,
    /// Where time comes from [default: system, or as the home was made]
    #[arg(long, value_enum)]
    clock: Option<Clock>,
    /// The HSM's folder: made if it is not there, opened as it was left if it is [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Run even where layers of the sandbox are missing
    #[arg(long)]
    weak_sandbox: bool,
    /// Build as for a release, which takes several times as long
    #[arg(long)]
    release: bool,
}

/// How the home was made.
#[derive(Serialize, Deserialize)]
struct Made {
    keystore: Keystore,
    clock: Clock,
    api_key: String,
}

/// The one line on stdout.
#[derive(Serialize)]
struct Line<'a> {
    module: &'a Path,
    cli: &'a Path,
    env: Env,
    home: &'a Path,
    pid: u32,
    token_label: &'static str,
    user_pin: &'a str,
    clock: &'static str,
    accounts: Vec<Account>,
}

#[derive(Serialize)]
struct Env {
    #[serde(rename = "COUNTERSIGN_CONFIG")]
    countersign_config: PathBuf,
}

/// What happens while the HSM runs.
enum Event {
    Stop,
    HsmEnded,
    Ready(Result<Vec<Account>>),
}

/// Builds, provisions and runs the HSM until it is told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let temporary = if arguments.home.is_none() { Some(temporary_folder()?) } else { None };
    let home = match (&arguments.home, &temporary) {
        (Some(home), _) => std::path::absolute(home)?,
        (None, Some(folder)) => folder.path().join("hsm"),
        (None, None) => bail!("there is no folder for the HSM"),
    };
    let (programs, image) = if arguments.release {
        let programs = build_programs()?;
        (programs, build_image()?.image)
    } else {
        build_quickly()?
    };
    let (hsm, made) = if home.join("nvram").exists() {
        reopen(arguments, &programs, home)?
    } else {
        make(arguments, &programs, &image, &home)?
    };
    if made.keystore == Keystore::Softhsm {
        ensure_packages(&[Package::SoftHsm2])?;
    }
    serve(arguments, &programs, &hsm, &made)
}

fn temporary_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("countersign-dev-").tempdir().context("cannot make a temporary folder")
}

/// A new HSM.
fn make(arguments: &Arguments, programs: &Programs, image: &Path, home: &Path) -> Result<(Hsm, Made)> {
    let keystore = arguments.keystore.unwrap_or(Keystore::Embedded);
    let clock = arguments.clock.unwrap_or(Clock::System);
    if keystore == Keystore::Softhsm {
        ensure_packages(&[Package::SoftHsm2])?;
    }
    let hsm = Hsm {
        program: programs.hsm.clone(),
        image: image.to_owned(),
        home: home.to_owned(),
        weak_sandbox: arguments.weak_sandbox,
        machine: None,
    };
    let api_key = hsm.init(keystore, clock)?;
    let made = Made { keystore, clock, api_key: api_key.expose().to_owned() };
    let dev = home.join("dev");
    fs::DirBuilder::new().mode(0o700).create(&dev).context("cannot make the dev folder")?;
    fs::copy(image, dev.join("image")).context("cannot keep the image")?;
    write_private(&dev.join("made.json"), &serde_json::to_string(&made)?)?;
    write_private(&dev.join("api-key"), api_key.expose())?;
    Ok((Hsm { image: dev.join("image"), ..hsm }, made))
}

/// An HSM that an earlier run made, with the image it was made with: it runs no other.
fn reopen(arguments: &Arguments, programs: &Programs, home: PathBuf) -> Result<(Hsm, Made)> {
    let dev = home.join("dev");
    let made = fs::read_to_string(dev.join("made.json"))
        .with_context(|| format!("{} was not made by cargo xtask dev; use another --home", home.display()))?;
    let made: Made = serde_json::from_str(&made).ok().context("dev/made.json cannot be read")?;
    if arguments.keystore.is_some_and(|keystore| keystore != made.keystore) {
        bail!(
            "this HSM was made with --keystore {}; leave the option out, or use another --home",
            made.keystore.word()
        );
    }
    if arguments.clock.is_some_and(|clock| clock != made.clock) {
        bail!(
            "this HSM was made with --clock {}; leave the option out, or use another --home",
            made.clock.word()
        );
    }
    say("opening the HSM with the image it was made with");
    let (image, weak_sandbox) = (dev.join("image"), arguments.weak_sandbox);
    Ok((Hsm { program: programs.hsm.clone(), image, home, weak_sandbox, machine: None }, made))
}

fn serve(arguments: &Arguments, programs: &Programs, hsm: &Hsm, made: &Made) -> Result<ExitCode> {
    let (events, happened) = mpsc::channel();
    let stop = events.clone();
    on_stop_signal(move |_| drop(stop.send(Event::Stop)))?;
    let running = hsm.start(&Log::Stderr)?;
    let dev = hsm.home.join("dev");
    let config_file = dev.join("host.toml");
    write_host_toml(&config_file, &running.serving, &dev.join("api-key"))?;

    let (pidfd, ended) = (running.pidfd()?, events.clone());
    thread::spawn(move || {
        // An HSM that cannot be watched counts as one that ended.
        drop(wait_for_end(&pidfd));
        drop(ended.send(Event::HsmEnded));
    });
    let client = Client::new(running.host_config());
    let api_key = ApiKey::parse(&made.api_key).context("dev/made.json holds no API key")?;
    let secrets = Secrets::open(&dev.join("accounts.jsonl"))?;
    let count = arguments.accounts.unwrap_or(1).max(secrets.len());
    let clock = status(&client)?.clock.word();
    thread::spawn(move || {
        drop(events.send(Event::Ready(ensure(&client, &api_key, &secrets, count))));
    });

    loop {
        match happened.recv().context("nothing is left that could happen")? {
            Event::Ready(accounts) => {
                let line = Line {
                    module: &programs.module,
                    cli: &programs.cli,
                    env: Env { countersign_config: config_file.clone() },
                    home: &hsm.home,
                    pid: running.pid(),
                    token_label: "countersign",
                    user_pin: &made.api_key,
                    clock,
                    accounts: accounts.context("the accounts could not be enrolled")?,
                };
                print_line(&line)?;
            }
            Event::Stop => {
                say("stopping the HSM");
                running.stop()?;
                return Ok(ExitCode::SUCCESS);
            }
            Event::HsmEnded => return report_end(running),
        }
    }
}

fn print_line(line: &Line<'_>) -> Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    say("serving; SIGINT (Ctrl-C) or SIGTERM stops it");
    Ok(())
}

fn report_end(running: RunningHsm) -> Result<ExitCode> {
    let status = running.wait()?;
    bail!("the HSM ended by itself ({status}); open it again with the same --home");
}
