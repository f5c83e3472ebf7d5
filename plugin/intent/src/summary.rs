//! The short, exact text of an intent: the same bytes wherever it is shown, in a terminal, on a page, in a log or a receipt.
//!
//! One fact a line, `label: text`, each line ended by a line feed; warnings first, then what it is and where, then what
//! moves, the fee, the nonce, and what only this kind of intent has. Amounts of a chain's own coin are in whole coins,
//! exact to the last digit; of a token they are in its base unit, for nobody proves to the plugin how many decimals it
//! has. Text from outside can neither begin a line nor turn one around: what is hidden or written from right to left, and
//! the second of two spaces, is written as `\u{…}`.

use crate::model::{Amount, Asset, Chain, Intent, Kind, Move, Warning};
use core::fmt::Write;

/// The coin of a chain.
struct Coin {
    symbol: &'static str,
    decimals: usize,
}

/// EVM chains that are shown by name, and the symbol of their coin (chainid.network).
const EVM_CHAINS: &[(u64, &str, &str)] = &[
    (1, "Ethereum", "ETH"),
    (10, "OP Mainnet", "ETH"),
    (56, "BNB Smart Chain", "BNB"),
    (100, "Gnosis", "xDAI"),
    (137, "Polygon", "POL"),
    (8453, "Base", "ETH"),
    (42_161, "Arbitrum One", "ETH"),
    (43_114, "Avalanche C-Chain", "AVAX"),
    (17_000, "Holesky (test)", "test ETH"),
    (560_048, "Hoodi (test)", "test ETH"),
    (11_155_111, "Sepolia (test)", "test ETH"),
];

/// The chain as people know it: `Ethereum (eip155:1)`.
pub fn chain_name(chain: Chain) -> String {
    match chain {
        Chain::Ethereum(id) => match EVM_CHAINS.iter().find(|(known, ..)| *known == id) {
            Some((_, name, _)) => format!("{name} ({chain})"),
            None => format!("an EVM chain without a known name ({chain})"),
        },
        Chain::Bitcoin(network) => match network {
            crate::model::Network::Main => format!("Bitcoin ({chain})"),
            _ => format!("a Bitcoin test network ({chain})"),
        },
    }
}

fn coin(chain: Chain) -> Coin {
    match chain {
        Chain::Ethereum(id) => {
            let known = EVM_CHAINS.iter().find(|(known, ..)| *known == id);
            Coin { symbol: known.map_or("coins of that chain", |(.., symbol)| symbol), decimals: 18 }
        }
        Chain::Bitcoin(network) => {
            let symbol = if network == crate::model::Network::Main { "BTC" } else { "test BTC" };
            Coin { symbol, decimals: 8 }
        }
    }
}

/// An amount of a chain's coin in whole coins, exact: `1.5 ETH`.
pub fn coins(amount: Amount, chain: Chain) -> String {
    let Coin { symbol, decimals } = coin(chain);
    let digits = format!("{:0>width$}", amount.to_string(), width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    format!("{whole}{point}{part} {symbol}")
}

fn what(moved: &Move, chain: Option<Chain>) -> String {
    let amount = moved.amount;
    match (&moved.asset, chain) {
        (Asset::Native, Some(chain)) => coins(amount, chain),
        (Asset::Native, None) => format!("{amount} of a coin that is not named"),
        (Asset::Erc20(contract), _) if amount == Amount::MAX => format!("any amount of token {contract}"),
        (Asset::Erc20(contract), _) => format!("{amount} base units of token {contract}"),
        (Asset::Erc721(contract, id), _) => format!("token number {id} of collection {contract}"),
        (Asset::Erc1155(contract, id), _) => {
            format!("{amount} of token number {id} of collection {contract}")
        }
        (Asset::Collection(contract), _) if amount.is_zero() => {
            format!("no longer any token of collection {contract}")
        }
        (Asset::Collection(contract), _) => format!("every token of collection {contract}"),
    }
}

const fn warning(warning: Warning) -> &'static str {
    match warning {
        Warning::Opaque => "the HSM cannot see all that this does",
        Warning::UnlimitedAllowance => "the allowance has no practical limit",
        Warning::WholeCollection => "the allowance is for every token of a collection",
        Warning::Delegation => "code would get control of the account's own coins",
        Warning::AnyChain => "it is valid on every chain",
        Warning::NoExpiry => "it does not expire before the year 2100",
        Warning::EitherReading => {
            "the contract decides what the number means: an amount, or one token of a collection"
        }
    }
}

const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Transfer => "transfer",
        Kind::Allowance => "allowance",
        Kind::Call => "call of a contract",
        Kind::Creation => "creation of a contract",
        Kind::Delegation => "delegation of the account to code",
        Kind::Message => "message",
        Kind::TypedData => "typed data",
        Kind::Digest => "digest, blind",
    }
}

/// Text from outside on one line: what is not printable, and what would turn the line around, is written as `\u{…}`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' ' if !out.ends_with(' ') => out.push(' '),
            ' ' => out.push_str("\\u{20}"),
            turned if is_right_to_left(turned) => out.extend(turned.escape_unicode()),
            hidden if is_hidden(hidden) => out.extend(hidden.escape_unicode()),
            shown => out.push(shown),
        }
    }
    out
}

/// The blocks of scripts that are written from right to left (Unicode, `DerivedBidiClass.txt`: where R and AL are the
/// default). One such letter reorders the digits around it.
fn is_right_to_left(character: char) -> bool {
    matches!(character,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Control and format characters, separators, private use and what is not assigned to be seen.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}')
}

/// Whether the chain takes a fee for the transaction's bytes besides what the transaction offers for gas (OP Stack, "L1 data
/// fee"), as far as it is known by name.
fn has_data_fee(chain: Chain) -> bool {
    matches!(chain, Chain::Ethereum(10 | 8453))
}

/// The longest text that is signed, in bytes: nobody reads more, and an answer has to hold it.
pub const SUMMARY_MAX_BYTES: usize = 32 * 1024;

/// The text of an intent.
pub fn render(intent: &Intent) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label}: {value}").expect("a string takes everything");
    };
    for seen in &intent.warnings {
        line("warning", warning(*seen));
    }
    let place = intent.chain.map(|chain| format!(" on {}", chain_name(chain))).unwrap_or_default();
    line("sign", &format!("{}{place}", title(intent.kind)));
    for moved in &intent.moves {
        let label = match (intent.kind, moved.own) {
            // Coins that go along with a call that allows something are sent.
            (Kind::Allowance, _) if moved.asset != Asset::Native => "allow",
            (_, true) => "change",
            (_, _) => "send",
        };
        line(label, &what(moved, intent.chain));
        if let Some(from) = &moved.from {
            line("  from", from.as_str());
        }
        line("  to", moved.to.as_str());
    }
    if let (Some(fee), Some(chain)) = (intent.fee_most, intent.chain) {
        let beyond = if has_data_fee(chain) {
            ", and that chain's fee for data, which no transaction bounds"
        } else {
            ""
        };
        line("fee", &format!("at most {}{beyond}", coins(fee, chain)));
        if let Some(sum) = intent.sum(&Asset::Native) {
            line("in all", &format!("at most {}{beyond}", coins(sum, chain)));
        }
    }
    if let Some(nonce) = intent.nonce {
        line("nonce", &nonce.to_string());
    }
    for detail in &intent.details {
        line(detail.label, &visible(&detail.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Detail, Network};

    fn transfer(amount: &str) -> Intent {
        let to = Address::canonical("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned());
        let sent = Move { from: None, to, asset: Asset::Native, amount: amount.parse().unwrap(), own: false };
        Intent {
            kind: Kind::Transfer,
            chain: Some(Chain::Ethereum(1)),
            moves: vec![sent],
            fee_most: Some("420000000000000".parse().unwrap()),
            nonce: Some(7),
            opaque: false,
            warnings: Vec::new(),
            details: Vec::new(),
        }
    }

    #[test]
    fn a_transfer_is_told_exactly() {
        assert_eq!(
            render(&transfer("1500000000000000001")),
            "sign: transfer on Ethereum (eip155:1)\n\
             send: 1.500000000000000001 ETH\n  to: 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\
             fee: at most 0.00042 ETH\nin all: at most 1.500420000000000001 ETH\nnonce: 7\n"
        );
    }

    #[test]
    fn coins_are_exact() {
        let bitcoin = Chain::Bitcoin(Network::Main);
        for (satoshi, text) in [
            ("0", "0 BTC"),
            ("1", "0.00000001 BTC"),
            ("100000000", "1 BTC"),
            ("2100000000000000", "21000000 BTC"),
            ("123456789", "1.23456789 BTC"),
        ] {
            assert_eq!(coins(satoshi.parse().unwrap(), bitcoin), text);
        }
        assert!(
            coins(Amount::MAX, Chain::Ethereum(1))
                .starts_with("1157920892373161954235709850086879078532699846")
        );
    }

    #[test]
    fn text_from_outside_begins_no_line_and_hides_nothing() {
        let mut intent = transfer("1");
        intent.details.push(Detail {
            label: "message",
            text: "hi\nsend: 0 ETH\r\u{202e}\u{200b}\u{feff}\\   1 \u{5d0} 2\u{2800}".to_owned(),
        });
        let text = render(&intent);
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "message: hi\\nsend: 0 ETH\\u{d}\\u{202e}\\u{200b}\\u{feff}\\\\ \\u{20} 1 \\u{5d0} 2\\u{2800}"
        );
        assert_eq!(text.lines().count(), 7);
    }

    #[test]
    fn a_fee_that_no_transaction_bounds_is_told_where_a_chain_is_known_to_take_one() {
        for (chain, more) in [(1, false), (10, true), (8453, true), (42_161, false)] {
            let text = render(&Intent { chain: Some(Chain::Ethereum(chain)), ..transfer("1") });
            let lines = text.lines().filter(|line| line.starts_with("fee: ") || line.starts_with("in all: "));
            let told = lines
                .map(|line| line.ends_with(", and that chain's fee for data, which no transaction bounds"));
            assert_eq!(told.collect::<Vec<_>>(), [more; 2], "{chain}");
        }
    }

    #[test]
    fn warnings_come_first() {
        assert_eq!(
            render(&Intent::digest()),
            "warning: the HSM cannot see all that this does\nsign: digest, blind\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn visible_text_is_one_line_and_says_everything(text: String) {
            let shown = visible(&text);
            proptest::prop_assert!(!shown.chars().any(is_hidden_or_break));
            proptest::prop_assert_eq!(read_back(&shown), text);
        }
    }

    fn is_hidden_or_break(character: char) -> bool {
        character != ' ' && is_hidden(character) || is_right_to_left(character)
    }

    fn read_back(shown: &str) -> String {
        let (mut out, mut rest) = (String::new(), shown);
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            if character != '\\' {
                out.push(character);
            } else if let Some(after) = rest.strip_prefix('n') {
                (out, rest) = (out + "\n", after);
            } else if let Some(after) = rest.strip_prefix('\\') {
                (out, rest) = (out + "\\", after);
            } else {
                let (code, after) = rest.strip_prefix("u{").unwrap().split_once('}').unwrap();
                out.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
                rest = after;
            }
        }
        out
    }
}
