//! The few bytes of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding>) that an ONNX file needs: fields in the
//! order in which they are written, so that the same net is the same file to the last byte.

/// A message on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// An integer; not for negative ones.
    pub(super) fn int(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.varint(value);
        self
    }

    /// Text or bytes.
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A message within this one.
    pub(super) fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// Integers, packed.
    pub(super) fn ints(self, field: u32, values: &[u64]) -> Self {
        let mut packed = Self::default();
        values.iter().for_each(|&value| packed.varint(value));
        self.message(field, &packed)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
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
