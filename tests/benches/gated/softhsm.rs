//! `SoftHSM` itself, in this process: what signing costs without a gate, and with the one that the standard knows.

use crate::rounds::{Contender, Round, measure};
use countersign_tests::raw::{Raw, set_variable};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKM_ECDSA};
use std::path::Path;
use tempfile::TempDir;

const PIN: &str = "123456";

/// Where distributions put the library.
const PATHS: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// DER of the object identifier of secp256k1.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Which kind of key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Init, Sign.
    Plain,
    /// Init, Login, Sign.
    AlwaysAuthenticate,
}

impl Peer {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::AlwaysAuthenticate];
}

/// A token in a temporary folder.
pub(crate) struct Token {
    library: Pkcs11,
    raw: Raw,
    slot: Slot,
    // One session is always open and logged in, and keeps the others so.
    session: Session,
    _folder: TempDir,
}

impl Token {
    /// Must come before there are threads: it sets a variable of the environment.
    pub(crate) fn create() -> Self {
        let path = PATHS.into_iter().map(Path::new).find(|path| path.exists());
        let path = path.expect("SoftHSM is installed; `cargo xtask bench` sees to it");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (tokens, config) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
        std::fs::create_dir(&tokens).expect("a folder can be made");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        std::fs::write(&config, text).expect("a file can be written");
        set_variable("SOFTHSM2_CONF", &config);
        let library = Pkcs11::new(path).expect("the library can be loaded");
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("C_Initialize");
        let slot = library.get_all_slots().expect("C_GetSlotList")[0];
        let pin = AuthPin::new(PIN.into());
        library.init_token(slot, &pin, "bench").expect("C_InitToken");
        let slot = library.get_slots_with_initialized_token().expect("C_GetSlotList")[0];
        let session = library.open_rw_session(slot).expect("C_OpenSession");
        session.login(UserType::So, Some(&pin)).expect("C_Login");
        session.init_pin(&pin).expect("C_InitPIN");
        session.logout().expect("C_Logout");
        session.login(UserType::User, Some(&pin)).expect("C_Login");
        // The same file is the same library to the loader: one state, reached call by call.
        let raw = Raw::load(path);
        Self { library, raw, slot, session, _folder: folder }
    }

    pub(crate) fn contender(&self, peer: Peer, threads: usize, signatures: usize) -> SoftHsm<'_> {
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::AlwaysAuthenticate(peer == Peer::AlwaysAuthenticate),
        ];
        let public = [Attribute::Token(true), Attribute::EcParams(SECP256K1.to_vec())];
        let pair = self.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
        let (_, key) = pair.expect("C_GenerateKeyPair");
        let open = || self.library.open_rw_session(self.slot).expect("C_OpenSession");
        let sessions: Vec<Session> = (0..threads).map(|_| open()).collect();
        let handles = sessions.iter().map(Session::handle).collect();
        SoftHsm { token: self, peer, signatures, key: key.handle(), handles, _sessions: sessions }
    }
}

/// `SoftHSM` with one session for each thread.
pub(crate) struct SoftHsm<'a> {
    token: &'a Token,
    peer: Peer,
    signatures: usize,
    key: CK_OBJECT_HANDLE,
    handles: Vec<CK_SESSION_HANDLE>,
    _sessions: Vec<Session>,
}

impl Contender for SoftHsm<'_> {
    fn name(&self) -> String {
        let kind = match self.peer {
            Peer::Plain => "plain",
            Peer::AlwaysAuthenticate => "always-authenticate",
        };
        format!("softhsm/{kind}/{}", self.handles.len())
    }

    fn round(&self) -> Round {
        let (raw, handles, peer, key) = (&self.token.raw, &self.handles, self.peer, self.key);
        measure(self.handles.len(), self.signatures, &[], |thread, _| {
            let session = handles[thread];
            raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
            if peer == Peer::AlwaysAuthenticate {
                raw.context_login(session, PIN).expect("C_Login");
            }
            raw.sign(session, &[7; 32], 64).expect("C_Sign");
        })
    }
}
