//! nftables tables, through the `nft` program's JSON: applied as one transaction, read back with counters, deleted.
//!
//! A table is what one owner writes whole; rules of other tables are never touched.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use nftables::schema::{NfCmd, NfListObject, NfObject, Nftables, Table};
use nftables::types::NfFamily;

use crate::{Error, Namespace, Result};

pub use nftables::{expr, schema, stmt, types};

/// A packet and byte count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Puts `content` in the place of the whole table in one transaction; the table's own declaration is added here.
/// Counters start at zero.
pub fn replace_table(
    namespace: &Namespace,
    table: &Table<'static>,
    content: Vec<NfListObject<'static>>,
) -> Result<()> {
    // Deleting needs the table to be there; adding one that is there does nothing.
    let mut commands = vec![
        NfCmd::Add(NfListObject::Table(table.clone())),
        NfCmd::Delete(NfListObject::Table(table.clone())),
        NfCmd::Add(NfListObject::Table(table.clone())),
    ];
    commands.extend(content.into_iter().map(NfCmd::Add));
    run(
        namespace,
        commands,
        &format!("write nft table {}", table.name),
    )
}

/// Deletes a table; nothing happens if it is not there.
pub fn delete_table(namespace: &Namespace, table: &Table<'static>) -> Result<()> {
    let commands = vec![
        NfCmd::Add(NfListObject::Table(table.clone())),
        NfCmd::Delete(NfListObject::Table(table.clone())),
    ];
    run(
        namespace,
        commands,
        &format!("delete nft table {}", table.name),
    )
}

/// What the table holds, in the order the kernel lists it; `None` if there is no such table.
pub fn list_table(
    namespace: &Namespace,
    table: &Table<'static>,
) -> Result<Option<Vec<NfListObject<'static>>>> {
    let what = format!("list nft table {}", table.name);
    let family = family_name(&table.family);
    // Numeric protocols: their names depend on a file that small systems lack.
    let arguments = ["-j", "-p", "list", "table", family, &table.name];
    let output = nft(namespace, &arguments, "", &what)?;
    if !output.status.success() {
        return match tables(namespace)?.contains(table) {
            true => Err(refused(&what, &output)),
            false => Ok(None),
        };
    }
    Ok(Some(parse(&output.stdout, &what)?))
}

/// The values of the named counters of a table.
pub fn counters(namespace: &Namespace, table: &Table<'static>) -> Result<BTreeMap<String, Count>> {
    let content = list_table(namespace, table)?.unwrap_or_default();
    let counters = content.into_iter().filter_map(|object| match object {
        NfListObject::Counter(counter) => {
            let count = Count {
                packets: counter.packets.unwrap_or(0).try_into().unwrap_or(u64::MAX),
                bytes: counter.bytes.unwrap_or(0).try_into().unwrap_or(u64::MAX),
            };
            Some((counter.name.into_owned(), count))
        }
        _ => None,
    });
    Ok(counters.collect())
}

/// All tables of the namespace, without their handles.
fn tables(namespace: &Namespace) -> Result<Vec<Table<'static>>> {
    let what = "list nft tables";
    let output = nft(namespace, &["-j", "list", "tables"], "", what)?;
    if !output.status.success() {
        return Err(refused(what, &output));
    }
    let tables = parse(&output.stdout, what)?
        .into_iter()
        .filter_map(|object| match object {
            NfListObject::Table(table) => Some(Table {
                handle: None,
                ..table
            }),
            _ => None,
        });
    Ok(tables.collect())
}

fn run(namespace: &Namespace, commands: Vec<NfCmd<'static>>, what: &str) -> Result<()> {
    let objects: Vec<NfObject<'_>> = commands.into_iter().map(NfObject::CmdObject).collect();
    let ruleset = Nftables {
        objects: Cow::Owned(objects),
    };
    let text = serde_json::to_string(&ruleset)
        .map_err(|error| Error::other(format!("cannot {what}"), error.to_string()))?;
    let output = nft(namespace, &["-j", "-f", "-"], &text, what)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(refused(what, &output)),
    }
}

fn parse(json: &[u8], what: &str) -> Result<Vec<NfListObject<'static>>> {
    let ruleset: Nftables<'static> = serde_json::from_slice(json)
        .map_err(|error| Error::other(format!("cannot {what}"), error.to_string()))?;
    let objects = ruleset
        .objects
        .into_owned()
        .into_iter()
        .filter_map(|object| match object {
            NfObject::ListObject(NfListObject::MetainfoObject(_)) | NfObject::CmdObject(_) => None,
            NfObject::ListObject(object) => Some(object),
        });
    Ok(objects.collect())
}

fn nft(namespace: &Namespace, arguments: &[&str], input: &str, what: &str) -> Result<Output> {
    let work = || {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // nft reads all of its input before it answers; closing the pipe is its end.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    namespace
        .run(work)?
        .map_err(|error| Error::new(format!("cannot {what}: cannot run nft"), error))
}

fn refused(what: &str, output: &Output) -> Error {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr.lines().next().unwrap_or("no reason given");
    Error::other(format!("cannot {what}"), format!("nft: {line}"))
}

fn family_name(family: &NfFamily) -> &'static str {
    match family {
        NfFamily::IP => "ip",
        NfFamily::IP6 => "ip6",
        NfFamily::INet => "inet",
        NfFamily::ARP => "arp",
        NfFamily::Bridge => "bridge",
        NfFamily::NetDev => "netdev",
    }
}
