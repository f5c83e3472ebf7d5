//! The relay.

use super::word::{at_least_one, loopback, origin};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What `relay --help` ends with.
pub(super) const HELP: &str = "\
It holds nothing and is trusted with nothing: what it carries is sealed, signed or public. It
passes on only what devices ask, never a request with an API key. When it serves it prints one
line of JSON on standard output; SIGINT or SIGTERM stops it.

It speaks plain HTTP: put a proxy in front that ends TLS. Browsers use passkeys only on https
pages, and on localhost.

Examples:
  countersign relay
  countersign relay --listen 127.0.0.1:8787 --page host-shim/web/page/dist
  countersign relay --allow-origin https://wallet.example --behind-proxy";

/// How the relay's log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Sentences for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RelayArguments {
    /// Where it listens; with port 0, on any port that is free.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8787")]
    pub(crate) listen: SocketAddr,
    /// Also serve the users' page from this folder, as it is now.
    #[arg(long, value_name = "DIR")]
    pub(crate) page: Option<PathBuf>,
    /// Let pages of this origin talk to the relay; may be repeated.
    #[arg(long = "allow-origin", value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_origins: Vec<String>,
    /// How many requests one address may make in a minute; all together may make 20 times as many.
    #[arg(long, value_name = "N", default_value = "120", value_parser = at_least_one)]
    pub(crate) requests_per_minute: u32,
    /// How many requests may be under way to the HSM at a time.
    #[arg(long, value_name = "N", default_value = "32", value_parser = at_least_one)]
    pub(crate) max_in_flight: u32,
    /// A proxy of yours stands in front and writes X-Forwarded-For: its last address is the client's.
    #[arg(long)]
    pub(crate) behind_proxy: bool,
    /// Serve metrics for Prometheus on this loopback address, at /metrics.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub(crate) metrics: Option<SocketAddr>,
    /// How what it says on standard error is written.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}
