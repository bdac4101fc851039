//! Protobuf's wire format as a cursor over borrowed bytes.
//!
//! 1. A key is a varint: the field's number and, in the low three bits, its wire type.
//! 2. Varint, fixed 64 bit, length-delimited and fixed 32 bit values are handed out as they are.
//! 3. Groups (start and end markers) were given up long ago, but a conforming reader still skips one whose number it
//!    does not know, so the cursor does: to the end marker of the same number, through nested ones, to a fixed depth.
//!
//! Every read is bounded by the slice: bytes that end early, varints of more than 64 bits and unknown wire types are
//! errors, never a panic. A message's bytes are a slice of their own, so no field can reach beyond its message.

/// How deep groups may nest; the depth at which prost stops too.
const GROUP_DEPTH_MAX: u32 = 100;

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside of a field.
    #[error("the message ends inside of a field")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    VarintTooLong,
    /// A key with the field number 0 or more than 32 bits.
    #[error("a field's key is not valid")]
    BadKey,
    /// Wire types 6 and 7 do not exist.
    #[error("a field's wire type does not exist")]
    BadWireType,
    /// A field of the schema has another wire type than the schema says.
    #[error("a field has another wire type than its schema says")]
    WrongWireType,
    /// A group's end without its start, or groups too deep.
    #[error("a group is not closed properly")]
    BadGroup,
    /// A message within is not one of its type.
    #[error("a message within is malformed")]
    BadMessage,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: a string, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire types 3 and 4: a group, skipped.
    Group,
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    ///
    /// # Errors
    /// [`WireError::WrongWireType`] for any other.
    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::WrongWireType),
        }
    }

    /// The number of a varint field.
    ///
    /// # Errors
    /// [`WireError::WrongWireType`] for any other.
    #[inline]
    pub fn varint(self) -> Result<u64, WireError> {
        match self {
            Value::Varint(number) => Ok(number),
            _ => Err(WireError::WrongWireType),
        }
    }

    /// The number of a `double` field.
    ///
    /// # Errors
    /// [`WireError::WrongWireType`] for any other.
    #[inline]
    pub fn double(self) -> Result<f64, WireError> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::WrongWireType),
        }
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a message.
    pub fn new(message: &'a [u8]) -> Self {
        Cursor { bytes: message, position: 0 }
    }

    /// How many bytes were consumed: where the next field starts.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next field's number and value; `None` at the end of the message.
    ///
    /// # Errors
    /// Bytes that are not a field. The cursor is of no use then.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.position == self.bytes.len() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let value = self.value(number, wire_type, 0)?;
        Ok(Some((number, value)))
    }

    /// The bytes of the next field, if it is length-delimited, its key is the one byte `key` and its length takes one or two
    /// bytes: what nearly all of a write consists of. `None`, and the cursor stays, for anything else, be it right or wrong.
    #[inline]
    pub fn short_bytes(&mut self, key: u8) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.position..)?;
        let (length, from) = match *rest.get(..3)? {
            [k, length, _] if k == key && length < 0x80 => (usize::from(length), 2),
            [k, low, high] if k == key && high < 0x80 => (usize::from(low & 0x7f) | usize::from(high) << 7, 3),
            _ => return None,
        };
        let taken = rest.get(from..from + length)?;
        self.position += from + length;
        Some(taken)
    }

    #[inline]
    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let key = u32::try_from(self.varint()?).map_err(|_| WireError::BadKey)?;
        match key >> 3 {
            0 => Err(WireError::BadKey),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    #[inline]
    fn value(&mut self, number: u32, wire_type: u8, depth: u32) -> Result<Value<'a>, WireError> {
        match wire_type {
            0 => Ok(Value::Varint(self.varint()?)),
            1 => Ok(Value::Fixed64(u64::from_le_bytes(self.array()?))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Ok(Value::Bytes(self.take(length)?))
            }
            3 => self.skip_group(number, depth).map(|()| Value::Group),
            4 => Err(WireError::BadGroup),
            5 => Ok(Value::Fixed32(u32::from_le_bytes(self.array()?))),
            _ => Err(WireError::BadWireType),
        }
    }

    #[cold]
    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        if depth >= GROUP_DEPTH_MAX {
            return Err(WireError::BadGroup);
        }
        loop {
            let (inner, wire_type) = self.key()?;
            if wire_type == 4 {
                return if inner == number { Ok(()) } else { Err(WireError::BadGroup) };
            }
            self.value(inner, wire_type, depth + 1)?;
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.position) {
            Some(&byte) if byte < 0x80 => {
                self.position += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let &byte = self.bytes.get(self.position).ok_or(WireError::Truncated)?;
            self.position += 1;
            if shift == 63 && byte > 1 {
                return Err(WireError::VarintTooLong);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::VarintTooLong)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.position.checked_add(length).ok_or(WireError::Truncated)?;
        let taken = self.bytes.get(self.position..end).ok_or(WireError::Truncated)?;
        self.position = end;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::encoding::encode_varint;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
        let mut cursor = Cursor::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = cursor.next_field()? {
            fields.push(field);
        }
        assert_eq!(cursor.position(), bytes.len());
        Ok(fields)
    }

    /// A message without fields: every byte string it accepts is well-formed, whatever the fields.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Empty {}

    proptest! {
        #[test]
        fn varints_are_read_as_they_were_written(number: u64) {
            let mut bytes = vec![0x08];
            encode_varint(number, &mut bytes);
            prop_assert_eq!(fields(&bytes), Ok(vec![(1, Value::Varint(number))]));
        }

        #[test]
        fn well_formed_is_what_prost_calls_well_formed(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), 0u8..32, Just(0x80), Just(0xff)], 0..24)) {
            use prost::Message as _;
            prop_assert_eq!(fields(&bytes).is_ok(), Empty::decode(&bytes[..]).is_ok(), "{:?}", bytes);
        }
    }

    #[test]
    fn errors_are_named() {
        assert_eq!(fields(&[0x0a, 5, 1]), Err(WireError::Truncated));
        assert_eq!(fields(&[0x08]), Err(WireError::Truncated));
        assert_eq!(fields(&[0x09, 1, 2, 3]), Err(WireError::Truncated));
        assert_eq!(fields(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), Err(WireError::VarintTooLong));
        assert_eq!(fields(&[0x00, 1]), Err(WireError::BadKey));
        assert_eq!(fields(&[0x0f]), Err(WireError::BadWireType));
        assert_eq!(fields(&[0x0c]), Err(WireError::BadGroup));
        assert_eq!(fields(&[0x0b, 0x14]), Err(WireError::BadGroup));
        assert_eq!(fields(&[0x0b, 0x08, 1, 0x0c, 0x10, 7]), Ok(vec![(1, Value::Group), (2, Value::Varint(7))]));
        assert_eq!(fields(&[0x0b; 4096]), Err(WireError::BadGroup), "nesting is bounded");
    }
}
