//! Sealing on all members of the cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use marigram_storage::{Error, Result};
use tokio::runtime::Handle;

use super::completeness::RollCall;
use crate::peers::Peers;

/// Cuts all open data of the cluster into blocks. Blocks; must not be called from the runtime's own threads.
///
/// # Errors
/// Unless the blocks hold as much as a complete answer would: who is missing, or could not seal.
pub fn seal(peers: &Peers, runtime: &Handle) -> Result<()> {
    let view = peers.view();
    let list = view.list.clone().ok_or_else(|| Error::Unavailable(super::NO_LIST.to_owned()))?;
    let mut call = RollCall::new(Arc::new(list));
    let list = Arc::clone(call.list());
    let mut asked = Vec::new();
    for member in &list.members {
        match view.live(member) {
            Ok(node) => asked.push(async move { (member, node.client.seal().await) }),
            Err(why) => call.miss(&member.node_name, why),
        }
    }
    for (member, sealed) in runtime.block_on(join_all(asked)) {
        if let Err(error) = sealed {
            call.miss(&member.node_name, error.to_string());
        }
    }
    call.verdict().map_err(Error::Unavailable)
}
