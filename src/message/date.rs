//! Dates as protocols write them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;

/// `YYYYMMDDTHHMMSSZ`, the basic form of ISO 8601 that `SigV4` uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BasicDate([u8; 16]);

impl BasicDate {
    /// Parses exactly the basic form, with a real date in it.
    pub fn parse(text: &str) -> Option<(Self, Timestamp)> {
        let bytes: [u8; 16] = text.as_bytes().try_into().ok()?;
        if bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0i16, |number, digit| {
                let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
                Some(number * 10 + i16::from(digit))
            })
        };
        let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
        let civil = DateTime::new(
            number(0, 4)?,
            small(4)?,
            small(6)?,
            small(9)?,
            small(11)?,
            small(13)?,
            0,
        )
        .ok()?;
        let at = TimeZone::UTC.to_timestamp(civil).ok()?;
        Some((Self(bytes), at))
    }

    pub fn new(at: Timestamp) -> Self {
        let civil = TimeZone::UTC.to_datetime(at);
        let mut bytes = *b"00000000T000000Z";
        let mut put = |from: usize, to: usize, number| put_digits(&mut bytes[from..to], number);
        put(0, 4, civil.year());
        put(4, 6, civil.month().into());
        put(6, 8, civil.day().into());
        put(9, 11, civil.hour().into());
        put(11, 13, civil.minute().into());
        put(13, 15, civil.second().into());
        Self(bytes)
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// `YYYYMMDD`.
    pub fn day(&self) -> &str {
        self.as_str().get(..8).unwrap_or_default()
    }
}

impl std::fmt::Debug for BasicDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Fills all of `places` with a number's digits.
fn put_digits(places: &mut [u8], number: i16) {
    let mut rest = number.unsigned_abs();
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

/// As [`parse_http`], but the day of the week may be another one, which says nothing that the date does not.
pub fn parse_http_of_any_day(text: &str) -> Option<Timestamp> {
    parse_http(text).or_else(|| {
        let parser = DateTimeParser::new().relaxed_weekday(true);
        let at = parser.parse_timestamp(text).ok()?;
        (at >= Timestamp::UNIX_EPOCH && text.ends_with(" GMT")).then_some(at)
    })
}

/// Parses a `Date` header: the HTTP forms, these with the other names of GMT, as Python's SDK, rclone and old clients
/// write them, or the basic form of ISO 8601 that some clients put there.
pub fn parse_http(text: &str) -> Option<Timestamp> {
    if let Some((_, at)) = BasicDate::parse(text) {
        return Some(at);
    }
    let mut names = [" -0000", " +0000", " UTC"].iter();
    let at = match names.find_map(|name| text.strip_suffix(name)) {
        Some(date) => httpdate::parse_http_date(&format!("{date} GMT")),
        None => httpdate::parse_http_date(text),
    };
    let at = at.ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, as HTTP writes dates.
pub fn http(at: Timestamp) -> String {
    httpdate::fmt_http_date(at.into())
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as S3 documents write it.
pub fn iso_millis(at: Timestamp) -> String {
    let civil = TimeZone::UTC.to_datetime(at);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    // Listings hold a thousand of them, which `format!` would take a good part of.
    for (from, to, number) in [
        (0, 4, civil.year()),
        (5, 7, civil.month().into()),
        (8, 10, civil.day().into()),
        (11, 13, civil.hour().into()),
        (14, 16, civil.minute().into()),
        (17, 19, civil.second().into()),
        (20, 23, civil.millisecond()),
    ] {
        put_digits(&mut text[from..to], number);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_dates_read_back() {
        for text in ["20130524T000000Z", "20240229T235959Z", "19991231T010203Z"] {
            let (date, at) = BasicDate::parse(text).unwrap();
            assert_eq!(date.as_str(), text);
            assert_eq!(BasicDate::new(at), date);
            assert_eq!(date.day(), &text[..8]);
        }
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        for text in [
            "",
            "20130524T000000",
            "20130524 000000Z",
            "20130229T000000Z",
            "2013O524T000000Z",
            "20130524T250000Z",
            "+0130524T000000Z",
        ] {
            assert!(BasicDate::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn date_headers_are_read_in_each_form() {
        let expected = Timestamp::from_second(1_369_353_600).unwrap();
        for text in [
            "20130524T000000Z",
            "Fri, 24 May 2013 00:00:00 GMT",
            "Fri, 24 May 2013 00:00:00 -0000",
            "Fri, 24 May 2013 00:00:00 +0000",
            "Fri, 24 May 2013 00:00:00 UTC",
        ] {
            assert_eq!(parse_http(text), Some(expected), "{text}");
        }
        for text in ["yesterday", "Fri, 24 May 2013 00:00:00 -0100", " +0000"] {
            assert_eq!(parse_http(text), None, "{text}");
        }
        let text = "Mon, 24 May 2013 00:00:00 GMT";
        assert_eq!(parse_http(text), None);
        assert_eq!(parse_http_of_any_day(text), Some(expected));
        for text in ["yesterday", "Tue, 07 Jul 1950 21:53:04 GMT", " GMT"] {
            assert_eq!(parse_http_of_any_day(text), None, "{text}");
        }
        assert_eq!(iso_millis(expected), "2013-05-24T00:00:00.000Z");
        assert_eq!(http(expected), "Fri, 24 May 2013 00:00:00 GMT");
    }
}
