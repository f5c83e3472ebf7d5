//! What else makes signatures: `SoftHSM` without a gate, with the one that the standard knows, and behind p11-kit's
//! remoting; and the bare arithmetic.

use crate::rounds::{Contender, Round, Watched, Work, measure};
use countersign_tests::processes;
use countersign_tests::raw::{Raw, set_variable};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CKM_ECDSA, CKU_USER};
use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const PIN: &str = "123456";
const TOKEN_LABEL: &str = "bench";

/// Where distributions put SoftHSM's library.
const SOFTHSM_PATHS: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Where distributions put the library that speaks to `p11-kit server`.
const P11_KIT_CLIENT_PATHS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
    "/usr/lib/pkcs11/p11-kit-client.so",
];

/// DER of the object identifier of secp256k1.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

fn first_present(paths: &'static [&'static str]) -> &'static Path {
    let path = paths.iter().map(Path::new).find(|path| path.exists());
    path.expect("what the benchmarks stand beside is installed; `cargo xtask bench` sees to it")
}

/// What a session with the peers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Init, Sign.
    Plain,
    /// Init, Login, Sign.
    AlwaysAuthenticate,
    /// Init, Sign, in another process behind p11-kit's remoting.
    P11Kit,
    /// No library in between.
    K256,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::AlwaysAuthenticate, Self::P11Kit, Self::K256];

    /// How many signatures it makes while a gated contender makes so many: rounds should take about as long.
    pub(crate) const fn signatures(self, gated: usize) -> usize {
        match self {
            Self::AlwaysAuthenticate => gated.div_ceil(2),
            Self::Plain | Self::P11Kit => gated * 2,
            Self::K256 => gated * 16,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "softhsm/plain",
            Self::AlwaysAuthenticate => "softhsm/always-authenticate",
            Self::P11Kit => "softhsm/p11-kit",
            Self::K256 => "k256",
        }
    }
}

/// A library and the slot of the token in it.
struct Library {
    raw: Raw,
    slot: CK_SLOT_ID,
}

impl Library {
    fn open_session(&self) -> CK_SESSION_HANDLE {
        self.raw.open_session_on(self.slot).expect("C_OpenSession")
    }
}

/// A SoftHSM token in a temporary folder, in this process and behind p11-kit, with a key of each kind.
pub(crate) struct Peers {
    local: Library,
    remote: Library,
    plain: CK_OBJECT_HANDLE,
    always_authenticate: CK_OBJECT_HANDLE,
    remote_plain: CK_OBJECT_HANDLE,
    k256: SigningKey,
    server: Server,
    _session: Session,
    _library: Pkcs11,
    _folder: TempDir,
}

impl Peers {
    /// Must come before there are threads: it sets variables of the environment.
    pub(crate) fn create() -> Self {
        let path = first_present(&SOFTHSM_PATHS);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (tokens, config) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
        std::fs::create_dir(&tokens).expect("a folder can be made");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        std::fs::write(&config, text).expect("a file can be written");
        set_variable("SOFTHSM2_CONF", &config);
        let library = Pkcs11::new(path).expect("the library can be loaded");
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("C_Initialize");
        let (slot, session) = make_token(&library);
        let plain = make_key(&session, Peer::Plain);
        let always_authenticate = make_key(&session, Peer::AlwaysAuthenticate);
        // The same file is the same library to the loader: one state, reached call by call.
        let local = Library { raw: Raw::load(path), slot };
        let server = Server::start(path, folder.path());
        set_variable("P11_KIT_SERVER_ADDRESS", &server.address);
        let remote = Raw::load(first_present(&P11_KIT_CLIENT_PATHS));
        remote.initialize().expect("C_Initialize through p11-kit");
        let slot = remote.first_slot();
        let remote = Library { raw: remote, slot };
        // One login holds for all sessions of a process, and this session stays open.
        let first = remote.open_session();
        remote.raw.login(first, CKU_USER, PIN.as_bytes()).expect("C_Login through p11-kit");
        let label = Peer::Plain.word().as_bytes();
        let remote_plain = remote.raw.find_labelled(first, label).expect("the same token");
        let k256 = SigningKey::from_slice(&[7; 32]).expect("a good secret");
        Self {
            local,
            remote,
            plain,
            always_authenticate,
            remote_plain,
            k256,
            server,
            _session: session,
            _library: library,
            _folder: folder,
        }
    }

    pub(crate) fn contender(&self, peer: Peer, threads: usize, signatures: usize) -> Signer<'_> {
        let library = if peer == Peer::P11Kit { &self.remote } else { &self.local };
        let sessions = if peer == Peer::K256 { 0 } else { threads };
        let sessions = (0..sessions).map(|_| library.open_session()).collect();
        Signer { peers: self, peer, threads, signatures, sessions }
    }
}

fn make_token(library: &Pkcs11) -> (CK_SLOT_ID, Session) {
    let slot = library.get_all_slots().expect("C_GetSlotList")[0];
    let pin = AuthPin::new(PIN.into());
    library.init_token(slot, &pin, TOKEN_LABEL).expect("C_InitToken");
    let slot = library.get_slots_with_initialized_token().expect("C_GetSlotList")[0];
    let session = library.open_rw_session(slot).expect("C_OpenSession");
    session.login(UserType::So, Some(&pin)).expect("C_Login");
    session.init_pin(&pin).expect("C_InitPIN");
    session.logout().expect("C_Logout");
    session.login(UserType::User, Some(&pin)).expect("C_Login");
    (slot.id(), session)
}

fn make_key(session: &Session, peer: Peer) -> CK_OBJECT_HANDLE {
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::Label(peer.word().into()),
        Attribute::AlwaysAuthenticate(peer == Peer::AlwaysAuthenticate),
    ];
    let public = [Attribute::Token(true), Attribute::EcParams(SECP256K1.to_vec())];
    let pair = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
    pair.expect("C_GenerateKeyPair").1.handle()
}

/// `p11-kit server` on a socket in a folder of ours. It ends with this.
struct Server {
    process: Child,
    address: PathBuf,
}

impl Server {
    fn start(provider: &Path, folder: &Path) -> Self {
        let socket = folder.join("p11-kit.sock");
        let mut command = Command::new("p11-kit");
        command.args(["server", "--foreground", "--sh", "--provider"]).arg(provider);
        command.arg("--name").arg(&socket).arg(format!("pkcs11:token={TOKEN_LABEL}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("`p11-kit server` can be started");
        let stdout = process.stdout.take().expect("its output is piped");
        // It says where it listens once it does.
        let said =
            BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.contains("ADDRESS="));
        assert!(said.is_some(), "`p11-kit server` ended before it listened");
        Self { process, address: PathBuf::from(format!("unix:path={}", socket.display())) }
    }

    /// The process that serves this one: p11-kit starts one for each connection.
    fn serving(&self) -> Watched {
        let below = processes::descendants(self.process.id());
        Watched { name: "p11-kit", pid: *below.last().unwrap_or(&self.process.id()), by_thread: false }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        countersign_tests::hsm::kill_tree(&mut self.process);
    }
}

/// One peer on so many threads, each with a session of its own.
pub(crate) struct Signer<'a> {
    peers: &'a Peers,
    peer: Peer,
    threads: usize,
    signatures: usize,
    sessions: Vec<CK_SESSION_HANDLE>,
}

impl Contender for Signer<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.peer.word(), self.threads)
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn round(&self) -> Round {
        let Peers { local, remote, k256, .. } = self.peers;
        let (library, key) = match self.peer {
            Peer::Plain | Peer::K256 => (local, self.peers.plain),
            Peer::AlwaysAuthenticate => (local, self.peers.always_authenticate),
            Peer::P11Kit => (remote, self.peers.remote_plain),
        };
        let work = Signing { peer: self.peer, raw: &library.raw, key, sessions: &self.sessions, k256 };
        let watched = if self.peer == Peer::P11Kit { vec![self.peers.server.serving()] } else { Vec::new() };
        measure(self.threads, self.signatures, &watched, &work)
    }
}

struct Signing<'a> {
    peer: Peer,
    raw: &'a Raw,
    key: CK_OBJECT_HANDLE,
    sessions: &'a [CK_SESSION_HANDLE],
    k256: &'a SigningKey,
}

impl Work for Signing<'_> {
    fn sign(&self, thread: usize, _number: usize) {
        if self.peer == Peer::K256 {
            let signature: Result<Signature, _> = self.k256.sign_prehash(&std::hint::black_box([7; 32]));
            std::hint::black_box(signature.expect("32 bytes can be signed"));
            return;
        }
        let session = self.sessions[thread];
        self.raw.sign_init(session, CKM_ECDSA, self.key).expect("C_SignInit");
        if self.peer == Peer::AlwaysAuthenticate {
            self.raw.context_login(session, PIN).expect("C_Login");
        }
        self.raw.sign(session, &[7; 32], 64).expect("C_Sign");
    }
}
