//! New keys, and what cannot be done with keys (PKCS#11 v2.40 section 5.14).

use crate::attributes::{
    self, Attribute, CKA_COUNTERSIGN_FLOOR, CKA_COUNTERSIGN_NETWORK, CKA_COUNTERSIGN_PATH, Part,
};
use crate::boundary::memory::{MechanismArgument, Out};
use crate::failure::{Function, Result};
use crate::mechanism;
use crate::module::{Module, not_an_answer};
use crate::objects;
use crate::session;
use countersign_wire::client::{Act, Answer, ApprovalKind, CreateKey, KeyPlan, Mechanism, Network};
use countersign_wire::names::KeyLabel;
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CKA_ALLOWED_MECHANISMS, CKA_EC_PARAMS,
    CKA_EC_POINT, CKA_ID, CKA_LABEL, CKA_PRIVATE, CKA_PUBLIC_KEY_INFO, CKA_UNIQUE_ID, CKA_VALUE, CKA_VERIFY,
    CKM_EC_KEY_PAIR_GEN, CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_CURVE_NOT_SUPPORTED, CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_UNEXTRACTABLE, CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
};

/// What the two templates of `C_GenerateKeyPair` ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    label: KeyLabel,
    plan: KeyPlan,
}

/// `C_GenerateKeyPair`: a further key of a confirmed account, named `ACCOUNT/KEY` by `CKA_LABEL`.
///
/// What the templates say must be so: the HSM makes one kind of key, and nothing here makes it weaker.
pub(crate) fn generate_key_pair(
    module: &Module,
    session: CK_SESSION_HANDLE,
    mechanism: Option<MechanismArgument>,
    templates: [&[Attribute]; 2],
    handles: [&mut Out<CK_OBJECT_HANDLE>; 2],
) -> Result {
    let [public, private] = templates;
    let session = module.session(session)?;
    let mechanism = mechanism.ok_or(CKR_ARGUMENTS_BAD)?;
    if mechanism.kind != CKM_EC_KEY_PAIR_GEN {
        return Err(CKR_MECHANISM_INVALID.into());
    }
    if mechanism.parameter_bytes != 0 {
        return Err(CKR_MECHANISM_PARAM_INVALID.into());
    }
    session::check_writable(&session)?;
    let login = module.logged_in()?;
    let Wanted { label, plan } = read_templates(public, private)?;
    let act = Act::CreateKey(CreateKey { label, plan });
    let Answer::Key(key) = module.ask(Some(&login.api_key), Function::KeyGeneration, act)? else {
        return Err(not_an_answer());
    };
    let given = login.give_handles(key)?;
    let [public, private] = handles;
    public.set(given.public);
    private.set(given.private);
    Ok(())
}

fn read_templates(public: &[Attribute], private: &[Attribute]) -> Result<Wanted, CK_RV> {
    for (part, template) in [(Part::Public, public), (Part::Private, private)] {
        template.iter().try_for_each(|attribute| check(part, attribute))?;
    }
    if !public.iter().any(|attribute| attribute.kind == CKA_EC_PARAMS) {
        return Err(CKR_TEMPLATE_INCOMPLETE);
    }
    let label = one_value(CKA_LABEL, public, private)?.ok_or(CKR_TEMPLATE_INCOMPLETE)?;
    let label = read_word(label)?;
    let mechanisms = match one_value(CKA_ALLOWED_MECHANISMS, public, private)? {
        Some(value) => read_mechanisms(value)?,
        // Signing blind must be asked for.
        None => vec![Mechanism::Ethereum],
    };
    let path = one_value(CKA_COUNTERSIGN_PATH, public, private)?.map(read_word).transpose()?;
    let network = one_value(CKA_COUNTERSIGN_NETWORK, public, private)?.map(read_network).transpose()?;
    let floor = one_value(CKA_COUNTERSIGN_FLOOR, public, private)?.map(read_floor).transpose()?;
    let floor = floor.unwrap_or_default();
    Ok(Wanted { label, plan: KeyPlan { mechanisms, network, path, floor } })
}

fn read_word<T: core::str::FromStr>(value: &[u8]) -> Result<T, CK_RV> {
    let word = core::str::from_utf8(value).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?;
    word.parse().map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)
}

fn read_network(value: &[u8]) -> Result<Network, CK_RV> {
    let named = |network: &&Network| network.word().as_bytes() == value;
    Network::ALL.iter().find(named).copied().ok_or(CKR_ATTRIBUTE_VALUE_INVALID)
}

fn read_floor(value: &[u8]) -> Result<ApprovalKind, CK_RV> {
    let word = core::str::from_utf8(value).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?;
    ApprovalKind::of_word(word).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)
}

/// Refuses an attribute that the new key will not have with that value.
fn check(part: Part, attribute: &Attribute) -> Result<(), CK_RV> {
    let value = attribute.value.as_slice();
    match (attribute.kind, part) {
        // Generic clients ask for a public half that verifies and that is not private. Neither gives anyone a right
        // over the private part, and both read back as they are.
        (
            CKA_LABEL
            | CKA_ALLOWED_MECHANISMS
            | CKA_COUNTERSIGN_PATH
            | CKA_COUNTERSIGN_NETWORK
            | CKA_COUNTERSIGN_FLOOR,
            _,
        )
        | (CKA_VERIFY | CKA_PRIVATE, Part::Public) => Ok(()),
        // The HSM chooses the id. Some clients send an empty one when they have no wish.
        (CKA_ID, _) if value.is_empty() => Ok(()),
        (CKA_ID, _) => Err(CKR_TEMPLATE_INCONSISTENT),
        (CKA_EC_PARAMS, _) if value != attributes::SECP256K1 => Err(CKR_CURVE_NOT_SUPPORTED),
        (CKA_VALUE | CKA_EC_POINT | CKA_PUBLIC_KEY_INFO | CKA_UNIQUE_ID, _) => Err(CKR_ATTRIBUTE_READ_ONLY),
        (kind, _) => match attributes::fixed(part, kind) {
            Some(fixed) if fixed == value => Ok(()),
            Some(_) => Err(CKR_TEMPLATE_INCONSISTENT),
            None => Err(CKR_ATTRIBUTE_TYPE_INVALID),
        },
    }
}

/// The value of an attribute that both templates may give, and then must give alike. An empty one is none.
fn one_value<'a>(
    kind: CK_ATTRIBUTE_TYPE,
    public: &'a [Attribute],
    private: &'a [Attribute],
) -> Result<Option<&'a [u8]>, CK_RV> {
    let mut values = private
        .iter()
        .chain(public)
        .filter(|attribute| attribute.kind == kind && !attribute.value.is_empty())
        .map(|attribute| attribute.value.as_slice());
    let first = values.next();
    if values.all(|value| Some(value) == first) { Ok(first) } else { Err(CKR_TEMPLATE_INCONSISTENT) }
}

/// `CKA_ALLOWED_MECHANISMS` as the wire has it: ascending, without repeats.
fn read_mechanisms(value: &[u8]) -> Result<Vec<Mechanism>, CK_RV> {
    let types = attributes::mechanism_types(value).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
    let known: Option<Vec<Mechanism>> = types.into_iter().map(mechanism::signs).collect();
    let mut mechanisms = known.ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
    mechanisms.sort_unstable();
    mechanisms.dedup();
    Ok(mechanisms)
}

/// `C_WrapKey`: no key leaves the HSM.
pub(crate) fn refuse_wrap(module: &Module, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result {
    refuse_use(module, session, key, CKR_KEY_UNEXTRACTABLE)
}

/// `C_DeriveKey`: a derived secret would be a use of the key that nobody approved.
pub(crate) fn refuse_derive(module: &Module, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result {
    refuse_use(module, session, key, CKR_KEY_FUNCTION_NOT_PERMITTED)
}

fn refuse_use(module: &Module, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, refusal: CK_RV) -> Result {
    module.session(session)?;
    module.logged_in()?;
    let object = objects::find_key(module, key)?;
    let private = object.part == Part::Private;
    Err(if private { refusal } else { CKR_KEY_FUNCTION_NOT_PERMITTED }.into())
}
