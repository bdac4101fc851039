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
        let index = head.as_ref().map(|head| head.index());
        for series in series {
            series.hint = index.as_ref().and_then(|index| index.find(series.id)).unwrap_or(NO_HINT);
        }
    }
}
