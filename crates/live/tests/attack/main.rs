//! The running program under attack, from outside: over raw sockets and TLS, with hostile images, by other users of its
//! machine. Each attack is refused by name, nothing is told, and others are served at once; each test ends by showing that.
//!
//! | attack | where it is tried here |
//! | --- | --- |
//! | tokens: malformed, `alg: none`, the public key as a secret, other keys, issuers, audiences and times | `tokens` |
//! | bootstrap tokens: guessed, ended, deleted, for another host or key, many keys at once | `tokens` |
//! | approving oneself an administrator, a host or a server | `tokens` |
//! | certificates: foreign, self-signed, ended; stolen from a host; revoked on open connections | `certificates` |
//! | another tenant's objects by every verb, selector, subresource, dry run and apply; guessing names | `tenants` |
//! | roles, bindings, impersonation, reviews, tokens of others' accounts | `tenants` |
//! | owners, namespaces and system fields in objects; hooks; racing a quota | `tenants` |
//! | paths: `..`, encodings, empty parts, NUL, length, absolute and authority form, other hosts | `requests` |
//! | smuggling: two lengths, chunks and a length, folded and broken fields, lying chunks | `requests` |
//! | users in headers; plain HTTP, other protocols and versions, upgrades | `requests` |
//! | HTTP/2: malformed heads; floods of resets, settings, pings and heads; header bombs; streams | `http2` |
//! | slow handshakes, heads and bodies; watches that are not read; open files | `slow` |
//! | bodies: depth, numbers, aliases, repeated keys, patches that grow, protobuf that lies, gzip | `bodies` |
//! | parameters, names and paths without end; definitions with costly patterns and rules; many definitions | `bodies` |
//! | webhooks: redirects, metadata services, loopback, endless, huge, deep and dripping answers | `webhooks` |
//! | images: paths, links, devices, set-uid, whiteouts, digests that lie, headers that unpack to more | `images` |
//! | line breaks and escape sequences in logs, the audit log and on terminals | `terminal` |
//! | modes of files, the socket, planted links, arguments and environment | `machine` |
//!
//! What needs a clock (how long a head or a body may take) or the inside (fuzzing of the parsers, limits to the byte) is
//! tried where it is decided: `apiserver/src/listen`, `apiserver/src/body.rs`, `apiserver/tests/fuzz`, `adapter-oci`.
//! Revoked hosts whose agents and instances run on are in `tests/agents`.

mod bodies;
mod certificates;
mod ground;
mod http2;
mod images;
mod machine;
mod requests;
mod slow;
mod tenants;
mod terminal;
mod tokens;
mod webhooks;
