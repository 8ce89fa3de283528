//! Frames of `application/vnd.amazon.eventstream`, cut anywhere.
//!
//! ```text
//! u32 length of all | u32 length of headers | u32 CRC of these 8 | headers | payload | u32 CRC of all before it
//! header: u8 length, name, u8 type, value (strings and bytes: u16 length before them)
//! ```
//!
//! Both checksums are checked, the first before a byte more is waited for: a length that was damaged is not believed.

use crc_fast::CrcAlgorithm;

use crate::ai::lane::broken;
use crate::error::Result;

const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// Largest frame that is kept. Bedrock's own limit is higher, its frames hold a few words.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of headers.
const HEADERS_BYTES_MAX: usize = 128 * 1024;

/// Takes a stream apart into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    held: Vec<u8>,
}

/// The headers that say what a frame is, and its payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// `event`, `exception` or `error`; empty where it is not told.
    pub(super) message_type: &'a str,
    pub(super) event_type: &'a str,
    pub(super) exception_type: &'a str,
    pub(super) error_code: &'a str,
    pub(super) error_message: &'a str,
    pub(super) payload: &'a [u8],
}

impl Frames {
    /// Gives each frame that `input` completes to `each`.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        mut each: impl FnMut(&Frame<'_>) -> Result<()>,
    ) -> Result<()> {
        self.held.extend_from_slice(input);
        let mut taken = 0;
        while let Some(length) = frame_length(self.held.get(taken..).unwrap_or_default())? {
            let Some(bytes) = self.held.get(taken..taken + length) else {
                break;
            };
            each(&Frame::read(bytes)?)?;
            taken += length;
        }
        self.held.drain(..taken);
        Ok(())
    }

    /// Whether the stream ended between two frames.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.held.is_empty()
    }
}

/// The length of the frame that `bytes` start with, once its prelude is there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some((prelude, _)) = bytes.split_at_checked(PRELUDE_BYTES) else {
        return Ok(None);
    };
    let mut prelude = Reader(prelude);
    let (length, headers) = (prelude.u32()? as usize, prelude.u32()? as usize);
    if prelude.u32()? != crc(bytes.get(..8).unwrap_or_default()) {
        return Err(broken("the checksum of a frame's prelude is wrong"));
    }
    let least = headers.saturating_add(PRELUDE_BYTES + CRC_BYTES);
    if length < least || length > FRAME_BYTES_MAX || headers > HEADERS_BYTES_MAX {
        return Err(broken("a frame with lengths that cannot be"));
    }
    Ok(Some(length))
}

impl<'a> Frame<'a> {
    /// Reads a whole frame, whose prelude was checked.
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut all = Reader(bytes);
        let body = all.bytes(bytes.len().saturating_sub(CRC_BYTES))?;
        if all.u32()? != crc(body) {
            return Err(broken("the checksum of a frame is wrong"));
        }
        let mut rest = Reader(body);
        rest.u32()?;
        let headers = rest.u32()? as usize;
        rest.u32()?;
        let mut headers = Reader(rest.bytes(headers)?);
        let mut frame = Frame {
            payload: rest.0,
            ..Frame::default()
        };
        while !headers.0.is_empty() {
            let name = headers.short_text()?;
            let Some(value) = headers.value()? else {
                continue;
            };
            match name {
                ":message-type" => frame.message_type = value,
                ":event-type" => frame.event_type = value,
                ":exception-type" => frame.exception_type = value,
                ":error-code" => frame.error_code = value,
                ":error-message" => frame.error_message = value,
                _ => {}
            }
        }
        Ok(frame)
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let split = self.0.split_at_checked(length);
        let (bytes, rest) = split.ok_or_else(|| broken("a frame that ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?.iter().fold(0, |_, byte| *byte))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(self
            .bytes(2)?
            .iter()
            .fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self
            .bytes(4)?
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn short_text(&mut self) -> Result<&'a str> {
        let length = self.u8()?;
        self.text(length.into())
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        std::str::from_utf8(self.bytes(length)?).map_err(broken)
    }

    /// The value of a header; `None` where it is no text.
    fn value(&mut self) -> Result<Option<&'a str>> {
        let fixed = match self.u8()? {
            // True and false are types of their own.
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            6 => self.u16()?.into(),
            7 => {
                let length = self.u16()?;
                return self.text(length.into()).map(Some);
            }
            _ => return Err(broken("a header of no known type")),
        };
        self.bytes(fixed)?;
        Ok(None)
    }
}

fn crc(bytes: &[u8]) -> u32 {
    // The value of a 32-bit checksum.
    u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame with string headers.
    pub(in crate::ai::bedrock) fn write(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(u8::try_from(name.len()).unwrap());
            block.extend_from_slice(name.as_bytes());
            block.push(7);
            block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            block.extend_from_slice(value.as_bytes());
        }
        let length = u32::try_from(block.len() + payload.len() + 16).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&crc(&frame).to_be_bytes());
        frame.extend_from_slice(&block);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc(&frame).to_be_bytes());
        frame
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn payloads(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut frames = Frames::default();
        frames.push(bytes, |frame| {
            found.push(frame.payload.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    /// From the test data of AWS's own implementations.
    #[test]
    fn published_vectors_are_read() {
        let empty = hex("00000010 00000000 05c248eb 7d98c8ff");
        assert_eq!(payloads(&empty).unwrap(), [b""]);
        // Without headers, and the payload `{'foo':'bar'}`.
        let payload = hex("0000001d 00000000 fd528c5a 7b27666f6f273a27626172277d c3653936");
        assert_eq!(payloads(&payload).unwrap(), [b"{'foo':'bar'}"]);
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let mut block = Vec::new();
        for (kind, length) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 4),
            (5, 8),
            (8, 8),
            (9, 16),
        ] {
            block.extend_from_slice(&[1, b'a', kind]);
            block.extend(std::iter::repeat_n(0xff, length));
        }
        block.extend_from_slice(&[1, b'b', 6, 0, 2, 9, 9]);
        block.extend_from_slice(&[11]);
        block.extend_from_slice(b":event-type");
        block.extend_from_slice(&[7, 0, 1, b'x']);
        let mut frame = u32::try_from(block.len() + 16)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        frame.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&crc(&frame).to_be_bytes());
        frame.extend_from_slice(&block);
        frame.extend_from_slice(&crc(&frame).to_be_bytes());
        assert_eq!(Frame::read(&frame).unwrap().event_type, "x");
    }

    #[test]
    fn every_damaged_bit_is_noticed() {
        let frame = write(
            &[(":event-type", "messageStop")],
            br#"{"stopReason":"end_turn"}"#,
        );
        assert_eq!(payloads(&frame).unwrap().len(), 1);
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1 << bit;
                assert!(payloads(&damaged).is_err(), "{at}.{bit}");
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_they_are_waited_for() {
        for (length, headers) in [
            (15_u32, 0_u32),
            (0, 0),
            (100, 90),
            (u32::MAX, 0),
            (1 << 20, 1 << 19),
        ] {
            let mut prelude = length.to_be_bytes().to_vec();
            prelude.extend_from_slice(&headers.to_be_bytes());
            prelude.extend_from_slice(&crc(&prelude).to_be_bytes());
            assert!(payloads(&prelude).is_err(), "{length} {headers}");
        }
    }
}
