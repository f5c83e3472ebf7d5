//! The relay, from its options to its end.

use crate::arguments::RelayArguments;
use crate::failure::Failure;
use countersign_client::HostConfig;
use countersign_web::{Limits, Page, Relay, serve};
use serde::Serialize;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
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
    let page = arguments.page.as_deref().map(read_page).transpose()?;
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
    };
    serve(relay, &hsm, |address| say_ready(address, shown)).map_err(|why| Failure::Usage(why.to_string()))?;
    Ok(Zeroizing::new(String::new()))
}

fn read_page(folder: &Path) -> Result<Page, Failure> {
    let page = Page::read(folder).map_err(|why| Failure::Usage(why.to_string()))?;
    for path in page.left_out() {
        eprintln!("Not served: {} (a link, hidden, or of a kind that no page has).", path.display());
    }
    eprint!("{SAME_PARTY}");
    Ok(page)
}

fn say_ready(address: SocketAddr, page: Option<PageShown>) {
    let line = serde_json::to_string(&Ready { listen: address.to_string(), page });
    // Where nobody reads it the relay serves all the same.
    let _ = writeln!(std::io::stdout(), "{}", line.expect("it has only strings and numbers"));
}
