//! The SoftHSM2 keystore: PKCS#11 through the `cryptoki` crate.
//!
//! The token holds one non-extractable AES-256 wrapping key for each [`KeyKind`], and nothing else. All other keys
//! are blobs wrapped by these (`CKM_AES_KEY_WRAP_PAD`, RFC 5649), so a blob never opens as another kind of key.
//! A blob is opened into a session object with a fixed template, used, and kept open in a bounded cache.
//!
//! SoftHSM 2.6.1 has traps; each is met where it would bite:
//! * threads need OS locking at `C_Initialize` (with `NULL` arguments they crash): `load`;
//! * logging in destroys the token when killed at the wrong moment, and nothing is synced: [`softhsm_token`];
//! * one process owns a token: the home's lock, taken before this is opened;
//! * keys are never always-authenticate, which would log in, and so rewrite the token, for each signature;
//! * finding objects is linear: wrapping keys are found once, all others are reached by handle;
//! * HMAC is slower on two threads than on one: [`SoftHsm::mac`] takes its turn;
//! * HMAC keys shorter than the hash are refused: so are they in [`Keystore::wrap_mac_key`];
//! * a failed operation may leave its session busy: the session is closed and not used again;
//! * `C_Finalize` under load crashes: it is never called while the keystore is in use; workers are joined first;
//! * a session object that is destroyed leaves some 250 bytes behind until `C_Finalize`: many keys are kept open,
//!   so that few are opened and destroyed;
//! * half of the signatures are high-S: the plugin normalises them;
//! * object files are encrypted but not authenticated: they stay inside the boundary.
//!
//! [`softhsm_token`]: super::softhsm_token

use super::open_keys::OpenKeys;
use super::softhsm_token::{CONFIGURATION_VARIABLE, TokenFiles, random_pin};
use super::{KeyKind, KeyPair, Keystore, KeystoreError};
use crate::HsmError;
use countersign_wire::client::TotpHash;
use countersign_wire::hal::Secret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

const TOKEN_LABEL: &str = "countersign-keystore";

/// DER of the object identifier 1.3.132.0.10, secp256k1 (SEC 2 section A.2).
const SECP256K1_OID: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// The most keys that are open at once. One takes about 5 KiB.
const OPEN_KEYS_MAX: usize = 4096;

/// The SoftHSM2 keystore.
pub struct SoftHsm {
    pkcs11: Pkcs11,
    slot: Slot,
    wrapping_keys: [(KeyKind, ObjectHandle); KeyKind::ALL.len()],
    open: OpenKeys<ObjectHandle>,
    idle: Mutex<Vec<Session>>,
    mac_turn: Mutex<()>,
    /// Keeps the login: it ends with the last session.
    _login: Mutex<Session>,
}

/// Makes the token with its wrapping keys, and the copy that every start begins from.
pub fn create(folder: &Path, module: Option<&Path>) -> Result<(), HsmError> {
    let files = TokenFiles::in_folder(folder);
    let module = files.create(module)?;
    let pkcs11 = load(&files, &module)?;
    make_token(&pkcs11, &files.pin()?).map_err(|error| failed("make its token", &error))?;
    // Nothing else runs yet, so this is not "under load"; it closes SoftHSM's files before they are copied.
    pkcs11.finalize().map_err(|error| failed("close its token", &error))?;
    files.keep_copy()
}

fn make_token(pkcs11: &Pkcs11, pin: &str) -> Result<(), cryptoki::error::Error> {
    let slot = *pkcs11.get_slots_with_token()?.first().ok_or(cryptoki::error::Error::NotSupported)?;
    // The security officer's PIN is forgotten: nobody ever resets this token's PIN.
    let officer = random_pin().map_err(|_| cryptoki::error::Error::NotSupported)?;
    let (officer, user) = (AuthPin::from(officer.as_str()), AuthPin::from(pin));
    pkcs11.init_token(slot, &officer, TOKEN_LABEL)?;
    let session = pkcs11.open_rw_session(slot)?;
    session.login(UserType::So, Some(&officer))?;
    session.init_pin(&user)?;
    session.logout()?;
    session.login(UserType::User, Some(&user))?;
    for kind in KeyKind::ALL {
        session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen(32.into()),
                Attribute::Label(wrapping_label(kind)),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Modifiable(false),
                Attribute::Wrap(true),
                Attribute::Unwrap(true),
                Attribute::Encrypt(false),
                Attribute::Decrypt(false),
                Attribute::Sign(false),
                Attribute::Verify(false),
            ],
        )?;
    }
    session.close()
}

fn wrapping_label(kind: KeyKind) -> Vec<u8> {
    format!("wrapping key: {}", kind.word()).into_bytes()
}

/// Loads the library with OS locking. With `NULL` arguments its threads crash.
fn load(files: &TokenFiles, module: &Path) -> Result<Pkcs11, HsmError> {
    let configured = std::env::var_os(CONFIGURATION_VARIABLE);
    if configured.as_deref() != Some(files.configuration().as_os_str()) {
        return Err(HsmError::Keystore(format!(
            "SoftHSM would not find its configuration: {CONFIGURATION_VARIABLE} must be {} when the process starts",
            files.configuration().display()
        )));
    }
    let pkcs11 = Pkcs11::new(module).map_err(|error| failed("load its library", &error))?;
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(arguments).map_err(|error| failed("start", &error))?;
    Ok(pkcs11)
}

fn failed(what: &str, error: &cryptoki::error::Error) -> HsmError {
    HsmError::Keystore(format!("SoftHSM could not {what}: {error}"))
}

impl SoftHsm {
    /// Opens the token, made anew from its synced copy. The caller holds the home's lock.
    pub fn open(folder: &Path) -> Result<Self, HsmError> {
        let files = TokenFiles::in_folder(folder);
        files.restore()?;
        let pkcs11 = load(&files, &files.module()?)?;
        let pin = AuthPin::from(files.pin()?.as_str());
        Self::log_in(pkcs11, &pin).map_err(|error| failed("open its token", &error))
    }

    fn log_in(pkcs11: Pkcs11, pin: &AuthPin) -> Result<Self, cryptoki::error::Error> {
        let mut found = None;
        for slot in pkcs11.get_slots_with_initialized_token()? {
            if pkcs11.get_token_info(slot)?.label() == TOKEN_LABEL {
                found = Some(slot);
            }
        }
        let slot = found.ok_or(cryptoki::error::Error::NotSupported)?;
        let session = pkcs11.open_ro_session(slot)?;
        session.login(UserType::User, Some(pin))?;
        let mut wrapping_keys = Vec::with_capacity(KeyKind::ALL.len());
        for kind in KeyKind::ALL {
            let keys = session.find_objects(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::Label(wrapping_label(kind)),
                Attribute::Extractable(false),
                Attribute::Sensitive(true),
            ])?;
            let [key] = keys[..] else { return Err(cryptoki::error::Error::NotSupported) };
            wrapping_keys.push((kind, key));
        }
        let wrapping_keys =
            wrapping_keys.try_into().expect("the loop pushed one entry for each kind, and no more");
        Ok(Self {
            pkcs11,
            slot,
            wrapping_keys,
            open: OpenKeys::new(OPEN_KEYS_MAX),
            idle: Mutex::new(Vec::new()),
            mac_turn: Mutex::new(()),
            _login: Mutex::new(session),
        })
    }

    fn wrapping_key(&self, kind: KeyKind) -> ObjectHandle {
        let (_, key) =
            self.wrapping_keys.iter().find(|(of, _)| *of == kind).expect("there is one for every kind");
        *key
    }

    /// Runs one operation in a session of its own. A session in which an operation failed is closed.
    fn in_session<T>(
        &self,
        operation: impl FnOnce(&Session) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let session = match lock(&self.idle).pop() {
            Some(session) => session,
            None => self.pkcs11.open_ro_session(self.slot)?,
        };
        let result = operation(&session);
        if result.is_ok() {
            lock(&self.idle).push(session);
        }
        result
    }

    /// Runs `operation` with the key that the blob opens to. When a key that was open already fails, which it does
    /// when the session that opened it is gone, the blob is opened once more.
    fn with_key<T>(
        &self,
        kind: KeyKind,
        wrapped: &[u8],
        operation: impl Fn(&Session, ObjectHandle) -> Result<T, cryptoki::error::Error>,
    ) -> Result<T, KeystoreError> {
        if let Some(key) = self.open.get(kind, wrapped) {
            let result = self.in_session(|session| Ok(operation(session, *key)?));
            if result.is_ok() {
                self.release(key);
                return result;
            }
            self.open.forget(kind, wrapped).into_iter().for_each(|kept| self.release(kept));
            self.release(key);
        }
        let key = Arc::new(self.in_session(|session| self.unwrap(session, kind, wrapped))?);
        let result = self.in_session(|session| Ok(operation(session, *key)?));
        if result.is_ok() {
            let gone = self.open.keep(kind, wrapped, Arc::clone(&key));
            for key in gone {
                self.release(key);
            }
        }
        self.release(key);
        result
    }

    fn unwrap(
        &self,
        session: &Session,
        kind: KeyKind,
        wrapped: &[u8],
    ) -> Result<ObjectHandle, KeystoreError> {
        let wrapping_key = self.wrapping_key(kind);
        let opened =
            session.unwrap_key(&Mechanism::AesKeyWrapPad, wrapping_key, wrapped, &opened_template(kind));
        opened.map_err(|error| match error {
            cryptoki::error::Error::Pkcs11(..) => KeystoreError::NotOurs,
            other => KeystoreError::Pkcs11(other),
        })
    }

    /// Lets go of an open key, and destroys it if nobody else holds it.
    fn release(&self, key: Arc<ObjectHandle>) {
        if let Some(key) = Arc::into_inner(key) {
            // It fails only when the session that opened the key is closed, and the key gone with it.
            let _ = self.in_session(|session| Ok(session.destroy_object(key)?));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

/// What a blob opens to: a session object that can do one thing and never leaves.
fn opened_template(kind: KeyKind) -> Vec<Attribute> {
    let (class, key_type) = match kind {
        KeyKind::Signing => (ObjectClass::PRIVATE_KEY, KeyType::EC),
        KeyKind::Mac(_) => (ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET),
    };
    let mut template = closed_template(class, key_type);
    template.extend([Attribute::Extractable(false), Attribute::Sign(true)]);
    template
}

fn closed_template(class: ObjectClass, key_type: KeyType) -> Vec<Attribute> {
    vec![
        Attribute::Class(class),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
    ]
}

impl Keystore for SoftHsm {
    fn name(&self) -> &'static str {
        "softhsm"
    }

    fn generate_key_pair(&self) -> Result<KeyPair, KeystoreError> {
        let public =
            [Attribute::EcParams(SECP256K1_OID.to_vec()), Attribute::Token(false), Attribute::Verify(true)];
        // Extractable, so that it can be wrapped; it is destroyed right after.
        let private = [
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(true),
            Attribute::Sign(true),
        ];
        self.in_session(|session| {
            let (public, private) =
                session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
            let wrapping_key = self.wrapping_key(KeyKind::Signing);
            let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping_key, private);
            let point = session.get_attributes(public, &[AttributeType::EcPoint]);
            session.destroy_object(private)?;
            session.destroy_object(public)?;
            Ok(KeyPair { wrapped: wrapped?, public_key: uncompressed_point(&point?)? })
        })
    }

    fn sign_digest(&self, wrapped: &[u8], digest: &[u8; 32]) -> Result<[u8; 64], KeystoreError> {
        let signature = self.with_key(KeyKind::Signing, wrapped, |session, key| {
            session.sign(&Mechanism::Ecdsa, key, digest)
        })?;
        signature.try_into().map_err(|_| KeystoreError::Implausible("a signature that is not 64 bytes long"))
    }

    fn wrap_mac_key(&self, hash: TotpHash, secret: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        if secret.len() != hash.secret_bytes() {
            return Err(KeystoreError::SecretLength);
        }
        let mut template = closed_template(ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET);
        // Extractable, so that it can be wrapped; it is destroyed right after.
        template.extend([Attribute::Extractable(true), Attribute::Value(secret.to_vec())]);
        let wrapped = self.in_session(|session| {
            let key = session.create_object(&template)?;
            let wrapping_key = self.wrapping_key(KeyKind::Mac(hash));
            let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping_key, key);
            session.destroy_object(key)?;
            Ok(wrapped?)
        });
        for attribute in &mut template {
            if let Attribute::Value(secret) = attribute {
                zeroize::Zeroize::zeroize(secret);
            }
        }
        wrapped
    }

    fn mac(&self, wrapped: &[u8], hash: TotpHash, counters: &[u64]) -> Result<Vec<Secret>, KeystoreError> {
        let mechanism = match hash {
            TotpHash::Sha1 => Mechanism::Sha1Hmac,
            TotpHash::Sha256 => Mechanism::Sha256Hmac,
            TotpHash::Sha512 => Mechanism::Sha512Hmac,
        };
        // HMAC on two threads is a third slower than on one, so threads take turns.
        let _turn = lock(&self.mac_turn);
        let macs = self.with_key(KeyKind::Mac(hash), wrapped, |session, key| {
            let mac = |counter: &u64| session.sign(&mechanism, key, &counter.to_be_bytes()).map(Secret::new);
            counters.iter().map(mac).collect::<Result<Vec<_>, _>>()
        })?;
        if macs.iter().all(|mac| mac.expose().len() == hash.secret_bytes()) {
            Ok(macs)
        } else {
            Err(KeystoreError::Implausible("a MAC that is not as long as its hash"))
        }
    }
}

/// `CKA_EC_POINT` is a DER octet string around the point (PKCS#11 v2.40 section 2.3.3).
fn uncompressed_point(attributes: &[Attribute]) -> Result<[u8; 65], KeystoreError> {
    match attributes {
        [Attribute::EcPoint(der)] if der.len() == 67 && der.starts_with(&[0x04, 0x41, 0x04]) => {
            Ok(der[2..].try_into().expect("67 less 2 is 65"))
        }
        _ => Err(KeystoreError::Implausible("a public key that is not an uncompressed point")),
    }
}

#[cfg(test)]
impl SoftHsm {
    /// As a keystore that keeps at most this many keys open.
    pub(super) fn with_open_keys(mut self, most: usize) -> Self {
        self.open = OpenKeys::new(most);
        self
    }

    /// How many session objects there are.
    pub(super) fn objects_in_sessions(&self) -> usize {
        let found = self.in_session(|session| Ok(session.find_objects(&[Attribute::Token(false)])?.len()));
        found.unwrap()
    }
}
