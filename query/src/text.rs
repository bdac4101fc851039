//! Label sets as Go's Prometheus writes them into messages.

use marigram_storage::model::labels::Labels;

use crate::parse::strings::{is_plain_label_name, quote};

/// `{name="value", "odd name"="value"}`
pub(crate) fn labels(labels: &Labels) -> String {
    let name = |name: &str| if is_plain_label_name(name) { name.to_owned() } else { quote(name) };
    let parts: Vec<String> = labels.iter().map(|(n, value)| format!("{}={}", name(n), quote(value))).collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_quoted() {
        let set = Labels::from_pairs([("a", "1"), ("b.c", "x \"y\"")]);
        assert_eq!(labels(&set), r#"{a="1", "b.c"="x \"y\""}"#);
        assert_eq!(labels(&Labels::default()), "{}");
    }
}
