//! The seam to the firmware, and all that the plugin sees of the world. The messages are [`countersign_wire::hal`];
//! here they become awaitable calls.
//!
//! Limits: NVRAM [`countersign_wire::hal::NVRAM_MAX_BYTES`], one read [`countersign_wire::hal::READ_MAX_BYTES`], one append
//! [`countersign_wire::hal::APPEND_MAX_BYTES`]; one commit and one append to the archive under way at a time.

use crate::grant::Permit;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use countersign_wire::client::TotpHash;
use countersign_wire::device::Identity;
use countersign_wire::hal::{Fault, Op, Output, PluginClaims, Secret, Value};
use countersign_wire::reason::Reason;
use futures_channel::oneshot;
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A HAL call that did not do what was asked. Each is a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalError(pub Fault);

impl From<HalError> for Reason {
    fn from(error: HalError) -> Self {
        match error.0 {
            Fault::Store => Reason::StoreRefused,
            Fault::StoreFull => Reason::StoreFull,
            Fault::StoreUnreadable => Reason::StoreUnreadable,
            Fault::Keystore => Reason::KeystoreFailed,
            Fault::Rng | Fault::Limits => Reason::InternalError,
        }
    }
}

/// A new key pair: the wrapped private key and the SEC 1 uncompressed public point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// Opens only inside the keystore.
    pub wrapped: Vec<u8>,
    /// 65 bytes, the first 4.
    pub public_key: [u8; 65],
}

/// The plugin's end of the seam.
#[derive(Default)]
pub struct Hal {
    outbox: RefCell<Vec<Output>>,
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<Result<Value, Fault>>>>,
    last_call: Cell<u64>,
    /// The request whose task runs at the moment.
    at_work_for: Cell<Option<u64>>,
}

impl Hal {
    /// Queues an output.
    pub fn send(&self, output: Output) {
        self.outbox.borrow_mut().push(output);
    }

    /// All that was queued since the last call, in order.
    pub fn take_outputs(&self) -> Vec<Output> {
        core::mem::take(&mut self.outbox.borrow_mut())
    }

    /// Hands the result of a call to whoever waits for it. `false`: nobody made that call.
    #[must_use]
    pub fn finish(&self, call: u64, result: Result<Value, Fault>) -> bool {
        let waiter = self.waiting.borrow_mut().remove(&call);
        waiter.is_some_and(|waiter| {
            // A task that was dropped no longer wants the result; there is nobody to tell.
            let _ = waiter.send(result);
            true
        })
    }

    /// A task that works for one request: the calls that it makes tell so, and nothing else depends on it.
    pub fn for_request(
        hal: Rc<Self>,
        ticket: u64,
        task: impl Future<Output = ()>,
    ) -> impl Future<Output = ()> {
        let mut task = Box::pin(task);
        poll_fn(move |context| {
            hal.at_work_for.set(Some(ticket));
            let polled = task.as_mut().poll(context);
            hal.at_work_for.set(None);
            polled
        })
    }

    /// Makes a call, at once, and gives its result to wait for.
    pub fn call(&self, op: Op) -> impl Future<Output = Result<Value, HalError>> + use<> {
        let call = self.last_call.get() + 1;
        self.last_call.set(call);
        let (done, result) = oneshot::channel();
        self.waiting.borrow_mut().insert(call, done);
        self.send(Output::Call { call, op, ticket: self.at_work_for.get() });
        async move { result.await.unwrap_or(Err(Fault::Limits)).map_err(HalError) }
    }

    /// Random bytes from the HSM's RNG; refused if there are not exactly as many as asked for.
    pub async fn random(&self, length_bytes: u16) -> Result<Secret, HalError> {
        match self.call(Op::Random { length_bytes }).await? {
            Value::Random(bytes) if bytes.expose().len() == usize::from(length_bytes) => Ok(bytes),
            _ => Err(HalError(Fault::Rng)),
        }
    }

    /// A part of the log, untrusted. The read is begun at once.
    pub fn read_store(
        &self,
        offset: u64,
        length_bytes: u32,
    ) -> impl Future<Output = Result<Vec<u8>, HalError>> + use<> {
        let read = self.call(Op::ReadStore { offset, length_bytes });
        async move {
            match read.await? {
                Value::Bytes(bytes) if bytes.len() as u64 == u64::from(length_bytes) => Ok(bytes.into_vec()),
                _ => Err(HalError(Fault::Store)),
            }
        }
    }

    /// A part of the archive, untrusted.
    pub async fn read_archive(&self, offset: u64, length_bytes: u32) -> Result<Vec<u8>, HalError> {
        match self.call(Op::ReadArchive { offset, length_bytes }).await? {
            Value::Bytes(bytes) if bytes.len() as u64 == u64::from(length_bytes) => Ok(bytes.into_vec()),
            _ => Err(HalError(Fault::StoreUnreadable)),
        }
    }

    /// How much room the store's disk has, in bytes, if the firmware can tell.
    pub async fn room(&self) -> Option<u64> {
        match self.call(Op::Room).await {
            Ok(Value::Room(room)) => room,
            _ => None,
        }
    }

    /// A new secp256k1 key pair.
    pub async fn generate_key_pair(&self) -> Result<KeyPair, HalError> {
        match self.call(Op::GenerateKeyPair).await? {
            Value::KeyPair { wrapped, public_key } if wrapped.len() <= WRAPPED_MAX_BYTES => {
                Ok(KeyPair { wrapped: wrapped.into_vec(), public_key: public_key.into_array() })
            }
            _ => Err(HalError(Fault::Keystore)),
        }
    }

    /// Uses up a permit: ECDSA over its digest with a wrapped key, r‖s, not verified and not low-S. There is no other way to
    /// sign with the keystore. The call is begun at once.
    pub(crate) fn sign(
        &self,
        permit: Permit,
        key: &ByteArray<16>,
        wrapped: &ByteBuf,
    ) -> impl Future<Output = Result<[u8; 64], HalError>> + use<> {
        let op = |digest: [u8; 32]| Op::SignDigest { wrapped: wrapped.clone(), digest: digest.into() };
        let call = permit.consume(key).map(|digest| self.call(op(digest)));
        async move {
            match call.ok_or(HalError(Fault::Limits))?.await? {
                Value::Signature(signature) => Ok(signature.into_array()),
                _ => Err(HalError(Fault::Keystore)),
            }
        }
    }

    /// Has the HSM attest itself and this image.
    pub async fn attest(&self, nonce: ByteBuf, claims: PluginClaims) -> Result<ByteBuf, HalError> {
        match self.call(Op::Attest { nonce, claims: Box::new(claims) }).await? {
            Value::Attested(attestation) => Ok(attestation),
            _ => Err(HalError(Fault::Keystore)),
        }
    }

    /// Has the HSM's root endorse the plugin's keys.
    pub async fn endorse(&self, signing_key: [u8; 65], sealing_key: [u8; 65]) -> Result<Identity, HalError> {
        let op = Op::Endorse {
            signing_key: ByteArray::new(signing_key),
            sealing_key: ByteArray::new(sealing_key),
        };
        match self.call(op).await? {
            Value::Endorsed(identity) => Ok(*identity),
            _ => Err(HalError(Fault::Keystore)),
        }
    }

    /// A TOTP secret, wrapped.
    pub async fn wrap_mac_key(&self, hash: TotpHash, secret: Secret) -> Result<Vec<u8>, HalError> {
        match self.call(Op::WrapMacKey { hash, secret }).await? {
            Value::Wrapped(wrapped) if wrapped.len() <= WRAPPED_MAX_BYTES => Ok(wrapped.into_vec()),
            _ => Err(HalError(Fault::Keystore)),
        }
    }

    /// One MAC for each counter; refused unless there are as many as counters, each as long as the hash. The call is
    /// begun at once.
    pub fn mac(
        &self,
        wrapped: &[u8],
        hash: TotpHash,
        counters: Vec<u64>,
    ) -> impl Future<Output = Result<Vec<Secret>, HalError>> + use<> {
        let count = counters.len();
        let call = self.call(Op::Mac { wrapped: wrapped.to_vec().into(), hash, counters });
        async move {
            match call.await? {
                Value::Macs(macs)
                    if macs.len() == count
                        && macs.iter().all(|mac| mac.expose().len() == hash.secret_bytes()) =>
                {
                    Ok(macs)
                }
                _ => Err(HalError(Fault::Keystore)),
            }
        }
    }
}

/// The longest wrapped key that a record holds.
const WRAPPED_MAX_BYTES: usize = 256;
