//! Documents of any shape: all of them are read, and others compute the same digest.

use super::*;
use crate::model::Amount;

/// A type, from which a document is made.
#[derive(Clone, Debug)]
enum Shape {
    Leaf(String),
    Array(Box<Shape>, Option<usize>),
    Struct(Vec<Shape>),
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sized = |name: &'static str| (1..=32_usize).prop_map(move |bytes| format!("{name}{}", bytes * 8));
    let leaf = prop_oneof![
        prop::sample::select(vec!["bool", "address", "bytes", "string"]).prop_map(str::to_owned),
        sized("uint"),
        sized("int"),
        (1..=32_usize).prop_map(|bytes| format!("bytes{bytes}")),
    ];
    leaf.prop_map(Shape::Leaf).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), prop::option::of(1..3_usize))
                .prop_map(|(one, size)| Shape::Array(Box::new(one), size)),
            prop::collection::vec(inner, 0..4).prop_map(Shape::Struct),
        ]
    })
}

/// Draws values, the same ones for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn bytes(&mut self, count: usize) -> String {
        let bytes: Vec<u8> = (0..count).map(|_| u8::try_from(self.below(256)).unwrap()).collect();
        hex(&bytes)
    }

    fn magnitude(&mut self, bits: usize) -> Amount {
        let any = Amount::from_str_radix(&self.bytes(32)[2..], 16).unwrap();
        let kept = usize::try_from(self.below(bits as u64 + 1)).unwrap();
        if kept == 0 { Amount::ZERO } else { any >> (256 - kept) }
    }

    /// An integer in one of the forms that are read.
    fn integer(&mut self, value: Amount, signed: bool) -> Any {
        match (u64::try_from(value), self.below(3)) {
            // 2^53 and above, others would round.
            (Ok(small), 0) if small < 1 << 53 => json!(small),
            (_, 1) if !signed => json!(format!("0x{value:x}")),
            _ => json!(value.to_string()),
        }
    }

    fn leaf(&mut self, kind: &str) -> Any {
        let size = |prefix: &str| kind.strip_prefix(prefix).unwrap().parse::<usize>().unwrap();
        match kind {
            "bool" => json!(self.below(2) == 1),
            "address" => json!(self.bytes(20)),
            "string" => json!(["", "a\n\u{e9}\"\\", "0x10", " b "][usize::try_from(self.below(4)).unwrap()]),
            "bytes" => {
                let count = usize::try_from(self.below(70)).unwrap();
                json!(self.bytes(count))
            }
            _ if kind.starts_with("uint") => {
                let value = self.magnitude(size("uint"));
                self.integer(value, false)
            }
            _ if kind.starts_with("int") => {
                let value = self.magnitude(size("int") - 1);
                if self.below(2) == 1 && !value.is_zero() {
                    json!(format!("-{value}"))
                } else {
                    self.integer(value, true)
                }
            }
            _ => json!(self.bytes(size("bytes"))),
        }
    }
}

impl Shape {
    /// The name of the type; structs are added to `types`.
    fn name(&self, types: &mut serde_json::Map<String, Any>) -> String {
        match self {
            Shape::Leaf(kind) => kind.clone(),
            Shape::Array(one, size) => {
                format!("{}[{}]", one.name(types), size.map(|size| size.to_string()).unwrap_or_default())
            }
            Shape::Struct(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .enumerate()
                    .map(|(at, part)| format!("{} m{at}", part.name(types)))
                    .collect();
                let name = format!("{}{}", ["Zed", "Ant", "_m", "$"][types.len() % 4], types.len());
                types.insert(name.clone(), members(&parts.iter().map(String::as_str).collect::<Vec<_>>()));
                name
            }
        }
    }

    fn value(&self, draw: &mut Draw) -> Any {
        match self {
            Shape::Leaf(kind) => draw.leaf(kind),
            Shape::Array(one, size) => {
                let count = size.unwrap_or_else(|| usize::try_from(draw.below(3)).unwrap());
                (0..count).map(|_| one.value(draw)).collect()
            }
            Shape::Struct(parts) => parts
                .iter()
                .enumerate()
                .map(|(at, part)| (format!("m{at}"), part.value(draw)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]

    #[test]
    fn documents_of_any_shape_are_read_and_have_the_digest_that_others_compute(shape in shapes(), seed: u64) {
        let mut document = mail();
        let mut types = serde_json::Map::new();
        let name = shape.name(&mut types);
        types.insert("Test".to_owned(), members(&[&format!("{name} it")]));
        types.insert("EIP712Domain".to_owned(), domain_type());
        document["types"] = types.into();
        document["primaryType"] = json!("Test");
        document["message"] = json!({ "it": shape.value(&mut Draw(seed)) });
        let within = serde_json::to_vec(&document).unwrap().len() <= TYPED_DATA_MAX_BYTES;
        let read = read(&document);
        prop_assert!(!within || read.is_ok(), "{document}");
        let other = shape.value(&mut Draw(!seed));
        if other != document["message"]["it"] {
            document["message"]["it"] = other;
            if let (Ok(one), Ok(other)) = (read, super::read(&document)) {
                let forms_alone_differ = summary::render(&one.intent()) == summary::render(&other.intent());
                prop_assert_eq!(forms_alone_differ, one.digest() == other.digest());
            }
        }
    }
}
