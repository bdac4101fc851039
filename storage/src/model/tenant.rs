//! Tenants: the outermost level everywhere.

use std::fmt;
use std::sync::Arc;

/// Who a request belongs to when it does not say.
pub const DEFAULT_TENANT: &str = "anonymous";
/// Longest tenant name, in bytes.
pub const MAX_TENANT_BYTES: usize = 150;

/// A tenant's name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is not a tenant's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// No character at all.
    #[error("the tenant's name is empty")]
    Empty,
    /// Longer than [`MAX_TENANT_BYTES`].
    #[error("the tenant's name is longer than {MAX_TENANT_BYTES} bytes")]
    TooLong,
    /// A character outside of letters, digits and `!-_.*'()`; or the name `.` or `..`.
    #[error("the tenant's name holds characters other than letters, digits and !-_.*'()")]
    Unsupported,
}

impl TenantId {
    /// Checks a tenant's name by the rule that Mimir and Cortex document for `X-Scope-OrgID`: 1 to 150 bytes
    /// of ASCII letters, digits and `!-_.*'()`, but not `.` or `..`.
    ///
    /// # Errors
    /// [`TenantError`] says which part of the rule is broken.
    pub fn parse(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > MAX_TENANT_BYTES {
            return Err(TenantError::TooLong);
        }
        let supported = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if !name.chars().all(supported) || name == "." || name == ".." {
            return Err(TenantError::Unsupported);
        }
        Ok(TenantId(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        TenantId(DEFAULT_TENANT.into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        assert!(TenantId::parse("team-a_1.(x)!*'").is_ok());
        assert_eq!(TenantId::parse(""), Err(TenantError::Empty));
        assert_eq!(TenantId::parse(".."), Err(TenantError::Unsupported));
        assert_eq!(TenantId::parse("a/b"), Err(TenantError::Unsupported));
        assert_eq!(TenantId::parse(&"a".repeat(151)), Err(TenantError::TooLong));
    }
}
