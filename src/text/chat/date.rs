//! The date that a template may ask for.

use std::fmt::Write;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// A date and time of day, as the caller's clock and time zone have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Date {
    /// The time of this machine's clock, in UTC.
    pub fn now() -> Self {
        Self::from_unix_s(crate::platform::unix_s())
    }

    /// The date in UTC of a Unix time in seconds.
    pub fn from_unix_s(unix_s: i64) -> Self {
        let (days, rest) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400) as u32);
        // Days to civil date in 400-year eras that begin in March (Howard Hinnant, "chrono-Compatible Low-Level Date
        // Algorithms").
        let days = days.clamp(-700_000_000, 700_000_000) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let (day, month) =
            (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as i32,
            month: month as u32,
            day: day as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Python's `strftime` in the C locale; none for a directive that is not known.
    pub(super) fn format(&self, format: &str) -> Option<String> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next()? {
                '-' => self.directive(&mut out, chars.next()?, true)?,
                '%' => out.push('%'),
                directive => self.directive(&mut out, directive, false)?,
            }
        }
        Some(out)
    }

    fn directive(&self, out: &mut String, directive: char, plain: bool) -> Option<()> {
        let hour12 = (self.hour + 11) % 12 + 1;
        let month = *MONTHS.get(self.month.checked_sub(1)? as usize)?;
        let weekday = WEEKDAYS[self.weekday()];
        let number = match directive {
            'd' => self.day,
            'm' => self.month,
            'y' => self.year.rem_euclid(100) as u32,
            'H' => self.hour,
            'I' => hour12,
            'M' => self.minute,
            'S' => self.second,
            _ if plain => return None,
            'Y' => return write!(out, "{}", self.year).ok(),
            'j' => return write!(out, "{:03}", self.day_of_year()).ok(),
            'e' => return write!(out, "{:2}", self.day).ok(),
            'B' => return write!(out, "{month}").ok(),
            'b' | 'h' => return write!(out, "{}", &month[..3]).ok(),
            'A' => return write!(out, "{weekday}").ok(),
            'a' => return write!(out, "{}", &weekday[..3]).ok(),
            'p' => return write!(out, "{}", if self.hour < 12 { "AM" } else { "PM" }).ok(),
            'F' => return write!(out, "{}-{:02}-{:02}", self.year, self.month, self.day).ok(),
            'T' => return write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second).ok(),
            _ => return None,
        };
        if plain { write!(out, "{number}").ok() } else { write!(out, "{number:02}").ok() }
    }

    fn day_of_year(&self) -> i64 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = self.month.clamp(1, 12) as usize;
        before[month - 1] + i64::from(self.day) + i64::from(leap && month > 2)
    }

    /// 0 is Sunday.
    fn weekday(&self) -> usize {
        let past = i64::from(self.year) - 1;
        let days = 365 * past + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) + self.day_of_year();
        days.rem_euclid(7) as usize
    }
}

impl FromStr for Date {
    type Err = Error;

    /// `YYYY-MM-DD`, at noon.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for anything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<u32> = text.split('-').map_while(|part| part.parse().ok()).collect();
        let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = |year, month| match month {
            2 => 28 + u32::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        match parts[..] {
            [year, month, day]
                if text.len() == 10 && (1..=12).contains(&month) && (1..=days(year, month)).contains(&day) =>
            {
                Ok(Self { year: year as i32, month, day, hour: 12, minute: 0, second: 0 })
            }
            _ => Err(Error::new(ErrorKind::Argument, format!("{text:?} is no date")).remedy("write it as 2026-11-30")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn follows_the_calendar() {
        let table = [
            (0, "1970-01-01 00:00:00 Thursday 001"),
            (951_782_399, "2000-02-28 23:59:59 Monday 059"),
            (951_868_799, "2000-02-29 23:59:59 Tuesday 060"),
            (1_741_529_106, "2025-03-09 14:05:06 Sunday 068"),
            (1_735_689_599, "2024-12-31 23:59:59 Tuesday 366"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday 060"),
            (-1, "1969-12-31 23:59:59 Wednesday 365"),
        ];
        for (unix_s, expected) in table {
            assert_eq!(Date::from_unix_s(unix_s).format("%Y-%m-%d %H:%M:%S %A %j").unwrap(), expected);
        }
        // No panic at the ends.
        let _ = (Date::from_unix_s(i64::MIN).format("%c"), Date::from_unix_s(i64::MAX).format("%Y%j%A"));
    }

    #[test]
    fn only_days_that_exist_are_dates() {
        let date: Date = "2024-02-29".parse().unwrap();
        assert_eq!((date.year, date.month, date.day), (2024, 2, 29));
        for wrong in [
            "",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "24-04-30",
            "2024-4-30",
            "2024-04-30T",
            "today",
        ] {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn formats_as_python_does() {
        let date = Date { year: 2025, month: 3, day: 9, hour: 0, minute: 5, second: 6 };
        let table = [
            ("%d %b %Y", "09 Mar 2025"),
            ("%B %-d, %Y", "March 9, 2025"),
            ("%e|%y|%I:%M %p|%a", " 9|25|12:05 AM|Sun"),
            ("100%% %F %T", "100% 2025-03-09 00:05:06"),
        ];
        for (format, expected) in table {
            assert_eq!(date.format(format).as_deref(), Some(expected), "{format}");
        }
        for unknown in ["%Q", "%", "%-", "%-B"] {
            assert_eq!(date.format(unknown), None, "{unknown}");
        }
    }
}
