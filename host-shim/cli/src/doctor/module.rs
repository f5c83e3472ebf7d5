//! The PKCS#11 module, and whether p11-kit knows it.

use super::configuration::Owner;
use super::elf::NotAModule;
use super::verdict::Verdict;
use std::path::PathBuf;

/// What was found of the module.
pub(super) enum ModuleFacts {
    /// In none of these places.
    Nowhere(Vec<PathBuf>),
    /// It cannot be read; what the system says.
    Unreadable(PathBuf, String),
    /// A file.
    File {
        file: PathBuf,
        /// Whether it exports `C_GetFunctionList`.
        exports: Result<bool, NotAModule>,
        owner: Owner,
        own_uid: u32,
    },
}

/// Whether the module is there, is one, and is nobody else's to change: it is handed the API key.
pub(super) fn module(facts: &ModuleFacts) -> Verdict {
    match facts {
        ModuleFacts::Nowhere(places) => {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            Verdict::skipped(format!(
                "No PKCS#11 module in {}; name another place with --module.",
                places.join(", ")
            ))
        }
        ModuleFacts::Unreadable(file, why) => Verdict::problem(
            format!("The PKCS#11 module {} cannot be read: {why}", file.display()),
            "Install it again, or make it readable: chmod 644.",
        ),
        ModuleFacts::File { file, exports: Err(NotAModule::OtherMachine), .. } => Verdict::problem(
            format!("The PKCS#11 module {} was made for another kind of machine.", file.display()),
            "Install the one for this machine.",
        ),
        ModuleFacts::File { file, exports: Err(NotAModule::NotElf) | Ok(false), .. } => Verdict::problem(
            format!("{} is no PKCS#11 module: it does not export C_GetFunctionList.", file.display()),
            "Install libcountersign_pkcs11.so again.",
        ),
        ModuleFacts::File { file, exports: Ok(true), owner, own_uid } => {
            let file = file.display();
            if owner.mode & 0o022 != 0 || owner.uid != 0 && owner.uid != *own_uid {
                return Verdict::problem(
                    format!("Others can change the PKCS#11 module {file}, which is handed the API key."),
                    format!("chown root {file} && chmod 644 {file}"),
                );
            }
            Verdict::ok(format!("{file} is a PKCS#11 module for this machine. It was not loaded."))
        }
    }
}

/// What was found of p11-kit's configuration.
pub(super) enum P11KitFacts {
    /// No file there names the module.
    NotNamed,
    /// This one does, and the file that it means is there or not.
    Named { by: PathBuf, module: PathBuf, exists: bool },
}

/// Whether p11-kit knows the module.
pub(super) fn p11_kit(facts: &P11KitFacts) -> Verdict {
    match facts {
        P11KitFacts::NotNamed => Verdict::skipped(
            "p11-kit does not know the module. Applications that are told its path do not need it to.",
        ),
        P11KitFacts::Named { by, module, exists: true } => {
            Verdict::ok(format!("{} tells p11-kit of {}.", by.display(), module.display()))
        }
        P11KitFacts::Named { by, module, exists: false } => Verdict::problem(
            format!("{} tells p11-kit of {}, which is not there.", by.display(), module.display()),
            format!("Install the module there, or correct the line `module:` in {}.", by.display()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Outcome;
    use super::*;

    fn found(exports: Result<bool, NotAModule>, uid: u32, mode: u32) -> Outcome {
        let owner = Owner { uid, mode };
        module(&ModuleFacts::File { file: "/m.so".into(), exports, owner, own_uid: 1000 }).outcome
    }

    #[test]
    fn a_module_is_a_library_for_this_machine_that_exports_the_one_function() {
        assert_eq!(found(Ok(true), 0, 0o644), Outcome::Ok);
        assert_eq!(found(Ok(false), 0, 0o644), Outcome::Problem);
        assert_eq!(found(Err(NotAModule::NotElf), 0, 0o644), Outcome::Problem);
        assert_eq!(found(Err(NotAModule::OtherMachine), 0, 0o644), Outcome::Problem);
        assert_eq!(module(&ModuleFacts::Unreadable("/m".into(), "no".into())).outcome, Outcome::Problem);
        assert_eq!(module(&ModuleFacts::Nowhere(vec!["/m".into()])).outcome, Outcome::Skipped);
    }

    #[test]
    fn a_module_that_others_can_change_is_a_problem() {
        assert_eq!(found(Ok(true), 1000, 0o755), Outcome::Ok);
        assert_eq!(found(Ok(true), 1001, 0o755), Outcome::Problem);
        assert_eq!(found(Ok(true), 0, 0o775), Outcome::Problem);
    }

    #[test]
    fn p11_kit_may_not_know_the_module_but_not_a_wrong_one() {
        assert_eq!(p11_kit(&P11KitFacts::NotNamed).outcome, Outcome::Skipped);
        let named =
            |exists| p11_kit(&P11KitFacts::Named { by: "/c".into(), module: "/m".into(), exists }).outcome;
        assert_eq!(named(true), Outcome::Ok);
        assert_eq!(named(false), Outcome::Problem);
    }
}
