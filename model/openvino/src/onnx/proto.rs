//! Protocol Buffers as far as ONNX files need them (<https://protobuf.dev/programming-guides/encoding>): a message's fields read one by
//! one, and written in the order in which they are added.

use super::Unread;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A number of any length.
    Number(u64),
    /// Text, numbers in a row, or a message.
    Bytes(&'a [u8]),
    /// A number of four or eight bytes.
    Fixed(&'a [u8]),
}

/// A field's number, what it holds, and all its bytes.
pub type Whole<'a> = (u64, Value<'a>, &'a [u8]);

/// A message's fields, each with its number; ends with the first that can't be read.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next field, and all its bytes.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn whole(&mut self) -> Option<Result<Whole<'a>, Unread>> {
        let before = self.0;
        let field = self.next()?;
        let length = before.len() - self.0.len();
        Some(field.map(|(number, value)| (number, value, &before[..length])))
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Fixed(self.bytes(8)?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Fixed(self.bytes(4)?),
            _ => return None,
        };
        (tag >> 3 > 0).then_some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Unread::NotOnnx("it is cut off, or its bytes mean nothing"));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A message on its way: the same fields in the same order are the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An integer; not for negative ones.
    #[must_use]
    pub fn int(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.varint(value);
        self
    }

    /// Text or bytes.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A message within this one.
    #[must_use]
    pub fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// Integers, packed.
    #[must_use]
    pub fn ints(self, field: u32, values: &[u64]) -> Self {
        let mut packed = Self::default();
        values.iter().for_each(|&value| packed.varint(value));
        self.message(field, &packed)
    }

    /// A field with all its bytes, as [`Fields::whole`] gives it.
    #[must_use]
    pub fn field(mut self, whole: &[u8]) -> Self {
        self.0.extend(whole);
        self
    }

    /// The message's bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn tag(&mut self, field: u32, wire: u64) {
        self.varint(u64::from(field) << 3 | wire);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        // Its own examples: 150 as field 1, "testing" as field 2, the first as field 3, [3, 270, 86942] packed as field 6.
        let inner = Message::default().int(1, 150);
        let message = Message::default().bytes(2, b"testing").message(3, &inner).ints(6, &[3, 270, 86942]);
        let expected = b"\x12\x07testing\x1a\x03\x08\x96\x01\x32\x06\x03\x8e\x02\x9e\xa7\x05";
        assert_eq!(message.into_bytes(), expected);
    }
}
