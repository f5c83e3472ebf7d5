//! A stand-in for an Ethereum node: JSON-RPC on loopback, over a chain of accounts with nonces and balances.
//!
//! It decodes what is broadcast with `alloy`, recovers its sender and refuses what a node refuses. Nothing is mined: what
//! is accepted is taken off the sender's balance at once.

use crate::http;
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How the node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It answers.
    Up,
    /// It closes every connection and does nothing.
    Down,
    /// It does what it is asked and closes the connection without an answer.
    LosesAnswers,
}

/// What the node knows.
pub struct Chain {
    /// The chain's id.
    pub chain_id: u64,
    /// What a unit of gas costs at least, in wei.
    pub base_fee: u64,
    /// Each account's next nonce and balance.
    pub accounts: BTreeMap<Address, (u64, U256)>,
    /// What was accepted, in order.
    pub accepted: Vec<TxEnvelope>,
}

impl Chain {
    /// Takes a transaction as it is broadcast, or says why not, as nodes do.
    pub fn accept(&mut self, raw: &[u8]) -> Result<B256, String> {
        let envelope =
            TxEnvelope::decode_2718_exact(raw).map_err(|error| format!("cannot be decoded: {error}"))?;
        let hash = *envelope.hash();
        if self.accepted.iter().any(|known| *known.hash() == hash) {
            return Err("already known".into());
        }
        let sender = envelope.recover_signer().map_err(|_| "invalid sender")?;
        if envelope.chain_id() != Some(self.chain_id) {
            return Err("invalid chain id for signer".into());
        }
        let (nonce, balance) = self.accounts.entry(sender).or_default();
        if envelope.nonce() != *nonce {
            return Err(if envelope.nonce() < *nonce { "nonce too low" } else { "nonce too high" }.into());
        }
        if envelope.gas_limit() < 21_000 {
            return Err("intrinsic gas too low".into());
        }
        if envelope.max_fee_per_gas() < u128::from(self.base_fee) {
            return Err("max fee per gas less than block base fee".into());
        }
        let cost = cost(&envelope).ok_or("insufficient funds for gas * price + value")?;
        *balance = balance.checked_sub(cost).ok_or("insufficient funds for gas * price + value")?;
        *nonce += 1;
        self.accepted.push(envelope);
        Ok(hash)
    }

    /// Forgets what it accepted last, as a node does that drops it from its pool or is started again.
    pub fn forget_last(&mut self) {
        let envelope = self.accepted.pop().expect("something was accepted");
        let sender = envelope.recover_signer().expect("it was accepted");
        let (nonce, balance) = self.accounts.get_mut(&sender).expect("it paid");
        *nonce -= 1;
        *balance += cost(&envelope).expect("it was paid");
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let quantity = |number: u64| Ok(json!(format!("0x{number:x}")));
        let text = |at: usize| params[at].as_str().ok_or_else(|| format!("parameter {at} is missing"));
        match method {
            "eth_chainId" => quantity(self.chain_id),
            "eth_maxPriorityFeePerGas" => quantity(1_000_000_000),
            "eth_getTransactionCount" => {
                let account: Address = text(0)?.parse().map_err(|_| "not an address")?;
                quantity(self.accounts.get(&account).map_or(0, |(nonce, _)| *nonce))
            }
            "eth_getBlockByNumber" => Ok(json!({ "baseFeePerGas": format!("0x{:x}", self.base_fee) })),
            "eth_getTransactionByHash" => {
                let hash: B256 = text(0)?.parse().map_err(|_| "not a hash")?;
                let is_known = self.accepted.iter().any(|known| *known.hash() == hash);
                Ok(if is_known { json!({ "hash": hash }) } else { Value::Null })
            }
            "eth_sendRawTransaction" => {
                let raw = alloy_primitives::hex::decode(text(0)?).map_err(|_| "not hex")?;
                Ok(json!(self.accept(&raw)?))
            }
            _ => Err(format!("the method {method} does not exist")),
        }
    }
}

/// What a transaction takes off its sender's balance.
fn cost(envelope: &TxEnvelope) -> Option<U256> {
    let gas = U256::from(envelope.gas_limit()) * U256::from(envelope.max_fee_per_gas());
    gas.checked_add(envelope.value())
}

/// A node that serves. Dropping it ends it.
pub struct EthereumNode {
    address: SocketAddr,
    state: Arc<Mutex<(Chain, Line)>>,
    ends: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl EthereumNode {
    /// Serves a chain on a free port.
    pub fn serve(chain: Chain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (state, ends) = (Arc::new(Mutex::new((chain, Line::Up))), Arc::new(AtomicBool::new(false)));
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&ends));
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                // Whoever goes away before he is answered is no concern of a node's.
                let _ = serve_one(&stream, &shared);
            }
        });
        Self { address, state, ends, serving: Some(serving) }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it is reached.
    pub fn set_line(&self, line: Line) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = line;
    }

    /// Changes what it knows.
    pub fn change(&self, change: impl FnOnce(&mut Chain)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0);
    }

    /// What it accepted so far.
    pub fn accepted(&self) -> Vec<TxEnvelope> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.accepted.clone()
    }
}

impl Drop for EthereumNode {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it; a failed connection means that it has ended already.
        let _ = TcpStream::connect(self.address);
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

fn serve_one(stream: &TcpStream, state: &Mutex<(Chain, Line)>) -> std::io::Result<()> {
    let body = http::read_request(stream)?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (chain, line) = &mut *state;
    if *line == Line::Down {
        return Ok(());
    }
    let asked: Value = serde_json::from_str(&body)?;
    let answer = chain.answer(asked["method"].as_str().unwrap_or_default(), &asked["params"]);
    if *line == Line::LosesAnswers {
        return Ok(());
    }
    let mut reply = json!({ "jsonrpc": "2.0", "id": asked["id"] });
    match answer {
        Ok(result) => reply["result"] = result,
        Err(message) => reply["error"] = json!({ "code": -32000, "message": message }),
    }
    http::answer(stream, &reply)
}
