//! Date functions: a part of the UTC date of a time in seconds.

use crate::calendar::{Civil, days_in_month};

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatePart {
    DaysInMonth,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Month,
    Year,
}

impl DatePart {
    /// That part of the date at `seconds` since the epoch, cut to whole seconds.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        // Beyond this the calendar's arithmetic would overflow; no sample means such a date.
        const FARTHEST: i64 = 1 << 55;
        let at = Civil::at((seconds as i64).clamp(-FARTHEST, FARTHEST));
        let part = match self {
            DatePart::DaysInMonth => days_in_month(at.year, at.month),
            DatePart::DayOfMonth => at.day,
            DatePart::DayOfWeek => at.weekday,
            DatePart::DayOfYear => at.year_day,
            DatePart::Hour => at.hour,
            DatePart::Minute => at.minute,
            DatePart::Month => at.month,
            DatePart::Year => at.year,
        };
        part as f64
    }
}

#[cfg(test)]
mod tests {
    use super::DatePart;

    #[test]
    fn parts_of_a_date() {
        let at = 1_136_239_445.9;
        assert_eq!(DatePart::Year.of(at), 2006.0);
        assert_eq!(DatePart::Month.of(at), 1.0);
        assert_eq!(DatePart::DayOfMonth.of(at), 2.0);
        assert_eq!(DatePart::DayOfWeek.of(at), 1.0);
        assert_eq!(DatePart::Hour.of(at), 22.0);
        assert_eq!(DatePart::Minute.of(at), 4.0);
        assert_eq!(DatePart::DaysInMonth.of(1_454_284_800.0), 29.0);
        assert_eq!(DatePart::DayOfYear.of(1_483_228_799.0), 366.0);
        assert!(DatePart::Year.of(f64::INFINITY).is_finite());
        assert!(DatePart::Year.of(f64::NAN).is_finite());
    }
}
