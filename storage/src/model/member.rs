//! Who takes part in a cluster: storage nodes by name and disk.

/// A storage node, as its data directory knows it and the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The name, which places series on it. Not empty.
    pub node_name: String,
    /// Drawn at random when its data directory was made. Copies count as distinct by this, never by address.
    pub disk_id: u128,
    /// The zone; empty where the cluster has no zones.
    pub zone: String,
}

/// The members of a cluster, as one catalog lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    /// Number of the catalog; of two lists the one with the higher number is the newer.
    pub catalog_number: u64,
    /// Which cluster.
    pub cluster_id: u128,
    /// Copies that are written of every sample; at least 1.
    pub replication_factor: u32,
    /// Ascending by node name, each name and each disk once.
    pub members: Vec<Member>,
    /// Longest query timeout, which every grace counts with, milliseconds.
    pub query_timeout_max_ms: u64,
}

/// Longest query timeout where the catalog sets none.
pub const QUERY_TIMEOUT_MAX_MS: u64 = 120_000;

/// Copies on distinct disks that make a write durable where `replication_factor` copies are written.
pub fn write_quorum(replication_factor: u32) -> usize {
    replication_factor as usize / 2 + 1
}

impl MemberList {
    /// Copies on distinct disks that make a write durable.
    pub fn write_quorum(&self) -> usize {
        write_quorum(self.replication_factor)
    }

    /// The member of a name.
    pub fn find(&self, node_name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.node_name == node_name)
    }

    /// Whether it names this very disk under this name.
    pub fn lists(&self, node_name: &str, disk_id: u128) -> bool {
        self.find(node_name).is_some_and(|member| member.disk_id == disk_id)
    }
}
