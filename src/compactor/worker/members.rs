//! Who is a member, and telling everybody.

use futures_util::future::join_all;
use marigram_proto::cluster::NodeState;
use marigram_storage::Error;
use marigram_storage::bucket::catalog::{Catalog, Outcome};

use super::Worker;
use crate::compactor::Halt;
use crate::compactor::plan::members::{Heard, MembersPlan, Situation, plan_members, plan_telling, spread};
use crate::peers::View;
use crate::rpc::client::NodeClient;

/// A list of new members is committed, told, and committed as confirmed; more rounds are for races.
const ROUNDS_MAX: usize = 4;

impl Worker {
    /// Commits what follows about members, and tells every node that is behind. Answers the newest catalog.
    pub(super) fn keep_members(&mut self, view: &View, mut catalog: Catalog) -> Result<Catalog, Halt> {
        let (mut nodes, clients) = heard(view);
        let strangers: Vec<(String, u128)> =
            view.nodes.iter().filter_map(|node| Some((node.address.clone(), node.stranger?))).collect();
        let settings = &self.app.settings.cluster;
        let (replication_factor, query_timeout) = (settings.replication_factor, settings.compact.query_timeout_max);
        let new_cluster_id = self.new_cluster_id;
        let choose = |catalog: &Catalog, nodes: &[Heard]| -> Result<MembersPlan, String> {
            plan_members(Situation {
                catalog,
                nodes,
                strangers: &strangers,
                replication_factor,
                query_timeout_max_ms: u64::try_from(query_timeout.as_millis()).unwrap_or(u64::MAX),
                new_cluster_id,
            })
        };
        let mut failures = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let plan = choose(&catalog, &nodes).map_err(Halt::Contradiction)?;
            let more = plan.next.is_some();
            if more {
                let mut contradiction = None;
                let attempt = self.catalogs.attempt(|newest| match choose(newest, &nodes) {
                    Ok(plan) => Ok(plan.next),
                    Err(reason) => {
                        contradiction = Some(reason);
                        Err(Error::Cancelled)
                    }
                });
                if let Some(reason) = contradiction {
                    return Err(Halt::Contradiction(reason));
                }
                let (Outcome::Won(newest) | Outcome::Nothing(newest)) = attempt.outcome?;
                self.note(&newest)?;
                tell_of_changes(&catalog, &newest);
                catalog = newest;
            }
            failures = self.tell(&catalog, &mut nodes, &clients)?;
            let told = told(&catalog, &nodes);
            let problems = plan.problems.into_iter().chain(view.problems.clone()).chain(failures.clone());
            let waiting = plan.waiting.map(|waiting| waiting + &silent(view));
            self.status.members_are(waiting, sorted(problems), told);
            // Once all who can be told are, the next round finds whether that is enough.
            if !more && catalog.contents.joining.is_empty() {
                break;
            }
        }
        self.status.tried("telling the list of members", (!failures.is_empty()).then(|| failures.join("; ")));
        Ok(catalog)
    }

    /// Tells the list; takes note of who has it now. Answers why some could not be told.
    fn tell(&self, catalog: &Catalog, nodes: &mut [Heard], clients: &[NodeClient]) -> Result<Vec<String>, Halt> {
        let Some(list) = catalog.member_list() else { return Ok(Vec::new()) };
        let telling = plan_telling(catalog, nodes);
        let calls = telling.iter().map(|(at, confirmed)| clients[*at].tell_members(&list, *confirmed));
        let answers = self.call(async { Ok(join_all(calls).await) })?;
        let mut failures = Vec::new();
        for ((at, confirmed), answer) in telling.into_iter().zip(answers) {
            let node = &mut nodes[at];
            let name = node.member.node_name.clone();
            match answer {
                Ok((_, member)) if member != node.member => {
                    failures.push(format!("another storage node than {name} answers at {} now", node.address));
                }
                Ok((number, _)) if number < list.catalog_number => {
                    failures
                        .push(format!("storage node {name} keeps list {number}, and was told {}", list.catalog_number));
                }
                Ok((number, _)) => {
                    node.list = Some((list.cluster_id, number));
                    if confirmed && matches!(node.state, NodeState::Unlisted | NodeState::Unconfirmed) {
                        node.state = NodeState::Ready;
                    }
                }
                Err(error) => {
                    failures.push(format!("storage node {name} could not be told the list of members: {error}"))
                }
            }
        }
        Ok(failures)
    }
}

/// The nodes that answer, and how to ask them.
fn heard(view: &View) -> (Vec<Heard>, Vec<NodeClient>) {
    let answering = view.nodes.iter().filter_map(|node| Some((node, node.answering()?)));
    let heard = answering.map(|(node, handshake)| {
        let list = handshake.members.as_ref().map(|list| (list.cluster_id, list.catalog_number));
        let heard =
            Heard { address: node.address.clone(), member: handshake.member.clone(), state: handshake.state, list };
        (heard, node.client.clone())
    });
    heard.unzip()
}

/// Where nobody answers, and why, to be put behind a sentence.
fn silent(view: &View) -> String {
    let silent = view.nodes.iter().filter_map(|node| Some(format!("{}: {}", node.address, node.down.as_ref()?)));
    match silent.collect::<Vec<_>>().join("; ") {
        reasons if reasons.is_empty() => reasons,
        reasons => format!(" ({reasons})"),
    }
}

/// How many members (or zones) have the newest list, and how many must.
fn told(catalog: &Catalog, nodes: &[Heard]) -> (usize, usize) {
    let Some(list) = catalog.member_list() else { return (0, 0) };
    let has = |member: &&marigram_storage::model::member::Member| nodes.iter().any(|node| node.has(member, &list));
    (spread(list.members.iter().filter(has)), list.write_quorum())
}

fn tell_of_changes(before: &Catalog, after: &Catalog) {
    for member in &after.contents.members {
        if !before.contents.members.contains(member) {
            tracing::info!(node_name = member.node_name, catalog = after.number, "a storage node joins the cluster");
        }
    }
    if !before.contents.joining.is_empty() && after.contents.joining.is_empty() {
        tracing::info!(catalog = after.number, "all members may take writes");
    }
}

fn sorted(problems: impl Iterator<Item = String>) -> Vec<String> {
    let mut problems: Vec<String> = problems.collect();
    problems.sort_unstable();
    problems.dedup();
    problems
}
