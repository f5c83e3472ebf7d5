//! What is to be signed.

use crate::arguments::SignArguments;
use crate::failure::Failure;
use countersign_wire::client::Payload;
use countersign_wire::frame::CLIENT_MAX_BYTES;
use countersign_wire::reason::Reason;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_bytes::{ByteArray, ByteBuf};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Hex and a line end of the longest transaction that fits a frame; whatever is longer fits none.
const INPUT_MAX_BYTES: u64 = 2 * CLIENT_MAX_BYTES as u64 + 64;

/// The digest or the transaction that the command names.
pub(crate) fn of(arguments: &SignArguments) -> Result<Payload, Failure> {
    match (&arguments.digest, &arguments.ethereum) {
        (Some(digest), _) => Ok(Payload::Digest(ByteArray::new(*digest))),
        (None, Some(file)) => Ok(Payload::Ethereum(ByteBuf::from(transaction(&read(file)?)))),
        (None, None) => Err(Failure::Usage("give --digest or --ethereum".to_owned())),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::Usage(format!("cannot read {}: {error}", file.display()));
    let mut bytes = Vec::new();
    let input: &mut dyn Read = if file == Path::new("-") {
        &mut std::io::stdin().lock()
    } else {
        &mut File::open(file).map_err(unreadable)?
    };
    input.take(INPUT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > INPUT_MAX_BYTES { Err(Reason::MalformedRequest.into()) } else { Ok(bytes) }
}

/// The bytes of a transaction in hex or raw. There is nothing to confuse: a transaction begins with a byte that is
/// neither a hex digit nor white space (EIP-2718: 0x01 to 0x7f for the type, 0x02 being the only one that is
/// supported; or 0xc0 and above for a legacy list).
fn transaction(input: &[u8]) -> Vec<u8> {
    let text = input.trim_ascii();
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    match HEXLOWER_PERMISSIVE.decode(digits) {
        Ok(bytes) if !bytes.is_empty() => bytes,
        _ => input.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hex_in_every_usual_dress_and_raw_bytes_untouched() {
        for text in ["02c0ff", "0x02c0ff", "0x02C0FF\n", "  02c0ff\r\n"] {
            assert_eq!(transaction(text.as_bytes()), [0x02, 0xc0, 0xff], "{text:?}");
        }
        // Raw bytes that end in what would be white space stay as they are.
        assert_eq!(transaction(&[0x02, 0xc1, 0x0a]), [0x02, 0xc1, 0x0a]);
        assert_eq!(transaction(&[0xc1, 0x20]), [0xc1, 0x20]);
        // What is neither goes to the HSM, which refuses it.
        assert_eq!(transaction(b"0x123"), b"0x123");
        assert_eq!(transaction(b""), b"");
    }
}
