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

/// Longest name of a node or a zone, in bytes.
pub const MEMBER_NAME_BYTES_MAX: usize = 255;

/// Whether a text can name a node: 1 to [`MEMBER_NAME_BYTES_MAX`] bytes without control characters.
pub fn is_member_name(name: &str) -> bool {
    (1..=MEMBER_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

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

    /// Checks what the fields promise: at least one copy; names that can be names, in order; each name and disk once.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check(&self) -> Result<(), String> {
        if self.replication_factor == 0 {
            return Err("a list of members asks for no copy at all".into());
        }
        for Member { node_name, zone, .. } in &self.members {
            if !is_member_name(node_name) || !(zone.is_empty() || is_member_name(zone)) {
                return Err(format!("the list of members holds an impossible name: {node_name:?}, zone {zone:?}"));
            }
        }
        if let Some(pair) = self.members.windows(2).find(|pair| pair[0].node_name >= pair[1].node_name) {
            return Err(format!("the list of members holds {:?} twice or out of order", pair[1].node_name));
        }
        let mut disks: Vec<u128> = self.members.iter().map(|member| member.disk_id).collect();
        disks.sort_unstable();
        match disks.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the list of members holds the disk {:032x} twice", pair[0])),
            None => Ok(()),
        }
    }
}
