//! The functions of PKCS#11 v2.40. `docs/pkcs11.md` says of each what it does.

use crate::boundary::entry::{c_functions, read_log_setting, unsupported_in_session};
use crate::boundary::lists;
use crate::boundary::memory::{
    AttributeSlots, Out, OutArray, OutList, bytes, mechanism as read_mechanism, optional,
    template as read_template,
};
use crate::boundary::process;
use crate::context_pin::PIN_MAX_BYTES;
use crate::mechanism::TRANSACTION_MAX_BYTES;
use crate::{general, key_generation, objects, random, search, session, sign, slot_token, unsupported};
use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_BBOOL, CK_BYTE_PTR, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_FUNCTION_LIST_PTR_PTR,
    CK_INFO_PTR, CK_MECHANISM_INFO_PTR, CK_MECHANISM_PTR, CK_MECHANISM_TYPE, CK_MECHANISM_TYPE_PTR,
    CK_NOTIFY, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_SESSION_HANDLE, CK_SESSION_HANDLE_PTR,
    CK_SESSION_INFO_PTR, CK_SLOT_ID, CK_SLOT_ID_PTR, CK_SLOT_INFO_PTR, CK_TOKEN_INFO_PTR, CK_ULONG,
    CK_ULONG_PTR, CK_USER_TYPE, CK_UTF8CHAR_PTR, CK_VOID_PTR, CKR_ARGUMENTS_BAD, CKR_PIN_LEN_RANGE,
    CKU_CONTEXT_SPECIFIC,
};

// General, section 5.4.
c_functions! {
    /// Reads the configuration and makes the module ready. The HSM is not asked yet.
    fn C_Initialize(arguments: CK_VOID_PTR) {
        read_log_setting();
        general::check_arguments(optional(arguments.cast::<CK_C_INITIALIZE_ARGS>()).as_ref())?;
        process::initialize(general::start)
    }

    /// Closes everything, after waiting for the calls that are under way in other threads. Those that begin meanwhile
    /// are refused.
    fn C_Finalize(reserved: CK_VOID_PTR) {
        if !reserved.is_null() {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        process::finalize(general::stop)
    }

    /// Says what this library is.
    fn C_GetInfo(info: CK_INFO_PTR) with _module {
        Out::new(info)?.set(general::info());
        Ok(())
    }

    /// Gives the functions of PKCS#11 v2.40.
    #[unsafe(no_mangle)]
    fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) {
        Out::new(list)?.set(lists::v2_40());
        Ok(())
    }
}

// Slot and token, section 5.5.
c_functions! {
    /// Lists the one slot.
    fn C_GetSlotList(_token_present: CK_BBOOL, slots: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) with _module {
        slot_token::list(&mut OutList::new(slots, count)?)
    }

    /// Describes the slot.
    fn C_GetSlotInfo(slot: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) with _module {
        slot_token::slot_info(slot, &mut Out::new(info)?)
    }

    /// Describes the token, after asking the HSM.
    fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) with module {
        slot_token::token_info(module, slot, &mut Out::new(info)?)
    }

    /// Lists the token's mechanisms.
    fn C_GetMechanismList(slot: CK_SLOT_ID, list: CK_MECHANISM_TYPE_PTR, count: CK_ULONG_PTR) with _module {
        slot_token::mechanism_list(slot, &mut OutList::new(list, count)?)
    }

    /// Describes a mechanism.
    fn C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: CK_MECHANISM_INFO_PTR) with _module {
        slot_token::mechanism_info(slot, kind, &mut Out::new(info)?)
    }

    /// Not supported: an HSM is initialised in its ceremony.
    fn C_InitToken(slot: CK_SLOT_ID, _pin: CK_UTF8CHAR_PTR, _length: CK_ULONG, _label: CK_UTF8CHAR_PTR) with _module {
        unsupported::in_slot(slot)
    }

    /// Not supported: the token is never removed.
    fn C_WaitForSlotEvent(_flags: CK_FLAGS, _slot: CK_SLOT_ID_PTR, _reserved: CK_VOID_PTR) with _module {
        unsupported::always()
    }
}

// Sessions, section 5.6.
c_functions! {
    /// Opens a session.
    fn C_OpenSession(
        slot: CK_SLOT_ID,
        flags: CK_FLAGS,
        _application: CK_VOID_PTR,
        _notify: CK_NOTIFY,
        session: CK_SESSION_HANDLE_PTR,
    ) with module {
        let mut opened = Out::new(session)?;
        opened.set(session::open(module, slot, flags)?);
        Ok(())
    }

    /// Closes a session and ends what is under way in it.
    fn C_CloseSession(session: CK_SESSION_HANDLE) with module {
        session::close(module, session)
    }

    /// Closes all sessions and logs out.
    fn C_CloseAllSessions(slot: CK_SLOT_ID) with module {
        session::close_all(module, slot)
    }

    /// Describes a session.
    fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: CK_SESSION_INFO_PTR) with module {
        session::info(module, session, &mut Out::new(info)?)
    }

    /// Logs the application in with its API key, or the operation under way with the user's code.
    fn C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: CK_UTF8CHAR_PTR, length: CK_ULONG) with module {
        if pin.is_null() && user != CKU_CONTEXT_SPECIFIC {
            // That would ask for a keypad of the token's own, which it has not. A signature may have been approved on
            // the user's device, though, and then no PIN says so.
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        let pin = bytes(pin, length, PIN_MAX_BYTES)?;
        if pin.len() > PIN_MAX_BYTES {
            return Err(CKR_PIN_LEN_RANGE.into());
        }
        session::login(module, session, user, &pin)
    }

    /// Logs the application out and ends what is under way in all sessions.
    fn C_Logout(session: CK_SESSION_HANDLE) with module {
        session::logout(module, session)
    }
}

// Objects, section 5.7.
c_functions! {
    /// Refused: a key is never copied.
    fn C_CopyObject(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        _template: CK_ATTRIBUTE_PTR,
        _length: CK_ULONG,
        _copy: CK_OBJECT_HANDLE_PTR,
    ) with module {
        objects::refuse_change(module, session, object)
    }

    /// Refused: a key is never destroyed with an API key.
    fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) with module {
        objects::refuse_change(module, session, object)
    }

    /// Tells attributes of a key.
    fn C_GetAttributeValue(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: CK_ATTRIBUTE_PTR,
        length: CK_ULONG,
    ) with module {
        objects::get_attribute_value(module, session, object, &mut AttributeSlots::new(template, length)?)
    }

    /// Refused: what a key is was fixed when it was made.
    fn C_SetAttributeValue(
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        _template: CK_ATTRIBUTE_PTR,
        _length: CK_ULONG,
    ) with module {
        objects::refuse_change(module, session, object)
    }

    /// Begins a search.
    fn C_FindObjectsInit(session: CK_SESSION_HANDLE, template: CK_ATTRIBUTE_PTR, length: CK_ULONG) with module {
        search::init(module, session, read_template(template, length)?)
    }

    /// Goes on with a search.
    fn C_FindObjects(
        session: CK_SESSION_HANDLE,
        objects: CK_OBJECT_HANDLE_PTR,
        room: CK_ULONG,
        count: CK_ULONG_PTR,
    ) with module {
        search::next(module, session, &mut OutArray::new(objects, room)?, &mut Out::new(count)?)
    }

    /// Ends a search.
    fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) with module {
        search::finish(module, session)
    }
}

// Signing, section 5.11.
c_functions! {
    /// Begins a signature, or with a `NULL` mechanism ends one.
    fn C_SignInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) with module {
        sign::init(module, session, read_mechanism(mechanism), key)
    }

    /// Signs all data at once.
    fn C_Sign(
        session: CK_SESSION_HANDLE,
        data: CK_BYTE_PTR,
        length: CK_ULONG,
        signature: CK_BYTE_PTR,
        signature_length: CK_ULONG_PTR,
    ) with module {
        let mut signature_out = OutList::new(signature, signature_length)?;
        if signature.is_null() {
            // The data need not be there: only its length counts.
            let data_bytes = usize::try_from(length).unwrap_or(usize::MAX);
            return sign::size(module, session, data_bytes, &mut signature_out);
        }
        let data = bytes(data, length, TRANSACTION_MAX_BYTES)?;
        sign::sign(module, session, &data, &mut signature_out)
    }

    /// Adds data to a signature.
    fn C_SignUpdate(session: CK_SESSION_HANDLE, part: CK_BYTE_PTR, length: CK_ULONG) with module {
        sign::update(module, session, &bytes(part, length, TRANSACTION_MAX_BYTES)?)
    }

    /// Signs the data that was added.
    fn C_SignFinal(session: CK_SESSION_HANDLE, signature: CK_BYTE_PTR, length: CK_ULONG_PTR) with module {
        sign::finish(module, session, &mut OutList::new(signature, length)?)
    }
}

// Keys, section 5.14, and random bytes, section 5.15.
c_functions! {
    /// Makes a further key of a confirmed account.
    fn C_GenerateKeyPair(
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_PTR,
        public_template: CK_ATTRIBUTE_PTR,
        public_length: CK_ULONG,
        private_template: CK_ATTRIBUTE_PTR,
        private_length: CK_ULONG,
        public_key: CK_OBJECT_HANDLE_PTR,
        private_key: CK_OBJECT_HANDLE_PTR,
    ) with module {
        let (public, private) = (&mut Out::new(public_key)?, &mut Out::new(private_key)?);
        let mechanism = read_mechanism(mechanism);
        let public_template = read_template(public_template, public_length)?;
        let private_template = read_template(private_template, private_length)?;
        let templates = [&public_template[..], &private_template[..]];
        key_generation::generate_key_pair(module, session, mechanism, templates, [public, private])
    }

    /// Refused: no key leaves the HSM.
    fn C_WrapKey(
        session: CK_SESSION_HANDLE,
        _mechanism: CK_MECHANISM_PTR,
        _wrapping_key: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        _wrapped: CK_BYTE_PTR,
        _length: CK_ULONG_PTR,
    ) with module {
        key_generation::refuse_wrap(module, session, key)
    }

    /// Refused: it would be a use of the key that nobody approved.
    fn C_DeriveKey(
        session: CK_SESSION_HANDLE,
        _mechanism: CK_MECHANISM_PTR,
        base_key: CK_OBJECT_HANDLE,
        _template: CK_ATTRIBUTE_PTR,
        _length: CK_ULONG,
        _derived: CK_OBJECT_HANDLE_PTR,
    ) with module {
        key_generation::refuse_derive(module, session, base_key)
    }

    /// Refused: nothing from outside goes into the HSM's generator.
    fn C_SeedRandom(session: CK_SESSION_HANDLE, _seed: CK_BYTE_PTR, _length: CK_ULONG) with module {
        random::refuse_seed(module, session)
    }

    /// Random bytes from the HSM.
    fn C_GenerateRandom(session: CK_SESSION_HANDLE, to: CK_BYTE_PTR, length: CK_ULONG) with module {
        random::generate(module, session, &mut OutArray::new(to, length)?)
    }

    /// Nothing runs in parallel (section 5.16).
    fn C_GetFunctionStatus(session: CK_SESSION_HANDLE) with module {
        unsupported::not_parallel(module, session)
    }

    /// Nothing runs in parallel (section 5.16).
    fn C_CancelFunction(session: CK_SESSION_HANDLE) with module {
        unsupported::not_parallel(module, session)
    }
}

unsupported_in_session! {
    C_InitPIN(CK_UTF8CHAR_PTR, CK_ULONG);
    C_SetPIN(CK_UTF8CHAR_PTR, CK_ULONG, CK_UTF8CHAR_PTR, CK_ULONG);
    C_GetOperationState(CK_BYTE_PTR, CK_ULONG_PTR);
    C_SetOperationState(CK_BYTE_PTR, CK_ULONG, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);
    C_CreateObject(CK_ATTRIBUTE_PTR, CK_ULONG, CK_OBJECT_HANDLE_PTR);
    C_GetObjectSize(CK_OBJECT_HANDLE, CK_ULONG_PTR);
    C_EncryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_Encrypt(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_EncryptUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_EncryptFinal(CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_Decrypt(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptFinal(CK_BYTE_PTR, CK_ULONG_PTR);
    C_DigestInit(CK_MECHANISM_PTR);
    C_Digest(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DigestUpdate(CK_BYTE_PTR, CK_ULONG);
    C_DigestKey(CK_OBJECT_HANDLE);
    C_DigestFinal(CK_BYTE_PTR, CK_ULONG_PTR);
    C_SignRecoverInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_SignRecover(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_VerifyInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_Verify(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_VerifyUpdate(CK_BYTE_PTR, CK_ULONG);
    C_VerifyFinal(CK_BYTE_PTR, CK_ULONG);
    C_VerifyRecoverInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_VerifyRecover(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DigestEncryptUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptDigestUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_SignEncryptUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptVerifyUpdate(CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_GenerateKey(CK_MECHANISM_PTR, CK_ATTRIBUTE_PTR, CK_ULONG, CK_OBJECT_HANDLE_PTR);
    C_UnwrapKey(CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_ATTRIBUTE_PTR, CK_ULONG, CK_OBJECT_HANDLE_PTR);
}
