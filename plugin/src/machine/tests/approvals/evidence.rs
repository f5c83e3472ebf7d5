//! What a device or a passkey says: what is verified, what counts as a guess, and that nothing of it counts twice.

use super::*;

#[test]
fn a_plain_code_below_the_floor_is_refused_and_is_no_guess() {
    for floor in [ApprovalKind::SealedCode, ApprovalKind::Passkey] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, floor);
        let wrong = "000000";
        device.ops.clear();
        for code in [wrong.to_owned(), owner.code(device.time.unix_secs)] {
            let plain = Approval::Code(typed(&code));
            assert_eq!(sign_with(&mut device, &owner, 1, plain.clone()).unwrap_err(), Reason::BelowFloor);
            let login =
                ContextLogin { operation: operation(&mut device, &owner, 1), approval: plain.clone() };
            assert_eq!(device.ask(Act::ContextLogin(login)).unwrap_err(), Reason::BelowFloor);
            let payee = Act::TrustPayee(TrustPayee {
                account: "alice".parse().unwrap(),
                address: countersign_intent::ethereum::address(&[7; 20]).to_string(),
                known: true,
                approval: Some(plain),
            });
            assert_eq!(device.ask(payee).unwrap_err(), Reason::BelowFloor);
        }
        assert!(!device.ops.contains(&"mac") && !device.ops.contains(&"sign"));
        assert_eq!(failures_left(&mut device), 10);
        // A sealed code is enough for one floor and not for the other.
        let (intent, view) = seen(&mut device, &mut owner, 1);
        let sealed = owner.approve(intent, by_code(&device, &owner, &view));
        let answer = device.ask_plainly(sealed);
        if floor == ApprovalKind::SealedCode {
            assert_eq!(answer, Ok(Answer::Approved));
        } else {
            assert_eq!(answer, Err(Reason::BelowFloor));
            assert_eq!(failures_left(&mut device), 10);
            let touched = owner.assertion(&view);
            assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
        }
    }
}

#[test]
fn i4_an_authentic_wrong_code_counts_and_what_no_device_signed_does_not() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let good = owner.code(device.time.unix_secs);
    let thief = Owner::meets(&mut device, "alice", 41);
    let forged = thief.sealed_code(&view, &good);
    assert_eq!(device.ask_plainly(owner.approve(intent, forged)).unwrap_err(), Reason::UnknownDevice);
    let Evidence::SealedCode(mut forged) = thief.sealed_code(&view, &good) else { unreachable!() };
    forged.device = owner.device_id().into();
    let act = owner.approve(intent, Evidence::SealedCode(forged));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(failures_left(&mut device), 10);
    let malformed = owner.sealed_code(&view, "12 456");
    assert_eq!(device.ask_plainly(owner.approve(intent, malformed)).unwrap_err(), Reason::MalformedCode);
    assert_eq!(failures_left(&mut device), 10);
    let wrong = owner.sealed_code(&view, if good == "000000" { "000001" } else { "000000" });
    assert_eq!(device.ask_plainly(owner.approve(intent, wrong)).unwrap_err(), Reason::WrongCode);
    assert_eq!(failures_left(&mut device), 9);
    assert!(device.boot());
    assert_eq!(failures_left(&mut device), 9);
}

/// A code that was sealed for one transaction signs no other one, however its envelope is changed.
#[test]
fn i1_ten_thousand_changed_envelopes_approve_nothing_and_are_no_guesses() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (_, view) = seen(&mut device, &mut owner, 1);
    let (other, _) = seen(&mut device, &mut owner, 2);
    let (same, same_view) = seen(&mut device, &mut owner, 3);
    let Evidence::SealedCode(good) = by_code(&device, &owner, &view) else { unreachable!() };
    let Evidence::SealedCode(fitting) = by_code(&device, &owner, &same_view) else { unreachable!() };
    let mut reasons = std::collections::BTreeMap::<Reason, u32>::new();
    let mut draw = 0x2545_f491_4f6c_dd1d_u64;
    for turn in 0..10_000_u32 {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        // Sealed for the first, sent for the second: as it is, or with parts of one that fits, or with bits changed.
        let mut sent = good.clone();
        let intent = if turn % 2 == 0 { other } else { same };
        match draw >> 60 & 7 {
            0 => sent.signature = fitting.signature,
            1 => sent.encapsulated = fitting.encapsulated,
            2 => sent.ciphertext = fitting.ciphertext.clone(),
            3 => sent.device = [draw.to_be_bytes()[7]; 16].into(),
            _ => {}
        }
        let flip = |bytes: &mut [u8]| {
            let at = (draw >> 8) as usize % bytes.len();
            bytes[at] ^= 1 << (draw & 7);
        };
        match draw >> 57 & 7 {
            0 => flip(sent.signature.as_mut_slice()),
            1 => flip(sent.encapsulated.as_mut_slice()),
            2 => flip(&mut sent.ciphertext),
            3 => flip(sent.device.as_mut_slice()),
            4 => {
                let length = (draw >> 8) as usize % sent.ciphertext.len();
                sent.ciphertext.truncate(length);
            }
            _ => {}
        }
        let answer = device.ask_plainly(owner.approve(intent, Evidence::SealedCode(sent)));
        *reasons.entry(answer.expect_err("it is for another transaction")).or_default() += 1;
        device.advance(u64::from(turn % 64 == 0));
    }
    let known = [Reason::WrongDeviceSignature, Reason::MalformedDeviceSignature, Reason::UnknownDevice];
    assert!(reasons.keys().all(|reason| known.contains(reason)), "{reasons:?}");
    assert_eq!(failures_left(&mut device), 10);
    for byte in 1..=3 {
        assert_eq!(c_sign(&mut device, &owner, byte).unwrap_err(), Reason::ApprovalMissing);
    }
}

#[test]
fn i2_a_passkeys_counter_never_falls_and_a_clone_is_noticed() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Passkey);
    let clone = Authenticator::new(13);
    for byte in 1..=2 {
        let (intent, view) = seen(&mut device, &mut owner, byte);
        let touched = owner.assertion(&view);
        assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
        c_sign(&mut device, &owner, byte).unwrap();
    }
    let (intent, view) = seen(&mut device, &mut owner, 3);
    let mut copied = Authenticator { count: 1, ..clone };
    let touched = Evidence::Passkey(copied.assert(&view.approval_digest()));
    assert_eq!(device.ask_plainly(owner.approve(intent, touched)).unwrap_err(), Reason::PasskeyCounter);
    assert!(device.boot());
    let (intent, view) = seen(&mut device, &mut owner, 3);
    let touched = owner.assertion(&view);
    assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
}

/// A fault of the keystore after the approval was spent: the evidence is used up all the same.
#[test]
fn i2_evidence_is_spent_even_if_the_signature_fails() {
    for passkey in [false, true] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let (intent, view) = seen(&mut device, &mut owner, 1);
        // A passkey without a counter, as synced ones are.
        let touched = owner.passkey.assert_uncounted(&view.approval_digest());
        let evidence = if passkey { Evidence::Passkey(touched) } else { by_code(&device, &owner, &view) };
        let approval = Approval::Intent(Box::new(IntentApproval { intent, evidence }));
        device.corrupt_signatures = true;
        assert_eq!(sign_with(&mut device, &owner, 1, approval.clone()).unwrap_err(), Reason::KeystoreFailed);
        device.corrupt_signatures = false;
        device.ops.clear();
        assert_eq!(sign_with(&mut device, &owner, 1, approval).unwrap_err(), Reason::IntentNotOpen);
        assert!(!device.ops.contains(&"sign"));
    }
}

#[test]
fn i4_whoever_carries_a_sealed_code_does_not_have_it_counted_twice() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    // Kept back until the code is too old, and then sent again and again.
    let kept = owner.approve(intent, by_code(&device, &owner, &view));
    device.advance(120);
    assert_eq!(device.ask_plainly(kept.clone()).unwrap_err(), Reason::WrongCode);
    for _ in 0..20 {
        assert_eq!(device.ask_plainly(kept.clone()).unwrap_err(), Reason::CodeUsed);
    }
    assert_eq!(failures_left(&mut device), 9);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved), "the user is not locked out");
}

/// Really signed by the device, and wrong inside.
#[test]
fn what_a_device_sealed_wrongly_is_refused_by_name_and_is_no_guess() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let (_, other) = seen(&mut device, &mut owner, 2);
    let code = owner.code(device.time.unix_secs);
    let inner = owner.sealed_code_of(
        &view.approval_digest(),
        &view.approval_digest(),
        &other.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, inner)).unwrap_err(), Reason::ApprovalForOther);
    let associated = owner.sealed_code_of(
        &view.approval_digest(),
        &other.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, associated)).unwrap_err(), Reason::WrongSeal);
    let signed = owner.sealed_code_of(
        &other.approval_digest(),
        &view.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, signed)).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(failures_left(&mut device), 10);
    let good = owner.sealed_code_of(
        &view.approval_digest(),
        &view.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, good)), Ok(Answer::Approved));
}

#[test]
fn each_way_in_which_a_passkey_fails_has_its_name() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Passkey);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let digest = view.approval_digest();
    let good = Authenticator::client_data("webauthn.get", &digest);
    let text = String::from_utf8(good.clone()).unwrap();
    let replaced = |from: &str, to: &str| text.replace(from, to).into_bytes();
    owner.passkey.count = 1;
    for (client_data, flags, expected) in [
        (replaced("webauthn.get", "webauthn.create"), 0x05, Reason::PasskeyWrongType),
        (replaced("approve.example.com", "evil.example.com"), 0x05, Reason::PasskeyWrongOrigin),
        (replaced("false", "true"), 0x05, Reason::PasskeyCrossOrigin),
        (replaced("{", "{\"type\":\"webauthn.get\","), 0x05, Reason::PasskeyDuplicateKey),
        (replaced("}", ""), 0x05, Reason::PasskeyMalformed),
        (Authenticator::client_data("webauthn.get", &[1; 32]), 0x05, Reason::PasskeyWrongChallenge),
        (good.clone(), 0x04, Reason::PasskeyUserNotPresent),
        (good.clone(), 0x01, Reason::PasskeyUserNotVerified),
        (good.clone(), 0x15, Reason::PasskeyBackupFlags),
    ] {
        let act = owner.approve(intent, Evidence::Passkey(owner.passkey.assert_with(client_data, flags)));
        assert_eq!(device.ask_plainly(act).unwrap_err(), expected);
    }
    let honest = owner.passkey.assert_with(good, 0x05);
    let mut changed = honest.clone();
    changed.authenticator_data[0] ^= 1;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyWrongRp);
    let mut changed = honest.clone();
    changed.signature.truncate(20);
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyMalformedSignature);
    let mut changed = honest.clone();
    changed.authenticator_data[36] ^= 2;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyWrongSignature);
    let mut changed = honest.clone();
    changed.credential_id[0] ^= 1;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::UnknownPasskey);
    let act = owner.approve(intent, Evidence::Passkey(honest));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
}
