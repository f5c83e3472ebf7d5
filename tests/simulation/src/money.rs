//! What is spent: a policy with limits for one tenant, and transfers that use them up.

use crate::choices::Choices;
use alloy_rlp::{Encodable, Header};
use countersign_policy::Per;
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, Document, FORMAT, Undeclared};
use countersign_wire::client::Payload;
use sha3::{Digest, Keccak256};

/// The tenant whose transfers are limited.
pub const LIMITED_TENANT: &str = "a";

/// How long what was spent counts, in seconds.
pub const WINDOW_SECS: u64 = 1800;

/// What all accounts of the tenant may spend in a window, in wei.
pub const TENANT_MOST_WEI: u128 = 3_000;

/// What one account may, in wei.
pub const ACCOUNT_MOST_WEI: u128 = 1_800;

/// The most of one transfer, in wei.
const TRANSFER_MOST_WEI: u128 = 1_500;

/// The tenant's policy: transfers on chain 1 as far as the limits go, and digests on keys that are for them.
pub fn policy() -> Vec<u8> {
    let limit = |name: &str, per, most: u128| DeclaredLimit {
        name: name.to_owned(),
        asset: "ether".to_owned(),
        per,
        counts: Counts::Sum,
        window_secs: WINDOW_SECS,
        most: most.to_string(),
        hard: true,
    };
    let document = Document {
        format: FORMAT,
        name: "simulated".to_owned(),
        version: 1,
        undeclared: Undeclared::Refuse,
        payee_delay_secs: 0,
        assets: vec![DeclaredAsset {
            name: "ether".to_owned(),
            chain: "eip155:1".to_owned(),
            asset: "native".to_owned(),
            decimals: 18,
        }],
        limits: vec![
            limit("tenant", Per::Tenant, TENANT_MOST_WEI),
            limit("account", Per::Account, ACCOUNT_MOST_WEI),
        ],
        rules: "@id(\"digests\") permit (principal, action in Action::\"blind\", resource) \
                when { resource.mechanisms.contains(\"digest\") };\n\
                @id(\"transfers\") permit (principal, action == Action::\"transfer\", resource) \
                when { !context.opaque };\n"
            .to_owned(),
    };
    document.to_bytes()
}

/// A legacy transfer on chain 1 without a fee, of a random amount.
pub fn transfer(rng: &mut Choices) -> Payload {
    let wei = rng.u128(1..=TRANSFER_MOST_WEI);
    let mut fields = Vec::new();
    // nonce, gas price, gas limit; recipient, amount, data; chain id and two zeros (EIP-155).
    for number in [u128::from(rng.u64(..)), 0, 21_000] {
        number.encode(&mut fields);
    }
    [9_u8; 20].as_slice().encode(&mut fields);
    wei.encode(&mut fields);
    [0_u8; 0].as_slice().encode(&mut fields);
    for number in [1_u8, 0, 0] {
        number.encode(&mut fields);
    }
    let mut bytes = Vec::new();
    Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
    bytes.extend(fields);
    Payload::Ethereum(bytes.into())
}

/// What a payload of the clients here moves, in wei; `None` for what is no transfer.
pub fn amount_wei(payload: &Payload) -> Option<u128> {
    let Payload::Ethereum(bytes) = payload else { return None };
    let mut rest = bytes.as_slice();
    Header::decode(&mut rest).ok().filter(|header| header.list)?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let header = Header::decode(&mut rest).ok()?;
        let (field, after) = rest.split_at_checked(header.payload_length)?;
        fields.push(field);
        rest = after;
    }
    let digits = fields.get(4).filter(|digits| digits.len() <= 16)?;
    Some(digits.iter().fold(0, |sum, digit| sum << 8 | u128::from(*digit)))
}

/// The digest that a payload of the clients here asks a signature for.
pub fn digest(payload: &Payload) -> [u8; 32] {
    match payload {
        Payload::Digest(digest) => digest.into_array(),
        Payload::Ethereum(bytes) => Keccak256::digest(bytes).into(),
        other => panic!("no client here asks for {:?}", other.mechanism()),
    }
}
