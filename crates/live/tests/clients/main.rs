//! Clients that no one here wrote, each in its own language and with its own habits, against `groma serve`.
//!
//! What a client does and expects is a program in `tests/`; here it is given a server, and must end well.

mod controllers;
mod end_to_end;
mod flux;
mod helm;
mod python;
mod registry;
mod run;
