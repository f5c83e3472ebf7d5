//! Finding keys (PKCS#11 v2.40 section 5.7, `C_FindObjects…`).

use crate::attributes::{self, Attribute, Part};
use crate::boundary::memory::{Out, OutArray};
use crate::certificate;
use crate::failure::{Function, Result};
use crate::module::{Login, Module, not_an_answer};
use countersign_wire::client::{Act, Answer, KeyId, KeyQuery};
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG, CKA_ID, CKA_LABEL, CKA_SUBJECT, CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// A search under way: what is wanted, what was found and not yet fetched, and what to ask the HSM for next.
pub(crate) struct Search {
    template: Vec<Attribute>,
    found: VecDeque<CK_OBJECT_HANDLE>,
    next: Option<(Arc<Login>, KeyQuery)>,
}

impl Search {
    /// Without a login there are no objects to find, which is not an error.
    pub(crate) fn new(template: Vec<Attribute>, login: Option<Arc<Login>>) -> Self {
        let next = login.zip(query(&template));
        Self { template, found: VecDeque::new(), next }
    }

    /// Whether it asks under that login.
    pub(crate) fn belongs_to(&self, login: &Arc<Login>) -> bool {
        self.next.as_ref().is_none_or(|(under, _)| Arc::ptr_eq(under, login))
    }

    /// Asks for the next page. What was found so far stays if the HSM refuses, so the call can be repeated.
    fn fetch(&mut self, module: &Module) -> Result {
        let Some((login, query)) = &self.next else { return Ok(()) };
        let act = Act::FindKeys(query.clone());
        let Answer::Keys(page) = module.ask(Some(&login.api_key), Function::Other, act)? else {
            return Err(not_an_answer());
        };
        for key in page.keys {
            let parts = Part::ALL.map(|part| attributes::matches(&key, part, &self.template).then_some(part));
            if parts == [None; 3] {
                continue;
            }
            let handles = login.give_handles(key)?;
            self.found.extend(parts.into_iter().flatten().map(|part| handles.of(part)));
        }
        let next = match (query, page.next) {
            (KeyQuery::All(from), Some(to)) if *from == Some(to) => return Err(not_an_answer()),
            (KeyQuery::All(_), Some(to)) => Some((Arc::clone(login), KeyQuery::All(Some(to)))),
            _ => None,
        };
        self.next = next;
        Ok(())
    }
}

/// What to ask the HSM for, so that little has to be thrown away here; `None`: nothing can match.
fn query(template: &[Attribute]) -> Option<KeyQuery> {
    let wanted = |kind| template.iter().find(|attribute| attribute.kind == kind);
    let possible = |part: &Part| {
        template.iter().all(|attribute| {
            attributes::fixed(*part, attribute.kind).is_none_or(|value| value == attribute.value)
        })
    };
    if !Part::ALL.iter().any(possible) {
        return None;
    }
    if let Some(id) = wanted(CKA_ID) {
        return Some(KeyQuery::Id(KeyId::new(id.value.as_slice().try_into().ok()?)));
    }
    if let Some(label) = wanted(CKA_LABEL) {
        return Some(KeyQuery::Label(core::str::from_utf8(&label.value).ok()?.parse().ok()?));
    }
    // Keys have an empty subject; a client that looks for the certificate of an issuer finds none.
    if let Some(subject) = wanted(CKA_SUBJECT).filter(|subject| !subject.value.is_empty()) {
        return certificate::label_of(&subject.value).map(KeyQuery::Label);
    }
    Some(KeyQuery::All(None))
}

/// `C_FindObjectsInit`.
pub(crate) fn init(module: &Module, session: CK_SESSION_HANDLE, template: Vec<Attribute>) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    if state.search.is_some() {
        return Err(CKR_OPERATION_ACTIVE.into());
    }
    state.search = Some(Search::new(template, module.login()));
    Ok(())
}

/// `C_FindObjects`.
pub(crate) fn next(
    module: &Module,
    session: CK_SESSION_HANDLE,
    objects: &mut OutArray<CK_OBJECT_HANDLE>,
    count: &mut Out<CK_ULONG>,
) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    let search = state.search.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    while search.found.len() < objects.room() && search.next.is_some() {
        search.fetch(module)?;
    }
    let ready = search.found.len().min(objects.room());
    for handle in search.found.drain(..ready) {
        objects.append(&[handle]);
    }
    count
        .set(CK_ULONG::try_from(ready).expect("no more than the room that the caller counted in a CK_ULONG"));
    Ok(())
}

/// `C_FindObjectsFinal`.
pub(crate) fn finish(module: &Module, session: CK_SESSION_HANDLE) -> Result {
    let session = module.session(session)?;
    let mut state = session.lock()?;
    state.search.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKA_CLASS, CKA_TOKEN, CKO_CERTIFICATE, CKO_DATA, CKO_PUBLIC_KEY};

    fn wanted(kind: CK_ULONG, value: &[u8]) -> Attribute {
        Attribute { kind, value: value.to_vec() }
    }

    #[test]
    fn asks_for_one_key_where_the_template_names_one() {
        let label = wanted(CKA_LABEL, b"alice/ethereum");
        let id = wanted(CKA_ID, &[7; 16]);
        let public = wanted(CKA_CLASS, &attributes::ulong(CKO_PUBLIC_KEY));
        assert_eq!(query(&[]), Some(KeyQuery::All(None)));
        assert_eq!(query(std::slice::from_ref(&public)), Some(KeyQuery::All(None)));
        let certificate = wanted(CKA_CLASS, &attributes::ulong(CKO_CERTIFICATE));
        let subject = wanted(CKA_SUBJECT, &certificate::subject(&"alice/ethereum".parse().unwrap()));
        let by_subject = query(&[certificate, subject]);
        assert_eq!(by_subject, Some(KeyQuery::Label("alice/ethereum".parse().unwrap())));
        assert_eq!(query(&[public, label.clone()]), Some(KeyQuery::Label("alice/ethereum".parse().unwrap())));
        assert_eq!(query(&[label, id]), Some(KeyQuery::Id(KeyId::new([7; 16]))));
    }

    #[test]
    fn asks_nothing_where_nothing_can_match() {
        assert_eq!(query(&[wanted(CKA_LABEL, b"no key label")]), None);
        assert_eq!(query(&[wanted(CKA_ID, &[7; 15])]), None);
        assert_eq!(query(&[wanted(CKA_CLASS, &attributes::ulong(CKO_DATA))]), None);
        assert_eq!(query(&[wanted(CKA_TOKEN, &[0])]), None);
        assert_eq!(query(&[wanted(CKA_SUBJECT, &certificate::issuer())]), None);
    }
}
