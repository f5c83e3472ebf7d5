//! The switch inside a program that was built from an edited copy: a few bytes of its own, which say what is off.
//!
//! A program is built once and told in its file, so that a guard costs no build. Where nothing was said, nothing is off.

/// What the place begins with.
const MARK: &str = "countersign test build, off: ";

/// How long the place is after it.
const ROOM: usize = 96;

/// The module that a crate of the copy is given: [`MODULE_FILE`] beside its `lib.rs`, which names it.
pub const MODULE: &str = include_str!("twin.rs");

/// The module's file.
pub const MODULE_FILE: &str = "twin.rs";

/// Says in a program what is off; gives in how many places it was said.
pub fn set(program: &mut [u8], names: &[&str]) -> Result<usize, String> {
    let text = format!("{},", names.join(","));
    if text.len() > ROOM {
        return Err(format!("{text} has no room in {ROOM} bytes"));
    }
    let blank = [MARK.as_bytes(), &[b'.'; ROOM]].concat();
    let mut places = 0;
    let mut from = 0;
    while let Some(at) = find(&program[from..], &blank).map(|at| at + from) {
        let place = &mut program[at + MARK.len()..at + blank.len()];
        place[..text.len()].copy_from_slice(text.as_bytes());
        places += 1;
        from = at + blank.len();
    }
    if places == 0 { Err("the program has no place to say it in".into()) } else { Ok(places) }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first).map(|at| at + from) {
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_place_is_set_and_nothing_else() {
        let blank = [MARK.as_bytes(), &[b'.'; ROOM]].concat();
        let mut program = [&b"one"[..], &blank, b"two", &blank].concat();
        let length = program.len();
        assert_eq!(set(&mut program, &["a", "b"]), Ok(2));
        assert_eq!(program.len(), length);
        let text = String::from_utf8(program).unwrap();
        assert_eq!(text.matches(&format!("{MARK}a,b,...")).count(), 2);
        assert!(set(&mut b"no place".to_vec(), &["a"]).is_err());
        assert!(set(&mut blank.clone(), &["a".repeat(ROOM).as_str()]).is_err());
    }

    #[test]
    fn the_module_has_the_place_that_is_looked_for() {
        assert!(MODULE.contains(MARK) && MODULE.contains(&".".repeat(ROOM)));
    }
}
