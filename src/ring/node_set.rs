//! A set of members of one ring, by their place in the list.

/// Most members that a ring takes.
pub const MEMBERS_MAX: usize = u128::BITS as usize;

/// A set of members (or of zones) by number: a few dozen bits, copied like a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(u128);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: NodeSet = NodeSet(0);

    /// The first `n` members; at most [`MEMBERS_MAX`].
    pub fn first(n: usize) -> Self {
        if n >= MEMBERS_MAX { NodeSet(u128::MAX) } else { NodeSet((1 << n) - 1) }
    }

    /// Adds a member. `node` is below [`MEMBERS_MAX`].
    #[inline]
    pub fn insert(&mut self, node: usize) {
        self.0 |= bit(node);
    }

    /// Takes a member out.
    #[inline]
    pub fn remove(&mut self, node: usize) {
        self.0 &= !bit(node);
    }

    /// Whether the member is in the set.
    #[inline]
    pub fn contains(self, node: usize) -> bool {
        self.0 & bit(node) != 0
    }

    /// How many they are.
    #[inline]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it is nobody.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in either set.
    #[inline]
    #[must_use]
    pub fn union(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }

    /// Those of this set that are not in `other`.
    #[inline]
    #[must_use]
    pub fn without(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// The members in ascending order.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let node = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(node)
        })
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        let mut set = NodeSet::EMPTY;
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

/// A number out of range is no member, and no panic.
#[inline]
fn bit(node: usize) -> u128 {
    1u128.checked_shl(node as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set: NodeSet = [0, 5, 127].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 127]);
        set.remove(5);
        assert!(!set.contains(5) && set.contains(127) && set.len() == 2);
        assert_eq!(NodeSet::first(3).without(set).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(NodeSet::first(MEMBERS_MAX).len(), MEMBERS_MAX);
        assert!(!set.contains(MEMBERS_MAX));
    }
}
