//! What happens to blocks after they were sealed. Today: [`retention`].

pub mod retention;
