//! The tables for people, in Markdown: the same on the terminal as in the record.

use crate::growth::{Memory, Starts, megabytes};
use crate::instructions::Meter;
use crate::results::{Results, Section};
use crate::rounds::Figures;
use crate::{approvals, growth, handovers, intents, log, syncs, targets};
use countersign_tests::Keystore;
use std::fmt::Write;
use std::time::Duration;

/// Everything that was measured.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let outcomes = targets::outcomes(results);
    if !outcomes.is_empty() {
        let mut table = Table::new(&["target", "wanted", "measured", ""]);
        for outcome in outcomes {
            let met = if outcome.is_met { "met" } else { "**missed**" };
            table.row(vec![outcome.what.into(), outcome.wanted, outcome.found, met.into()]);
        }
        section(&mut text, "Targets", "", &table);
    }
    if let Some(throughput) = &results.throughput {
        throughput_tables(&mut text, throughput);
        one_client(&mut text, results);
        stations(&mut text, throughput);
    }
    if let Some(intents) = &results.intents
        && let Some((table, prose)) = intents::table(intents, &results.intent_bytes)
    {
        section(&mut text, "What is signed", &prose, &table);
    }
    if let Some((table, prose)) = results.intents.as_ref().and_then(approvals::table) {
        section(&mut text, "Approvals of devices", &prose, &table);
    }
    if let Some((table, prose)) = results.intents.as_ref().and_then(log::table) {
        section(&mut text, "The audit log", &prose, &table);
    }
    if !results.costs.is_empty() {
        instructions(&mut text, results);
    }
    if let Some(growth) = &results.growth {
        growth_table(&mut text, growth, results);
    }
    if results.footprints.iter().any(|footprint| footprint.starts.is_some()) {
        starts(&mut text, results);
    }
    text
}

fn throughput_tables(text: &mut String, throughput: &Section) {
    let mut table =
        Table::new(&["", "a second", "p50 µs", "p99 µs", "÷ raw SoftHSM", "÷ always-authenticate"]);
    for figures in throughput
        .figures
        .iter()
        .filter(|figures| ![syncs::NAME, handovers::NAME].contains(&figures.name.as_str()))
    {
        table.row(throughput_row(throughput, figures));
    }
    let prose = "The number at the end of a name is that of clients (threads). Raw SoftHSM is its plain signing at its \
        best number of threads, always-authenticate its own gate (Init, Login, Sign) on two threads.";
    section(text, "Throughput and latency", prose, &table);
}

fn throughput_row(section: &Section, figures: &Figures) -> Vec<String> {
    let (plain, always) = section.ratios(figures);
    vec![
        format!("`{}`", figures.name),
        grouped(figures.per_second()),
        grouped(figures.percentile_us(50)),
        grouped(figures.percentile_us(99)),
        format!("{plain:.2}"),
        format!("{always:.2}"),
    ]
}

fn one_client(text: &mut String, results: &Results) {
    let mut table = Table::new(&[
        "keystore",
        "p50",
        "signing",
        "syncs",
        "the rest",
        "of it hand-overs",
        "and processor time",
    ]);
    for keystore in [Keystore::Embedded, Keystore::Softhsm] {
        if let Some(alone) = targets::one_client(results, keystore) {
            let parts =
                [alone.total, alone.signing, alone.syncs, alone.beyond, alone.handovers, alone.processor];
            let cells = parts.map(grouped);
            table.row(std::iter::once(keystore.word().to_owned()).chain(cells).collect());
        }
    }
    let prose = format!(
        "Where a lone native request's time goes, medians in µs. Signing is that of the library alone (`k256`, SoftHSM). \
         Syncs are those that the request waits for: {} commits, together {} bytes appended to the store, and after each a \
         write of NVRAM, all of them synced, done by the benchmark on the same disk in its turn. Hand-overs are {} between \
         two threads that sleep, over sockets, as the request goes through client, firmware and plugin. Processor time is \
         that of all processes for one signature, the library's own signing taken off; part of it runs beside the syncs.",
        results.commits.count,
        results.commits.appended_bytes,
        handovers::COUNT
    );
    section(text, "One client", &prose, &table);
}

fn stations(text: &mut String, throughput: &Section) {
    let measured: Vec<&Figures> =
        throughput.figures.iter().filter(|figures| figures.name.ends_with("/32")).collect();
    let mut names: Vec<&str> = measured
        .iter()
        .flat_map(|figures| figures.cpu_us())
        .filter(|(_, spent)| *spent >= 0.5)
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.dedup();
    let columns: Vec<&str> = std::iter::once("").chain(names.iter().copied()).collect();
    let mut table = Table::new(&columns);
    for figures in measured {
        let spent = figures.cpu_us();
        let of =
            |name: &&str| spent.iter().find(|(station, _)| station == name).map_or(0.0, |(_, spent)| *spent);
        let cells = names.iter().map(|name| blank_zero(of(name)));
        table.row(std::iter::once(format!("`{}`", figures.name)).chain(cells).collect());
    }
    let prose = "µs of processor time (user and kernel) for one signature at 32 clients, by process, and by thread in \
        the firmware.";
    section(text, "Processor time by station", prose, &table);
}

fn instructions(text: &mut String, results: &Results) {
    let mut names: Vec<&str> =
        results.costs.iter().flat_map(|cost| cost.stations.iter().map(|(name, _)| name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    let columns: Vec<&str> = ["", "all"].into_iter().chain(names.iter().copied()).collect();
    let mut table = Table::new(&columns);
    for cost in &results.costs {
        let of = |name: &&str| {
            cost.stations
                .iter()
                .find(|(station, _)| station == name)
                .map_or(0.0, |(_, instructions)| *instructions)
        };
        let cells = names.iter().map(|name| blank_zero(of(name) / 1e3));
        let row = [format!("`{}`", cost.name()), grouped(cost.total() / 1e3)].into_iter().chain(cells);
        table.row(row.collect());
    }
    let perf = if results.costs.iter().any(|cost| cost.meter == Meter::Perf) {
        ""
    } else {
        " The processor's own counters (`perf stat`) are not available on this machine."
    };
    let prose = format!(
        "Thousands of instructions in user code for one signature of a lone client, by process and, with callgrind, by \
         thread in the firmware. Callgrind's processor has no instructions for SHA, so hashing weighs more than on a real \
         one; what the kernel does is not counted.{perf}"
    );
    section(text, "Instructions by station", &prose, &table);
}

fn growth_table(text: &mut String, growth: &Section, results: &Results) {
    let mut table = Table::new(&[
        "",
        "a second",
        "p50 µs",
        "p99 µs",
        "÷ raw SoftHSM",
        "plugin MiB",
        "firmware MiB",
        "store bytes an account",
    ]);
    for figures in &growth.figures {
        let Some(footprint) = results.footprint_of(&figures.name) else { continue };
        let mut row = throughput_row(growth, figures);
        row.pop();
        row.push(format!("{:.1}", megabytes(footprint.plugin_bytes)));
        row.push(format!("{:.1}", megabytes(footprint.firmware_bytes)));
        row.push(grouped(footprint.store_bytes_per_account()));
        table.row(row);
    }
    let unlocked = match results.memory {
        Memory::Locked => "",
        Memory::Unlocked => {
            " This machine does not let so much memory be locked (memlock); the HSMs ran without that layer of the sandbox."
        }
    };
    let prose = format!(
        "{} native clients; the number at the end of a name is that of accounts. The users of a round are drawn at random \
         over all accounts. With SoftHSM `hit` are users whose keys are open in the keystore, `miss` users whose keys are \
         not. Memory is what a process has for itself and its share of what it has in common with others; disk is what \
         the files of the store take.{unlocked}",
        growth::CLIENTS
    );
    section(text, "Growth", &prose, &table);
}

fn starts(text: &mut String, results: &Results) {
    let mut table = Table::new(&["", "accounts", "start", "cold start", "cold start to first signature"]);
    for footprint in &results.footprints {
        let Some(Starts { cold, first_signature, warm }) = footprint.starts else { continue };
        let accounts = grouped(growth_count(footprint.accounts));
        table.row(vec![footprint.keystore.word().into(), accounts, ms(warm), ms(cold), ms(first_signature)]);
    }
    let prose = "ms from the start of the HSM's process. Cold: nothing of the store is in the page cache.";
    section(text, "Start", prose, &table);
}

fn growth_count(accounts: usize) -> f64 {
    crate::rounds::as_f64(accounts)
}

fn ms(time: Duration) -> String {
    grouped(time.as_secs_f64() * 1e3)
}

fn section(text: &mut String, title: &str, prose: &str, table: &Table) {
    let prose = if prose.is_empty() { String::new() } else { format!("{prose}\n\n") };
    write!(text, "\n## {title}\n{prose}{}", table.render()).expect("a String takes every write");
}

fn blank_zero(value: f64) -> String {
    if value < 0.5 { String::new() } else { grouped(value) }
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A Markdown table whose columns stand under each other.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for each column");
        self.rows.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Names to the left, numbers to the right.
                let cell =
                    if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
                text.push_str(&cell);
            }
            text.push_str("|\n");
            if number == 0 {
                let rule = |(column, width): (usize, &usize)| {
                    format!(
                        "| {}{} ",
                        "-".repeat(width.saturating_sub(1).max(2)),
                        if column == 0 { "-" } else { ":" }
                    )
                };
                text.extend(widths.iter().enumerate().map(rule));
                text.push_str("|\n");
            }
        }
        text
    }
}
