//! Fees that nobody means to pay. A policy can be stricter; these bounds hold for everyone, because a forgotten
//! change output becomes a fee and cannot be undone.
//!
//! Rates are over the size of the *unsigned* transaction, which is exact before signing and always smaller than
//! what is paid for: 5,000 sat/B is about 3,700 sat/vB for a P2WPKH payment and 2,200 for P2PKH, above what blocks
//! have ever needed for long.

use super::reader::MALFORMED;
use countersign_wire::reason::Reason;

/// No transaction pays more: 0.1 BTC, what Bitcoin Core's wallet refuses to exceed as well (`-maxtxfee`).
pub const FEE_MOST_SAT: u64 = 10_000_000;

/// No transaction pays a higher rate, in sat per byte of the unsigned transaction. Half of what Bitcoin Core
/// refuses to broadcast (`maxfeerate`, 0.10 BTC/kvB).
pub const RATE_MOST_SAT: u64 = 5_000;

/// Up to this rate, in sat per byte of the unsigned transaction, a fee may be any part of what is spent: small
/// payments cost what blocks cost. Above it, at most a tenth of all that the inputs bring.
pub const RATE_MODEST_SAT: u64 = 500;

/// The fee, if it is one that somebody may mean. All in satoshi; the size in bytes.
pub(crate) fn checked(brought_sat: u64, paid_sat: u64, unsigned_bytes: usize) -> Result<u64, Reason> {
    let fee_sat = brought_sat.checked_sub(paid_sat).ok_or(MALFORMED)?;
    let at_rate = |rate: u64| rate.saturating_mul(unsigned_bytes as u64);
    let outsized = fee_sat > brought_sat / 10 && fee_sat > at_rate(RATE_MODEST_SAT);
    if fee_sat > FEE_MOST_SAT || fee_sat > at_rate(RATE_MOST_SAT) || outsized {
        return Err(Reason::FeeTooHigh);
    }
    Ok(fee_sat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_fees_above_each_bound_and_takes_what_is_just_below() {
        let most = |brought, fee, bytes| checked(brought, brought - fee, bytes);
        let high = Err(Reason::FeeTooHigh);
        // In all.
        assert_eq!(most(10_000_000_000, FEE_MOST_SAT, 100_000), Ok(FEE_MOST_SAT));
        assert_eq!(most(10_000_000_000, FEE_MOST_SAT + 1, 100_000), high);
        // By rate.
        assert_eq!(most(1_000_000_000, 500_000, 100), Ok(500_000));
        assert_eq!(most(1_000_000_000, 500_001, 100), high);
        // By part.
        assert_eq!(most(1_000_000, 100_000, 100), Ok(100_000));
        assert_eq!(most(1_000_000, 100_001, 100), high);
        // A small payment at a modest rate.
        assert_eq!(most(60_000, 50_000, 100), Ok(50_000));
        assert_eq!(most(60_000, 50_001, 100), high);
        assert_eq!(most(1_000, 0, 100), Ok(0));
    }

    #[test]
    fn refuses_to_pay_more_than_there_is() {
        assert_eq!(checked(1_000, 1_001, 100), Err(MALFORMED));
    }
}
