//! Functions of labels.

use marigram_storage::model::labels::{Labels, LabelsBuilder};
use marigram_storage::model::regex::to_rust;
use regex::Regex;

use crate::error::QueryError;
use crate::parse::literal::Text;

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
        destination: &Text,
        replacement: &Text,
        source: &Text,
        pattern: &Text,
    ) -> Result<Self, QueryError> {
        let pattern_of_rust = pattern.utf8().and_then(|pattern| to_rust(pattern).ok());
        let regex = pattern_of_rust.and_then(|pattern| Regex::new(&format!("^(?s:{pattern})$")).ok());
        let regex = regex.ok_or_else(|| invalid("regular expression in label_replace()", pattern))?;
        let destination =
            label_name(destination).ok_or_else(|| invalid("destination label name in label_replace()", destination))?;
        Ok(LabelFunction::Replace {
            destination,
            replacement: written(replacement)?,
            // No label has a name that is not UTF-8, nor an empty one.
            source: source.utf8().unwrap_or_default().to_owned(),
            regex: Box::new(regex),
        })
    }

    /// `label_join(v, destination, separator, sources…)`
    pub(crate) fn join(destination: &Text, separator: &Text, sources: &[&Text]) -> Result<Self, QueryError> {
        let source = |name| label_name(name).ok_or_else(|| invalid("source label name in label_join()", name));
        let sources = sources.iter().map(|name| source(name)).collect::<Result<_, _>>()?;
        let destination =
            label_name(destination).ok_or_else(|| invalid("destination label name in label_join()", destination))?;
        Ok(LabelFunction::Join { destination, separator: written(separator)?, sources })
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

/// A text that can be the name of a label.
fn label_name(text: &Text) -> Option<String> {
    text.utf8().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A text that becomes part of a label's value. The parser has said already, and where, that it has to be UTF-8.
fn written(text: &Text) -> Result<String, QueryError> {
    text.utf8().map(str::to_owned).ok_or_else(|| invalid("label value", text))
}

fn invalid(what: &str, text: &Text) -> QueryError {
    QueryError::execution(format!("invalid {what}: {}", text.lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(destination: &str, replacement: &str, source: &str, pattern: &str) -> Result<LabelFunction, QueryError> {
        LabelFunction::replace(&destination.into(), &replacement.into(), &source.into(), &pattern.into())
    }

    #[test]
    fn replacing_and_joining() {
        let labels = Labels::from_pairs([("__name__", "up"), ("src", "a-10")]);
        let f = replace("dst", "$2:${1}", "src", "([a-z])-(.*)").unwrap();
        assert_eq!(f.apply(&labels).unwrap().get("dst"), Some("10:a"));
        let lazy = replace("dst", "$1", "src", r"(\w*?)[a{]?-\d+").unwrap();
        assert_eq!(lazy.apply(&labels).unwrap().get("dst"), None, "the class has taken the letter");
        let ascii = replace("dst", "x", "src", r"\w+").unwrap();
        assert_eq!(ascii.apply(&Labels::from_pairs([("src", "é")])), None, "as Go has it");
        let anchored = replace("dst", "x", "src", "a").unwrap();
        assert_eq!(anchored.apply(&labels), None);
        let emptied = replace("src", "", "src", ".*").unwrap();
        assert_eq!(emptied.apply(&labels).unwrap().get("src"), None);
        assert!(replace("", "", "src", ".*").is_err());
        assert!(replace("a", "", "src", "(").is_err());
        let joined =
            LabelFunction::join(&"dst".into(), &"-".into(), &[&"src".into(), &"none".into(), &"__name__".into()])
                .unwrap();
        assert_eq!(joined.apply(&labels).unwrap().get("dst"), Some("a-10--up"));
    }
}
