//! The contract ABI, in its one canonical form: the heads first, the tails right behind them in the order of their
//! heads, all padding zero, nothing left over (Solidity ABI specification, "Formal Specification of the Encoding").
//!
//! Contracts read more than that: any offset, overlapping tails, bytes behind the end. What they would make of such data
//! is not worth guessing, so it stays undecoded, and counts as blind. Since each value has one place and one form, encoding
//! what was read gives the same bytes again.
//!
//! It is read here, in a hundred lines without a dependency, since `alloy-sol-types` would bring a second Keccak and
//! twenty crates into the image; the tests compare with it.

use crate::model::Amount;

/// The size of a word, in bytes.
const WORD: usize = 32;

/// Reads the parameters of one call, one after the other. Each method gives `None` for what is not canonical.
pub(super) struct Parameters<'a> {
    bytes: &'a [u8],
    /// Where the next head lies, in bytes.
    head: usize,
    /// Where the heads end, in bytes.
    heads_end: usize,
    /// Where the next tail lies, in bytes.
    tail: usize,
}

impl<'a> Parameters<'a> {
    /// Of a call with so many parameters, each with one head.
    pub(super) fn of(bytes: &'a [u8], count: usize) -> Option<Self> {
        let heads_end = count.checked_mul(WORD)?;
        (bytes.len() >= heads_end).then_some(Self { bytes, head: 0, heads_end, tail: heads_end })
    }

    /// All was read, and nothing stands behind it.
    pub(super) fn end(&self) -> Option<()> {
        (self.head == self.heads_end && self.tail == self.bytes.len()).then_some(())
    }

    /// Any 32 bytes.
    pub(super) fn word(&mut self) -> Option<[u8; WORD]> {
        if self.head >= self.heads_end {
            return None;
        }
        let word = word_at(self.bytes, self.head)?;
        self.head = self.head.checked_add(WORD)?;
        Some(word)
    }

    pub(super) fn uint(&mut self) -> Option<Amount> {
        self.word().map(Amount::from_be_bytes)
    }

    pub(super) fn address(&mut self) -> Option<[u8; 20]> {
        let word = self.word()?;
        let (padding, address) = word.split_first_chunk::<12>()?;
        if *padding == [0; 12] { address.try_into().ok() } else { None }
    }

    pub(super) fn uint8(&mut self) -> Option<u8> {
        u8::try_from(self.uint()?).ok()
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.uint8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// `bytes`: an offset to the next tail; there the length, then the bytes, padded with zeros to whole words.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.tail_length()?;
        let padded = length.checked_next_multiple_of(WORD)?;
        let all = self.bytes.get(self.tail..self.tail.checked_add(padded)?)?;
        let (content, padding) = all.split_at_checked(length)?;
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        self.tail = self.tail.checked_add(padded)?;
        Some(content)
    }

    /// `uint256[]` of at most so many elements: an offset to the next tail; there the count, then the elements.
    pub(super) fn uints(&mut self, count_max: usize) -> Option<Vec<Amount>> {
        let count = self.tail_length()?;
        if count > count_max {
            return None;
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(Amount::from_be_bytes(word_at(self.bytes, self.tail)?));
            self.tail = self.tail.checked_add(WORD)?;
        }
        Some(elements)
    }

    /// The head must point to the next tail; the length that stands there.
    fn tail_length(&mut self) -> Option<usize> {
        if usize::try_from(self.uint()?).ok()? != self.tail {
            return None;
        }
        let length = usize::try_from(Amount::from_be_bytes(word_at(self.bytes, self.tail)?)).ok()?;
        self.tail = self.tail.checked_add(WORD)?;
        Some(length)
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<[u8; WORD]> {
    bytes.get(at..at.checked_add(WORD)?)?.try_into().ok()
}
