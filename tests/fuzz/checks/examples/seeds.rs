//! Writes the seeds of this project's own formats into the corpora.

use countersign_fuzz_checks::{TARGETS, corpus, seeds};

fn main() -> std::io::Result<()> {
    for target in TARGETS {
        let folder = corpus(target.name);
        std::fs::create_dir_all(&folder)?;
        for bytes in seeds::of(target.name) {
            std::fs::write(folder.join(countersign_fuzz_checks::name_of(&bytes)), bytes)?;
        }
    }
    Ok(())
}
