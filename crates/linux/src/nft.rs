//! nftables tables, through the `nft` program's JSON: applied as one transaction, read back with counters, deleted.
//!
//! A table is what one owner writes whole; rules of other tables are never touched.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use nftables::schema::{NfCmd, NfListObject, NfObject, Nftables, Table};
use nftables::types::NfFamily;
use serde_json::Value;

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
    let values = list_values(namespace, table, &what)?;
    values.map(|values| parse(values, &what)).transpose()
}

/// The values of the named counters of a table; none if there is no such table.
pub fn counters(namespace: &Namespace, table: &Table<'static>) -> Result<BTreeMap<String, Count>> {
    let what = format!("count in nft table {}", table.name);
    let values = list_values(namespace, table, &what)?.unwrap_or_default();
    Ok(values.iter().filter_map(named_counter).collect())
}

fn named_counter(object: &Value) -> Option<(String, Count)> {
    let counter = object.get("counter")?;
    let count = Count {
        packets: counter.get("packets")?.as_u64()?,
        bytes: counter.get("bytes")?.as_u64()?,
    };
    Some((counter.get("name")?.as_str()?.to_owned(), count))
}

fn list_values(
    namespace: &Namespace,
    table: &Table<'static>,
    what: &str,
) -> Result<Option<Vec<Value>>> {
    let family = family_name(&table.family);
    // Numeric protocols: their names depend on a file that small systems lack.
    let arguments = ["-j", "-p", "list", "table", family, &table.name];
    let output = nft(namespace, &arguments, "", what)?;
    if !output.status.success() {
        return match tables(namespace)?.contains(table) {
            true => Err(refused(what, &output)),
            false => Ok(None),
        };
    }
    Ok(Some(values(&output.stdout, what)?))
}

/// All tables of the namespace, without their handles.
fn tables(namespace: &Namespace) -> Result<Vec<Table<'static>>> {
    let what = "list nft tables";
    let output = nft(namespace, &["-j", "list", "tables"], "", what)?;
    if !output.status.success() {
        return Err(refused(what, &output));
    }
    let tables = parse(values(&output.stdout, what)?, what)?
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

/// The objects of a listing, as they came.
fn values(json: &[u8], what: &str) -> Result<Vec<Value>> {
    let unreadable = |why: String| Error::other(format!("cannot {what}"), why);
    let mut listing: Value =
        serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
    match listing.get_mut("nftables").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Err(unreadable("nft gave no list of objects".to_owned())),
    }
}

fn parse(values: Vec<Value>, what: &str) -> Result<Vec<NfListObject<'static>>> {
    let objects = values
        .into_iter()
        .filter(|value| value.get("metainfo").is_none());
    let read = |mut value: Value| {
        saturate(&mut value);
        serde_json::from_value(value)
            .map_err(|error| Error::other(format!("cannot {what}"), error.to_string()))
    };
    objects.map(read).collect()
}

/// The schema's counts have 32 bits, the kernel's 64: those that are too large must not make a listing unreadable.
fn saturate(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(saturate),
        Value::Array(items) => items.iter_mut().for_each(saturate),
        Value::Number(number)
            if number
                .as_u64()
                .is_some_and(|large| large > u64::from(u32::MAX)) =>
        {
            *value = Value::from(u32::MAX);
        }
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_more_than_four_gigabytes_is_read() {
        let listing = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "ip6", "table": "t", "name": "all", "handle": 2, "packets": 7, "bytes": 5000000000}}]}"#;
        let values = values(listing, "list").expect("a listing");
        let counted: Vec<_> = values.iter().filter_map(named_counter).collect();
        let (packets, bytes) = (7, 5_000_000_000);
        assert_eq!(counted, [("all".to_owned(), Count { packets, bytes })]);
        assert_eq!(parse(values, "list").expect("objects").len(), 1);
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for text in ["", "[]", r#"{"nftables": 1}"#] {
            assert!(values(text.as_bytes(), "list").is_err(), "{text}");
        }
    }
}
