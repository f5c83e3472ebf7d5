//! Checking an installation.

use clap::Args;
use countersign_client::device::Root;
use std::path::PathBuf;

/// What `doctor --help` ends with.
pub(super) const HELP: &str = "\
It changes nothing, and shows no secret. Each check has a name that stays, an outcome (ok, warning,
problem, skipped), a sentence, and what to do. A warning is what works and should not be so where
money is.

Run it as the user whose programs call the HSM; with --home, on the HSM's host, as the HSM's user or
as root.

Exit codes: 0 no problem; 2 usage; 3 a problem (with --strict, also a warning); 4 the HSM cannot be
reached or cannot serve.

Examples:
  countersign doctor
  countersign doctor --root 3f…a1 --strict
  sudo -u countersign-hsm countersign doctor --home /var/lib/countersign-hsm/home";

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The folder of the HSM: this is its host.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The image that the HSM is started with.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// The PKCS#11 module [default: the first of the usual places].
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Option<PathBuf>,
    /// The fingerprint of the root that is trusted: 64 hex digits.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) root: Option<Root>,
    /// Let warnings count as problems.
    #[arg(long)]
    pub(crate) strict: bool,
}
