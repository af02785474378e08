//! Images: from `layout:NAME[@DIGEST]` to a read-only root folder and what the image says about running it.
//!
//! A layout is looked up in the host's image folder; its layers are unpacked once per manifest digest into a root that all
//! containers of the image share. Nothing is ever fetched from elsewhere.

mod layout;
mod root;
mod store;
mod unpack;
mod user;

pub(crate) use layout::{Image, Layouts, Reference};
pub(crate) use root::Root;
pub(crate) use store::{Store, make_targets};
pub(crate) use user::User;
