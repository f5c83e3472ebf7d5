//! What is promised, in one table, and whether it was kept.

use crate::growth::{self, Footprint, Users, megabytes};
use crate::results::{Results, Section};
use crate::rounds::Figures;
use crate::{approvals, gated, handovers, intents, log, syncs};
use countersign_tests::Keystore;

/// Which side of a bound is good.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One promise.
struct Target {
    what: &'static str,
    unit: &'static str,
    bound: Bound,
    /// `None`: this run did not measure it.
    measure: fn(&Results) -> Option<f64>,
}

/// Accounts below which the fixed part of a store would decide what one account takes.
const STORE_ACCOUNTS_MIN: usize = 100_000;

const TARGETS: &[Target] = &[
    Target {
        what: "module, SoftHSM keystore, 32 clients ÷ raw SoftHSM",
        unit: "",
        bound: Bound::AtLeast(0.45),
        measure: |results| raw_ratio(results, "gated/softhsm/pkcs11/32"),
    },
    Target {
        what: "module, SoftHSM keystore, 32 clients ÷ SoftHSM's always-authenticate",
        unit: "",
        bound: Bound::AtLeast(2.0),
        measure: |results| ratios(results, "gated/softhsm/pkcs11/32").map(|(_, always)| always),
    },
    Target {
        what: "native client, SoftHSM keystore, 32 clients ÷ raw SoftHSM",
        unit: "",
        bound: Bound::AtLeast(0.5),
        measure: |results| raw_ratio(results, "gated/softhsm/native/32"),
    },
    Target {
        what: "module, embedded keystore, 32 clients ÷ raw SoftHSM",
        unit: "",
        bound: Bound::AtLeast(1.0),
        measure: |results| raw_ratio(results, "gated/embedded/pkcs11/32"),
    },
    Target {
        what: "throughput with metrics and traces ÷ without, embedded keystore, 32 native clients",
        unit: "",
        bound: Bound::AtLeast(0.95),
        measure: |results| {
            let section = results.throughput.as_ref()?;
            let per_second =
                |name: &str| section.find(&format!("gated/{name}/native/32")).map(Figures::per_second);
            Some(per_second(gated::OBSERVED)? / per_second("embedded")?)
        },
    },
    Target {
        what: "one native client, SoftHSM keystore: p50 beyond raw SoftHSM and syncs",
        unit: "µs",
        bound: Bound::AtMost(250.0),
        measure: |results| one_client(results, Keystore::Softhsm).map(|alone| alone.beyond),
    },
    Target {
        what: "one native client, embedded keystore: p50 beyond raw k256 and syncs",
        unit: "µs",
        bound: Bound::AtMost(250.0),
        measure: |results| one_client(results, Keystore::Embedded).map(|alone| alone.beyond),
    },
    Target {
        what: "decoding, digest and policy of a plain transfer ÷ a gated signature",
        unit: "%",
        bound: Bound::AtMost(15.0),
        measure: |results| intents::share_percent(results.intents.as_ref()?, intents::PLAIN),
    },
    Target {
        what: "a sealed code beside a plain one",
        unit: "µs",
        bound: Bound::AtMost(500.0),
        measure: |results| approvals::us(results.intents.as_ref()?, approvals::SEALED_CODE),
    },
    Target {
        what: "a passkey beside a plain code",
        unit: "µs",
        bound: Bound::AtMost(500.0),
        measure: |results| approvals::us(results.intents.as_ref()?, approvals::PASSKEY),
    },
    Target {
        what: "the audit log at a million entries ÷ a gated signature",
        unit: "%",
        bound: Bound::AtMost(10.0),
        measure: |results| intents::share_percent(results.intents.as_ref()?, log::SIGNATURE),
    },
    Target {
        what: "longest turn of the plugin while its log is cleaned",
        unit: "ms",
        bound: Bound::AtMost(50.0),
        measure: |results| results.cleaned.map(|cleaned| cleaned.longest_turn.as_secs_f64() * 1e3),
    },
    Target {
        what: "throughput at most accounts ÷ at fewest, embedded keystore",
        unit: "",
        bound: Bound::AtLeast(0.85),
        measure: |results| over_growth(results, Figures::per_second),
    },
    Target {
        what: "p99 at most accounts ÷ at fewest, embedded keystore",
        unit: "",
        bound: Bound::AtMost(2.0),
        measure: |results| over_growth(results, |figures| figures.percentile_us(99)),
    },
    Target {
        what: "memory of the plugin at most accounts",
        unit: "MiB",
        bound: Bound::AtMost(64.0),
        measure: |results| largest(results).map(|footprint| megabytes(footprint.plugin_bytes)),
    },
    Target {
        what: "from image file to ready at fewest accounts, embedded keystore, p50",
        unit: "ms",
        bound: Bound::AtMost(300.0),
        measure: |results| {
            let smallest = embedded(results).min_by_key(|footprint| footprint.accounts)?;
            smallest.starts.map(|starts| starts.warm.as_secs_f64() * 1e3)
        },
    },
    Target {
        what: "cold start at most accounts",
        unit: "s",
        bound: Bound::AtMost(10.0),
        measure: |results| largest(results)?.starts.map(|starts| starts.cold.as_secs_f64()),
    },
    Target {
        what: "store for each account, at 100,000 and more",
        unit: "bytes",
        bound: Bound::AtMost(1536.0),
        measure: |results| {
            let large = largest(results).filter(|footprint| footprint.accounts >= STORE_ACCOUNTS_MIN);
            large.map(Footprint::store_bytes_per_account)
        },
    },
];

/// How one promise stands.
pub(crate) struct Outcome {
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) is_met: bool,
}

/// How those promises stand that this run measured.
pub(crate) fn outcomes(results: &Results) -> Vec<Outcome> {
    TARGETS
        .iter()
        .filter_map(|target| {
            let found = (target.measure)(results)?;
            let (wanted, is_met) = match target.bound {
                Bound::AtLeast(least) => (format!("≥ {} {}", number(least), target.unit), found >= least),
                Bound::AtMost(most) => (format!("≤ {} {}", number(most), target.unit), found <= most),
            };
            let found = format!("{} {}", number(found), target.unit);
            let trim = |text: String| text.trim_end().to_owned();
            Some(Outcome { what: target.what, wanted: trim(wanted), found: trim(found), is_met })
        })
        .collect()
}

fn number(value: f64) -> String {
    if value.abs() < 20.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn ratios(results: &Results, name: &str) -> Option<(f64, f64)> {
    let section = results.throughput.as_ref()?;
    section.find(name).map(|figures| section.ratios(figures))
}

fn raw_ratio(results: &Results, name: &str) -> Option<f64> {
    ratios(results, name).map(|(plain, _)| plain)
}

/// What a lone native request's time is made of, medians in microseconds.
pub(crate) struct Alone {
    pub(crate) total: f64,
    pub(crate) signing: f64,
    pub(crate) syncs: f64,
    pub(crate) beyond: f64,
    /// Of what is beyond: going from thread to thread.
    pub(crate) handovers: f64,
    /// Processor time of everybody, without the library's own signing.
    pub(crate) processor: f64,
}

/// The same for one keystore: signing is that of the library which the keystore stands on.
pub(crate) fn one_client(results: &Results, keystore: Keystore) -> Option<Alone> {
    let section: &Section = results.throughput.as_ref()?;
    let p50 = |name: &str| section.find(name).map(|figures| figures.percentile_us(50));
    let signing = match keystore {
        Keystore::Embedded => "k256/1",
        Keystore::Softhsm => "softhsm/plain/1",
    };
    let name = format!("gated/{}/native/1", keystore.word());
    let total = p50(&name)?;
    let spent: f64 = section.find(&name)?.cpu_us().iter().map(|(_, spent)| spent).sum();
    let (signing, syncs, handovers) = (p50(signing)?, p50(syncs::NAME)?, p50(handovers::NAME)?);
    let (beyond, processor) = (total - signing - syncs, (spent - signing).max(0.0));
    Some(Alone { total, signing, syncs, beyond, handovers, processor })
}

fn embedded(results: &Results) -> impl Iterator<Item = &Footprint> {
    results.footprints.iter().filter(|footprint| footprint.keystore == Keystore::Embedded)
}

fn largest(results: &Results) -> Option<&Footprint> {
    embedded(results).max_by_key(|footprint| footprint.accounts)
}

fn over_growth(results: &Results, of: fn(&Figures) -> f64) -> Option<f64> {
    let section = results.growth.as_ref()?;
    let smallest = embedded(results).min_by_key(|footprint| footprint.accounts)?;
    let [first, last] = [smallest, largest(results)?]
        .map(|size| section.find(&growth::name(Keystore::Embedded, Users::AtRandom, size.accounts)));
    Some(of(last?) / of(first?))
}
