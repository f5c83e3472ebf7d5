//! An intent as policies see it: assets and addresses as text, collections as wholes.

use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Warning};

/// The most moves of one intent that are looked at; more are refused.
pub(crate) const MOVES_MAX: usize = 8 * 1024;

/// One intent, as far as a policy looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    /// `eip155:1`, …; `none` where there is none.
    pub(crate) chain: String,
    pub(crate) family: &'static str,
    pub(crate) moves: Vec<Moved>,
    pub(crate) fee_most: Option<Amount>,
    pub(crate) opaque: bool,
    pub(crate) warnings: Vec<&'static str>,
}

/// Something goes to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// `native`, `erc20:0x…`, or a collection: `erc721:0x…`, `erc1155:0x…`.
    pub(crate) asset: String,
    pub(crate) to: String,
    pub(crate) amount: Amount,
    pub(crate) own: bool,
}

impl Facts {
    pub(crate) fn of(intent: &Intent) -> Self {
        let moves = intent.moves.iter().map(|moved| Moved {
            asset: asset_text(&moved.asset),
            to: moved.to.as_str().to_owned(),
            amount: moved.amount,
            own: moved.own,
        });
        Self {
            kind: intent.kind,
            chain: intent.chain.map_or_else(|| "none".to_owned(), |chain| chain.to_string()),
            family: family(intent.chain),
            moves: moves.collect(),
            fee_most: intent.fee_most,
            opaque: intent.opaque,
            warnings: intent.warnings.iter().map(|warning| warning_word(*warning)).collect(),
        }
    }

    /// What goes to somebody other than the wallet itself.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = &Moved> {
        self.moves.iter().filter(|moved| !moved.own)
    }
}

pub(crate) fn family(chain: Option<Chain>) -> &'static str {
    match chain {
        Some(Chain::Ethereum(_)) => "ethereum",
        Some(Chain::Bitcoin(_)) => "bitcoin",
        None => "none",
    }
}

/// The asset's text without a token's number: a limit on a collection counts its tokens, whichever they are.
fn asset_text(asset: &Asset) -> String {
    match asset {
        Asset::Native => "native".to_owned(),
        Asset::Erc20(contract) => format!("erc20:{contract}"),
        Asset::Erc721(contract, _) => format!("erc721:{contract}"),
        Asset::Erc1155(contract, _) => format!("erc1155:{contract}"),
        // No document can declare this: all that a limit could count is that it is everything.
        Asset::Collection(contract) => format!("collection:{contract}"),
    }
}

/// The word of the schema.
pub(crate) const fn warning_word(warning: Warning) -> &'static str {
    match warning {
        Warning::Opaque => "opaque",
        Warning::UnlimitedAllowance => "unlimited-allowance",
        Warning::WholeCollection => "whole-collection",
        Warning::Delegation => "delegation",
        Warning::AnyChain => "any-chain",
        Warning::NoExpiry => "no-expiry",
        Warning::EitherReading => "either-reading",
    }
}
