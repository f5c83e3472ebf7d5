//! The table for people and the JSON for programs.

use crate::rounds::{Figures, PROCESSES};
use serde_json::{Value, json};

/// Gated signatures on `SoftHSM` at 32 threads, against `SoftHSM` at its best without a gate: at least this.
const TARGET_RAW: f64 = 0.35;
/// The same against its own always-authenticate signing.
const TARGET_ALWAYS_AUTHENTICATE: f64 = 1.5;
/// What the targets are about.
const TARGET_BENCH: &str = "gated/softhsm/pkcs11/32";

pub(crate) struct Report<'a> {
    figures: &'a [Figures],
    best_plain: f64,
    best_always_authenticate: f64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(figures: &'a [Figures]) -> Self {
        let best = |prefix: &str| {
            let of_kind = figures.iter().filter(|figures| figures.name.starts_with(prefix));
            of_kind.map(Figures::per_second).fold(f64::MIN, f64::max)
        };
        Self {
            figures,
            best_plain: best("softhsm/plain/"),
            best_always_authenticate: best("softhsm/always-authenticate/"),
        }
    }

    fn ratios(&self, figures: &Figures) -> (f64, f64) {
        let per_second = figures.per_second();
        (per_second / self.best_plain, per_second / self.best_always_authenticate)
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<34} {:>9} {:>8} {:>8} {:>7} {:>8}",
            "", "per s", "p50 µs", "p99 µs", "÷ plain", "÷ always"
        );
        for figures in self.figures {
            let (plain, always) = self.ratios(figures);
            let (p50, p99) = (figures.percentile_us(50), figures.percentile_us(99));
            let per_second = figures.per_second();
            println!(
                "{:<34} {per_second:>9.0} {p50:>8.0} {p99:>8.0} {plain:>7.2} {always:>8.2}",
                figures.name
            );
        }
        println!("\nCPU µs per signature (user + system)");
        for figures in self.figures {
            let spent = PROCESSES.iter().zip(figures.cpu_us());
            let told: Vec<String> = spent
                .filter(|(_, (user, system))| user + system > 0.0)
                .map(|(name, (user, system))| format!("{name} {user:.0} + {system:.0}"))
                .collect();
            println!("{:<34} {}", figures.name, told.join(", "));
        }
        if let Some((plain, always)) = self.target_ratios() {
            println!("\n{TARGET_BENCH}: {plain:.2} of SoftHSM's best (target {TARGET_RAW}),");
            println!("{always:.2} of its always-authenticate signing (target {TARGET_ALWAYS_AUTHENTICATE})");
        }
    }

    fn target_ratios(&self) -> Option<(f64, f64)> {
        self.figures.iter().find(|figures| figures.name == TARGET_BENCH).map(|figures| self.ratios(figures))
    }

    pub(crate) fn targets_are_met(&self) -> bool {
        self.target_ratios()
            .is_some_and(|(plain, always)| plain >= TARGET_RAW && always >= TARGET_ALWAYS_AUTHENTICATE)
    }

    pub(crate) fn json(&self) -> String {
        let results: Vec<Value> = self.figures.iter().map(|figures| self.result(figures)).collect();
        format!("{:#}\n", json!({ "results": results }))
    }

    fn result(&self, figures: &Figures) -> Value {
        let (plain, always) = self.ratios(figures);
        let cpu = figures.cpu_us().map(|(user, system)| json!({ "user_us": user, "system_us": system }));
        let cpu: serde_json::Map<String, Value> =
            PROCESSES.iter().map(|name| (*name).to_owned()).zip(cpu).collect();
        json!({
            "bench": figures.name,
            "per_second": figures.per_second(),
            "p50_us": figures.percentile_us(50),
            "p99_us": figures.percentile_us(99),
            "ratio": { "raw_softhsm": plain, "softhsm_always_auth": always },
            "cpu_per_signature": cpu,
        })
    }
}
