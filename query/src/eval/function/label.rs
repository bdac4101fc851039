//! Functions of labels.

use marigram_storage::model::labels::{Labels, LabelsBuilder};
use regex::Regex;

use crate::error::QueryError;

/// A function of a series' labels.
#[derive(Debug)]
pub(crate) enum LabelFunction {
    /// `label_replace`
    Replace {
        /// Where the result goes.
        destination: String,
        /// The result, with `$1` and `${name}`.
        replacement: String,
        /// Which label is matched.
        source: String,
        /// Anchored at both ends.
        regex: Box<Regex>,
    },
    /// `label_join`
    Join {
        /// Where the result goes.
        destination: String,
        /// Between two values.
        separator: String,
        /// Which labels are joined.
        sources: Vec<String>,
    },
}

impl LabelFunction {
    /// `label_replace(v, destination, replacement, source, pattern)`
    pub(crate) fn replace(
        destination: &str,
        replacement: &str,
        source: &str,
        pattern: &str,
    ) -> Result<Self, QueryError> {
        let regex = Regex::new(&format!("^(?s:{pattern})$"))
            .map_err(|_| QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if destination.is_empty() {
            return Err(QueryError::execution(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        Ok(LabelFunction::Replace {
            destination: destination.to_owned(),
            replacement: replacement.to_owned(),
            source: source.to_owned(),
            regex: Box::new(regex),
        })
    }

    /// `label_join(v, destination, separator, sources…)`
    pub(crate) fn join(destination: &str, separator: &str, sources: Vec<String>) -> Result<Self, QueryError> {
        if let Some(source) = sources.iter().find(|source| source.is_empty()) {
            return Err(QueryError::execution(format!("invalid source label name in label_join(): {source}")));
        }
        if destination.is_empty() {
            return Err(QueryError::execution(format!(
                "invalid destination label name in label_join(): {destination}"
            )));
        }
        Ok(LabelFunction::Join { destination: destination.to_owned(), separator: separator.to_owned(), sources })
    }

    /// The label that is written.
    pub(crate) fn destination(&self) -> &str {
        match self {
            LabelFunction::Replace { destination, .. } | LabelFunction::Join { destination, .. } => destination,
        }
    }

    /// The labels of the result; `None` if nothing is written.
    pub(crate) fn apply(&self, labels: &Labels) -> Option<Labels> {
        let (destination, value) = match self {
            LabelFunction::Replace { destination, replacement, source, regex } => {
                let found = regex.captures(labels.get(source).unwrap_or(""))?;
                let mut value = String::new();
                found.expand(replacement, &mut value);
                (destination, value)
            }
            LabelFunction::Join { destination, separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
                (destination, values.join(separator))
            }
        };
        Some(LabelsBuilder::from_labels(labels).set(destination, &value).build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_and_joining() {
        let labels = Labels::from_pairs([("__name__", "up"), ("src", "a-10")]);
        let f = LabelFunction::replace("dst", "$2:${1}", "src", "([a-z])-(.*)").unwrap();
        assert_eq!(f.apply(&labels).unwrap().get("dst"), Some("10:a"));
        let anchored = LabelFunction::replace("dst", "x", "src", "a").unwrap();
        assert_eq!(anchored.apply(&labels), None);
        let emptied = LabelFunction::replace("src", "", "src", ".*").unwrap();
        assert_eq!(emptied.apply(&labels).unwrap().get("src"), None);
        assert!(LabelFunction::replace("", "", "src", ".*").is_err());
        assert!(LabelFunction::replace("a", "", "src", "(").is_err());
        let joined = LabelFunction::join("dst", "-", vec!["src".into(), "none".into(), "__name__".into()]).unwrap();
        assert_eq!(joined.apply(&labels).unwrap().get("dst"), Some("a-10--up"));
    }
}
