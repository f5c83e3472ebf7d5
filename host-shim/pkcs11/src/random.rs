//! Random bytes (PKCS#11 v2.40 section 5.15).

use crate::boundary::memory::OutArray;
use crate::failure::{Function, Result};
use crate::module::{Module, not_an_answer};
use countersign_wire::client::{Act, Answer, RANDOM_MAX_BYTES};
use cryptoki_sys::{CK_SESSION_HANDLE, CKR_RANDOM_SEED_NOT_SUPPORTED};
use zeroize::Zeroizing;

/// `C_GenerateRandom`: from the HSM, as many requests as it takes. Needs a login, as everything does that the HSM
/// does for a tenant.
pub(crate) fn generate(module: &Module, session: CK_SESSION_HANDLE, bytes: &mut OutArray<u8>) -> Result {
    module.session(session)?;
    let login = module.logged_in()?;
    while bytes.room() > 0 {
        let most = u16::try_from(bytes.room()).unwrap_or(RANDOM_MAX_BYTES).min(RANDOM_MAX_BYTES);
        let answer = module.ask(Some(&login.api_key), Function::Other, Act::Random(most))?;
        let Answer::Random(random) = answer else { return Err(not_an_answer()) };
        let random = Zeroizing::new(random.into_vec());
        if random.len() != usize::from(most) {
            return Err(not_an_answer());
        }
        bytes.append(&random);
    }
    Ok(())
}

/// `C_SeedRandom`: nothing from outside the boundary goes into the HSM's generator.
pub(crate) fn refuse_seed(module: &Module, session: CK_SESSION_HANDLE) -> Result {
    module.session(session)?;
    Err(CKR_RANDOM_SEED_NOT_SUPPORTED.into())
}
