//! What the plugin says of itself when the HSM attests.

use super::*;
use countersign_wire::decode_packed;
use countersign_wire::hal::PluginClaims;
use serde_bytes::ByteBuf;

fn attest(device: &mut Device, length: usize) -> Result<(ByteBuf, PluginClaims), Reason> {
    match device.ask(Act::Attest(ByteBuf::from(vec![9; length]))) {
        Ok(Answer::Attested(said)) => Ok(decode_packed(&said).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => Err(refused),
    }
}

#[test]
fn says_what_it_is_and_where_its_state_stands() {
    let mut device = Device::ready();
    let (nonce, first) = attest(&mut device, 32).unwrap();
    assert_eq!(nonce, [9; 32]);
    assert_eq!((first.version.as_str(), first.boot_count), (crate::VERSION, 1));
    assert_eq!((first.policy, first.officers_sha256, first.clock_sure), (None, None, true));
    let (_, again) = attest(&mut device, 8).unwrap();
    assert_eq!(again, first, "attesting changes nothing");
    policies::enroll_for_ethereum(&mut device, "alice");
    let (_, later) = attest(&mut device, 64).unwrap();
    assert_ne!(later.store_head, first.store_head);
    assert!(device.boot());
    let (_, rebooted) = attest(&mut device, 32).unwrap();
    assert_eq!(rebooted.boot_count, 2);
    assert_eq!((rebooted.statement_key, rebooted.sealing_key), (first.statement_key, first.sealing_key));
}

#[test]
fn i5_neither_a_wrong_nonce_nor_a_failing_firmware_attests() {
    let mut device = Device::ready();
    for length in [0, 7, 65, 1000] {
        assert_eq!(attest(&mut device, length), Err(Reason::MalformedRequest));
    }
    device.fail_next.insert("attest", Fault::Keystore);
    assert_eq!(attest(&mut device, 32), Err(Reason::KeystoreFailed));
    assert!(attest(&mut device, 32).is_ok());
}
