//! What a shared library exports. It is read, not loaded: loading would run its code.

/// Why a file is no module for this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAModule {
    /// No ELF file, or a damaged one.
    NotElf,
    /// Made for another machine.
    OtherMachine,
}

/// Numbers of the ELF specification: `e_machine` of x86-64 and `AArch64`, and the section type of dynamic symbols.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const DYNAMIC_SYMBOLS: u32 = 11;

/// Bytes of a section header and of a symbol in a 64-bit file.
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;

/// Whether a 64-bit little-endian ELF file defines `name` among its dynamic symbols.
pub(super) fn exports(file: &[u8], name: &str) -> Result<bool, NotAModule> {
    if file.get(..7) != Some(b"\x7fELF\x02\x01\x01") {
        return Err(NotAModule::NotElf);
    }
    let expected = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
    if u16_at(file, 18) != Some(expected) {
        return Err(NotAModule::OtherMachine);
    }
    symbol_is_defined(file, name).ok_or(NotAModule::NotElf)
}

/// `None` where the file is damaged.
fn symbol_is_defined(file: &[u8], name: &str) -> Option<bool> {
    let sections = usize::try_from(u64_at(file, 40)?).ok()?;
    let count = usize::from(u16_at(file, 60)?);
    let section = |index: usize| {
        let start = sections.checked_add(index.checked_mul(SECTION_BYTES)?)?;
        file.get(start..start.checked_add(SECTION_BYTES)?)
    };
    let content = |header: &[u8]| {
        let start = usize::try_from(u64_at(header, 24)?).ok()?;
        let length = usize::try_from(u64_at(header, 32)?).ok()?;
        file.get(start..start.checked_add(length)?)
    };
    for index in 0..count {
        let header = section(index)?;
        if u32_at(header, 4)? != DYNAMIC_SYMBOLS {
            continue;
        }
        let names = content(section(usize::try_from(u32_at(header, 40)?).ok()?)?)?;
        let found = content(header)?.chunks_exact(SYMBOL_BYTES).any(|symbol| {
            // Section 0 means that it is wanted from elsewhere.
            u16_at(symbol, 6).is_some_and(|section| section != 0)
                && u32_at(symbol, 0)
                    .and_then(|at| names.get(usize::try_from(at).ok()?..))
                    .is_some_and(|rest| rest.split(|byte| *byte == 0).next() == Some(name.as_bytes()))
        });
        return Some(found);
    }
    Some(false)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one dynamic symbol: header, names, symbols, two section headers.
    fn library(name: &str, section_of_symbol: u16, machine: u16) -> Vec<u8> {
        let names = [b"\0", name.as_bytes(), b"\0"].concat();
        let (names_at, symbol_at) = (64, 64 + names.len());
        let sections_at = symbol_at + SYMBOL_BYTES;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[40..48].copy_from_slice(&(sections_at as u64).to_le_bytes());
        file[60..62].copy_from_slice(&2_u16.to_le_bytes());
        file.extend(&names);
        let mut symbol = [0; SYMBOL_BYTES];
        symbol[0] = 1;
        symbol[6..8].copy_from_slice(&section_of_symbol.to_le_bytes());
        file.extend(symbol);
        for (kind, at, length, link) in
            [(3_u32, names_at, names.len(), 0_u32), (DYNAMIC_SYMBOLS, symbol_at, SYMBOL_BYTES, 0)]
        {
            let mut header = [0; SECTION_BYTES];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            header[40..44].copy_from_slice(&link.to_le_bytes());
            file.extend(header);
        }
        file
    }

    const HERE: u16 = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

    #[test]
    fn a_symbol_counts_only_if_it_is_defined_under_exactly_that_name() {
        assert_eq!(exports(&library("C_GetFunctionList", 7, HERE), "C_GetFunctionList"), Ok(true));
        assert_eq!(exports(&library("C_GetFunctionList", 0, HERE), "C_GetFunctionList"), Ok(false));
        assert_eq!(exports(&library("C_GetFunctionLists", 7, HERE), "C_GetFunctionList"), Ok(false));
    }

    #[test]
    fn another_machine_and_what_is_no_library_are_told_apart() {
        assert_eq!(exports(&library("x", 7, 3), "x"), Err(NotAModule::OtherMachine));
        assert_eq!(exports(b"#!/bin/sh\n", "x"), Err(NotAModule::NotElf));
        assert_eq!(exports(b"", "x"), Err(NotAModule::NotElf));
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused_and_panics_nowhere() {
        let whole = library("C_GetFunctionList", 7, HERE);
        for length in 0..whole.len() {
            assert!(exports(&whole[..length], "C_GetFunctionList").is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = exports(&changed, "C_GetFunctionList");
        }
    }
}
