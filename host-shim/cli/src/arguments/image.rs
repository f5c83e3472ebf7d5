//! Images: built, looked at, signed, verified, compared.

use clap::{Args, Subcommand, ValueEnum};
use countersign_release::Channel;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build the frozen image from its sources: the same bytes wherever it is built.
    #[command(after_long_help = "\
Needs Rust, a C compiler and the C library's static files (libc6-dev). An image for release names
the earlier releases whose state it may take over: those of plugin/measurements.toml.

Example:
  countersign image build --channel release --out countersign.image")]
    Build {
        /// The root of the sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
        /// For whom it is made; images for development run on development HSMs alone, unsigned.
        #[arg(long, value_enum, default_value = "development")]
        channel: ChannelWord,
        /// Where to put it [default: target/image/countersign.image in the sources].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show what an image says of itself, what is inside, and its measurement.
    #[command(after_long_help = "Example:\n  countersign --json image inspect countersign.image")]
    Inspect {
        /// The image.
        image: PathBuf,
    },
    /// Sign an image for release, with ssh-keygen; the signature is added to the file beside it.
    #[command(after_long_help = "\
The key is a private key's file, or a public key's whose private half is in an agent or on a
hardware key. What is signed is shown before: four lines of text. Build the image yourself, or
compare it with one that you built, before you sign it.

Examples:
  countersign image sign countersign.image --key ~/.ssh/id_ed25519_sk
  countersign image sign countersign.image --key ~/.ssh/id_ed25519.pub")]
    Sign {
        /// The image; its signatures lie beside it, in a file of its name and .sig.
        image: PathBuf,
        /// The key's file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Check that enough people signed an image, as an HSM with these release keys does.
    #[command(after_long_help = "\
Example:
  countersign image verify countersign.image --release-keys release-keys --threshold 2")]
    Verify(VerifyArguments),
    /// Say where two images differ first: in which field of the manifest, in which section of the executable.
    #[command(after_long_help = "\
Exit code 3 if they differ.

Example:
  countersign image compare mine.image theirs.image")]
    Compare {
        /// One image.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The image; its signatures lie beside it, in a file of its name and .sig.
    pub(crate) image: PathBuf,
    /// The people who may sign, in the form of ssh-keygen's ALLOWED SIGNERS.
    #[arg(long, value_name = "FILE")]
    pub(crate) release_keys: PathBuf,
    /// How many of them must have.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) threshold: u8,
}

/// For whom an image is made.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ChannelWord {
    Development,
    Release,
}

impl From<ChannelWord> for Channel {
    fn from(word: ChannelWord) -> Self {
        match word {
            ChannelWord::Development => Channel::Development,
            ChannelWord::Release => Channel::Release,
        }
    }
}
