//! The store under fire: the program is killed while clients write, and what they were told is judged; and a store that
//! lies is caught by the same judge.

mod clients;
mod etcd;
mod kills;
mod replicas;
