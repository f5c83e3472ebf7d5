//! The lock time of a version 2 PSBT (BIP-370, "Determining Lock Time").

use super::super::reader::MALFORMED;
use super::fields::{global, input};
use super::map::Map;
use countersign_wire::reason::Reason;

/// nLockTime. "The field chosen is the one which is supported by all of the inputs", by height if both are; "the
/// lock time chosen is then the maximum value of the chosen type of lock time". Inputs that contradict each other
/// are refused.
pub(super) fn determined(global: &Map, inputs: &[Map]) -> Result<u32, Reason> {
    let (mut height, mut time) = (Some(0), Some(0));
    let mut required = false;
    for map in inputs {
        let by_height = map.u32(input::REQUIRED_HEIGHT_LOCKTIME)?;
        let by_time = map.u32(input::REQUIRED_TIME_LOCKTIME)?;
        if by_height.is_some() || by_time.is_some() {
            required = true;
            height = height.zip(by_height).map(|(most, next)| most.max(next));
            time = time.zip(by_time).map(|(most, next)| most.max(next));
        }
    }
    if required {
        height.or(time).ok_or(MALFORMED)
    } else {
        Ok(global.u32(global::FALLBACK_LOCKTIME)?.unwrap_or(0))
    }
}
