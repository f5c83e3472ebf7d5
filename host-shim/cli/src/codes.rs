//! One-time codes from the command line, standard input or a prompt. Carried as they were typed: only the HSM
//! decides what is a code.

use crate::failure::Failure;
use countersign_wire::names::TypedCode;
use countersign_wire::reason::Reason;
use std::io::{BufRead, IsTerminal, Read, Write};
use zeroize::Zeroizing;

/// Stands for standard input.
const STDIN: &str = "-";

/// The longest line that is read, in bytes. Whatever is longer is no code.
const LINE_MAX_BYTES: u64 = 4096;

/// One code; `None` where there is none and nobody to ask.
pub(crate) fn one(given: Option<&str>) -> Result<Option<TypedCode>, Failure> {
    match given {
        Some(STDIN) => typed(&read_line()?).map(Some),
        Some(code) => typed(code).map(Some),
        None if std::io::stdin().is_terminal() => typed(&ask("Code")?).map(Some),
        None => Ok(None),
    }
}

/// The codes of two consecutive time steps.
pub(crate) fn two(given: &[String]) -> Result<(TypedCode, TypedCode), Failure> {
    let take = |code: &String| {
        if code == STDIN { read_line() } else { Ok(Zeroizing::new(code.clone())) }
    };
    let (first, second) = match given {
        [] if std::io::stdin().is_terminal() => (ask("Code")?, ask("The code after it")?),
        [only] if only == STDIN => (read_line()?, read_line()?),
        [first, second] => (take(first)?, take(second)?),
        _ => {
            return Err(Failure::Usage(
                "two codes are needed, the one right after the other: --code FIRST --code SECOND".to_owned(),
            ));
        }
    };
    Ok((typed(&first)?, typed(&second)?))
}

/// Too long a text is what the HSM would call malformed, too.
fn typed(text: &str) -> Result<TypedCode, Failure> {
    TypedCode::new(text).map_err(|_| Reason::MalformedCode.into())
}

pub(crate) fn ask(what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut terminal = std::io::stderr();
    write!(terminal, "{what}: ").and_then(|()| terminal.flush()).map_err(Failure::Output)?;
    read_line()
}

pub(crate) fn read_line() -> Result<Zeroizing<String>, Failure> {
    line_of(&mut std::io::stdin().lock())
}

/// One line without its end, otherwise unchanged.
fn line_of(input: &mut impl BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(80));
    let read = input.take(LINE_MAX_BYTES).read_line(&mut line);
    match read {
        Ok(0) => return Err(Failure::Usage("standard input ended before a code".to_owned())),
        Ok(_) => {}
        Err(error) => return Err(Failure::Usage(format!("cannot read a code from standard input: {error}"))),
    }
    let end =
        line.strip_suffix('\n').map_or(line.len(), |rest| rest.strip_suffix('\r').unwrap_or(rest).len());
    line.truncate(end);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_end_and_nothing_else() {
        let mut input = " 123456 \r\n654321\nlast".as_bytes();
        assert_eq!(*line_of(&mut input).unwrap(), " 123456 ");
        assert_eq!(*line_of(&mut input).unwrap(), "654321");
        assert_eq!(*line_of(&mut input).unwrap(), "last");
        assert!(matches!(line_of(&mut input), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_code_that_is_too_long_is_malformed() {
        let long = "1".repeat(65);
        assert!(
            matches!(typed(&long), Err(Failure::Refused(refusal)) if refusal.reason == Reason::MalformedCode)
        );
    }
}
