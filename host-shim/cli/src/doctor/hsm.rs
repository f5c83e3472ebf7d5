//! What answers at the socket: whether it serves, as whom, and how it is.

use super::look::{SocketFacts, SocketState};
use super::verdict::{Check, Verdict};
use crate::show::duration;
use countersign_attestation::{Allowed, Claims, Expected};
use countersign_wire::client::{ClockMode, Status};
use countersign_wire::reason::Reason;

/// A code is taken one step of 30 seconds early or late. A clock that is further off refuses right codes.
const CLOCK_OFF_MAX_SECS: u64 = 30;

/// What the way to the HSM and a clock that is kept right explain.
const CLOCK_OFF_NORMAL_SECS: u64 = 5;

/// Below this the HSM begins nothing new.
const ROOM_MIN_BYTES: u64 = 8 * 1024 * 1024;

/// Below this somebody should act.
const ROOM_LOW_BYTES: u64 = 1024 * 1024 * 1024;

/// What the HSM said.
pub(super) struct HsmFacts {
    /// How it is, and this machine's time then; or why it did not say.
    pub(super) status: Result<(Status, u64), Reason>,
    /// The tenant of the API key; `None`: there is no key to be tried.
    pub(super) login: Option<Result<String, Reason>>,
    /// The word for why it is not the HSM of the root that is trusted; `None`: it is, or nobody said which root that is.
    pub(super) distrust: Option<String>,
    /// What it attests to this API key.
    pub(super) claims: Option<Claims>,
}

impl HsmFacts {
    /// The image that runs, in hex.
    pub(super) fn measurement(&self) -> Option<String> {
        self.status.as_ref().ok().map(|(status, _)| crate::show::hex(&*status.measurement))
    }

    /// What the plugin runs in.
    pub(super) fn boundary(&self) -> Option<&str> {
        self.claims.as_ref().map(|claims| claims.boundary.as_str())
    }
}

/// Whether the socket is there, served by the right user.
pub(super) fn socket(facts: Option<&SocketFacts>) -> Verdict {
    let Some(SocketFacts { path, state }) = facts else {
        return Verdict::skipped("There is no configuration to look at.");
    };
    let path = path.display();
    match state {
        SocketState::Missing => Verdict::problem(
            format!("There is no socket at {path}."),
            "Start the HSM (systemctl start countersign-hsm), or correct `socket` in host.toml.",
        ),
        SocketState::NoSocket => {
            Verdict::problem(format!("{path} is not a socket."), "Correct `socket` in host.toml.")
        }
        SocketState::Forbidden => Verdict::problem(
            format!("This user may not reach {path}."),
            "On the HSM's host: start it with --allow-uid and this user's id, and let the user through its folder with setfacl -m u:UID:x.",
        ),
        SocketState::NobodyListens(why) => Verdict::problem(
            format!("Nobody serves {path}: {why}."),
            "Start the HSM (systemctl start countersign-hsm); its log says why it ended.",
        ),
        SocketState::Served { uid, wanted: false, .. } => Verdict::problem(
            format!(
                "User {uid} serves {path}, who is not the one that host.toml expects; nothing is sent there."
            ),
            "Find out whose process that is. If it is the HSM's own user, name the id as hsm_uid in host.toml.",
        ),
        SocketState::Served { uid, wanted: true, .. } => {
            Verdict::ok(format!("{path} is served by user {uid}, as it should be."))
        }
    }
}

/// All checks of what the HSM says, in order.
pub(super) fn all(facts: Option<&HsmFacts>, root_given: bool) -> Vec<(Check, Verdict)> {
    let status = facts.and_then(|facts| facts.status.as_ref().ok());
    let claims = facts.and_then(|facts| facts.claims.as_ref());
    let of_status = |judge: fn(&Status) -> Verdict| match status {
        Some((status, _)) => judge(status),
        None => Verdict::skipped("The HSM did not answer."),
    };
    let of_claims = |judge: fn(&Claims) -> Verdict| match claims {
        Some(claims) => judge(claims),
        None => {
            Verdict::skipped("The HSM attests this to a tenant alone, and there is no API key that it takes.")
        }
    };
    vec![
        (
            Check::HsmAnswers,
            answers(facts.map(|facts| facts.status.as_ref().map(|_| ()).map_err(|reason| *reason))),
        ),
        (Check::ApiKeyAccepted, api_key_accepted(facts.and_then(|facts| facts.login.as_ref()))),
        (Check::HsmIdentity, identity(facts.filter(|_| status.is_some()), root_given)),
        (Check::Versions, of_status(|status| versions(env!("CARGO_PKG_VERSION"), &status.version))),
        (Check::ImageChannel, of_claims(image_channel)),
        (Check::Sandbox, of_status(|status| sandbox(&status.missing_sandbox_layers))),
        (Check::Policy, of_claims(policy)),
        (Check::ClockSure, of_status(|status| clock_sure(status.clock_sure))),
        (Check::ClockMode, of_status(|status| clock_mode(status.clock))),
        (
            Check::ClockAgrees,
            status.map_or_else(
                || Verdict::skipped("The HSM did not answer."),
                |(status, now)| clock_agrees(status.clock, status.unix_time_secs, *now),
            ),
        ),
        (Check::StoreRoom, of_status(|status| store_room(status.store_room_bytes, status.refused_for_room))),
    ]
}

fn answers(said: Option<Result<(), Reason>>) -> Verdict {
    match said {
        None => Verdict::skipped("There is no configuration to look at."),
        Some(Ok(())) => Verdict::ok("The HSM answers."),
        Some(Err(reason)) => Verdict::problem(
            format!("The HSM does not answer ({}).", reason.word()),
            format!(
                "{} One that runs closes the connections of users whom it was not told of (--allow-uid). Its log says more: \
                 journalctl -u countersign-hsm",
                reason.sentence()
            ),
        ),
    }
}

fn api_key_accepted(login: Option<&Result<String, Reason>>) -> Verdict {
    match login {
        None => Verdict::skipped("There is no API key to try, or no HSM to try it on."),
        Some(Ok(tenant)) => Verdict::ok(format!("The HSM takes the API key, of the tenant {tenant}.")),
        Some(Err(Reason::WrongApiKey)) => Verdict::problem(
            "The HSM does not take the API key.",
            "Use the key that the ceremony printed; if it is lost: countersign-hsm tenant new-api-key, which ends the old one.",
        ),
        Some(Err(reason)) => Verdict::problem(
            format!("The API key could not be tried ({}).", reason.word()),
            reason.sentence(),
        ),
    }
}

fn identity(facts: Option<&HsmFacts>, root_given: bool) -> Verdict {
    match facts {
        None => Verdict::skipped("The HSM did not answer."),
        Some(_) if !root_given => Verdict::skipped(
            "Whether this is the right HSM was not looked at; name the fingerprint that its ceremony printed with --root.",
        ),
        Some(HsmFacts { distrust: Some(word), .. }) => Verdict::problem(
            format!("This is not the HSM of the root that you named ({word})."),
            "Send it nothing. Compare the fingerprint with the one of the ceremony, and find out what serves the socket.",
        ),
        Some(_) => Verdict::ok("It is the HSM of the root that you named."),
    }
}

fn versions(own: &str, plugin: &str) -> Verdict {
    if own == plugin {
        return Verdict::ok(format!("This program and the plugin have version {own}."));
    }
    Verdict::warning(
        format!("This program has version {own}, the plugin {plugin}."),
        "Upgrade the older one; docs/operations.md says in which order.",
    )
}

fn image_channel(claims: &Claims) -> Verdict {
    if Expected::default().weaknesses(claims).contains(&Allowed::DevelopmentImage) {
        return Verdict::warning(
            "The HSM is one for development: its image is signed by nobody.",
            "Keep no money there. For real use initialise an HSM with --release-keys and --threshold.",
        );
    }
    let people = claims.release_keys.as_ref().map_or(0, |keys| keys.threshold);
    Verdict::ok(format!("The HSM runs images that at least {people} of its people signed."))
}

fn sandbox(missing: &[String]) -> Verdict {
    if missing.is_empty() {
        return Verdict::ok("The plugin runs in every layer of the sandbox.");
    }
    Verdict::warning(
        format!("The plugin runs without layers of its sandbox: {}.", missing.join(", ")),
        "On the HSM's host `countersign-hsm sandbox` says why; mend that, and start it without --weak-sandbox.",
    )
}

fn policy(claims: &Claims) -> Verdict {
    match claims.plugin.policy {
        Some((version, _)) => Verdict::ok(format!("The tenant has a policy of its own, version {version}.")),
        None => Verdict::warning(
            "The tenant has no policy of its own: every transfer is permitted.",
            "Write one (policy/README.md) and load it on the stopped HSM: countersign-hsm tenant set-policy",
        ),
    }
}

fn clock_sure(sure: bool) -> Verdict {
    if sure {
        return Verdict::ok("The HSM believes its clock.");
    }
    Verdict::problem(
        "The HSM does not believe its clock, which is behind time that it has seen: it refuses every code.",
        "Set the clock of the HSM's host right. If the HSM saw a time in the future, it believes its clock again when that has come.",
    )
}

fn clock_mode(mode: ClockMode) -> Verdict {
    match mode {
        ClockMode::System => Verdict::ok("The HSM's time is that of its host's clock."),
        ClockMode::Manual => Verdict::warning(
            "The HSM's time is set by hand: whoever does that chooses which code is good.",
            "Keep no money there. The mode is fixed when an HSM is initialised; for real use leave --clock manual out.",
        ),
    }
}

fn clock_agrees(mode: ClockMode, hsm_secs: u64, own_secs: u64) -> Verdict {
    let off = hsm_secs.abs_diff(own_secs);
    let direction = if hsm_secs < own_secs { "behind" } else { "ahead of" };
    let told = format!("The HSM's clock is {} {direction} this machine's", duration(off));
    let mend =
        "Have both machines' clocks kept by NTP (timedatectl set-ntp true); users' phones do the same.";
    match (mode, off) {
        (ClockMode::Manual, _) => Verdict::skipped(format!("{told}; it is set by hand.")),
        (_, ..=CLOCK_OFF_NORMAL_SECS) => Verdict::ok("The HSM's clock and this machine's agree."),
        (_, ..=CLOCK_OFF_MAX_SECS) => Verdict::warning(format!("{told}."), mend),
        _ => {
            Verdict::problem(format!("{told}: users whose clocks are right have their codes refused."), mend)
        }
    }
}

fn store_room(room_bytes: Option<u64>, refused: u64) -> Verdict {
    let mend = "Make room on the disk of the HSM's store, or move the HSM to a larger one; docs/manual/custodians/capacity.md says how much it needs.";
    let mib = room_bytes.map(|bytes| bytes / (1024 * 1024));
    match (room_bytes, mib) {
        (Some(..ROOM_MIN_BYTES), Some(mib)) => Verdict::problem(
            format!("The store's disk has {mib} MiB left: the HSM begins nothing new."),
            mend,
        ),
        (Some(..ROOM_LOW_BYTES), Some(mib)) => {
            Verdict::warning(format!("The store's disk has {mib} MiB left."), mend)
        }
        _ if refused > 0 => Verdict::warning(
            format!("Since its start the HSM refused {refused} requests for want of room."),
            mend,
        ),
        (Some(_), Some(mib)) => Verdict::ok(format!("The store's disk has {mib} MiB left.")),
        _ => Verdict::skipped("The HSM cannot tell how much room its store has."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Outcome;
    use super::*;

    fn at(state: SocketState) -> Outcome {
        socket(Some(&SocketFacts { path: "/h/hsm.sock".into(), state })).outcome
    }

    #[test]
    fn a_socket_must_be_there_and_served_by_the_right_user() {
        assert_eq!(at(SocketState::Served { uid: 0, pid: 1, wanted: true }), Outcome::Ok);
        assert_eq!(at(SocketState::Served { uid: 7, pid: 1, wanted: false }), Outcome::Problem);
        for state in [
            SocketState::Missing,
            SocketState::NoSocket,
            SocketState::Forbidden,
            SocketState::NobodyListens("refused".into()),
        ] {
            assert_eq!(at(state), Outcome::Problem);
        }
        assert_eq!(socket(None).outcome, Outcome::Skipped);
    }

    #[test]
    fn an_hsm_that_does_not_answer_is_a_problem_and_all_that_it_would_have_said_is_skipped() {
        let facts =
            HsmFacts { status: Err(Reason::HsmUnreachable), login: None, distrust: None, claims: None };
        for (check, verdict) in all(Some(&facts), false) {
            let expected = if check == Check::HsmAnswers { Outcome::Problem } else { Outcome::Skipped };
            assert_eq!(verdict.outcome, expected, "{}", check.word());
        }
        assert!(all(None, true).iter().all(|(_, verdict)| verdict.outcome == Outcome::Skipped));
    }

    #[test]
    fn an_api_key_that_is_not_taken_is_a_problem() {
        assert_eq!(api_key_accepted(None).outcome, Outcome::Skipped);
        assert_eq!(api_key_accepted(Some(&Ok("default".into()))).outcome, Outcome::Ok);
        assert_eq!(api_key_accepted(Some(&Err(Reason::WrongApiKey))).outcome, Outcome::Problem);
        assert_eq!(api_key_accepted(Some(&Err(Reason::Busy))).outcome, Outcome::Problem);
    }

    #[test]
    fn another_root_is_a_problem_and_none_is_not_looked_at() {
        let facts = |distrust: Option<&str>| HsmFacts {
            status: Err(Reason::HsmUnreachable),
            login: None,
            distrust: distrust.map(ToOwned::to_owned),
            claims: None,
        };
        assert_eq!(identity(Some(&facts(None)), false).outcome, Outcome::Skipped);
        assert_eq!(identity(Some(&facts(None)), true).outcome, Outcome::Ok);
        assert_eq!(identity(Some(&facts(Some("wrong-root"))), true).outcome, Outcome::Problem);
        assert_eq!(identity(None, true).outcome, Outcome::Skipped);
    }

    #[test]
    fn other_versions_missing_layers_and_a_clock_set_by_hand_are_warnings() {
        assert_eq!(versions("0.1.0", "0.1.0").outcome, Outcome::Ok);
        assert_eq!(versions("0.2.0", "0.1.0").outcome, Outcome::Warning);
        assert_eq!(sandbox(&[]).outcome, Outcome::Ok);
        assert_eq!(sandbox(&["memory-lock".into()]).outcome, Outcome::Warning);
        assert_eq!(clock_mode(ClockMode::System).outcome, Outcome::Ok);
        assert_eq!(clock_mode(ClockMode::Manual).outcome, Outcome::Warning);
    }

    #[test]
    fn a_clock_in_doubt_refuses_every_code_and_is_a_problem() {
        assert_eq!(clock_sure(true).outcome, Outcome::Ok);
        assert_eq!(clock_sure(false).outcome, Outcome::Problem);
    }

    #[test]
    fn clocks_that_differ_by_more_than_a_step_are_a_problem() {
        let off = |hsm, own| clock_agrees(ClockMode::System, hsm, own).outcome;
        for (difference, outcome) in [
            (0, Outcome::Ok),
            (5, Outcome::Ok),
            (6, Outcome::Warning),
            (30, Outcome::Warning),
            (31, Outcome::Problem),
        ] {
            assert_eq!(off(1000, 1000 + difference), outcome, "behind by {difference}");
            assert_eq!(off(1000 + difference, 1000), outcome, "ahead by {difference}");
        }
        assert_eq!(clock_agrees(ClockMode::Manual, 0, 1000).outcome, Outcome::Skipped);
    }

    #[test]
    fn a_store_without_room_is_a_problem_and_one_with_little_a_warning() {
        assert_eq!(store_room(Some(ROOM_MIN_BYTES - 1), 0).outcome, Outcome::Problem);
        assert_eq!(store_room(Some(ROOM_MIN_BYTES), 0).outcome, Outcome::Warning);
        assert_eq!(store_room(Some(ROOM_LOW_BYTES), 0).outcome, Outcome::Ok);
        assert_eq!(store_room(Some(ROOM_LOW_BYTES), 1).outcome, Outcome::Warning);
        assert_eq!(store_room(None, 0).outcome, Outcome::Skipped);
    }
}
