//! The proleptic Gregorian calendar in UTC, from seconds since the Unix epoch.
//!
//! Days are counted in eras of 400 years (146,097 days) that begin on a 1 March, so that the leap day is the last day
//! of a year and the month follows from the day by one linear formula.

/// A civil date and time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// As it is counted; the year before 1 is 0.
    pub year: i64,
    /// 1 is January.
    pub month: i64,
    /// From 1.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// 0 is Sunday.
    pub weekday: i64,
    /// From 1.
    pub year_day: i64,
}

const DAY_SECONDS: i64 = 86_400;
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

impl Civil {
    /// The date at `seconds` since the Unix epoch.
    pub fn at(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS);
        let rest = seconds.rem_euclid(DAY_SECONDS);
        let since_march = days + EPOCH_DAYS;
        let era = since_march.div_euclid(ERA_DAYS);
        let day_of_era = since_march.rem_euclid(ERA_DAYS);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let before_month: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
        Civil {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest % 3600 / 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            year_day: before_month + day,
        }
    }
}

/// How many days the month has; 1 is January.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2006-01-02T15:04:05Z`, from milliseconds, cut to the second.
pub(crate) fn rfc3339_utc(time_ms: i64) -> String {
    let at = Civil::at(time_ms / 1000);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(rfc3339_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339_utc(1_600_000_000_999), "2020-09-13T12:26:40Z");
        assert_eq!(rfc3339_utc(-1000), "1969-12-31T23:59:59Z");
        let at = Civil::at(1_136_239_445);
        assert_eq!((at.weekday, at.year_day, at.hour), (1, 2, 22));
        assert_eq!(Civil::at(951_782_400).year_day, 60);
        assert_eq!(days_in_month(1900, 2), 28);
        assert_eq!(Civil::at(i64::MAX / 2000).second % 60, Civil::at(i64::MAX / 2000).second);
    }
}
