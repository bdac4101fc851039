//! The signatures of PromQL's functions.

use super::ast::ValueType;

/// A function's signature; the parser checks calls against it, the engine looks the name up.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of the arguments. With `variadic`, the last may be left out or repeated.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: up to n more or fewer of the last as Prometheus counts it; -1: any number of the last.
    pub variadic: i32,
    /// Type of the result.
    pub returns: ValueType,
}
