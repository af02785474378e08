//! Who a container runs as: the image's `USER`, by name or number, resolved in the image's own `/etc/passwd`.

use std::io;
use std::path::Path;

use api::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::Root;

/// The most supplementary groups that are taken from an image.
const GROUPS_MAX: usize = 64;

/// A user of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Its number.
    pub(crate) uid: u32,
    /// The number of its group.
    pub(crate) gid: u32,
    /// The numbers of its other groups.
    pub(crate) groups: Vec<u32>,
    /// Its home folder.
    pub(crate) home: Option<String>,
}

impl User {
    /// The user of that name or number (`user`, `uid`, `user:group`, `uid:gid`, …) in an image; root if there is none.
    pub(crate) fn resolve(wanted: &str, root: &Root) -> Result<Self, Error> {
        let fail = |error: io::Error| {
            Error::caused(
                ErrorKind::Invalid,
                "cannot read the users of the image",
                error,
            )
        };
        let read = |path: &str| root.read(Path::new(path)).map_err(fail);
        let passwd = read("etc/passwd")?.unwrap_or_default();
        let group = read("etc/group")?.unwrap_or_default();
        find(wanted, &passwd, &group)
    }
}

fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name)),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let known = fields(passwd, 7).find(|user| {
        user[0] == name || (number.is_some() && user[2].parse::<u32>().ok() == number)
    });
    let uid = match (&known, number) {
        (Some(user), _) => user[2].parse().map_err(|_| unknown("user", name))?,
        (None, Some(number)) => number,
        (None, None) => return Err(unknown("user", name)),
    };
    let gid = match (group_name, &known) {
        (Some(group_name), _) => group_number(group_name, group)?,
        (None, Some(user)) => user[3]
            .parse()
            .map_err(|_| unknown("group of user", name))?,
        (None, None) => 0,
    };
    let login = known.as_ref().map(|user| user[0]);
    let groups = match (group_name, login) {
        (None, Some(login)) => memberships(login, gid, group),
        _ => Vec::new(),
    };
    let home = known.map(|user| user[5].to_owned());
    Ok(User {
        uid,
        gid,
        groups,
        home: home.filter(|home| !home.is_empty()),
    })
}

fn group_number(name: &str, group: &str) -> Result<u32, Error> {
    let named = fields(group, 4).find(|entry| entry[0] == name);
    let number = named.map_or(name, |entry| entry[2]);
    number.parse().map_err(|_| unknown("group", name))
}

fn memberships(login: &str, own: u32, group: &str) -> Vec<u32> {
    let of_login = fields(group, 4).filter(|entry| entry[3].split(',').any(|name| name == login));
    let numbers = of_login.filter_map(|entry| entry[2].parse().ok());
    numbers.filter(|gid| *gid != own).take(GROUPS_MAX).collect()
}

/// The lines that have all their fields.
fn fields(text: &str, count: usize) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.filter(move |parts| parts.len() >= count)
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("the image has no {what} `{name}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\nbad\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:90:web,other\n";

    fn check(wanted: &str, expected: (u32, u32, &[u32])) {
        let user = find(wanted, PASSWD, GROUP).expect(wanted);
        let seen = (user.uid, user.gid, user.groups.as_slice());
        assert_eq!(seen, expected, "{wanted}");
    }

    #[test]
    fn names_and_numbers_are_resolved_in_the_image() {
        check("", (0, 0, &[]));
        check("web", (33, 34, &[90]));
        check("33", (33, 34, &[90]));
        check("web:logs", (33, 90, &[]));
        check("1000", (1000, 0, &[]));
        check("1000:1001", (1000, 1001, &[]));
    }

    #[test]
    fn an_unknown_name_is_refused() {
        for wanted in ["nobody", "web:nogroup"] {
            let error = find(wanted, PASSWD, GROUP).expect_err(wanted);
            assert!(error.what.contains("the image has no"), "{error}");
        }
    }
}
