//! The parameters of a search.

use marigram_query::parse::strings::quote;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;

use super::terms::{Algorithm, Terms};
use crate::http::error::ApiError;
use crate::http::params::Params;

/// How far back is searched where nothing is said.
const RANGE_MS: i64 = 3_600_000;
/// Results of an answer, and of a line of it, where nothing is said.
const LIMIT: usize = 100;
/// What a value costs grows with the terms that it is compared with.
const TERMS_MAX: usize = 32;

/// The order of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Alphabetic,
    Reversed,
    /// The best first.
    Score,
}

/// What is searched, and how the answer is to be.
#[derive(Clone, Debug)]
pub(super) struct SearchParams {
    /// Only series that one of them selects; all where there is none.
    pub(super) selectors: Vec<Vec<Matcher>>,
    pub(super) range: TimeRange,
    /// What results match; `None`: everything does.
    pub(super) terms: Option<Terms>,
    pub(super) order: Order,
    pub(super) with_score: bool,
    pub(super) limit: usize,
    pub(super) batch_size: usize,
}

impl SearchParams {
    /// Reads them. No more than `limit_max` results may be asked for, unless that is 0.
    ///
    /// # Errors
    /// The parameter that is wrong.
    pub(super) fn new(params: &Params, now_ms: i64, limit_max: usize) -> Result<Self, ApiError> {
        let start_ms = params.time_ms("start", now_ms.saturating_sub(RANGE_MS))?;
        let end_ms = params.time_ms("end", now_ms)?;
        if end_ms < start_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let selectors = params.selectors()?;
        let terms: Vec<&str> = params.all("search[]").collect();
        if terms.len() > TERMS_MAX {
            let given = terms.len();
            let reason = format!("too many search[] terms: got {given}, maximum is {TERMS_MAX}");
            return Err(ApiError::bad_data(reason));
        }
        let threshold = threshold(params)?;
        let algorithm = algorithm(params)?;
        let case_sensitive = boolean(params, "case_sensitive", true)?;
        let with_score = boolean(params, "include_score", false)?;
        let order = order(params, !terms.is_empty())?;
        let limit = limit(params, limit_max)?;
        let batch_size = positive(params, "batch_size")?.unwrap_or(LIMIT);
        let terms = Terms::new(&terms, algorithm, threshold, case_sensitive);
        let range = TimeRange { start_ms, end_ms };
        Ok(SearchParams { selectors, range, terms, order, with_score, limit, batch_size })
    }
}

/// A boolean in the spellings that Go knows.
pub(super) fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    let invalid = |_| {
        let text = quote(params.get(name).unwrap_or_default());
        ApiError::bad_data(format!("invalid {name} {text}: must be boolean"))
    };
    params.flag(name, default).map_err(invalid)
}

/// Of 0 to 1.
fn threshold(params: &Params) -> Result<f64, ApiError> {
    let Some(text) = params.get("fuzz_threshold") else { return Ok(0.0) };
    match text.parse::<u8>() {
        Ok(percent) if percent <= 100 => Ok(f64::from(percent) / 100.0),
        _ => Err(ApiError::bad_data(format!("invalid fuzz_threshold {}: must be 0-100", quote(text)))),
    }
}

fn algorithm(params: &Params) -> Result<Algorithm, ApiError> {
    match params.get("fuzz_alg") {
        None | Some("subsequence") => Ok(Algorithm::Subsequence),
        Some("jarowinkler") => Ok(Algorithm::JaroWinkler),
        Some(other) => {
            let reason = format!("unsupported fuzz_alg {}: must be one of [subsequence jarowinkler]", quote(other));
            Err(ApiError::bad_data(reason))
        }
    }
}

fn order(params: &Params, has_terms: bool) -> Result<Order, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    match (by, direction) {
        (None, Some(_)) => return Err(ApiError::bad_data("sort_dir is only valid when sort_by is set")),
        (Some("score"), Some(_)) => return Err(ApiError::bad_data("sort_dir is not supported for sort_by=score")),
        (_, None | Some("asc" | "dsc")) => {}
        (_, Some(other)) => {
            let reason = format!("invalid sort_dir {}: must be \"asc\" or \"dsc\"", quote(other));
            return Err(ApiError::bad_data(reason));
        }
    }
    match by {
        Some("score") if !has_terms => Err(ApiError::bad_data("sort_by=score requires search[] to be set")),
        Some("score") => Ok(Order::Score),
        None | Some("alpha") => Ok(if direction == Some("dsc") { Order::Reversed } else { Order::Alphabetic }),
        Some(other) => {
            Err(ApiError::bad_data(format!("invalid sort_by {}: must be \"alpha\" or \"score\"", quote(other))))
        }
    }
}

fn limit(params: &Params, limit_max: usize) -> Result<usize, ApiError> {
    let limit_max = if limit_max == 0 { usize::MAX } else { limit_max };
    match positive(params, "limit")? {
        None => Ok(LIMIT.min(limit_max)),
        Some(limit) if limit <= limit_max => Ok(limit),
        Some(limit) => {
            let reason = format!("limit {limit} exceeds the configured maximum ({limit_max}, see --search-limit-max)");
            Err(ApiError::bad_data(reason))
        }
    }
}

fn positive(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    match text.parse::<usize>() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(ApiError::bad_data(format!("invalid {name} {}: must be a positive integer", quote(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<SearchParams, String> {
        SearchParams::new(&Params::new(b"", Some(query)), 10 * RANGE_MS, 1000).map_err(|error| error.message)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let search = read("").unwrap();
        assert_eq!(search.range, TimeRange { start_ms: 9 * RANGE_MS, end_ms: 10 * RANGE_MS });
        assert!(search.selectors.is_empty() && search.terms.is_none() && !search.with_score);
        assert_eq!((search.order, search.limit, search.batch_size), (Order::Alphabetic, 100, 100));
        let search = read("search[]=a&sort_by=score&limit=1000&batch_size=5&match[]=up&include_score=1").unwrap();
        assert!(search.terms.is_some() && search.with_score);
        assert_eq!((search.order, search.limit, search.batch_size), (Order::Score, 1000, 5));
        assert_eq!(search.selectors.len(), 1);
        assert_eq!(read("sort_by=alpha&sort_dir=dsc").unwrap().order, Order::Reversed);
        // Nothing that is empty is looked for.
        assert!(read("search[]=").unwrap().terms.is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = "search[]=x&".repeat(33);
        for (query, word) in [
            ("start=5&end=4", "end timestamp"),
            ("start=x", "start"),
            ("match[]={", "unexpected"),
            (&*many, "got 33"),
            ("fuzz_threshold=101", "0-100"),
            ("fuzz_alg=levenshtein", "levenshtein"),
            ("case_sensitive=maybe", "case_sensitive"),
            ("include_score=7", "include_score"),
            ("sort_dir=asc", "sort_by"),
            ("sort_by=score", "search[]"),
            ("sort_by=score&search[]=a&sort_dir=asc", "sort_dir"),
            ("sort_by=alpha&sort_dir=up", "\"up\""),
            ("sort_by=size", "\"size\""),
            ("limit=0", "limit"),
            ("limit=1001", "--search-limit-max"),
            ("batch_size=-1", "batch_size"),
        ] {
            let error = read(query).map(|_| ()).unwrap_err();
            assert!(error.contains(word), "{query}: {error}");
        }
    }
}
