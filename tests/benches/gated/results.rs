//! Everything that one run measured, and how it stands beside the peers.

use crate::cleaning::Cleaned;
use crate::growth::{Footprint, Memory};
use crate::in_process::Commits;
use crate::instructions::Cost;
use crate::intents;
use crate::rounds::Figures;
use serde_json::{Map, Value, json};

/// What `SoftHSM` itself did while the others were measured.
#[derive(Clone, Copy)]
pub(crate) struct Peers {
    /// Signatures a second with a plain key, at its best number of threads.
    best_plain: f64,
    /// The same with an always-authenticate key on two threads.
    always_authenticate: f64,
}

/// Contenders that took turns with each other.
pub(crate) struct Section {
    pub(crate) figures: Vec<Figures>,
}

impl Section {
    pub(crate) fn find(&self, name: &str) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.name == name)
    }

    fn peers(&self) -> Peers {
        let plain = self.figures.iter().filter(|figures| figures.name.starts_with("softhsm/plain/"));
        let always = self.find("softhsm/always-authenticate/2").expect("it takes part in every section");
        Peers {
            best_plain: plain.map(Figures::per_second).fold(f64::MIN, f64::max),
            always_authenticate: always.per_second(),
        }
    }

    /// To raw `SoftHSM` at its best, and to its always-authenticate signing.
    pub(crate) fn ratios(&self, figures: &Figures) -> (f64, f64) {
        let (peers, per_second) = (self.peers(), figures.per_second());
        (per_second / peers.best_plain, per_second / peers.always_authenticate)
    }

    fn json(&self, figures: &Figures) -> Map<String, Value> {
        let (plain, always) = self.ratios(figures);
        let cpu: Map<String, Value> =
            figures.cpu_us().into_iter().map(|(station, spent)| (station.to_owned(), spent.into())).collect();
        let value = json!({
            "bench": figures.name,
            "per_second": figures.per_second(),
            "p50_us": figures.percentile_us(50),
            "p99_us": figures.percentile_us(99),
            "ratio": { "raw_softhsm": plain, "softhsm_always_auth": always },
            "cpu_us": cpu,
        });
        let Value::Object(object) = value else { unreachable!("it was written as an object") };
        object
    }
}

/// Everything; what was not asked for is empty.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) throughput: Option<Section>,
    /// Commits that a lone native signature waits for.
    pub(crate) commits: Commits,
    /// How long the plugin worked without looking up while its log was cleaned.
    pub(crate) cleaned: Option<Cleaned>,
    /// Readings of what is signed, beside gated signatures.
    pub(crate) intents: Option<Section>,
    /// How long what is read is, in bytes.
    pub(crate) intent_bytes: Vec<(String, usize)>,
    pub(crate) growth: Option<Section>,
    pub(crate) footprints: Vec<Footprint>,
    /// How the HSMs of growth ran.
    pub(crate) memory: Memory,
    pub(crate) costs: Vec<Cost>,
}

impl Results {
    /// For programs.
    pub(crate) fn json(&self) -> String {
        let mut results: Vec<Value> = Vec::new();
        if let Some(section) = &self.throughput {
            results.extend(section.figures.iter().map(|figures| Value::Object(section.json(figures))));
        }
        if let Some(section) = &self.intents {
            results.extend(section.figures.iter().map(|figures| {
                json!({
                    "bench": figures.name,
                    "p50_us": figures.percentile_us(50),
                    "percent_of_gated": intents::share_percent(section, &figures.name),
                })
            }));
        }
        if let Some(section) = &self.growth {
            let grown = section.figures.iter().filter(|figures| figures.name.starts_with("growth/"));
            results.extend(grown.map(|figures| {
                let mut object = section.json(figures);
                if let Some(footprint) = self.footprint_of(&figures.name)
                    && let Value::Object(further) = footprint.json()
                {
                    object.extend(further);
                }
                Value::Object(object)
            }));
        } else {
            results.extend(self.footprints.iter().map(|footprint| {
                let mut value = footprint.json();
                value["bench"] = format!("start/{}/{}", footprint.keystore.word(), footprint.accounts).into();
                value
            }));
        }
        results.extend(self.cleaned.map(|cleaned| {
            json!({
                "bench": "cleaning/embedded",
                "regions": cleaned.regions,
                "signatures": cleaned.signatures,
                "longest_turn_us": cleaned.longest_turn.as_secs_f64() * 1e6,
            })
        }));
        results.extend(self.costs.iter().map(|cost| {
            let stations: Map<String, Value> = cost
                .stations
                .iter()
                .map(|(name, instructions)| (name.clone(), (*instructions).into()))
                .collect();
            json!({ "bench": cost.name(), "instructions": cost.total(), "by_station": stations })
        }));
        format!("{:#}\n", json!({ "results": results }))
    }

    /// The footprint of the HSM that these figures of a growth contender are of.
    pub(crate) fn footprint_of(&self, name: &str) -> Option<&Footprint> {
        let mut parts = name.strip_prefix("growth/")?.split('/');
        let keystore = parts.next()?.split('-').next()?;
        let accounts: usize = parts.next()?.parse().ok()?;
        self.footprints.iter().find(|found| found.keystore.word() == keystore && found.accounts == accounts)
    }
}
