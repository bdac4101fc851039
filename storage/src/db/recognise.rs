//! Which series of a request the head knows, before the request is validated.
//!
//! Equal ids are equal series within a tenant, so label bytes whose id is known need no check of their own: they are canonical
//! because those of the series are.

use super::Db;
use crate::model::tenant::TenantId;
use crate::write::{NO_HINT, WriteSeries};

impl Db {
    /// Sets the [hint](WriteSeries::hint) of every series of `tenant` that is in the head by its id, and takes those of all
    /// others away. Waits for nothing but a series that is being registered.
    pub fn recognise(&self, tenant: &TenantId, series: &mut [WriteSeries]) {
        let head = self.head.tenant(tenant);
        let index = head.as_ref().map(|head| head.lookup());
        let mut guess = 0u32;
        for series in series {
            let dense = index.as_ref().and_then(|index| index.find_near(series.id, guess));
            guess = dense.unwrap_or(guess).wrapping_add(1);
            series.hint = dense.unwrap_or(NO_HINT);
        }
    }
}
