//! Real containers: `adapter-oci` with runc, control groups, namespaces and a small image made here.

mod bed;
mod contract;
mod files;
mod image;
mod kill;
mod life;
mod limits;
mod network;
mod nginx;
mod output;
mod start;
