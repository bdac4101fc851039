//! Answering other roles.
