//! The forms of names, labels and namespaces in Kubernetes (RFC 1123 and qualified names).
//!
//! Each check answers with the sentence that kube-apiserver uses, because people search for it.

/// Longest name of an object.
pub const NAME_CHARS_MAX: usize = 253;
/// Longest name of a namespace, and longest part of a label.
pub const LABEL_BYTES_MAX: usize = 63;

/// Checks a DNS subdomain name: the form of most objects' names.
///
/// # Errors
/// With the rule that is broken.
pub fn check_subdomain(name: &str) -> Result<(), String> {
    if name.len() > NAME_CHARS_MAX {
        return Err(format!("must be no more than {NAME_CHARS_MAX} characters"));
    }
    match name.split('.').all(is_dns_label) {
        true => Ok(()),
        false => Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
            and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
            '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned()),
    }
}

/// Checks a DNS label: the form of namespaces' names.
///
/// # Errors
/// With the rule that is broken.
pub fn check_dns_label(name: &str) -> Result<(), String> {
    if name.len() > LABEL_BYTES_MAX {
        return Err(format!("must be no more than {LABEL_BYTES_MAX} characters"));
    }
    match is_dns_label(name) {
        true => Ok(()),
        false => Err("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
            start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
            '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            .to_owned()),
    }
}

/// Checks a DNS label of RFC 1035, which starts with a letter: the form of versions, kinds and their plurals.
///
/// # Errors
/// With the rule that is broken.
pub fn check_dns_1035(name: &str) -> Result<(), String> {
    if name.len() > LABEL_BYTES_MAX {
        return Err(format!("must be no more than {LABEL_BYTES_MAX} characters"));
    }
    match is_dns_label(name) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(()),
        false => Err("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
            alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used \
            for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            .to_owned()),
    }
}

/// Checks a name that only has to be a part of a path.
///
/// # Errors
/// With the rule that is broken.
pub fn check_path_segment(name: &str) -> Result<(), String> {
    if matches!(name, "." | "..") {
        return Err(format!("may not be '{name}'"));
    }
    match name.chars().find(|c| "/%".contains(*c)) {
        Some(c) => Err(format!("may not contain '{c}'")),
        None => Ok(()),
    }
}

/// Checks a label or annotation key: `[prefix/]name`.
///
/// # Errors
/// With the rule that is broken.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            check_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    check_length(name)
        .and_then(|()| match is_qualified(name) {
            true => Ok(()),
            false => Err(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
                    .to_owned(),
            ),
        })
        .map_err(|why| format!("name part {why}"))
}

/// Checks a label's value; it may be empty.
///
/// # Errors
/// With the rule that is broken.
pub fn check_label_value(value: &str) -> Result<(), String> {
    check_length(value)?;
    match value.is_empty() || is_qualified(value) {
        true => Ok(()),
        false => Err("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
            must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
            for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .to_owned()),
    }
}

fn check_length(text: &str) -> Result<(), String> {
    match text.len() <= LABEL_BYTES_MAX {
        true => Ok(()),
        false => Err(format!("must be no more than {LABEL_BYTES_MAX} bytes")),
    }
}

fn is_qualified(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    is_framed(text, |b| b.is_ascii_alphanumeric(), inner)
}

fn is_dns_label(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    is_framed(text, edge, |b| edge(b) || b == b'-')
}

/// Whether first and last byte are of one class and all between of another.
fn is_framed(text: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "a.b-c.d", "0"] {
            check_subdomain(good).expect(good);
        }
        for bad in [
            "",
            "A",
            "-a",
            "a-",
            "a..b",
            "a_b",
            "a/b",
            &"a".repeat(NAME_CHARS_MAX + 1),
        ] {
            check_subdomain(bad).expect_err(bad);
        }
        check_dns_label("a.b").expect_err("a label has no dots");
        check_dns_label(&"a".repeat(LABEL_BYTES_MAX + 1)).expect_err("too long");
    }

    #[test]
    fn label_keys_may_have_a_prefix() {
        for good in ["a", "a.b/c", "groma.dev/host", "A_b.c-d"] {
            check_label_key(good).expect(good);
        }
        for bad in [
            "",
            "/a",
            "a/",
            "A/b",
            "a b",
            "_a",
            &"a".repeat(LABEL_BYTES_MAX + 1),
        ] {
            check_label_key(bad).expect_err(bad);
        }
    }
}
