//! Asks all members at once, and calls the roll.
//!
//! 1. Every listed member that answers handshakes is asked; the others are missing, with the reason why.
//! 2. A header that does not name the listed disk, or another cluster, makes its member missing; so does any error that
//!    is not the query's own.
//! 3. A header may bring a newer list of members. Those that it names and that were not asked are asked too, and the
//!    newest list is the one that is called.
//! 4. Once the answer is complete without those that are still silent, they get little more time: a node that hangs must
//!    not hold up what the others can answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::{Error, ErrorKind, Result};

use super::completeness::RollCall;
use super::members::{Members, Node};
use crate::rpc::convert::select::AnswerHeader;

/// Lists that may follow each other during one query; each commit of a compactor makes one at most.
const LISTS_MAX: usize = 8;

/// What the members answered.
pub(super) struct Gathered<T> {
    /// Who is missing.
    pub call: RollCall,
    /// What the others said.
    pub answers: Vec<Answered<T>>,
}

/// What one member answered.
pub(super) struct Answered<T> {
    /// Its name.
    pub node_name: String,
    /// Its disk.
    pub disk_id: u128,
    /// Who was asked.
    pub address: String,
    /// Everything that it took with later timestamps is in the answer.
    pub drop_mark_ms: Option<i64>,
    /// The answer.
    pub answer: T,
}

/// A question under way.
type Pending<'q, T> = FuturesUnordered<BoxFuture<'q, Heard<T>>>;

/// Who was asked, and what it said.
type Heard<T> = (Member, Arc<dyn Node>, Result<(AnswerHeader, T)>);

/// A question to one node by somebody who knows the list of that number.
pub(super) type Question<'a, 'q, T> =
    dyn Fn(Arc<dyn Node>, u64) -> BoxFuture<'q, Result<(AnswerHeader, T)>> + Sync + 'a;

/// Puts a question to all members of the newest list. `question` takes the node and the number of the asker's list.
///
/// # Errors
/// The query's own. A sentence where lists change without end.
pub(super) async fn ask<'q, T: Send + 'q>(
    members: &'q dyn Members,
    list: MemberList,
    patience: Duration,
    question: &Question<'_, 'q, T>,
) -> Result<Gathered<T>> {
    let mut gathered = Gathered { call: RollCall::new(Arc::new(list)), answers: Vec::new() };
    let mut asked = BTreeSet::new();
    for _ in 0..LISTS_MAX {
        let mut pending = FuturesUnordered::new();
        let mut silent = BTreeSet::new();
        let list = Arc::clone(gathered.call.list());
        for member in list.members.iter().filter(|member| asked.insert(member.disk_id)) {
            match members.live(member) {
                Ok(node) => {
                    silent.insert(member.node_name.clone());
                    pending.push(put(member.clone(), node, list.catalog_number, question));
                }
                Err(why) => gathered.call.miss(&member.node_name, why),
            }
        }
        gathered.collect(members, &mut pending, silent, patience).await?;
        match members.list().filter(|newest| newest.catalog_number > list.catalog_number) {
            Some(newest) => gathered.call = call_again(&gathered.call, newest),
            None => return Ok(gathered),
        }
    }
    Err(Error::Unavailable("the list of members changes faster than it can be followed".to_owned()))
}

fn put<'q, T: Send + 'q>(
    member: Member,
    node: Arc<dyn Node>,
    catalog_number: u64,
    question: &Question<'_, 'q, T>,
) -> BoxFuture<'q, Heard<T>> {
    let answer = question(Arc::clone(&node), catalog_number);
    Box::pin(async move { (member, node, answer.await) })
}

/// The roll of the newer list: who of it is known to be missing already. A member that came with another disk was not
/// asked yet.
fn call_again(call: &RollCall, newest: MemberList) -> RollCall {
    let mut next = RollCall::new(Arc::new(newest));
    for member in &call.list().members {
        if let Some(why) = call.why(&member.node_name).filter(|_| next.list().lists(&member.node_name, member.disk_id))
        {
            next.miss(&member.node_name, why);
        }
    }
    next
}

/// Errors that say nothing of the node: the query is wrong, has reached its limits, or is over.
pub(super) fn is_the_querys_own(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::BadInput | ErrorKind::LimitExceeded | ErrorKind::Timeout | ErrorKind::Cancelled => true,
        ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Internal => false,
    }
}

impl<T> Gathered<T> {
    /// The drop marks of those who answered and have one, with their disks.
    pub(super) fn drop_marks_ms(&self) -> Vec<(u128, i64)> {
        self.answers.iter().filter_map(|answered| Some((answered.disk_id, answered.drop_mark_ms?))).collect()
    }
}

impl<T: Send> Gathered<T> {
    /// Waits for those who were asked.
    async fn collect(
        &mut self,
        members: &dyn Members,
        pending: &mut Pending<'_, T>,
        mut silent: BTreeSet<String>,
        patience: Duration,
    ) -> Result<()> {
        loop {
            let next = if self.complete_without(&silent) {
                tokio::time::timeout(patience, pending.next()).await
            } else {
                Ok(pending.next().await)
            };
            match next {
                Ok(Some((member, node, answer))) => {
                    silent.remove(&member.node_name);
                    self.note(members, member, &*node, answer)?;
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    for node_name in &silent {
                        self.call
                            .miss(node_name, format!("it was silent for {patience:?} after the others had answered"));
                    }
                    return Ok(());
                }
            }
        }
    }

    fn complete_without(&self, silent: &BTreeSet<String>) -> bool {
        let mut call = self.call.clone();
        for node_name in silent {
            call.miss(node_name, "silent");
        }
        call.verdict().is_ok()
    }

    fn note(
        &mut self,
        members: &dyn Members,
        member: Member,
        node: &dyn Node,
        answer: Result<(AnswerHeader, T)>,
    ) -> Result<()> {
        let missing = match answer {
            Ok((header, answer)) => match self.doubt(members, &member, header.clone()) {
                None => {
                    let (drop_mark_ms, address) = (header.drop_mark_ms, node.address().to_owned());
                    let Member { node_name, disk_id, .. } = member;
                    self.answers.push(Answered { node_name, disk_id, address, drop_mark_ms, answer });
                    return Ok(());
                }
                Some(why) => why,
            },
            Err(error) if is_the_querys_own(&error) => return Err(error),
            Err(error) => {
                // What the node itself refused proves that it answers.
                if let Error::Unavailable(reason) = &error {
                    members.mark_down(node.address(), reason);
                }
                error.to_string()
            }
        };
        self.call.miss(&member.node_name, missing);
        Ok(())
    }

    /// Why an answer is not that of the listed member. Takes note of the list that it brings.
    fn doubt(&self, members: &dyn Members, member: &Member, header: AnswerHeader) -> Option<String> {
        if header.member.node_name != member.node_name || header.member.disk_id != member.disk_id {
            return Some(format!(
                "another node ({} with disk {:032x}) answers in its place",
                header.member.node_name, header.member.disk_id
            ));
        }
        let cluster_id = self.call.list().cluster_id;
        if let Some(other) = header.cluster_id.filter(|other| *other != cluster_id) {
            return Some(format!("it belongs to another cluster ({other:032x}, not {cluster_id:032x})"));
        }
        header.members.and_then(|list| members.learn(list).err())
    }
}
