//! What passes the caps fits the plugin's stack: 512 KiB, for loading, asking and dropping.

use crate::world::{World, document, limit, wei};
use countersign_policy::{DEPTH_MAX, Per, Policy, RULES_MAX_BYTES, STEPS_MAX, STRING_MAX_BYTES};

/// The plugin's stack.
const STACK_BYTES: usize = 512 * 1024;

/// Runs on a thread with such a stack. An overflow ends the whole test process, which no one can miss.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

fn load_and_ask(text: &str) -> bool {
    let document = document(text, vec![limit("day", "eth", Per::Account, 86_400, 100)]);
    match Policy::of(document) {
        Ok(policy) => {
            let _ = World::new().ask(&policy, &wei(1));
            true
        }
        Err(problems) => {
            // Telling a problem walks the same trees.
            let _ = format!("{problems:?}");
            false
        }
    }
}

fn when(condition: &str) -> String {
    format!("@id(\"x\") permit (principal, action, resource) when {{ {condition} }};")
}

/// Text that is as deep as the caps allow, in each way that Cedar's grammar can nest or chain.
fn deepest() -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str| {
        when(&format!("{}{inner}{}", open.repeat(DEPTH_MAX - 1), close.repeat(DEPTH_MAX - 1)))
    };
    let chained = |operand: &str, operator: &str, steps: usize, end: &str| {
        when(&format!("{}{end}", vec![operand; steps].join(operator)))
    };
    // Of 64 steps, `when` takes one and each of the others as many as it has.
    let both = |operator: &str| {
        let level = format!("(context.opaque{operator}");
        let tail = format!("{operator}context.opaque").repeat(STEPS_MAX / 2 - DEPTH_MAX);
        nested(&level, &format!("context.opaque{tail}"), ")")
    };
    vec![
        nested("(", "context.opaque", ")"),
        nested("[", "context.opaque", "]"),
        nested("{a: ", "context.opaque", "}"),
        nested("[{a: (", "1", ")}]"),
        nested("context[", "\"a\"", "]"),
        nested("context.within.contains(", "context.opaque", ")"),
        nested("!(", "context.opaque", ")"),
        nested("-(", "1", ")"),
        both(" && "),
        both(" || "),
        both(" == "),
        when(&format!(
            "{} context.opaque",
            "if context.opaque then context.limited else ".repeat(DEPTH_MAX - 1)
        )),
        when(&format!(
            "{}context.opaque{}",
            "if ".repeat(DEPTH_MAX - 1),
            " then true else false".repeat(DEPTH_MAX - 1)
        )),
        chained("context.opaque", " && ", STEPS_MAX / 2, ""),
        chained("context.opaque", " || ", STEPS_MAX / 2, ""),
        chained("true", " && ", STEPS_MAX, ""),
        chained("true", " || ", STEPS_MAX, ""),
        chained("1", " + ", STEPS_MAX - 2, " == 1"),
        chained("1", " - ", STEPS_MAX - 2, " == 1"),
        chained("1", " * ", STEPS_MAX - 2, " == 1"),
        chained("1", " < ", STEPS_MAX, ""),
        when(&format!("{}context.opaque", "!".repeat(STEPS_MAX - 2))),
        when(&format!("{}1 == 1", "-".repeat(STEPS_MAX - 2))),
        when(&format!("context{}", ".a".repeat(STEPS_MAX - 1))),
        when(&format!("context has a{}", ".a".repeat(STEPS_MAX - 2))),
        when(&format!("context{}", "[\"a\"]".repeat(2_000))),
        when(&format!("context.within{}", ".contains(1)".repeat(STEPS_MAX - 2))),
        format!("@id(\"x\") permit (principal, action, resource) {};", "when { true } ".repeat(STEPS_MAX)),
        format!("@id(\"x\") permit (principal, action, resource) {};", "unless { false } ".repeat(STEPS_MAX)),
        when(&format!("[{}] == [1]", "1,".repeat(10_000))),
        when(&format!(
            "\"{}\" like \"{}b\"",
            "a".repeat(STRING_MAX_BYTES),
            "*a".repeat(STRING_MAX_BYTES / 2 - 1)
        )),
        when(&format!("\"{}\" == \"\"", "\\u{41}".repeat(STRING_MAX_BYTES / 6))),
        when(&format!("A{}::\"x\" == principal", "::A".repeat(10_000))),
        format!("{} permit (principal, action, resource);", "@a(\"x\")".repeat(4_000)),
        "(".repeat(RULES_MAX_BYTES),
        "if ".repeat(RULES_MAX_BYTES / 3),
    ]
}

#[test]
fn what_passes_the_caps_does_not_overflow_the_stack() {
    let taken = on_a_small_stack(|| deepest().iter().filter(|text| load_and_ask(text)).count());
    // The twin: enough of them are taken, and so were walked by validator and evaluator as well.
    assert!(taken >= 12, "{taken}");
}

#[test]
fn no_text_of_rules_panics_or_overflows() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    on_a_small_stack(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..1_500 {
            countersign_policy::properties::check_rules(&soup(&mut random));
        }
    });
}

#[test]
fn no_document_panics_or_overflows() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    on_a_small_stack(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let sound = Policy::development().document().to_bytes();
        countersign_policy::properties::check_document(&sound);
        for _ in 0..1_500 {
            let mut bytes = sound.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            countersign_policy::properties::check_document(&bytes);
        }
    });
}

/// Pieces of rules in no particular order.
fn soup(random: &mut fastrand::Rng) -> String {
    const PIECES: &[&str] = &[
        "@id(\"x\")",
        "permit",
        "forbid",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "principal",
        "action",
        "resource",
        "context",
        ",",
        ";",
        "when",
        "unless",
        "if",
        "then",
        "else",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "==",
        "!=",
        "<",
        "in",
        "has",
        "like",
        "is",
        ".",
        ".opaque",
        ".within",
        ".contains",
        "::",
        "Limit",
        "\"day\"",
        "1",
        "9223372036854775808",
        "true",
        "?principal",
        "\"",
        "\\",
        "//",
        "\n",
        "é",
        "@",
        ":",
        "permit (principal, action, resource)",
        "when { context.opaque }",
        "@id(\"y\") permit (principal, action, resource);",
    ];
    let mut text = String::new();
    for _ in 0..random.usize(1..60) {
        text.push_str(PIECES[random.usize(..PIECES.len())]);
        if random.bool() {
            text.push(' ');
        }
    }
    text
}
