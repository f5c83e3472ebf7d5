//! The relay, from its options to its end.

use crate::arguments::{LogFormat, RelayArguments};
use crate::failure::Failure;
use crate::show;
use countersign_client::HostConfig;
use countersign_web::{Limits, Page, Relay, Serving, serve};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// What is said when a page is served.
const SAME_PARTY: &str = "\
The page and the way to the HSM are served by the same party. Whoever controls it can change the page, and a changed page
can show one thing and have another approved: for its users a sealed code or a passkey then promises no more than a plain
code. Host the page on an origin of its own, and pin its hash (docs/relay.md).
";

/// The one line that is printed when connections are accepted.
#[derive(Serialize)]
struct Ready {
    listen: String,
    page: Option<PageShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
}

#[derive(Serialize)]
struct PageShown {
    folder: String,
    files: usize,
    index: String,
}

/// Serves until it is told to stop.
pub(crate) fn run(arguments: &RelayArguments, config: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let hsm = config.map_or_else(HostConfig::load, HostConfig::from_file)?;
    let read = |folder| read_page(folder, arguments.log_format);
    let page = arguments.page.as_deref().map(read).transpose()?;
    let shown = page.as_ref().map(|page| PageShown {
        folder: page.folder().display().to_string(),
        files: page.files(),
        index: page.hashes().remove("/index.html").unwrap_or_default(),
    });
    let relay = Relay {
        listen: arguments.listen,
        page,
        allow_origins: arguments.allow_origins.clone(),
        behind_proxy: arguments.behind_proxy,
        limits: Limits {
            requests_per_minute: arguments.requests_per_minute,
            max_in_flight: arguments.max_in_flight as usize,
        },
        metrics: arguments.metrics,
    };
    serve(relay, &hsm, |serving| say_ready(serving, shown)).map_err(|why| Failure::Usage(why.to_string()))?;
    Ok(Zeroizing::new(String::new()))
}

fn read_page(folder: &Path, format: LogFormat) -> Result<Page, Failure> {
    let page = Page::read(folder).map_err(|why| Failure::Usage(why.to_string()))?;
    for path in page.left_out() {
        let text = format!("Not served: {} (a link, hidden, or of a kind that no page has).", path.display());
        say(format, "page-file-left-out", &text);
    }
    say(format, "page-served", SAME_PARTY.trim_end());
    Ok(page)
}

/// One line for programs, or text for people, on standard error.
fn say(format: LogFormat, event: &str, message: &str) {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        level: &'static str,
        event: &'a str,
        message: &'a str,
    }
    let text = match format {
        LogFormat::Text => message.to_owned(),
        LogFormat::Json => {
            // RFC 3339, to the second.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let time = show::utc(now.as_secs()).replace(" UTC", "Z").replace(' ', "T");
            let line = Line { time, level: "warn", event, message };
            serde_json::to_string(&line).expect("it has only strings")
        }
    };
    // Where nobody reads it the relay serves all the same.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn say_ready(serving: Serving, page: Option<PageShown>) {
    let metrics = serving.metrics.map(|address| address.to_string());
    let line = serde_json::to_string(&Ready { listen: serving.listen.to_string(), page, metrics });
    // Where nobody reads it the relay serves all the same.
    let _ = writeln!(std::io::stdout(), "{}", line.expect("it has only strings and numbers"));
}
