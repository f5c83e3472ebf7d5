//! `doctor`: checks an installation and says what to mend.
//!
//! What is observed and what is made of it are kept apart: `look` reads files, sockets and processes into plain facts; the
//! other modules turn facts into verdicts and touch nothing, so that tests show each verdict.
//!
//! * `verdict`: the checks by name, and what can come of one;
//! * `configuration`: `host.toml` and the API key;
//! * `hsm`: what answers at the socket;
//! * `module`: the PKCS#11 module, and `elf`, what such a file exports;
//! * `host`: the machine that the HSM runs on;
//! * `look`: all observing.

mod configuration;
mod elf;
mod host;
mod hsm;
mod look;
mod module;
mod verdict;

pub(crate) use verdict::Report;

use crate::arguments::DoctorArguments;
use crate::failure::{EXIT_REFUSED, EXIT_UNREACHABLE, Failure};
use crate::show;
use std::path::Path;
use verdict::{Check, Verdict};
use zeroize::Zeroizing;

/// Checks everything that can be checked from here.
pub(crate) fn run(
    arguments: &DoctorArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    let report = examine(arguments, config);
    let shown = show::text(&report, json);
    if report.is_unserved() {
        Err(Failure::ToldAs { shown, exit_code: EXIT_UNREACHABLE })
    } else if report.problems > 0 || arguments.strict && report.warnings > 0 {
        Err(Failure::ToldAs { shown, exit_code: EXIT_REFUSED })
    } else {
        Ok(shown)
    }
}

fn examine(arguments: &DoctorArguments, config: Option<&Path>) -> Report {
    let mut checks: Vec<(Check, Verdict)> = Vec::with_capacity(Check::ALL.len());
    let found = look::configuration(config);
    checks.push((Check::ConfigFile, configuration::file(&found)));
    checks.push((Check::ConfigSafe, configuration::safe(&found)));
    let usable = found.usable();
    let key = usable.map(look::api_key);
    checks.push((Check::ApiKey, configuration::api_key(key.as_ref())));

    let socket = usable.map(look::socket);
    checks.push((Check::Socket, hsm::socket(socket.as_ref())));
    let answers = usable.map(|config| look::hsm(config, arguments.root.as_ref()));
    checks.extend(hsm::all(answers.as_ref(), arguments.root.is_some()));
    checks.push((Check::TimeSynchronised, host::time_synchronised(look::time_synchronised())));

    checks.push((Check::Pkcs11Module, module::module(&look::module(arguments.module.as_deref()))));
    checks.push((Check::P11Kit, module::p11_kit(&look::p11_kit())));

    let running = socket.as_ref().and_then(look::SocketFacts::serving_pid);
    let image = arguments.image.as_deref().map(look::image_file);
    let measurement = answers.as_ref().and_then(hsm::HsmFacts::measurement);
    checks.push((Check::ImageFile, host::image_file(image.as_ref(), measurement.as_deref())));
    let facts = arguments.home.as_deref().map(|home| look::host(home, running));
    checks.extend(host::all(facts.as_ref(), answers.as_ref().and_then(hsm::HsmFacts::boundary)));
    Report::new(checks, arguments.strict)
}
