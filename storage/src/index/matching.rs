//! From matchers to series: the one algorithm that head and block share.
//!
//! 1. A matcher that refuses the empty value *keeps*: the union of the postings of the values that it accepts. One that
//!    accepts the empty value *takes away*: the union of the postings of the values that it refuses, so that series
//!    without the label stay.
//! 2. Which values those are is found without a scan where the matcher allows: equality and literal alternatives are
//!    look-ups, a prefix is a range of the ordered values, "any value" is the label's own postings. Only what is left
//!    is tested value by value.
//! 3. What keeps is intersected first, the rarest first, and ends as soon as nothing is left; what takes away comes last.
//! 4. Where few series are left and the postings of the next values are many, the labels of the few are looked at instead.

use std::borrow::Cow;

use roaring::{MultiOps, RoaringBitmap};

use crate::model::matcher::{MatchOp, Matcher};
use crate::model::regex::LabelRegex;

/// What the algorithm needs of an index. Names and values are handed out as cheap handles; a block reads the postings
/// behind a handle only when they are asked for.
pub(crate) trait Postings {
    /// `Infallible` in memory, damage in a file.
    type Error;
    /// A label name that some series has.
    type Name<'a>: Copy
    where
        Self: 'a;
    /// A value of a label name.
    type Value<'a>: Copy
    where
        Self: 'a;

    /// All series.
    fn all(&self) -> Cow<'_, RoaringBitmap>;
    /// Calls `visit` with the label names in ascending order, until it answers `false`.
    fn visit_names<'a>(
        &'a self,
        visit: impl FnMut(&str, Self::Name<'a>) -> Result<bool, Self::Error>,
    ) -> Result<(), Self::Error>;
    /// The label of that name.
    fn name(&self, name: &str) -> Result<Option<Self::Name<'_>>, Self::Error>;
    /// The series that have the label, whatever its value.
    fn name_series<'a>(&'a self, name: Self::Name<'a>) -> Result<Cow<'a, RoaringBitmap>, Self::Error>;
    /// Calls `visit` with the values of a label that are not less than `from`, in ascending order, until it answers `false`.
    fn visit_values<'a>(
        &'a self,
        name: Self::Name<'a>,
        from: &str,
        visit: impl FnMut(&str, Self::Value<'a>) -> Result<bool, Self::Error>,
    ) -> Result<(), Self::Error>;
    /// One value of a label.
    fn value<'a>(&'a self, name: Self::Name<'a>, value: &str) -> Result<Option<Self::Value<'a>>, Self::Error>;
    /// The series with that value.
    fn value_series<'a>(&'a self, value: Self::Value<'a>) -> Result<Cow<'a, RoaringBitmap>, Self::Error>;
    /// The series of `within` that have one of `values` of the name, found by looking at each series; `None` where the index
    /// cannot do that.
    fn among<'a>(
        &'a self,
        _within: &RoaringBitmap,
        _name: Self::Name<'a>,
        _values: &[Self::Value<'a>],
    ) -> Result<Option<RoaringBitmap>, Self::Error> {
        Ok(None)
    }
    /// The values of the name that series of `within` have, in order, found by looking at each series; `None` where reading
    /// the postings of all values is the better way.
    fn values_among<'a>(
        &'a self,
        _within: &RoaringBitmap,
        _name: Self::Name<'a>,
    ) -> Result<Option<Vec<String>>, Self::Error> {
        Ok(None)
    }
    /// Whether a series of `within` has that value.
    fn value_meets<'a>(&'a self, value: Self::Value<'a>, within: &RoaringBitmap) -> Result<bool, Self::Error> {
        Ok(!self.value_series(value)?.is_disjoint(within))
    }
    /// How many series have that value; known without reading the postings.
    fn value_count(&self, value: Self::Value<'_>) -> u64;
}

/// Reading so many postings takes as long as looking at the label of a series.
pub(super) const POSTINGS_PER_LOOK: u64 = 4;

/// The values of a name that a matcher speaks of.
enum Found<'a, P: Postings + 'a> {
    /// Every value of the label.
    Every(P::Name<'a>),
    /// These.
    Some(P::Name<'a>, Vec<P::Value<'a>>),
}

/// The series that pass all matchers.
pub(crate) fn select<P: Postings>(index: &P, matchers: &[Matcher]) -> Result<RoaringBitmap, P::Error> {
    let mut keeping = Vec::new();
    let mut taking = Vec::new();
    for matcher in matchers {
        let takes = matcher.matches_empty();
        let Some(name) = index.name(matcher.name())? else {
            match takes {
                true => continue,
                false => return Ok(RoaringBitmap::new()),
            }
        };
        let found = find(index, name, matcher)?;
        match takes {
            true => taking.push(found),
            false => keeping.push((count(index, &found)?, found)),
        }
    }
    keeping.sort_by_key(|(count, _)| *count);
    let mut selected: Option<RoaringBitmap> = None;
    for (count, found) in &keeping {
        let narrowed = match selected {
            None => union(index, found)?.into_owned(),
            Some(before) => match among(index, &before, found, *count)? {
                Some(narrowed) => narrowed,
                None => before & &*union(index, found)?,
            },
        };
        if narrowed.is_empty() {
            return Ok(narrowed);
        }
        selected = Some(narrowed);
    }
    let mut selected = selected.unwrap_or_else(|| index.all().into_owned());
    for found in &taking {
        match among(index, &selected, found, count(index, found)?)? {
            Some(taken) => selected -= taken,
            None => selected -= &*union(index, found)?,
        }
    }
    Ok(selected)
}

/// What of `within` is found, if that is better found out by looking at each than by reading `count` postings.
fn among<'a, P: Postings>(
    index: &'a P,
    within: &RoaringBitmap,
    found: &Found<'a, P>,
    count: u64,
) -> Result<Option<RoaringBitmap>, P::Error> {
    match found {
        Found::Some(name, values) if count / POSTINGS_PER_LOOK > within.len() => index.among(within, *name, values),
        _ => Ok(None),
    }
}

/// The names of all labels that some series (of `within`) has, in ascending order.
pub(crate) fn label_names<P: Postings>(index: &P, within: Option<&RoaringBitmap>) -> Result<Vec<String>, P::Error> {
    let mut names = Vec::new();
    index.visit_names(|text, name| {
        let used = match within {
            None => true,
            Some(within) => !index.name_series(name)?.is_disjoint(within),
        };
        if used {
            names.push(text.to_owned());
        }
        Ok(true)
    })?;
    Ok(names)
}

/// The values of a label that some series (of `within`) has, in ascending order.
pub(crate) fn label_values<P: Postings>(
    index: &P,
    name: &str,
    within: Option<&RoaringBitmap>,
) -> Result<Vec<String>, P::Error> {
    let Some(name) = index.name(name)? else {
        return Ok(Vec::new());
    };
    if let Some(within) = within
        && let Some(values) = index.values_among(within, name)?
    {
        return Ok(values);
    }
    let mut values = Vec::new();
    index.visit_values(name, "", |text, value| {
        let used = match within {
            None => true,
            Some(within) => index.value_meets(value, within)?,
        };
        if used {
            values.push(text.to_owned());
        }
        Ok(true)
    })?;
    Ok(values)
}

/// The values that the matcher accepts if it refuses the empty value, else those that it refuses.
fn find<'a, P: Postings>(index: &'a P, name: P::Name<'a>, matcher: &Matcher) -> Result<Found<'a, P>, P::Error> {
    let accepts_empty = matcher.matches_empty();
    match (matcher.op(), matcher.regex()) {
        (MatchOp::Equal | MatchOp::NotEqual, _) | (_, None) => match matcher.value() {
            "" => Ok(Found::Every(name)),
            value => Ok(Found::Some(name, index.value(name, value)?.into_iter().collect())),
        },
        // The pattern itself says which values: `=~` that keeps, `!~` that takes away.
        (MatchOp::Regex, Some(regex)) if !accepts_empty => find_regex(index, name, regex),
        (MatchOp::NotRegex, Some(regex)) if accepts_empty => find_regex(index, name, regex),
        // The pattern accepts the empty value, and the values are those that it does not match.
        (_, Some(regex)) if regex.matches_everything() => Ok(Found::Some(name, Vec::new())),
        (_, Some(regex)) => {
            let mut values = Vec::new();
            scan(index, name, "", |_| true, |value| !regex.is_match(value), &mut values)?;
            Ok(Found::Some(name, values))
        }
    }
}

/// The values that a pattern matches which does not match the empty value.
fn find_regex<'a, P: Postings>(index: &'a P, name: P::Name<'a>, regex: &LabelRegex) -> Result<Found<'a, P>, P::Error> {
    if regex.matches_every_non_empty() {
        return Ok(Found::Every(name));
    }
    if let Some(literals) = regex.literals() {
        let mut values = Vec::new();
        for literal in literals {
            values.extend(index.value(name, literal)?);
        }
        return Ok(Found::Some(name, values));
    }
    if let Some(alternatives) = regex.alternatives() {
        let mut values = Vec::new();
        for literal in &alternatives.literals {
            values.extend(index.value(name, literal)?);
        }
        for (prefix, rest) in &alternatives.prefixes {
            let within = |value: &str| value.starts_with(prefix.as_str());
            scan(index, name, prefix, within, |value| value.len() >= prefix.len() + rest, &mut values)?;
        }
        return Ok(Found::Some(name, values));
    }
    let prefix = regex.prefix().unwrap_or("");
    let mut values = Vec::new();
    scan(index, name, prefix, |value| value.starts_with(prefix), |value| regex.is_match(value), &mut values)?;
    Ok(Found::Some(name, values))
}

/// Adds the values from `from` on, while `within`, that are `wanted`.
fn scan<'a, P: Postings>(
    index: &'a P,
    name: P::Name<'a>,
    from: &str,
    within: impl Fn(&str) -> bool,
    wanted: impl Fn(&str) -> bool,
    values: &mut Vec<P::Value<'a>>,
) -> Result<(), P::Error> {
    index.visit_values(name, from, |text, value| {
        let goes_on = within(text);
        if goes_on && wanted(text) {
            values.push(value);
        }
        Ok(goes_on)
    })
}

fn count<'a, P: Postings>(index: &'a P, found: &Found<'a, P>) -> Result<u64, P::Error> {
    match found {
        Found::Every(name) => Ok(index.name_series(*name)?.len()),
        Found::Some(_, values) => Ok(values.iter().map(|value| index.value_count(*value)).sum()),
    }
}

fn union<'a, P: Postings>(index: &'a P, found: &Found<'a, P>) -> Result<Cow<'a, RoaringBitmap>, P::Error> {
    match found {
        Found::Every(name) => index.name_series(*name),
        Found::Some(_, values) => match values.as_slice() {
            [] => Ok(Cow::Owned(RoaringBitmap::new())),
            [value] => index.value_series(*value),
            values => {
                let series = values.iter().map(|value| index.value_series(*value)).collect::<Result<Vec<_>, _>>()?;
                Ok(Cow::Owned(series.iter().map(Cow::as_ref).union()))
            }
        },
    }
}
