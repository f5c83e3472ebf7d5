//! What is to be signed.

use crate::arguments::PayloadArguments;
use crate::failure::Failure;
use countersign_wire::client::Payload;
use countersign_wire::frame::CLIENT_MAX_BYTES;
use countersign_wire::reason::Reason;
use data_encoding::{BASE64, DecodeError, DecodeKind, HEXLOWER_PERMISSIVE};
use serde_bytes::{ByteArray, ByteBuf};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Hex and a line end of the longest transaction that fits a frame; whatever is longer fits none.
const INPUT_MAX_BYTES: u64 = 2 * CLIENT_MAX_BYTES as u64 + 64;

/// The digest or the transaction that the command names.
pub(crate) fn of(arguments: &PayloadArguments) -> Result<Payload, Failure> {
    match arguments {
        PayloadArguments { digest: Some(digest), .. } => Ok(Payload::Digest(ByteArray::new(*digest))),
        PayloadArguments { ethereum: Some(file), .. } => Ok(Payload::Ethereum(transaction_of(file)?.into())),
        PayloadArguments { typed_data: Some(file), .. } => Ok(Payload::TypedData(ByteBuf::from(read(file)?))),
        PayloadArguments { message: Some(file), .. } => Ok(Payload::Message(ByteBuf::from(read(file)?))),
        PayloadArguments { psbt: Some(file), .. } => Ok(Payload::Psbt(psbt_of(file)?.into())),
        _ => Err(Failure::Usage(
            "say what is to be signed: --ethereum, --psbt, --typed-data, --message or --digest".to_owned(),
        )),
    }
}

/// The bytes of the transaction in a file.
pub(crate) fn transaction_of(file: &Path) -> Result<Vec<u8>, Failure> {
    transaction(&read(file)?).map_err(|why| wrong(file, &why))
}

/// The bytes of the PSBT in a file.
pub(crate) fn psbt_of(file: &Path) -> Result<Vec<u8>, Failure> {
    psbt(read(file)?).map_err(|why| wrong(file, &why))
}

fn wrong(file: &Path, why: &str) -> Failure {
    Failure::Usage(format!("{}: {why}", file.display()))
}

/// The first bytes of every PSBT (BIP-174).
const PSBT_MAGIC: &[u8] = b"psbt\xff";

/// The bytes of a PSBT in binary, Base64 or hex.
fn psbt(input: Vec<u8>) -> Result<Vec<u8>, String> {
    if input.starts_with(PSBT_MAGIC) {
        return Ok(input);
    }
    let text = input.trim_ascii();
    let decoded = HEXLOWER_PERMISSIVE.decode(text).or_else(|_| BASE64.decode(text));
    match decoded {
        Ok(bytes) if bytes.starts_with(PSBT_MAGIC) => Ok(bytes),
        _ => Err("this is no PSBT: neither binary nor Base64 nor hex of one".to_owned()),
    }
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
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

/// The bytes of a transaction in hex or raw, or what is wrong with the hex.
///
/// There is nothing to confuse: a raw transaction begins with a byte that is neither printable nor white space
/// (EIP-2718: the type, 0x01 to 0x04; or 0xc0 and above for a legacy list). So what is all
/// text was meant as hex, and is not signed as if it were bytes.
fn transaction(input: &[u8]) -> Result<Vec<u8>, String> {
    let text = input.trim_ascii();
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    match HEXLOWER_PERMISSIVE.decode(digits) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        Ok(_) => Err("there is no transaction in it".to_owned()),
        Err(error) if digits.len() < text.len() || is_text(text) => Err(not_hex(digits, error)),
        Err(_) => Ok(input.to_vec()),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

fn not_hex(digits: &[u8], error: DecodeError) -> String {
    let wrong = digits.iter().position(|byte| !byte.is_ascii_hexdigit());
    match (wrong, error.kind) {
        (Some(at), _) => format!("the transaction is no valid hex: digit {} is none", at + 1),
        (None, DecodeKind::Length) => {
            format!("the transaction is no valid hex: the number of its digits ({}) is odd", digits.len())
        }
        (None, _) => "the transaction is no valid hex".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hex_in_every_usual_dress_and_raw_bytes_untouched() {
        let taken = |input: &[u8]| transaction(input).unwrap();
        for text in ["02c0ff", "0x02c0ff", "0x02C0FF\n", "  02c0ff\r\n"] {
            assert_eq!(taken(text.as_bytes()), [0x02, 0xc0, 0xff], "{text:?}");
        }
        // Raw bytes that end in what would be white space stay as they are.
        assert_eq!(taken(&[0x02, 0xc1, 0x0a]), [0x02, 0xc1, 0x0a]);
        assert_eq!(taken(&[0xc1, 0x20]), [0xc1, 0x20]);
    }

    #[test]
    fn a_psbt_is_taken_in_each_of_its_forms() {
        let bytes = [PSBT_MAGIC, &[0, 1, 2]].concat();
        for input in [bytes.clone(), b" 70736274ff000102\n".to_vec(), b"cHNidP8AAQI=\n".to_vec()] {
            assert_eq!(psbt(input).unwrap(), bytes);
        }
        for bad in ["", "psbt", "cHNidP8", "02c0ff", "AAAA"] {
            assert!(psbt(bad.as_bytes().to_vec()).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_that_is_no_hex_is_never_taken_as_bytes() {
        for (text, why) in [
            ("", "no transaction"),
            (" \n", "no transaction"),
            ("0x", "no transaction"),
            ("0x123", "(3) is odd"),
            ("02c", "(3) is odd"),
            ("02c0fg", "digit 6 is none"),
            ("02c0\n02c0", "digit 5 is none"),
            ("{\"to\": 1}", "digit 1 is none"),
            ("0x02\u{1}0", "digit 3 is none"),
            ("0x0x02", "digit 2 is none"),
        ] {
            let refused = transaction(text.as_bytes());
            assert!(refused.as_ref().is_err_and(|found| found.contains(why)), "{text:?}: {refused:?}");
        }
    }
}
