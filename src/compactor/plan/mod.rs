//! What is to be done: pure choices from what was read and heard. The compactor only obeys.

pub mod blocks;
pub mod members;
