//! The application's memory, behind types with a safe surface.
//!
//! What comes in is copied before anything else happens, so an application that writes to its own buffers
//! meanwhile, or passes one buffer for two purposes, can at worst confuse itself. What goes out is written through
//! raw pointers, without ever making a reference to memory that is not ours. Alignment is not relied on.

use crate::attributes::{Attribute, Value};
use crate::failure::Result;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_ULONG, CK_UNAVAILABLE_INFORMATION,
    CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL,
};
use std::ffi::CStr;
use std::ptr::NonNull;
use zeroize::Zeroizing;

/// The most attributes that a template is read for.
const TEMPLATE_MAX: usize = 1024;

/// The most bytes that are copied of one attribute's value. No attribute of ours is nearly as long, so a longer
/// one, cut off here, still matches nothing.
const VALUE_MAX_BYTES: usize = 4096;

/// The mechanism argument of a function, as far as this module's mechanisms have anything to say.
pub(crate) struct MechanismArgument {
    pub(crate) kind: CK_MECHANISM_TYPE,
    pub(crate) parameter_bytes: usize,
}

/// Copies at most `most` bytes and one more, which shows that there were too many.
///
/// # Safety
///
/// `start` is `NULL` or valid for reads of `length` bytes.
pub(super) unsafe fn bytes(start: *const u8, length: CK_ULONG, most: usize) -> Result<Zeroizing<Vec<u8>>> {
    let length = count(length)?.min(most + 1);
    let mut copy = Zeroizing::new(Vec::with_capacity(length));
    if length == 0 {
        return Ok(copy);
    }
    let start = NonNull::new(start.cast_mut()).ok_or(CKR_ARGUMENTS_BAD)?;
    // SAFETY: `start` is valid for reads of `length` bytes by the caller's promise, and bytes need no alignment;
    // the vector has room for as many and is memory of its own.
    unsafe {
        copy.as_mut_ptr().copy_from_nonoverlapping(start.as_ptr(), length);
        copy.set_len(length);
    }
    Ok(copy)
}

/// Copies a whole template.
///
/// # Safety
///
/// `start` is `NULL` or valid for reads of `length` attributes, each of whose values is `NULL` or valid for reads
/// of its length.
pub(super) unsafe fn template(start: *const CK_ATTRIBUTE, length: CK_ULONG) -> Result<Vec<Attribute>> {
    let length = count(length)?;
    if length > TEMPLATE_MAX || (start.is_null() && length > 0) {
        return Err(CKR_ARGUMENTS_BAD.into());
    }
    (0..length)
        .map(|at| {
            // SAFETY: `at` is within the `length` attributes that `start` is valid for by the caller's promise.
            let attribute = unsafe { start.add(at).read_unaligned() };
            // SAFETY: an attribute's value is `NULL` or valid for its length by the caller's promise.
            let value = unsafe { bytes(attribute.pValue.cast(), attribute.ulValueLen, VALUE_MAX_BYTES)? };
            Ok(Attribute { kind: attribute.type_, value: value.to_vec() })
        })
        .collect()
}

/// Reads a mechanism; `None` for `NULL`. Parameters are not followed: none of ours takes one.
///
/// # Safety
///
/// `mechanism` is `NULL` or valid for reads.
pub(super) unsafe fn mechanism(mechanism: *const CK_MECHANISM) -> Option<MechanismArgument> {
    // SAFETY: not `NULL` where it is read, and then valid for reads by the caller's promise.
    let mechanism = unsafe { optional(mechanism)? };
    let parameter_bytes = usize::try_from(mechanism.ulParameterLen).unwrap_or(usize::MAX);
    Some(MechanismArgument { kind: mechanism.mechanism, parameter_bytes })
}

/// Copies a value; `None` for `NULL`.
///
/// # Safety
///
/// `value` is `NULL` or valid for reads.
pub(super) unsafe fn optional<T: Copy>(value: *const T) -> Option<T> {
    if value.is_null() {
        return None;
    }
    // SAFETY: not `NULL`, so valid for reads by the caller's promise; alignment is not assumed.
    Some(unsafe { value.read_unaligned() })
}

/// Whether a C string is `wanted`; `None` for `NULL`.
///
/// # Safety
///
/// `text` is `NULL` or valid for reads up to and with its terminating zero.
pub(super) unsafe fn text_is(text: *const u8, wanted: &CStr) -> Option<bool> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not `NULL`, so zero-terminated by the caller's promise.
    Some(unsafe { CStr::from_ptr(text.cast()) } == wanted)
}

/// A length that some memory can really have.
pub(super) fn count(length: CK_ULONG) -> Result<usize> {
    let length = usize::try_from(length).map_err(|_| CKR_ARGUMENTS_BAD)?;
    if isize::try_from(length).is_ok() { Ok(length) } else { Err(CKR_ARGUMENTS_BAD.into()) }
}

/// Where one value goes.
pub(crate) struct Out<T>(NonNull<T>);

impl<T: Copy> Out<T> {
    /// Refuses `NULL`.
    ///
    /// # Safety
    ///
    /// `to` is `NULL`, or valid for writes for as long as this lives.
    pub(super) unsafe fn new(to: *mut T) -> Result<Self> {
        Ok(Self(NonNull::new(to).ok_or(CKR_ARGUMENTS_BAD)?))
    }

    /// Writes the value.
    pub(crate) fn set(&mut self, value: T) {
        // SAFETY: valid for writes by the promise made to `new`; alignment is not assumed.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }
}

/// Where up to a known number of values go, one after the other.
pub(crate) struct OutArray<T> {
    next: *mut T,
    room: usize,
}

impl<T: Copy> OutArray<T> {
    /// Refuses `NULL` with room.
    ///
    /// # Safety
    ///
    /// `start` is `NULL`, or valid for writes of `length` values for as long as this lives.
    pub(super) unsafe fn new(start: *mut T, length: CK_ULONG) -> Result<Self> {
        let room = count(length)?;
        if start.is_null() && room > 0 {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        Ok(Self { next: start, room })
    }

    /// How many more values fit.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Writes the next values; those that do not fit are dropped.
    pub(crate) fn append(&mut self, values: &[T]) {
        for value in &values[..values.len().min(self.room)] {
            // SAFETY: there is room for at least one more value at `next`, by the promise made to `new`, and one
            // past it is at most the end.
            unsafe {
                self.next.write_unaligned(*value);
                self.next = self.next.add(1);
            }
            self.room -= 1;
        }
    }
}

/// Where a list of values goes whose length the application may ask for first (PKCS#11 v2.40 section 5.2).
///
/// How much room there is is read once: what was checked before the HSM was asked still holds after it.
pub(crate) struct OutList<T> {
    start: *mut T,
    room: CK_ULONG,
    length: NonNull<CK_ULONG>,
}

impl<T: Copy> OutList<T> {
    /// Refuses a `NULL` length; a `NULL` start asks for the length only.
    ///
    /// # Safety
    ///
    /// `length` is `NULL` or valid for reads and writes, and `start` is `NULL` or valid for writes of `*length`
    /// values, for as long as this lives.
    pub(super) unsafe fn new(start: *mut T, length: *mut CK_ULONG) -> Result<Self> {
        let length = NonNull::new(length).ok_or(CKR_ARGUMENTS_BAD)?;
        // SAFETY: not `NULL`, so valid for reads by the caller's promise; alignment is not assumed.
        let room = unsafe { length.as_ptr().read_unaligned() };
        Ok(Self { start, room, length })
    }

    /// Whether to go on and make `values` values: not if the application only asked for their number, or has too
    /// little room for them. Either way it is told the number.
    pub(crate) fn takes(&mut self, values: usize) -> Result<bool> {
        let needed = CK_ULONG::try_from(values).expect("lists of ours are short");
        if self.start.is_null() || self.room < needed {
            self.set_length(needed);
        }
        match self.start.is_null() {
            true => Ok(false),
            false if self.room < needed => Err(CKR_BUFFER_TOO_SMALL.into()),
            false => Ok(true),
        }
    }

    /// Writes all values, or what [`OutList::takes`] says instead.
    pub(crate) fn fill(&mut self, values: &[T]) -> Result {
        if self.takes(values.len())? {
            for (at, value) in values.iter().enumerate() {
                // SAFETY: `takes` has just seen that `start` is not `NULL` and has room for all values.
                unsafe { self.start.add(at).write_unaligned(*value) }
            }
            self.set_length(CK_ULONG::try_from(values.len()).expect("lists of ours are short"));
        }
        Ok(())
    }

    fn set_length(&mut self, length: CK_ULONG) {
        // SAFETY: `length` is valid for writes by the promise made to `new`.
        unsafe { self.length.as_ptr().write_unaligned(length) }
    }
}

/// A template whose values the application wants to know.
pub(crate) struct AttributeSlots {
    start: *mut CK_ATTRIBUTE,
    count: usize,
}

impl AttributeSlots {
    /// Refuses `NULL` with a length.
    ///
    /// # Safety
    ///
    /// `start` is `NULL` or valid for reads and writes of `length` attributes, each of whose values is `NULL` or
    /// valid for writes of its length, for as long as this lives.
    pub(super) unsafe fn new(start: *mut CK_ATTRIBUTE, length: CK_ULONG) -> Result<Self> {
        let count = count(length)?;
        if start.is_null() && count > 0 {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        Ok(Self { start, count })
    }

    /// How many attributes there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Which attribute is wanted in that place.
    pub(crate) fn kind(&self, at: usize) -> CK_ATTRIBUTE_TYPE {
        self.read(at).type_
    }

    /// Answers it, in one of the five ways of PKCS#11 v2.40 section 5.7 (`C_GetAttributeValue`).
    pub(crate) fn answer(&mut self, at: usize, value: &Value<'_>) -> Result {
        let wanted = self.read(at);
        let value = match value {
            Value::Is(value) => value,
            Value::Sensitive => return self.unavailable(at, CKR_ATTRIBUTE_SENSITIVE),
            Value::Missing => return self.unavailable(at, CKR_ATTRIBUTE_TYPE_INVALID),
        };
        let length = CK_ULONG::try_from(value.len()).expect("attributes of ours are short");
        if !wanted.pValue.is_null() {
            if wanted.ulValueLen < length {
                return self.unavailable(at, CKR_BUFFER_TOO_SMALL);
            }
            // SAFETY: `pValue` is not `NULL`, so valid for writes of `ulValueLen` bytes by the promise made to
            // `new`; that is at least as many as `value` has, and `value` is memory of our own.
            unsafe { wanted.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) }
        }
        self.set_length(at, length);
        Ok(())
    }

    fn unavailable(&mut self, at: usize, rv: cryptoki_sys::CK_RV) -> Result {
        self.set_length(at, CK_UNAVAILABLE_INFORMATION);
        Err(rv.into())
    }

    fn read(&self, at: usize) -> CK_ATTRIBUTE {
        assert!(at < self.count, "the template has {} attributes", self.count);
        // SAFETY: `at` is within the attributes that `start` is valid for by the promise made to `new`.
        unsafe { self.start.add(at).read_unaligned() }
    }

    fn set_length(&mut self, at: usize, length: CK_ULONG) {
        let changed = CK_ATTRIBUTE { ulValueLen: length, ..self.read(at) };
        // SAFETY: `read` has just seen that `at` is within the attributes, which are valid for writes by the
        // promise made to `new`.
        unsafe { self.start.add(at).write_unaligned(changed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_list_is_what_it_was_in_the_beginning() {
        for later in [0, 2, CK_ULONG::MAX] {
            let (mut values, mut length) = ([0u8; 4], 3);
            // SAFETY: both live longer than the list, and `values` has at least the room that `length` says.
            let mut list = unsafe { OutList::new(values.as_mut_ptr(), &raw mut length) }.unwrap();
            assert_eq!(list.takes(3), Ok(true));
            // SAFETY: `length` lives; the list reads and writes it through a raw pointer as well.
            unsafe { (&raw mut length).write(later) };
            assert_eq!(list.takes(4), Err(CKR_BUFFER_TOO_SMALL.into()), "{later}");
            // SAFETY: as above.
            unsafe { (&raw mut length).write(later) };
            assert_eq!(list.fill(&[7; 3]), Ok(()), "{later}");
            assert_eq!((values, length), ([7, 7, 7, 0], 3));
        }
    }
}
