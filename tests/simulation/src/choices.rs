//! What a history is drawn from: a seed, or a script of bytes that somebody wrote down, a fuzzer say.

use core::ops::{Bound, RangeBounds};
use fastrand::Rng;

/// Choices, in order. Of a seed they are what [`Rng`] draws; of a script, what its next bytes say, and after its end what a
/// fixed seed draws. What nobody would choose (nonces, ids, keys) is drawn in any case.
#[derive(Clone, Debug)]
pub struct Choices {
    script: Vec<u8>,
    at: usize,
    rest: Rng,
}

impl Choices {
    /// What this seed draws.
    pub fn of_seed(seed: u64) -> Self {
        Self { script: Vec::new(), at: 0, rest: Rng::with_seed(seed) }
    }

    /// What this script says.
    pub fn of_script(script: &[u8]) -> Self {
        Self { script: script.to_vec(), at: 0, rest: Rng::with_seed(0) }
    }

    /// Whether the script says something more.
    pub fn has_more(&self) -> bool {
        self.at < self.script.len()
    }

    /// A number of 0 to `most` out of the script, from as few bytes as can hold it; `None` at its end.
    fn scripted(&mut self, most: u128) -> Option<u128> {
        if !self.has_more() {
            return None;
        }
        let bytes = (128 - most.leading_zeros()).div_ceil(8).max(1);
        let mut number = 0;
        for _ in 0..bytes {
            // A script that ends inside a number ends with zeros.
            number = number << 8 | u128::from(self.script.get(self.at).copied().unwrap_or(0));
            self.at += 1;
        }
        Some(if most == u128::MAX { number } else { number % (most + 1) })
    }

    /// Yes or no.
    pub fn bool(&mut self) -> bool {
        self.scripted(1).map_or_else(|| self.rest.bool(), |number| number == 1)
    }

    /// One of them.
    pub fn choice<T>(&mut self, of: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> Option<T> {
        if !self.has_more() {
            return self.rest.choice(of);
        }
        let mut of = of.into_iter();
        let last = of.len().checked_sub(1)?;
        let at = self.usize(..=last);
        of.nth(at)
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        self.rest.shuffle(list);
    }

    /// Bytes that nobody chooses.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.rest.fill(bytes);
    }

    /// A number of all that there are, which nobody chooses.
    pub fn unguessable(&mut self) -> u128 {
        self.rest.u128(..)
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {
        impl Choices {
            $(
                /// A number of this range, which is not empty.
                pub fn $name(&mut self, range: impl RangeBounds<$name>) -> $name {
                    let first = match range.start_bound() {
                        Bound::Included(first) => *first,
                        Bound::Excluded(before) => *before + 1,
                        Bound::Unbounded => $name::MIN,
                    };
                    let last = match range.end_bound() {
                        Bound::Included(last) => *last,
                        Bound::Excluded(end) => *end - 1,
                        Bound::Unbounded => $name::MAX,
                    };
                    let most = u128::try_from(last - first).expect("it is not negative");
                    match self.scripted(most) {
                        Some(number) => first + $name::try_from(number).expect("it is below the range's end"),
                        None => self.rest.$name(range),
                    }
                }
            )*
        }
    };
}

numbers!(u8 u16 u32 u64 u128 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_seed_they_are_what_the_generator_draws() {
        let (mut choices, mut rng) = (Choices::of_seed(7), Rng::with_seed(7));
        for _ in 0..100 {
            assert_eq!(choices.u8(..20), rng.u8(..20));
            assert_eq!(choices.usize(3..9), rng.usize(3..9));
            assert_eq!(choices.u128(1..=900), rng.u128(1..=900));
            assert_eq!(choices.bool(), rng.bool());
            assert_eq!(choices.choice([1, 2, 3]), rng.choice([1, 2, 3]));
            assert_eq!(choices.unguessable(), rng.u128(..));
        }
    }

    #[test]
    fn of_a_script_they_are_its_bytes_and_then_the_generators() {
        let mut choices = Choices::of_script(&[5, 25, 1, 2, 1, 1, 9]);
        assert_eq!((choices.u8(..20), choices.u8(..20)), (5, 5));
        assert_eq!(choices.u64(10..1000), 10 + 0x0102);
        assert!(choices.bool());
        assert_eq!(choices.choice(["a", "b", "c"]), Some("b"));
        assert!(choices.has_more());
        assert_eq!(choices.u16(..), 0x0900);
        assert!(!choices.has_more());
        assert!(choices.u8(3..5) < 5);
        assert_eq!(choices.choice(Vec::<u8>::new()), None);
    }
}
