//! A tenant's audit log: its checkpoints and its entries, read with the tenant's API key.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Where reading goes on. Opaque: only the HSM that made it can read it, and only for the same tenant.
pub type LogCursor = ByteArray<48>;

/// The longest entry, in bytes: what a bundle of [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles) can hold.
pub const LOG_ENTRY_MAX_BYTES: usize = 65_535;

/// What the entries of one page may come to, in bytes; the first is given however long it is.
pub const LOG_PAGE_MAX_BYTES: usize = 128 * 1024;

/// The most entries of one page.
pub const LOG_PAGE_MAX_ENTRIES: u16 = 1024;

const _: () = assert!(
    LOG_PAGE_MAX_BYTES + LOG_ENTRY_MAX_BYTES / 2 < crate::frame::CLIENT_MAX_BYTES
        && LOG_ENTRY_MAX_BYTES < LOG_PAGE_MAX_BYTES,
    "a page fits a frame"
);

/// From where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogStart {
    /// From the log's first entry.
    Beginning,
    /// From somewhere near its end, as the HSM finds it easily: it says where.
    Recent,
    /// From where a page ended.
    After(LogCursor),
}

/// Which entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// From where.
    pub from: LogStart,
    /// How many at the most: 1 to [`LOG_PAGE_MAX_ENTRIES`].
    pub entries_max: u16,
}

/// Some entries, in order, without a gap. A page may have none although more follow: then the HSM has read as much as it does
/// for one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPage {
    /// The number of the first entry, where it does not follow from what was asked: after [`LogStart::Recent`].
    pub index: Option<u64>,
    /// The entries, each the bytes that were hashed into the tree.
    pub entries: Vec<ByteBuf>,
    /// Where to go on.
    pub next: LogCursor,
    /// Whether the HSM knows of more.
    pub more: bool,
}

/// How the log is now, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogCheckpoint {
    /// A signed note ([c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint)).
    pub note: String,
    /// The key that signed it ([c2sp.org/signed-note](https://c2sp.org/signed-note), "Verifier keys").
    pub vkey: String,
}
