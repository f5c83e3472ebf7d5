//! `cargo xtask demo`: the main job from start to end, narrated.
//!
//! The story is played by a second process, because the PKCS#11 module finds its HSM through an environment
//! variable that must be set before the process begins, exactly as for a backend.
//!
//! * [`story`]: the steps, in order;
//! * [`backend`]: the custodian's backend, which has the PKCS#11 module and the API key and nothing else;
//! * [`ethereum`]: the transaction, as a wallet library would make it;
//! * [`hand`]: who holds Alice's phone: totp-rs, or a person;
//! * [`narrator`]: what is printed.

mod backend;
mod ethereum;
mod hand;
mod narrator;
mod story;

use crate::artefacts::{build_image, build_programs};
use crate::hsm::{Clock, Hsm, Keystore};
use crate::machine::{Machine, build_machine};
use crate::setup::{Package, ensure_packages};
use crate::stop::on_stop_signal;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where keys are used
    #[arg(long, value_enum, default_value = "embedded")]
    keystore: Keystore,
    /// Scan the QR code with a real phone and type its codes
    #[arg(long)]
    interactive: bool,
    /// Run even where layers of the sandbox are missing
    #[arg(long)]
    weak_sandbox: bool,
    /// What the plugin runs in; a virtual machine is slow where there is no KVM
    #[arg(long, value_enum, default_value = "process")]
    boundary: Boundary,
}

/// What the plugin runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Boundary {
    /// A process in a sandbox
    Process,
    /// A virtual machine
    Vm,
}

/// What the second process is told.
#[derive(clap::Args)]
pub(crate) struct Stage {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    program: PathBuf,
    #[arg(long)]
    module: PathBuf,
    #[arg(long)]
    image: PathBuf,
    #[arg(long)]
    measurement: String,
    #[arg(long, value_enum)]
    keystore: Keystore,
    #[arg(long)]
    interactive: bool,
    #[arg(long)]
    weak_sandbox: bool,
    #[arg(long, requires = "vm_root")]
    vm_kernel: Option<PathBuf>,
    #[arg(long, requires = "vm_kernel")]
    vm_root: Option<PathBuf>,
}

/// Builds what is needed, makes a temporary folder, and has the story played in it.
pub(crate) fn prepare_and_play(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.interactive && !stdin().is_terminal() {
        bail!("--interactive needs a terminal to read the codes from");
    }
    if arguments.keystore == Keystore::Softhsm {
        ensure_packages(&[Package::SoftHsm2])?;
    }
    let programs = build_programs()?;
    let image = build_image()?;
    let folder = tempfile::Builder::new().prefix("countersign-demo-").tempdir()?;
    let mut play = Command::new(env::current_exe().context("cannot find this program")?);
    play.env("COUNTERSIGN_CONFIG", folder.path().join("host.toml"));
    play.args([
        "demo-on-stage",
        "--keystore",
        arguments.keystore.word(),
        "--measurement",
        &image.measurement.to_hex(),
    ]);
    play.arg("--folder").arg(folder.path()).arg("--image").arg(&image.image);
    play.arg("--program").arg(&programs.hsm).arg("--module").arg(&programs.module);
    for (flag, on) in [("--interactive", arguments.interactive), ("--weak-sandbox", arguments.weak_sandbox)] {
        if on {
            play.arg(flag);
        }
    }
    if arguments.boundary == Boundary::Vm {
        let machine = build_machine(&programs.hsm)?;
        play.arg("--vm-kernel").arg(machine.kernel).arg("--vm-root").arg(machine.root);
    }
    let mut player = play.spawn().context("cannot start the story")?;
    // A Ctrl-C reaches the player by itself; this process stays to clear the folder away.
    let pid = Pid::from_child(&player);
    on_stop_signal(move |_| {
        // It fails only where the player has ended already.
        let _ = kill_process(pid, Signal::TERM);
    })?;
    let status = player.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays the story.
pub(crate) fn play(stage: &Stage) -> ExitCode {
    let hsm = Hsm {
        program: stage.program.clone(),
        image: stage.image.clone(),
        home: stage.folder.join("hsm"),
        weak_sandbox: stage.weak_sandbox,
        machine: stage
            .vm_kernel
            .clone()
            .zip(stage.vm_root.clone())
            .map(|(kernel, root)| Machine { kernel, root }),
    };
    let clock = if stage.interactive { Clock::System } else { Clock::Manual };
    let mut narrator = narrator::Narrator::new();
    if let Err(error) = story::tell(stage, &hsm, clock, &mut narrator) {
        narrator.broke(&error);
    }
    narrator.finish()
}
