//! The fields of one message as they stand in its bytes: numbers and contents, without a meaning.
//!
//! Protobuf's encoding, as far as Kubernetes uses it. Everything borrows from the body, so bytes that lie about lengths
//! cost nothing. It is smaller than a library's door to the same: those decode into types that are made for them.

/// Most bytes of one variable-length number.
const VARINT_BYTES_MAX: usize = 10;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// A number or a truth value.
    Varint(u64),
    /// A number of fixed length.
    Fixed(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields, in the order in which they stand; ends after what cannot be read.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Content<'a>), String> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed(u32::from_le_bytes(self.array()?).into()),
            other => {
                return Err(format!(
                    "field {} has the unknown wire type {other}",
                    key >> 3
                ));
            }
        };
        match key >> 3 {
            0 => Err("0 is no number of a field".to_owned()),
            number => Ok((number, content)),
        }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(match self.rest.len() < VARINT_BYTES_MAX {
            true => ENDS_EARLY.to_owned(),
            false => format!("a number is longer than {VARINT_BYTES_MAX} bytes"),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).map_err(|_| ENDS_EARLY)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Bytes are missing.
const ENDS_EARLY: &str = "it ends in the middle of a field";

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Content<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Content<'_>)>, String> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn reads_every_wire_type() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0,
            0,
        ];
        let expected = [
            (1, Content::Varint(150)),
            (2, Content::Bytes(b"hi")),
            (3, Content::Fixed(1)),
            (4, Content::Fixed(2)),
        ];
        assert_eq!(read(&bytes), Ok(expected.to_vec()));
        let negative = [
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ];
        assert_eq!(read(&negative), Ok(vec![(1, Content::Varint(u64::MAX))]));
    }

    #[test]
    fn refuses_what_is_no_message() {
        let cases: [(&[u8], &str); 7] = [
            (&[0x08], "ends"),
            (&[0x12, 5, b'x'], "ends"),
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                "ends",
            ),
            (&[0x1d, 1], "ends"),
            (&[0x0b], "wire type 3"),
            (&[0x02, 0], "0 is no number"),
            (&[0xff; 12], "longer than 10"),
        ];
        for (bytes, why) in cases {
            let refused = read(bytes).expect_err("no message");
            assert!(refused.contains(why), "{bytes:?}: {refused}");
        }
    }
}
