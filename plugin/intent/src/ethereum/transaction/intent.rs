//! What people and policies are told of a transaction. Every field is in it, if only by its hash: two transactions that
//! differ are told differently.

use super::super::calldata::{self, Decoded};
use super::{Blobs, Form, Transaction};
use crate::ethereum::{address, ascending, fingerprint, hex};
use crate::model::{Address, Amount, Asset, Chain, Detail, Intent, Kind, Move, Warning};

/// Stands for the address of the contract that a transaction creates: it follows from the sender, who is not part of
/// what is signed.
const NEW_CONTRACT: &str = "new-contract";

impl Transaction {
    /// What people and policies are told of it.
    ///
    /// * Blobs are data for somebody else's contract: a transaction with blobs is opaque.
    /// * With type 4 code is set before the call is made, so even a token's address may answer to other code: calldata is
    ///   not decoded there.
    pub fn intent(&self) -> Intent {
        let mut told = match self.to {
            None => self.creation(),
            Some(to) if self.form == Form::SetCode => self.delegation(&to),
            Some(to) if self.data.is_empty() => Decoded::of(Kind::Transfer, vec![self.coins(address(&to))]),
            Some(to) => calldata::read(&to, &self.data)
                .map_or_else(|| self.call(&to), |call| self.with_coins(call, &to)),
        };
        if self.blobs.is_some() {
            told.opaque = true;
            told.kind =
                if told.kind == Kind::Transfer && self.data.is_empty() { Kind::Call } else { told.kind };
        }
        if told.opaque {
            told.warnings.push(Warning::Opaque);
        }
        told.details.extend(self.lists());
        told.details.push(Detail { label: "gas", text: self.gas_text() });
        Intent {
            kind: told.kind,
            chain: Some(Chain::Ethereum(self.chain_id)),
            moves: told.moves,
            fee_most: Some(self.fee_most),
            nonce: Some(self.nonce),
            opaque: told.opaque,
            warnings: ascending(told.warnings),
            details: told.details,
        }
    }

    fn coins(&self, to: Address) -> Move {
        Move { from: None, to, asset: Asset::Native, amount: self.value, own: false }
    }

    /// A call that is understood; coins that go along are a second move.
    fn with_coins(&self, mut call: Decoded, to: &[u8; 20]) -> Decoded {
        if self.value > Amount::ZERO {
            call.moves.push(self.coins(address(to)));
        }
        call
    }

    fn call(&self, to: &[u8; 20]) -> Decoded {
        let selector = self.data.first_chunk::<4>().map_or("none".to_owned(), |selector| hex(selector));
        let function = Detail { label: "function", text: selector };
        let data = Detail { label: "calldata", text: fingerprint(&self.data) };
        Decoded {
            opaque: true,
            details: vec![function, data],
            ..Decoded::of(Kind::Call, vec![self.coins(address(to))])
        }
    }

    fn creation(&self) -> Decoded {
        let endowment = self.coins(Address::canonical(NEW_CONTRACT.to_owned()));
        let code = Detail { label: "init code", text: fingerprint(&self.data) };
        let moves = if self.value > Amount::ZERO { vec![endowment] } else { Vec::new() };
        Decoded { opaque: true, details: vec![code], ..Decoded::of(Kind::Creation, moves) }
    }

    fn delegation(&self, to: &[u8; 20]) -> Decoded {
        let mut told = if self.data.is_empty() {
            Decoded::of(Kind::Delegation, vec![self.coins(address(to))])
        } else {
            Decoded { kind: Kind::Delegation, ..self.call(to) }
        };
        // What the code does with the account, now and later, nobody here can see.
        told.opaque = true;
        told.warnings.push(Warning::Delegation);
        for authorization in &self.authorizations {
            if authorization.any_chain {
                told.warnings.push(Warning::AnyChain);
            }
            told.details.push(Detail { label: "delegation", text: authorization.text() });
        }
        told
    }

    fn lists(&self) -> Vec<Detail> {
        let blobs = self.blobs.iter().flat_map(Blobs::lines).map(|text| Detail { label: "blobs", text });
        let access = self.access_list.text().map(|text| Detail { label: "access list", text });
        blobs.chain(access).collect()
    }

    fn gas_text(&self) -> String {
        let gas = self.gas;
        let tip = gas.tip_most.map(|tip| format!(", of it at most {tip} as a tip")).unwrap_or_default();
        let form = self.form.number();
        format!("{} at most, at most {} wei each{tip} (transaction type {form})", gas.limit, gas.price_most)
    }
}
