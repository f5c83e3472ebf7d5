//! The plot: throughput beside raw `SoftHSM` by number of clients, and how it holds as accounts grow.
//!
//! One SVG, drawn by hand: two panels of lines. Its colours follow the reader's light or dark theme.

use crate::THREADS;
use crate::results::{Results, Section};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 280.0;

/// Text and lines in both themes; the colours of lines are readable on either ground.
const STYLE: &str = "\
    .ground{fill:#fff}.text{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0}\
    .one{stroke:#888;stroke-dasharray:2 4}\
    @media(prefers-color-scheme:dark){\
    .ground{fill:#0d1117}.text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#30363d}}\
    text{font:13px system-ui,sans-serif}.title{font-size:15px;font-weight:600}\
    .line{fill:none;stroke-width:2.5}";

/// How a line looks.
#[derive(Clone, Copy)]
struct Look {
    colour: &'static str,
    dash: &'static str,
}

const BLUE: &str = "#3f8ae0";
const ORANGE: &str = "#e0801a";
const GREY: &str = "#8b949e";

const fn look(colour: &'static str, dash: &'static str) -> Look {
    Look { colour, dash }
}

/// What is drawn in the first panel: prefix of the figures' names, legend, look.
const CLIENTS: [(&str, &str, Look); 6] = [
    ("gated/embedded/native", "embedded keystore, native", look(BLUE, "")),
    ("gated/embedded/pkcs11", "embedded keystore, PKCS#11", look(BLUE, "7 4")),
    ("gated/softhsm/native", "SoftHSM keystore, native", look(ORANGE, "")),
    ("gated/softhsm/pkcs11", "SoftHSM keystore, PKCS#11", look(ORANGE, "7 4")),
    ("softhsm/p11-kit", "SoftHSM behind p11-kit, no gate", look(GREY, "")),
    ("softhsm/always-authenticate", "SoftHSM always-authenticate", look(GREY, "7 4")),
];

/// The same for the second panel.
const ACCOUNTS: [(&str, &str, Look); 3] = [
    ("growth/embedded", "embedded keystore", look(BLUE, "")),
    ("growth/softhsm-hit", "SoftHSM keystore, keys open", look(ORANGE, "")),
    ("growth/softhsm-miss", "SoftHSM keystore, keys not open", look(ORANGE, "7 4")),
];

/// One line: its legend, its look, and its points by position on the axis.
struct Line {
    legend: &'static str,
    look: Look,
    points: Vec<(usize, f64)>,
}

struct Panel {
    title: &'static str,
    axis: &'static str,
    left: f64,
    right: f64,
    ticks: Vec<String>,
    lines: Vec<Line>,
}

/// The whole plot.
pub(crate) fn svg(results: &Results) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\"><title>Throughput beside raw SoftHSM, by clients and by accounts</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n"
    );
    if let Some(section) = &results.throughput {
        by_clients(section).draw(&mut text);
    }
    if let Some(section) = &results.growth {
        by_accounts(section, results).draw(&mut text);
    }
    text.push_str("</svg>\n");
    text
}

fn by_clients(section: &Section) -> Panel {
    let line = |(prefix, legend, look): &(&str, &'static str, Look)| {
        let points = THREADS.iter().enumerate().filter_map(|(position, threads)| {
            let figures = section.find(&format!("{prefix}/{threads}"))?;
            Some((position, section.ratios(figures).0))
        });
        Line { legend, look: *look, points: points.collect() }
    };
    Panel {
        title: "Signatures a second ÷ raw SoftHSM",
        axis: "clients",
        left: 60.0,
        right: 460.0,
        ticks: THREADS.iter().map(ToString::to_string).collect(),
        lines: CLIENTS.iter().map(line).collect(),
    }
}

fn by_accounts(section: &Section, results: &Results) -> Panel {
    let mut sizes: Vec<usize> = results.footprints.iter().map(|footprint| footprint.accounts).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let line = |(prefix, legend, look): &(&str, &'static str, Look)| {
        let points = sizes.iter().enumerate().filter_map(|(position, accounts)| {
            let figures = section.find(&format!("{prefix}/{accounts}"))?;
            Some((position, section.ratios(figures).0))
        });
        Line { legend, look: *look, points: points.collect() }
    };
    Panel {
        title: "÷ raw SoftHSM, 32 native clients",
        axis: "accounts",
        left: 540.0,
        right: 920.0,
        ticks: sizes.iter().map(|size| crate::report::grouped(crate::rounds::as_f64(*size))).collect(),
        lines: ACCOUNTS.iter().map(line).filter(|line| !line.points.is_empty()).collect(),
    }
}

impl Panel {
    fn draw(&self, text: &mut String) {
        let top =
            self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(1.0, f64::max);
        // Half steps, with a little room above the highest point.
        let top = (top * 2.1).ceil() / 2.0;
        self.draw_axes(text, top);
        for (number, line) in self.lines.iter().enumerate() {
            self.draw_line(text, line, number, top);
        }
    }

    fn x(&self, position: usize) -> f64 {
        let steps = crate::rounds::as_f64(self.ticks.len().saturating_sub(1).max(1));
        self.left + 24.0 + (self.right - self.left - 48.0) * crate::rounds::as_f64(position) / steps
    }

    fn draw_axes(&self, text: &mut String, top: f64) {
        let Self { title, axis, left, right, .. } = self;
        put(text, &format!("<text class=\"text title\" x=\"{left}\" y=\"30\">{title}</text>"));
        let mut value = 0.0;
        while value <= top {
            let y = y(value, top);
            let class = if (value - 1.0).abs() < f64::EPSILON { "one" } else { "grid" };
            put(
                text,
                &format!(
                    "<line class=\"{class}\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
                ),
            );
            let (x, y) = (left - 8.0, y + 4.0);
            put(
                text,
                &format!("<text class=\"soft\" text-anchor=\"end\" x=\"{x}\" y=\"{y:.1}\">{value:.1}</text>"),
            );
            value += 0.5;
        }
        for (position, tick) in self.ticks.iter().enumerate() {
            let (x, y) = (self.x(position), BOTTOM + 20.0);
            put(
                text,
                &format!("<text class=\"soft\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y}\">{tick}</text>"),
            );
        }
        let (x, y) = (f64::midpoint(*left, *right), BOTTOM + 40.0);
        put(text, &format!("<text class=\"soft\" text-anchor=\"middle\" x=\"{x}\" y=\"{y}\">{axis}</text>"));
    }

    fn draw_line(&self, text: &mut String, line: &Line, number: usize, top: f64) {
        let Look { colour, dash } = line.look;
        let places: Vec<(f64, f64)> =
            line.points.iter().map(|(position, value)| (self.x(*position), y(*value, top))).collect();
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let stroke = format!("class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\"");
        put(text, &format!("<polyline {stroke} points=\"{}\"/>", points.join(" ")));
        for (x, y) in places {
            put(text, &format!("<circle fill=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"));
        }
        // The legend below.
        let x = self.left;
        let y = BOTTOM + 68.0 + 22.0 * crate::rounds::as_f64(number);
        let (end, text_x, line_y) = (x + 26.0, x + 33.0, y - 4.0);
        put(text, &format!("<line {stroke} x1=\"{x}\" x2=\"{end}\" y1=\"{line_y}\" y2=\"{line_y}\"/>"));
        put(text, &format!("<text class=\"text\" x=\"{text_x}\" y=\"{y}\">{}</text>", line.legend));
    }
}

fn y(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * value / top
}

fn put(text: &mut String, element: &str) {
    writeln!(text, "{element}").expect("a String takes every write");
}
