//! Points in time as mail writes them. The clock is read elsewhere; this file only formats.

use time::{Month, OffsetDateTime, UtcOffset, Weekday};

/// A point in time, with the zone it is to be shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix: i64,
    /// Seconds east of Greenwich.
    pub offset: i32,
}

impl Stamp {
    /// A point in time shown in UTC.
    pub fn utc(unix: i64) -> Self {
        Self { unix, offset: 0 }
    }

    /// A point in time shown so many seconds east of Greenwich. A zone that nobody can live in, as a wrong `TZ` makes it,
    /// is not shown to others; and mail has no seconds in a zone.
    pub fn at_offset(unix: i64, offset: i32) -> Self {
        /// Kiribati; the other way it is twelve hours.
        const FARTHEST: i32 = 14 * 3600;
        let is_real = (-FARTHEST..=FARTHEST).contains(&offset);
        let offset = if is_real { offset - offset % 60 } else { 0 };
        Self { unix, offset }
    }

    /// `Mon, 23 Nov 2026 18:20:00 +0100` (RFC 5322 3.3).
    pub fn rfc5322(self) -> String {
        let t = self.civil();
        let (h, m, _) = t.offset().as_hms();
        let sign = if t.offset().is_negative() { '-' } else { '+' };
        format!(
            "{}, {} {} {} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            weekday(t.weekday()),
            t.day(),
            month(t.month()),
            t.year(),
            t.hour(),
            t.minute(),
            t.second(),
            h.unsigned_abs(),
            m.unsigned_abs()
        )
    }

    /// `2026-11-23T17:20:00Z` (RFC 3339), always in UTC: what the journal of a queue file uses.
    pub fn iso8601(self) -> String {
        let t = Self::utc(self.unix).civil();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }

    /// `Mon Nov 23 18:20:00 2026`, the date of an mbox `From ` line (RFC 4155), in UTC.
    pub fn asctime(self) -> String {
        let t = Self::utc(self.unix).civil();
        format!(
            "{} {} {:>2} {:02}:{:02}:{:02} {}",
            weekday(t.weekday()),
            month(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.year()
        )
    }

    /// `14:05`, or `24 Nov 14:05` on another day than `now`, or `24 Nov 2027 14:05` in another year, in this stamp's zone:
    /// for people.
    pub fn short(self, now: i64) -> String {
        let t = self.civil();
        let today = Self {
            unix: now,
            offset: self.offset,
        }
        .civil()
        .date();
        let clock = format!("{:02}:{:02}", t.hour(), t.minute());
        if t.date() == today {
            return clock;
        }
        let (day, month, year) = (t.day(), month(t.month()), t.year());
        match year == today.year() {
            true => format!("{day} {month} {clock}"),
            false => format!("{day} {month} {year} {clock}"),
        }
    }

    /// A date out of the calendar's range (a damaged file) is shown as 1970, not refused.
    fn civil(self) -> OffsetDateTime {
        let utc =
            OffsetDateTime::from_unix_timestamp(self.unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        utc.to_offset(UtcOffset::from_whole_seconds(self.offset).unwrap_or(UtcOffset::UTC))
    }
}

/// Reads what [`Stamp::iso8601`] wrote; `None` for anything else.
pub fn parse_iso8601(text: &str) -> Option<i64> {
    let (date, clock) = text.split_at_checked(10)?;
    let &[c0, c1, y0, y1, b'-', m0, m1, b'-', d0, d1] = date.as_bytes() else {
        return None;
    };
    let &[b'T', h0, h1, b':', n0, n1, b':', s0, s1, b'Z'] = clock.as_bytes() else {
        return None;
    };
    let two = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| (tens - b'0') * 10 + (ones - b'0'))
    };
    let year = i32::from(two(c0, c1)?) * 100 + i32::from(two(y0, y1)?);
    let month = Month::try_from(two(m0, m1)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, two(d0, d1)?).ok()?;
    let clock = time::Time::from_hms(two(h0, h1)?, two(n0, n1)?, two(s0, s1)?).ok()?;
    Some(OffsetDateTime::new_utc(date, clock).unix_timestamp())
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

fn month(month: Month) -> &'static str {
    const NAMES: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // A Month is 1 to 12.
    NAMES[usize::from(u8::from(month)) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_written_as_mail_and_journal_want_them() {
        let rows = [
            (
                0,
                0,
                "Thu, 1 Jan 1970 00:00:00 +0000",
                "1970-01-01T00:00:00Z",
                "Thu Jan  1 00:00:00 1970",
            ),
            (
                1_795_454_400,
                3600,
                "Mon, 23 Nov 2026 18:20:00 +0100",
                "2026-11-23T17:20:00Z",
                "Mon Nov 23 17:20:00 2026",
            ),
            (
                1_795_454_400,
                -12_600,
                "Mon, 23 Nov 2026 13:50:00 -0330",
                "2026-11-23T17:20:00Z",
                "Mon Nov 23 17:20:00 2026",
            ),
        ];
        for (unix, offset, mail, iso, mbox) in rows {
            let stamp = Stamp { unix, offset };
            assert_eq!(
                (&*stamp.rfc5322(), &*stamp.iso8601(), &*stamp.asctime()),
                (mail, iso, mbox)
            );
            assert_eq!(parse_iso8601(iso), Some(unix));
        }
        assert_eq!(Stamp::utc(1_795_454_400).short(1_795_454_400), "17:20");
        let short = |now| Stamp::utc(1_795_454_400).short(now);
        assert_eq!(short(1_795_454_400 - 86_400), "23 Nov 17:20");
        assert_eq!(short(0), "23 Nov 2026 17:20");
    }

    #[test]
    fn zones_are_those_that_people_live_in() {
        let rows = [
            (0, "+0000"),
            (14 * 3600, "+1400"),
            (14 * 3600 + 1, "+0000"),
            (-12 * 3600, "-1200"),
            (24 * 3600 + 59 * 60, "+0000"), // as TZ=FAR-99:99 makes it
            (-(24 * 3600 + 59 * 60), "+0000"),
            (1172, "+0019"), // Amsterdam, until 1937: 19 minutes and 32 seconds
            (-1172, "-0019"),
        ];
        for (offset, zone) in rows {
            let stamp = Stamp::at_offset(1_795_454_400, offset);
            assert!(stamp.rfc5322().ends_with(zone), "{offset}: {stamp:?}");
            assert_eq!(stamp.offset % 60, 0);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026-11-23T17:20:00",
            "2026-13-23T17:20:00Z",
            "2026-02-30T17:20:00Z",
            "2026-11-23T24:20:00Z",
            "2026-11-23 17:20:00Z",
            "2026-11-23T17:20:0:Z",
            "2026-11-23T17:20:00Zx",
            "+026-11-23T17:20:00Z",
            "２6-11-23T17:20:00Z", // as many octets
        ] {
            assert_eq!(parse_iso8601(text), None, "{text:?}");
        }
        assert_eq!(Stamp::utc(i64::MAX).iso8601(), "1970-01-01T00:00:00Z");
    }
}
