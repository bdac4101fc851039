//! Request parameters: the form of a POST body first, then the URL; unknown ones are ignored.

use std::time::Duration;

use marigram_query::parse;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;

use super::compress::Packer;
use super::error::ApiError;
use crate::calendar;

/// The parameters of a request, in order; names may repeat. Also what its answer's body may be.
#[derive(Debug, Default, Clone)]
pub struct Params {
    pairs: Vec<(String, String)>,
    packer: Packer,
}

impl Params {
    /// Reads the form and the URL's query string.
    pub fn new(form: &[u8], query: Option<&str>) -> Self {
        let form = form_urlencoded::parse(form);
        let url = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let pairs = form.chain(url).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Params { pairs, packer: Packer::default() }
    }

    /// The same of a request whose answer may be packed.
    #[must_use]
    pub fn with_packer(self, packer: Packer) -> Self {
        Params { packer, ..self }
    }

    /// What the answer's body may be.
    pub fn packer(&self) -> Packer {
        self.packer
    }

    /// The first value of `name`; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        first.filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time, or `default` where it is absent.
    pub fn time_ms(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        let reason = |reason| invalid(name, &format!("invalid time value for '{name}': {reason}"));
        self.get(name).map_or(Ok(default), |text| parse_time_ms(text).map_err(reason))
    }

    /// A time that must be given.
    pub fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        parse_time_ms(self.get(name).unwrap_or_default()).map_err(|reason| invalid(name, &reason))
    }

    /// A duration that must be given.
    pub fn required_duration_ms(&self, name: &str) -> Result<i64, ApiError> {
        parse_duration_ms(self.get(name).unwrap_or_default()).map_err(|reason| invalid(name, &reason))
    }

    /// `timeout`: the shorter of the request's and the server's.
    pub fn timeout(&self, longest: Duration) -> Result<Duration, ApiError> {
        let Some(text) = self.get("timeout") else { return Ok(longest) };
        let ms = parse_duration_ms(text).map_err(|reason| invalid("timeout", &reason))?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(longest))
    }

    /// A count where 0 and absence mean "no limit".
    pub fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        match integer(text, "Atoi") {
            Ok(n) if n >= 0 => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
            Ok(_) => Err(invalid(name, "limit must be non-negative")),
            Err(reason) => Err(invalid(name, &reason)),
        }
    }

    /// `true` or `false`, in the spellings that Go knows, or `default` where it is absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some(text) => Err(invalid(name, &format!("cannot parse {text:?} to true or false"))),
        }
    }

    /// `start` and `end`, each open where absent; empty where the end is before the start.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time_ms("start", TimeRange::ALL.start_ms)?;
        let end_ms = self.time_ms("end", TimeRange::ALL.end_ms)?;
        if end_ms < start_ms {
            return Ok(TimeRange::EMPTY);
        }
        Ok(TimeRange { start_ms, end_ms })
    }

    /// `lookback_delta`, ms; 0 where it is absent.
    pub fn lookback_ms(&self) -> Result<i64, ApiError> {
        let reason = |reason| ApiError::bad_data(format!("error parsing lookback delta duration: {reason}"));
        self.get("lookback_delta").map_or(Ok(0), |text| parse_duration_ms(text).map_err(reason))
    }

    /// All `match[]`, none of which may be without any condition.
    pub fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let selectors = self.selectors_of_all()?;
        if selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
            return Err(ApiError::bad_data("match[] must contain at least one non-empty matcher"));
        }
        Ok(selectors)
    }

    /// All `match[]`; `{}` is every series. The error is the parser's own, without the parameter's name.
    pub fn selectors_of_all(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let parsed = self.all("match[]").map(parse::parse_selector);
        parsed.collect::<Result<_, _>>().map_err(|error| ApiError::bad_data(error.to_string()))
    }
}

/// The error of a parameter, in the words that clients of Prometheus know.
pub fn invalid(name: &str, reason: &str) -> ApiError {
    ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"))
}

/// The first and the last time that clients of Prometheus name where they mean none; their years are none of RFC 3339's.
const ENDS_OF_TIME: [(&str, i64); 2] = [
    ("-292273086-05-16T16:47:06Z", (i64::MIN / 1000 + 62_135_596_801) * 1000),
    ("292277025-08-18T07:12:54.999999999Z", (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999),
];

/// Reads seconds since the epoch, with decimals, or RFC 3339.
fn parse_time_ms(text: &str) -> Result<i64, String> {
    if let Some(seconds) = number(text) {
        // Seconds and their fraction apart: the product of a large time and 1000 would lose its last digits.
        let whole = (seconds.trunc() as i64).saturating_mul(1000);
        return Ok(whole.saturating_add((seconds.fract() * 1000.0).round() as i64));
    }
    if let Some((_, time_ms)) = ENDS_OF_TIME.iter().find(|(known, _)| *known == text) {
        return Ok(*time_ms);
    }
    calendar::parse_rfc3339_ms(text).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Reads seconds with decimals, or a duration such as `1m30s`.
fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|number| !number.is_nan()) {
        let ms = (seconds * 1000.0).round();
        if ms.abs() > parse::duration::MAX_DURATION_MS as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(ms as i64);
    }
    parse::parse_duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// Reads a whole number; the error is in the words of Go's function `strconv.{function}`.
pub fn integer(text: &str, function: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {}: {reason}", parse::strings::quote(text))
    })
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A label's name out of a path: names that are not plain come as `U__` with `_hex_` for each other character.
pub fn unescape_label_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    unescape(escaped).unwrap_or_else(|| name.to_owned())
}

fn unescape(mut rest: &str) -> Option<String> {
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(rest.get(..at)?);
        let (code, after) = rest.get(at + 1..)?.split_once('_')?;
        match code {
            "" => out.push('_'),
            code if code.len() <= 6 => out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?),
            _ => return None,
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_comes_before_the_url() {
        let params = Params::new(b"query=1%2B1&match[]=a", Some("query=2&time=4&match[]=b&x="));
        assert_eq!(params.get("query"), Some("1+1"));
        assert_eq!(params.get("time"), Some("4"));
        assert_eq!(params.get("x"), None);
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn selectors_without_conditions() {
        for all in ["{}", "{a=~\".*\"}", "{a=\"\",b!=\"c\"}"] {
            let params = Params::new(format!("match[]=up&match[]={all}").as_bytes(), None);
            let error = params.selectors().unwrap_err();
            assert_eq!(error.message, "match[] must contain at least one non-empty matcher");
            assert_eq!(params.selectors_of_all().unwrap().len(), 2);
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time_ms("1700000000.123"), Ok(1_700_000_000_123));
        assert_eq!(parse_time_ms("1700000000.9999"), Ok(1_700_000_001_000));
        assert_eq!(parse_time_ms("-1.5"), Ok(-1500));
        assert_eq!(parse_time_ms("1.7e9"), Ok(1_700_000_000_000));
        assert_eq!(parse_time_ms("1763600000000"), Ok(1_763_600_000_000_000));
        assert_eq!(parse_time_ms("1e300"), Ok(i64::MAX));
        assert_eq!(parse_time_ms("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(parse_time_ms("-292273086-05-16T16:47:06Z"), Ok(-9_223_309_901_257_974_000));
        assert_eq!(parse_time_ms("292277025-08-18T07:12:54.999999999Z"), Ok(9_223_309_901_257_974_999));
        for wrong in ["", "NaN", "inf", "now", "15m"] {
            assert_eq!(parse_time_ms(wrong), Err(format!("cannot parse {wrong:?} to a valid timestamp")));
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ms("15"), Ok(15_000));
        assert_eq!(parse_duration_ms("0.5"), Ok(500));
        assert_eq!(parse_duration_ms("1m30s"), Ok(90_000));
        assert_eq!(parse_duration_ms("-1"), Ok(-1000));
        assert!(
            parse_duration_ms("1e300").is_err()
                && parse_duration_ms("Inf").is_err()
                && parse_duration_ms("").is_err()
                && parse_duration_ms("x").is_err()
        );
    }

    #[test]
    fn limits_and_timeouts() {
        let params = Params::new(b"", Some("limit=5&none=0&bad=-1&text=x&timeout=60s"));
        assert_eq!(params.limit("limit"), Ok(5));
        assert_eq!((params.limit("none"), params.limit("absent")), (Ok(0), Ok(0)));
        let error = |name| params.limit(name).unwrap_err().message;
        assert_eq!(error("bad"), "invalid parameter \"bad\": limit must be non-negative");
        assert_eq!(error("text"), "invalid parameter \"text\": strconv.Atoi: parsing \"x\": invalid syntax");
        let error = params.time_ms("text", 0).unwrap_err().message;
        assert_eq!(
            error,
            "invalid parameter \"text\": invalid time value for 'text': cannot parse \"x\" to a valid timestamp"
        );
        assert_eq!(params.timeout(Duration::from_secs(120)), Ok(Duration::from_secs(60)));
        assert_eq!(params.timeout(Duration::from_secs(10)), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn flags() {
        let params = Params::new(b"", Some("yes=true&one=1&no=F&bad=maybe&empty="));
        assert_eq!((params.flag("yes", false), params.flag("one", false)), (Ok(true), Ok(true)));
        assert_eq!((params.flag("no", true), params.flag("empty", true)), (Ok(false), Ok(true)));
        assert_eq!(params.flag("absent", false), Ok(false));
        assert!(params.flag("bad", true).is_err());
    }

    #[test]
    fn escaped_label_names() {
        assert_eq!(unescape_label_name("job"), "job");
        assert_eq!(unescape_label_name("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape_label_name("U__bad_"), "U__bad_");
        assert_eq!(unescape_label_name("U__bad_zz_"), "U__bad_zz_");
        assert_eq!(unescape_label_name("U__bad_d800_"), "U__bad_d800_");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,30}", form in proptest::collection::vec(any::<u8>(), 0..60)) {
            let params = Params::new(&form, Some(&text));
            let _ = (params.range(), params.selectors(), params.limit("limit"));
            let _ = (parse_time_ms(&text), parse_duration_ms(&text), unescape_label_name(&format!("U__{text}")));
        }
    }
}
