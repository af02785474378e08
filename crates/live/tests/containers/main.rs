//! Real containers: `adapter-oci` with runc, control groups, namespaces and a small image made here.

mod bed;
mod image;
mod start;
