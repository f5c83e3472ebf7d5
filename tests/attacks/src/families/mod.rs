//! The attacks, a file for each kind. What the attacker does goes through [`Tries`](crate::attack::Tries); what his victim
//! and the operator do is expected to work.

mod approvals;
mod bitcoin;
mod blind;
mod enrolment;
mod exhaustion;
mod faults;
mod guessing;
mod image;
mod log;
mod parallel;
mod pkcs11;
mod policy;
mod relay;
mod replay;
mod requests;
mod secrets;
mod store;
mod tenants;
mod time;
mod timing;
mod wire;

use crate::attack::{Attack, Family};

/// All of them.
const ALL: &[Family] = &[
    replay::FAMILY,
    parallel::FAMILY,
    time::FAMILY,
    timing::FAMILY,
    guessing::FAMILY,
    store::FAMILY,
    image::FAMILY,
    enrolment::FAMILY,
    tenants::FAMILY,
    pkcs11::FAMILY,
    requests::FAMILY,
    wire::FAMILY,
    approvals::FAMILY,
    relay::FAMILY,
    blind::FAMILY,
    bitcoin::FAMILY,
    policy::FAMILY,
    log::FAMILY,
    faults::FAMILY,
    exhaustion::FAMILY,
    secrets::FAMILY,
];

/// Those that are named, by family or in full, or all; the error is a name that is none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<(&'static Family, &'static Attack)>, String> {
    static FAMILIES: &[Family] = ALL;
    let all = || FAMILIES.iter().flat_map(|family| family.attacks.iter().map(move |attack| (family, attack)));
    let is = |name: &str, (family, attack): (&Family, &Attack)| {
        name == family.name || name.split_once('/') == Some((family.name, attack.name))
    };
    if let Some(unknown) = names.iter().find(|name| !all().any(|one| is(name, one))) {
        return Err(unknown.clone());
    }
    Ok(all().filter(|one| names.is_empty() || names.iter().any(|name| is(name, *one))).collect())
}
