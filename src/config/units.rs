//! Values with a unit, as people write them: `"10s"`, `"64KiB"`, `"1KiB/s"`, and points in time.
//!
//! Each type parses once, at deserialisation, and carries the plain value from there on.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A length of time: `"250ms"`, `"10s"`, `"5m"`, `"2h"`, `"1d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes: `65536`, `"64KiB"`, `"5TiB"`, `"10MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Bytes a second: `"1KiB/s"`; `0` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// A point in time: a TOML date-time with an offset, or the same as an RFC 3339 string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Span {
    pub fn parse(text: &str) -> Result<Self, String> {
        let millis = scaled(text, DURATION_UNITS).ok_or_else(|| {
            format!("`{text}` is not a duration; write it like \"10s\" or \"5m\"")
        })?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl Size {
    pub fn parse(text: &str) -> Result<Self, String> {
        scaled(text, SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size; write it like \"64KiB\" or 65536"))
    }
}

impl Rate {
    pub fn parse(text: &str) -> Result<Self, String> {
        text.strip_suffix("/s")
            .and_then(|size| scaled(size, SIZE_UNITS))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a rate; write it like \"1KiB/s\""))
    }
}

impl Time {
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not a point in time; write it like 2027-02-21T00:00:00Z")
        })
    }
}

/// A whole number followed by one of `units`; `None` also where it overflows.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Visits strings, whole numbers where they make sense, and TOML's date-times.
struct Written<T> {
    expecting: &'static str,
    from_text: fn(&str) -> Result<T, String>,
    from_number: Option<fn(u64) -> T>,
    from_time: bool,
}

impl<'de, T> Visitor<'de> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.from_text)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match (self.from_number, u64::try_from(number)) {
            (Some(make), Ok(number)) => Ok(make(number)),
            _ => Err(E::invalid_type(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        if !self.from_time {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        }
        let written = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
        (self.from_text)(&written.to_string()).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written {
            expecting: "a duration like \"10s\"",
            from_text: Self::parse,
            from_number: None,
            from_time: false,
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written {
            expecting: "a size like \"64KiB\" or 65536",
            from_text: Self::parse,
            from_number: Some(Self),
            from_time: false,
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written {
            expecting: "a rate like \"1KiB/s\", or 0 for none",
            from_text: Self::parse,
            from_number: Some(Self),
            from_time: false,
        })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written {
            expecting: "a point in time like 2027-02-21T00:00:00Z",
            from_text: Self::parse,
            from_number: None,
            from_time: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_one_number_and_one_unit() {
        let cases = [
            ("10s", Some(10_000)),
            ("250ms", Some(250)),
            ("5m", Some(300_000)),
            ("2 h", Some(7_200_000)),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            let parsed = Span::parse(text).ok().map(|span| span.0.as_millis());
            assert_eq!(parsed, millis, "{text}");
        }
    }

    #[test]
    fn sizes_and_rates_know_binary_and_decimal_units() {
        let cases = [
            ("64KiB", Some(65_536)),
            ("5TiB", Some(5 << 40)),
            ("10MB", Some(10_000_000)),
            ("1kib", Some(1024)),
            ("1XB", None),
            ("", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(Size::parse(text).ok().map(|size| size.0), bytes, "{text}");
        }
        assert_eq!(Rate::parse("1KiB/s"), Ok(Rate(1024)));
        assert!(Rate::parse("1KiB").is_err());
    }

    #[test]
    fn times_need_an_offset_and_may_be_strings_or_toml_dates() {
        #[derive(serde::Deserialize)]
        struct Doc {
            at: Time,
        }
        let cases = [
            ("at = 2027-02-21T00:00:00Z", true),
            ("at = \"2027-02-21T00:00:00Z\"", true),
            ("at = 2027-02-21T02:00:00+02:00", true),
            ("at = 2027-02-21T00:00:00", false),
            ("at = 2027-02-21", false),
            ("at = 5", false),
        ];
        for (text, good) in cases {
            let parsed: Result<Doc, _> = toml::from_str(text);
            assert_eq!(parsed.is_ok(), good, "{text}");
            if let Ok(doc) = parsed {
                assert_eq!(doc.at.0.to_string(), "2027-02-21T00:00:00Z");
            }
        }
    }
}
