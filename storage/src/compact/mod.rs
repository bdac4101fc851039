//! What happens to blocks after they were sealed: [`join`] makes one of several, [`publish`] brings
//! one into the bucket, [`retention`] says which are too old.

pub mod join;
pub mod publish;
pub mod retention;
