//! Signed notes ([c2sp.org/signed-note](https://c2sp.org/signed-note)): a text, and lines that sign it. Two kinds of signature
//! are known: a log's own (type 1, Ed25519 over the text), and a witness's (type 4, Ed25519 over a line that names the
//! format, a line with the time, and the text: [c2sp.org/tlog-cosignature](https://c2sp.org/tlog-cosignature)).

use core::fmt::Write;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature as Ed25519Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};

/// The longest note that is read, in bytes: a log's signature and many witnesses'.
pub const NOTE_MAX_BYTES: usize = 64 * 1024;

/// The most signatures of a note. The specification asks for 16 at the least.
pub const SIGNATURES_MAX: usize = 64;

/// What a signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A log says that this is its tree.
    Log,
    /// A witness says that it is consistent with every one that it saw before.
    Witness,
}

impl KeyType {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Whether a key may have this name: not empty, no space of any kind, no `+`, nothing that ends a line.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn key_id(name: &str, kind: KeyType, public_key: &[u8; 32]) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', kind.byte()]);
    hash.update(public_key);
    let hash: [u8; 32] = hash.finalize().into();
    *hash.first_chunk().expect("32 bytes hold 4")
}

/// What is needed to check a signature: `NAME+ID+KEY`, the id as hexadecimal, type and key as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    kind: KeyType,
    key: VerifyingKey,
}

impl VerifierKey {
    /// From its text, in its one form. Keys of small order are refused: they would sign anything.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let key = BASE64.decode(key.as_bytes()).ok()?;
        let (kind, key) = key.split_first()?;
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok().filter(|key| !key.is_weak())?;
        let parsed = Self::new(name, KeyType::from_byte(*kind)?, key)?;
        (parsed.to_text() == text).then_some(parsed)
    }

    /// A log's, from its name and the key itself. `None`: no log has this name, or the key is none that signs one text alone.
    pub fn of_log(name: &str, key: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak())?;
        Self::new(name, KeyType::Log, key)
    }

    fn new(name: &str, kind: KeyType, key: VerifyingKey) -> Option<Self> {
        let id = key_id(name, kind, key.as_bytes());
        is_key_name(name).then(|| Self { name: name.to_owned(), id, kind, key })
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut key = vec![self.kind.byte()];
        key.extend_from_slice(self.key.as_bytes());
        format!("{}+{}+{}", self.name, HEXLOWER.encode(&self.id), BASE64.encode(&key))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a log's or a witness's.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The key itself.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }
}

/// A key that signs, under a name.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

impl core::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.verifier.name).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// From 32 random bytes. `None`: no key may have this name.
    pub fn new(name: &str, kind: KeyType, seed: &[u8; 32]) -> Option<Self> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, kind, key.verifying_key())?;
        Some(Self { key, verifier })
    }

    /// What checks its signatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// From the text that [`Self::to_secret_text`] writes.
    pub fn parse_secret(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = BASE64.decode(key.as_bytes()).ok()?;
        let (kind, seed) = key.split_first()?;
        let parsed = Self::new(name, KeyType::from_byte(*kind)?, seed.try_into().ok()?)?;
        (HEXLOWER.encode(&parsed.verifier.id) == id).then_some(parsed)
    }

    /// The secret as one line, in the form that Go's `golang.org/x/mod/sumdb/note` has for it:
    /// `PRIVATE+KEY+NAME+ID+KEY`, type and seed as base64.
    pub fn to_secret_text(&self) -> String {
        let mut key = vec![self.verifier.kind.byte()];
        key.extend_from_slice(self.key.as_bytes());
        let id = HEXLOWER.encode(&self.verifier.id);
        format!("PRIVATE+KEY+{}+{id}+{}", self.verifier.name, BASE64.encode(&key))
    }

    /// Signs a text as a log does.
    pub fn sign(&self, text: &str) -> Signature {
        self.signature(self.key.sign(text.as_bytes()).to_bytes().to_vec())
    }

    /// Signs a checkpoint's text as a witness does, at this time (seconds since 1970).
    pub fn cosign(&self, text: &str, unix_secs: u64) -> Signature {
        let signed = self.key.sign(cosigned(text, unix_secs).as_bytes());
        let mut bytes = unix_secs.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signed.to_bytes());
        self.signature(bytes)
    }

    fn signature(&self, bytes: Vec<u8>) -> Signature {
        Signature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

/// What a witness signs.
fn cosigned(text: &str, unix_secs: u64) -> String {
    format!("cosignature/v1\ntime {unix_secs}\n{text}")
}

/// One line under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Signature {
    /// The name of the key that it says it is of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it says that it is of this key.
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.name == key.name && self.id == key.id
    }

    fn write(&self, out: &mut String) {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.bytes);
        writeln!(out, "— {} {}", self.name, BASE64.encode(&bytes)).expect("a string takes everything");
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = BASE64.decode(base64.as_bytes()).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        let has_both = is_key_name(name) && !bytes.is_empty();
        has_both.then(|| Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

/// A signature that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When the witness signed; `None` for a log's own.
    pub unix_secs: Option<u64>,
}

/// A text with its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A note with these signatures. The text ends with a line feed.
    pub fn new(text: String, signatures: Vec<Signature>) -> Self {
        Self { text, signatures }
    }

    /// Reads exactly what [`Self::to_text`] writes. It says nothing of who signed.
    pub fn parse(note: &str) -> Option<Self> {
        if note.len() > NOTE_MAX_BYTES || note.chars().any(|c| c < ' ' && c != '\n') {
            return None;
        }
        let at = note.rfind("\n\n")?;
        let (text, lines) = (note.get(..=at)?, note.get(at + 2..)?);
        let lines = lines.strip_suffix('\n')?.split('\n');
        let signatures = lines.take(SIGNATURES_MAX + 1).map(Signature::parse).collect::<Option<Vec<_>>>()?;
        let note_again = Self::new(text.to_owned(), signatures);
        let is_whole = note_again.signatures.len() <= SIGNATURES_MAX && note_again.to_text() == note;
        is_whole.then_some(note_again)
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.text);
        for signature in &self.signatures {
            signature.write(&mut out);
        }
        out
    }

    /// What is signed. It means nothing before a signature was verified.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signatures, verified or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Puts a signature under it, in place of one of the same key.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|other| other.name != signature.name || other.id != signature.id);
        self.signatures.push(signature);
    }

    /// Checks what this key signed. `None`: it signed nothing here, or not this text; with more than one line of it, all
    /// must be good.
    pub fn verify(&self, key: &VerifierKey) -> Option<Verified> {
        let mut of_key = self.signatures.iter().filter(|signature| signature.is_of(key)).peekable();
        of_key.peek()?;
        let checked: Option<Vec<Verified>> = of_key.map(|signature| self.check(key, signature)).collect();
        checked?.pop()
    }

    fn check(&self, key: &VerifierKey, signature: &Signature) -> Option<Verified> {
        let (message, bytes, unix_secs) = match key.kind {
            KeyType::Log => (self.text.clone(), signature.bytes.as_slice(), None),
            KeyType::Witness => {
                let (time, rest) = signature.bytes.split_first_chunk::<8>()?;
                // "It MUST NOT exceed 2^63 - 1" (tlog-cosignature, Format).
                let time = Some(u64::from_be_bytes(*time)).filter(|time| *time <= i64::MAX.unsigned_abs())?;
                (cosigned(&self.text, time), rest, Some(time))
            }
        };
        let signature = Ed25519Signature::from_bytes(bytes.try_into().ok()?);
        key.key.verify_strict(message.as_bytes(), &signature).ok()?;
        Some(Verified { unix_secs })
    }
}
