//! One small model of everything that can be signed: who gets how much of what, on which chain, and at what fee.
//!
//! Amounts are exact 256-bit integers in the smallest unit of their asset (wei, satoshi, a token's base unit).

use core::fmt;
pub use countersign_wire::client::Network;

/// An amount in the smallest unit of its asset.
pub type Amount = ruint::aliases::U256;

/// Where an intent takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// An EVM chain, by its EIP-155 chain id, never 0.
    Ethereum(u64),
    /// A Bitcoin network.
    Bitcoin(Network),
}

impl fmt::Display for Chain {
    /// The chain as policies and logs name it: `eip155:1`, `bitcoin:main`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chain::Ethereum(id) => write!(f, "eip155:{id}"),
            Chain::Bitcoin(network) => write!(f, "bitcoin:{}", network.word()),
        }
    }
}

/// An address in its one canonical text form: EIP-55 checksummed hex, bech32(m) in lower case, or `Base58Check`. A Bitcoin
/// output script that has no address is `script:` and its hex; a contract that is only being created is `new-contract`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// Of text that is in canonical form already: each chain's module knows how that is made.
    pub(crate) fn canonical(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What moves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// The chain's own coin: wei, satoshi.
    Native,
    /// An ERC-20 token, by its contract. Its unit is the token's base unit: the plugin does not believe anyone's decimals.
    Erc20(Address),
    /// One ERC-721 token.
    Erc721(Address, Amount),
    /// An ERC-1155 token.
    Erc1155(Address, Amount),
    /// Every token of an ERC-721 or ERC-1155 contract, now and later; only allowances are for that. Its amount is all or nothing.
    Collection(Address),
}

impl fmt::Display for Asset {
    /// The asset as policies and logs name it: `native`, `erc20:0x…`, `erc721:0x…/ID`, `erc1155:0x…/ID`,
    /// `collection:0x…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asset::Native => f.write_str("native"),
            Asset::Erc20(contract) => write!(f, "erc20:{contract}"),
            Asset::Erc721(contract, id) => write!(f, "erc721:{contract}/{id}"),
            Asset::Erc1155(contract, id) => write!(f, "erc1155:{contract}/{id}"),
            Asset::Collection(contract) => write!(f, "collection:{contract}"),
        }
    }
}

/// Something goes to somebody, or somebody is allowed to take it ([`Kind::Allowance`]). The chain's own coin always goes:
/// nobody can be allowed to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whose it is, where the call or message names somebody. It may name the signer.
    pub from: Option<Address>,
    /// Who gets it, or may take it.
    pub to: Address,
    /// What.
    pub asset: Asset,
    /// How much of it; for an allowance the most that may be taken.
    pub amount: Amount,
    /// It comes back: the plugin itself derived `to` for the signing wallet (change).
    pub own: bool,
}

/// What sort of thing is to be signed. Policies name it as the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Coins or tokens go to somebody.
    Transfer,
    /// Somebody is allowed to take tokens, now or later: ERC-20 `approve`, `permit`, Permit2, `setApprovalForAll`.
    Allowance,
    /// A contract is called with data that the plugin does not decode.
    Call,
    /// A contract is created.
    Creation,
    /// An account is handed to code (EIP-7702).
    Delegation,
    /// A text for people (EIP-191).
    Message,
    /// Typed data (EIP-712) that moves nothing the plugin knows of.
    TypedData,
    /// A digest that nobody inside can see behind.
    Digest,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: &[Kind] = &[
        Kind::Transfer,
        Kind::Allowance,
        Kind::Call,
        Kind::Creation,
        Kind::Delegation,
        Kind::Message,
        Kind::TypedData,
        Kind::Digest,
    ];

    /// The word used in policies, in logs and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Transfer => "transfer",
            Kind::Allowance => "allowance",
            Kind::Call => "call",
            Kind::Creation => "creation",
            Kind::Delegation => "delegation",
            Kind::Message => "message",
            Kind::TypedData => "typed-data",
            Kind::Digest => "digest",
        }
    }
}

/// What a person must see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Warning {
    /// The plugin cannot see what this does.
    Opaque,
    /// The allowance has no practical limit.
    UnlimitedAllowance,
    /// The allowance is for every token of a collection.
    WholeCollection,
    /// The account's own coins would be under the control of code.
    Delegation,
    /// It is valid on every chain.
    AnyChain,
    /// It never expires, or not before the year 2100.
    NoExpiry,
    /// The number is an amount of a token or the name of one token of a collection: only the contract knows.
    EitherReading,
}

/// A line of the summary that only this kind of intent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// What it is: lower case words.
    pub label: &'static str,
    /// Its text as it was read; the summary makes control characters visible.
    pub text: String,
}

/// One intent, as people and policies are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What sort of thing it is.
    pub kind: Kind,
    /// Where it takes effect; `None` for a digest, and for messages that name no chain.
    pub chain: Option<Chain>,
    /// What moves, in the order of the transaction.
    pub moves: Vec<Move>,
    /// The most that it costs in fees, in the chain's own coin; `None` where nothing is paid.
    pub fee_most: Option<Amount>,
    /// The sender's transaction count, where there is one.
    pub nonce: Option<u64>,
    /// Some of it cannot be decoded: it counts as blind.
    pub opaque: bool,
    /// What a person must see first: ascending, without repeats.
    pub warnings: Vec<Warning>,
    /// What else a person should see, in order.
    pub details: Vec<Detail>,
}

impl Intent {
    /// A digest that nobody can see behind.
    pub fn digest() -> Self {
        Self {
            kind: Kind::Digest,
            chain: None,
            moves: Vec::new(),
            fee_most: None,
            nonce: None,
            opaque: true,
            warnings: vec![Warning::Opaque],
            details: Vec::new(),
        }
    }

    /// How much of an asset leaves the signer, fees included; `None` if it is more than 256 bits can say.
    pub fn sum(&self, asset: &Asset) -> Option<Amount> {
        let fee = self.fee_most.filter(|_| *asset == Asset::Native).unwrap_or_default();
        let leaving = self.moves.iter().filter(|moved| moved.asset == *asset && !moved.own);
        leaving.map(|moved| moved.amount).try_fold(fee, Amount::checked_add)
    }
}
