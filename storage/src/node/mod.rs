//! What makes a store a node of a cluster: who it is ([`identity`]), and with whom it works ([`members`]).
//! `docs/format/node.md` has the files.

pub mod identity;
pub mod members;
