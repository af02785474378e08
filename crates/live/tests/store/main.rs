//! The store under fire: what clients were told is judged while the program is killed, its disk fails or members of etcd
//! do; and stores that lie are caught by the same judge.

mod clients;
mod disks;
mod etcd;
mod kills;
mod lies;
mod replicas;
