//! The words of the field: labels, samples, histograms, matchers, time. Everything else in the crate speaks in these.

pub mod histogram;
pub(crate) mod joined;
pub mod labels;
pub mod matcher;
pub mod member;
pub mod regex;
pub mod sample;
pub mod start;
pub mod tenant;
pub mod time;
