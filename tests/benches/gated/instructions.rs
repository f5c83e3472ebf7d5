//! What one signature costs each station, in instructions of user code.
//!
//! Two meters count them. `perf stat` asks the processor, which virtual machines seldom let it; it tells processes
//! apart. Callgrind works everywhere and tells threads apart, on a processor of its own making, under which the
//! firmware cannot start its sandbox. So here the firmware's parts ([`Firmware`]) run the image's executable without
//! one. Everything that is counted is the code that ships: relay, listener, workers, the image's executable, the
//! client, the module.
//!
//! Every run starts all processes anew, with one client, which signs for a number of users; the difference between
//! a long and a short run is what the further signatures cost.

use crate::gated::{Way, key_label, sign_natively};
use crate::population::Population;
use countersign_release::Image;
use countersign_simulator::boundary::InForce;
use countersign_simulator::home::Home;
use countersign_simulator::image::{self, SealedImage};
use countersign_simulator::link::PluginLink;
use countersign_simulator::listener::{self, Admission};
use countersign_simulator::ops::Hardware;
use countersign_simulator::relay::{Crew, Relay, Said, Switchboard};
use countersign_tests::{Keystore, artefacts, processes};
use countersign_wire::hal::Event;
use cryptoki_sys::CKM_ECDSA;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};

/// As in the HSM.
const WORKERS: usize = 2;

/// Signatures of the short run, and of the long one.
const SIGNATURES: [usize; 2] = [8, 40];

/// Fewer instructions than these come from the way the runs end.
const NOISE: f64 = 500.0;

/// Accounts that all runs of one meter on one HSM use up.
pub(crate) const ACCOUNTS: usize = 2 * (SIGNATURES[0] + SIGNATURES[1]);

/// Instructions by station, for one signature.
pub(crate) struct Cost {
    pub(crate) meter: Meter,
    pub(crate) keystore: Keystore,
    pub(crate) way: Way,
    pub(crate) stations: Vec<(String, f64)>,
}

impl Cost {
    pub(crate) fn name(&self) -> String {
        format!("instructions/{}/{}/{}", self.meter.word(), self.keystore.word(), self.way.word())
    }

    pub(crate) fn total(&self) -> f64 {
        self.stations.iter().map(|(_, instructions)| instructions).sum()
    }
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Meter {
    /// The processor's own counters.
    Perf,
    /// Valgrind's callgrind.
    Callgrind,
}

impl Meter {
    /// Those that work on this machine.
    pub(crate) fn all_that_work() -> Vec<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        [Self::Perf, Self::Callgrind]
            .into_iter()
            .filter(|meter| meter.works(&folder.path().join("out")))
            .collect()
    }

    fn works(self, out: &Path) -> bool {
        let mut nothing = self.command(out, false);
        nothing.arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        nothing.status().is_ok_and(|status| status.success()) && self.read(out).is_some()
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Callgrind => "callgrind",
        }
    }

    /// Counts what the program does whose name and arguments are to follow.
    fn command(self, out: &Path, by_thread: bool) -> Command {
        match self {
            Self::Perf => {
                let mut command = Command::new("perf");
                command
                    .args(["stat", "--field-separator=,", "--event", PERF_EVENT, "--output"])
                    .arg(out)
                    .arg("--");
                command
            }
            Self::Callgrind => {
                let mut command = Command::new("valgrind");
                command.args(["--quiet", "--tool=callgrind"]);
                command.arg(format!("--callgrind-out-file={}", out.display()));
                if by_thread {
                    command.arg("--separate-threads=yes");
                }
                command
            }
        }
    }

    /// What was counted, if anything was.
    fn read(self, out: &Path) -> Option<f64> {
        let text = fs::read_to_string(out).ok()?;
        let mut lines = text.lines();
        let count = match self {
            Self::Perf => lines.find(|line| line.contains(PERF_EVENT))?.split(',').next()?,
            Self::Callgrind => lines.find_map(|line| line.strip_prefix("totals: "))?,
        };
        count.trim().parse().ok()
    }
}

const PERF_EVENT: &str = "instructions:u";

/// Counts what a signature costs, both ways. The HSM has [`ACCOUNTS`] for each meter.
pub(crate) fn count(population: &Population, meters: &[Meter]) -> Vec<Cost> {
    let mut unused = 0;
    let mut costs = Vec::new();
    for (meter, way) in meters.iter().flat_map(|meter| Way::ALL.map(|way| (*meter, way))) {
        eprintln!("counting instructions: {}, {}", population.hsm.keystore.word(), way.word());
        let [short, long] = SIGNATURES.map(|signatures| {
            let users = unused..unused + signatures;
            unused = users.end;
            run(population, meter, way, users)
        });
        let further = crate::rounds::as_f64(SIGNATURES[1] - SIGNATURES[0]);
        let stations = long.into_iter().map(|(station, instructions)| {
            let fixed = short.get(&station).copied().unwrap_or_default();
            (station, (instructions - fixed) / further)
        });
        // What a thread does that waits for something else belongs to no signature.
        let stations = stations.filter(|(_, instructions)| *instructions >= NOISE).collect();
        costs.push(Cost { meter, keystore: population.hsm.keystore, way, stations });
    }
    costs
}

/// Signs for these users with everything under the meter: instructions by station.
fn run(population: &Population, meter: Meter, way: Way, users: Range<usize>) -> BTreeMap<String, f64> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [firmware_out, plugin_out, client_out] =
        ["firmware", "plugin", "client"].map(|name| folder.path().join(name));
    let home = population.hsm.home();
    let mut firmware = meter.command(&firmware_out, true);
    firmware.arg(own_path()).arg("firmware").arg("--home").arg(&home);
    firmware.arg("--executable").arg(unpack_image(folder.path()));
    firmware.arg("--meter").arg(meter.word()).arg("--plugin-out").arg(&plugin_out);
    firmware.env("SOFTHSM2_CONF", crate::in_process::softhsm_configuration(&home));
    let firmware = Errand::start(firmware);
    let mut client = meter.command(&client_out, false);
    client.arg(own_path()).arg("sign").arg("--folder").arg(population.hsm.folder());
    client.args(["--keystore", population.hsm.keystore.word(), "--way", way.word()]);
    client.args(["--from", &users.start.to_string(), "--to", &users.end.to_string()]);
    let client = Errand::start(client);
    let threads = processes::threads(firmware.process.id());
    client.end();
    firmware.end();
    let read = |out: &Path| meter.read(out).expect("the meter counted");
    let plugin = read(&plugin_out);
    let mut stations =
        BTreeMap::from([("client".to_owned(), read(&client_out)), ("plugin".to_owned(), plugin)]);
    if meter == Meter::Perf {
        // It counts what a process starts together with the process.
        stations.insert("firmware".to_owned(), read(&firmware_out) - plugin);
        return stations;
    }
    // The first thread starts and ends the program; no signature passes through it.
    for (number, thread) in threads.iter().enumerate().skip(1) {
        let out = folder.path().join(format!("firmware-{:02}", number + 1));
        // A thread that did nothing has no total.
        *stations.entry(format!("firmware {thread}")).or_default() += meter.read(&out).unwrap_or_default();
    }
    stations
}

/// A process of ours that says a line when its work is done and then waits until it may end.
struct Errand {
    process: Child,
}

impl Errand {
    fn start(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the meter can be started");
        let stdout = process.stdout.take().expect("its output is piped");
        let said = BufReader::new(stdout).lines().next();
        assert!(matches!(&said, Some(Ok(line)) if line == DONE), "it ended before it was done: {said:?}");
        Self { process }
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("a child can be waited for").success());
    }
}

const DONE: &str = "done";

/// Says that the work is done and waits until this process may end.
fn done() {
    println!("{DONE}");
    let mut nothing = [0];
    // Whatever ends the wait, nobody needs this process any more.
    let _ = std::io::stdin().read(&mut nothing);
}

fn own_path() -> PathBuf {
    std::env::current_exe().expect("this program has a path")
}

fn unpack_image(folder: &Path) -> PathBuf {
    let packed = image::read_file(&artefacts::image()).expect("the image can be read");
    let executable = Image::parse(&packed).expect("an image").elf;
    let path = folder.join("image");
    let file = OpenOptions::new().create_new(true).write(true).mode(0o700).open(&path);
    file.and_then(|mut file| file.write_all(executable)).expect("a file can be written");
    path
}

/// The firmware's parts around the image's executable, without a sandbox.
#[derive(Debug, clap::Args)]
pub(crate) struct Firmware {
    #[arg(long)]
    home: PathBuf,
    /// The image's executable
    #[arg(long)]
    executable: PathBuf,
    /// What counts the executable's instructions
    #[arg(long)]
    meter: Meter,
    /// Where it writes them
    #[arg(long)]
    plugin_out: PathBuf,
}

impl Firmware {
    /// Serves until standard input ends.
    pub(crate) fn carry_out(&self) {
        let home = Home::at(&self.home).expect("the path of an HSM");
        let claim = home.claim().expect("nobody else runs this HSM");
        let release = SealedImage::load(&artefacts::image()).expect("the image").release();
        let hardware =
            Arc::new(Hardware::open(&home, claim, release, InForce::default()).expect("an HSM's parts"));
        let (ours, plugins) = UnixStream::pair().expect("a socket pair");
        let mut plugin = self.meter.command(&self.plugin_out, false);
        plugin.arg(&self.executable).stdin(Stdio::from(std::os::fd::OwnedFd::from(plugins)));
        let mut plugin = plugin.spawn().expect("the meter can be started");
        let boot = hardware.boot().expect("an HSM that is whole");
        let relay = Relay::new(PluginLink::new(Arc::clone(&hardware), ours), &Arc::default());
        let (tell, told) = mpsc::channel();
        let crew = Crew::start(&relay, &hardware, WORKERS, move |said| {
            // Only the first thing it says is waited for.
            let _ = tell.send(said);
        });
        let crew = crew.expect("threads can be started");
        relay.link().deliver(Event::Boot(Box::new(boot))).expect("the plugin listens");
        assert!(matches!(told.recv(), Ok(Said::Ready)), "the plugin opens its store");
        let switchboard = Arc::new(Switchboard::default());
        switchboard.set(Some(Arc::clone(&relay)));
        let admission = Admission::of(&[]);
        let clients = listener::bind(&home.socket(), &admission).expect("a socket in the home");
        let listen = move || listener::serve(&clients, &admission, &switchboard);
        std::thread::Builder::new().name("listener".into()).spawn(listen).expect("a thread can be started");
        done();
        relay.close();
        for worker in crew {
            worker.join().expect("no worker panics");
        }
        assert!(plugin.wait().expect("a child can be waited for").success());
        std::process::exit(0);
    }
}

/// One client, which signs for a number of users.
#[derive(Debug, clap::Args)]
pub(crate) struct Signatures {
    /// The folder of the HSM and what belongs to it
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    keystore: String,
    #[arg(long)]
    way: Way,
    #[arg(long)]
    from: usize,
    #[arg(long)]
    to: usize,
}

impl Signatures {
    /// Signs, and keeps the connection until standard input ends.
    pub(crate) fn carry_out(&self) {
        let keystore =
            if self.keystore == Keystore::Softhsm.word() { Keystore::Softhsm } else { Keystore::Embedded };
        let population = Population::found_at(&self.folder, keystore);
        let hsm = &population.hsm;
        let now = hsm.now();
        let users =
            (self.from..self.to).map(|number| (key_label(number), population.phone(number).code(now)));
        match self.way {
            Way::Native => users.for_each(|(key, code)| sign_natively(&population, &key, &code)),
            Way::Pkcs11 => {
                let raw = hsm.raw();
                let session = raw.session(hsm.api_key());
                // A short run finds as many keys as a long one, so that their difference is that of signing.
                let found = (self.from..self.from + SIGNATURES[1])
                    .map(|number| raw.find(session, &key_label(number)).expect("every user's key is found"));
                let found: Vec<_> = found.collect();
                for ((_, code), key) in users.zip(found) {
                    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
                    raw.context_login(session, &code).expect("C_Login");
                    raw.sign(session, &[7; 32], 64).expect("C_Sign");
                }
            }
        }
        done();
    }
}
