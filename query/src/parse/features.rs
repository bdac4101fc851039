//! What of the language has to be switched on, under the names of Prometheus' feature flags.

/// Experimental parts of the language and of its evaluation; all off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `promql-experimental-functions`: functions and aggregations that Prometheus calls experimental.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub binop_fill_modifiers: bool,
    /// `promql-delayed-name-removal`: metric names are dropped at the end of the evaluation.
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`: functions of counters look at start timestamps.
    pub use_start_timestamps: bool,
    /// `type-and-unit-labels`: `__type__` and `__unit__` go where the metric's name goes.
    pub type_and_unit_labels: bool,
    /// `promql-per-step-stats`: queries may ask how many samples each step looks at.
    pub per_step_stats: bool,
}

impl Features {
    /// The names that [`Features::enable`] takes.
    pub const NAMES: [&str; 9] = [
        "promql-binop-fill-modifiers",
        "promql-delayed-name-removal",
        "promql-duration-expr",
        "promql-experimental-functions",
        "promql-extended-range-selectors",
        "promql-per-step-stats",
        "st-storage",
        "type-and-unit-labels",
        "use-start-timestamps",
    ];

    /// Everything switched on.
    pub const ALL: Features = Features {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        delayed_name_removal: true,
        use_start_timestamps: true,
        type_and_unit_labels: true,
        per_step_stats: true,
    };

    /// Switches a feature on by its name; `false` where no feature is called so.
    pub fn enable(&mut self, name: &str) -> bool {
        let slot = match name {
            "promql-experimental-functions" => &mut self.experimental_functions,
            "promql-extended-range-selectors" => &mut self.extended_range_selectors,
            "promql-binop-fill-modifiers" => &mut self.binop_fill_modifiers,
            "promql-delayed-name-removal" => &mut self.delayed_name_removal,
            "use-start-timestamps" => &mut self.use_start_timestamps,
            "type-and-unit-labels" => &mut self.type_and_unit_labels,
            "promql-per-step-stats" => &mut self.per_step_stats,
            // Part of the language by now; the name is still taken, as Prometheus takes it.
            "promql-duration-expr" => return true,
            // The store keeps whatever start timestamps it is given.
            "st-storage" => return true,
            _ => return false,
        };
        *slot = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_switches_something_on() {
        let mut all = Features::default();
        for name in Features::NAMES {
            assert!(all.enable(name), "{name}");
        }
        assert_eq!(all, Features::ALL);
        assert!(!all.enable("promql-everything"));
    }
}
