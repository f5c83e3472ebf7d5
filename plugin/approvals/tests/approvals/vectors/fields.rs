//! Statements as JSON: fields by name, what is an array within them as an array.

use crate::json::{Json, hex, text};
use countersign_approvals::statement::{
    AccountRequest, AccountView, Enrolment, EnrolmentRequest, Factor, HistoryEntry, Identity, KeyEntry,
    OpenIntent, Receipt, View,
};

/// A statement's fields.
pub(crate) trait Fields {
    fn fields(&self) -> Vec<(&'static str, Json)>;
}

fn list<'a, T>(items: &'a [T], each: impl Fn(&'a T) -> Json) -> Json {
    Json::List(items.iter().map(each).collect())
}

impl Fields for Identity {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("measurement", hex(self.measurement)),
            ("clock", text(self.clock.word())),
            ("signing_key", hex(self.signing_key.as_bytes())),
            ("sealing_key", hex(self.sealing_key.as_bytes())),
        ]
    }
}

impl Fields for View {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("intent", hex(self.intent)),
            ("purpose", text(self.purpose.word())),
            ("key", text(&self.key)),
            ("key_id", hex(&self.key_id)),
            ("mechanism", text(&self.mechanism)),
            ("digests", list(&self.digests, hex)),
            ("summary", text(&self.summary)),
            ("floor", text(self.floor.word())),
            ("state", text(self.state.word())),
            ("nonce", hex(self.nonce)),
            ("expires", Json::Number(self.expires_unix_secs)),
            ("now", Json::Number(self.now_unix_secs)),
            ("device_nonce", hex(self.device_nonce)),
        ]
    }
}

impl Fields for Receipt {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("measurement", hex(self.measurement)),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("key", text(&self.key)),
            ("key_id", hex(self.key_id)),
            ("mechanism", text(&self.mechanism)),
            ("digests", list(&self.digests, hex)),
            ("summary", text(&self.summary)),
            ("approval", text(self.approval.word())),
            ("counter", Json::Number(self.counter)),
            ("time", Json::Number(self.time_unix_secs)),
        ]
    }
}

impl Fields for EnrolmentRequest {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("invitation", hex(self.invitation)),
            ("device_nonce", hex(self.device_nonce)),
            ("device_key", hex(self.device_key.as_bytes())),
            ("device_sealing_key", hex(self.device_sealing_key.as_bytes())),
            (
                "passkeys",
                list(&self.passkeys, |offered| {
                    Json::List(vec![hex(&offered.client_data_json), hex(&offered.authenticator_data)])
                }),
            ),
        ]
    }
}

fn factor(factor: &Factor) -> Json {
    Json::List(match factor {
        Factor::Totp { hash, digits, period_secs } => {
            vec![text("totp"), text(hash), Json::Number(*digits), Json::Number(*period_secs)]
        }
        Factor::Device { key } => vec![text("device"), hex(key.device_id()), hex(key.as_bytes())],
        Factor::Passkey { credential_id, key, rp_id, origin, backup_eligible } => vec![
            text("passkey"),
            hex(credential_id),
            hex(key.as_bytes()),
            text(rp_id),
            text(origin),
            Json::Truth(*backup_eligible),
        ],
    })
}

fn key(key: &KeyEntry) -> Json {
    Json::List(vec![
        text(&key.key),
        hex(key.key_id),
        hex(key.public_key),
        list(&key.mechanisms, text),
        text(key.floor.word()),
        text(&key.network),
        text(&key.path),
        text(&key.address),
        text(&key.xpub),
    ])
}

impl Fields for Enrolment {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("measurement", hex(self.measurement)),
            ("clock", text(self.clock.word())),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("device_nonce", hex(self.device_nonce)),
            ("now", Json::Number(self.now_unix_secs)),
            ("policy", hex(self.policy)),
            ("factors", list(&self.factors, factor)),
            ("keys", list(&self.keys, key)),
            ("sealed", hex(self.sealed)),
        ]
    }
}

impl Fields for AccountRequest {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("device_nonce", hex(self.device_nonce)),
        ]
    }
}

fn intent(intent: &OpenIntent) -> Json {
    Json::List(vec![hex(intent.intent), text(intent.state.word()), Json::Number(intent.expires_unix_secs)])
}

fn entry(entry: &HistoryEntry) -> Json {
    Json::List(vec![
        Json::Number(entry.counter),
        Json::Number(entry.time_unix_secs),
        text(entry.approval.word()),
        text(&entry.key),
        hex(entry.intent_hash),
        text(&entry.headline),
    ])
}

impl Fields for AccountView {
    fn fields(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("hsm", hex(self.hsm)),
            ("tenant", text(&self.tenant)),
            ("account", text(&self.account)),
            ("device_nonce", hex(self.device_nonce)),
            ("now", Json::Number(self.now_unix_secs)),
            ("state", text(self.state.word())),
            ("locked_for", Json::Number(self.locked_for_secs)),
            ("act_nonce", hex(self.act_nonce)),
            ("signatures", Json::Number(self.signatures)),
            ("intents", list(&self.intents, intent)),
            ("history", list(&self.history, entry)),
            ("keys", list(&self.keys, key)),
        ]
    }
}
