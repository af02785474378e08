//! Rule files: what is read, what is refused and with which words.

use super::*;

/// What a file is read as, one rule a line.
fn read(text: &str) -> String {
    let rules = Rules::parse(text).unwrap();
    let lines = rules.list.iter().map(|rule| format!("\n{rule}"));
    format!("default {}{}", rules.default, lines.collect::<String>())
}

#[test]
fn rules_are_read_as_they_are_written() {
    let text = "default drop\nallow tcp 8080 from left\nallow udp 5000-5010 from right source 2001:db8:1::/48\n\
                drop any from left destination 2001:db8::1/128\nallow icmp\nallow tcp";
    assert_eq!(read(text), text);
}

#[test]
fn comments_spacing_and_the_place_of_the_default_do_not_matter() {
    assert_eq!(
        read("# first\n\n  allow   tcp 80 # web\ndefault allow\n"),
        "default allow\nallow tcp 80"
    );
}

#[test]
fn address_without_length_is_one_host() {
    assert_eq!(
        read("default drop\nallow any source fd00::1"),
        "default drop\nallow any source fd00::1/128"
    );
}

#[test]
fn refusals_name_the_line_the_value_and_what_would_be_right() {
    for (line, said) in [
        (
            "permit tcp",
            "\"permit\" is not known, expected allow, drop or default",
        ),
        ("allow", "the protocol is missing"),
        ("allow sctp", "protocol is \"sctp\""),
        ("allow tcp 0", "port is \"0\""),
        ("allow tcp 65536", "port is \"65536\""),
        ("allow tcp 20-10", "port is \"20-10\""),
        ("allow tcp 80 443", "\"443\" is not known"),
        ("allow icmp 8", "\"8\" is not known"),
        (
            "allow tcp from middle",
            "from is \"middle\", expected left or right",
        ),
        ("allow tcp from", "nothing follows from"),
        ("allow tcp from left from right", "from is given twice"),
        (
            "allow any source 10.0.0.0/8",
            "prefix is \"10.0.0.0/8\", expected IPv6",
        ),
        ("allow any source fd00::/129", "prefix is \"fd00::/129\""),
        ("default drop", "default is given twice"),
        ("default", "nothing follows default"),
        ("default drop now", "\"now\" is one word too many"),
    ] {
        let problems = Rules::parse(&format!("default drop\n{line}")).unwrap_err();
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        assert!(problems[0].starts_with("line 2: "), "{line}: {problems:?}");
        assert!(problems[0].contains(said), "{line}: {problems:?}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = Rules::parse("allow\nallow tcp 0").unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[2].contains("no default"), "{problems:?}");
}

#[test]
fn number_of_rules_is_limited() {
    let file = |n| format!("default drop\n{}", "allow tcp 80\n".repeat(n));
    assert_eq!(
        Rules::parse(&file(RULES_MAX)).unwrap().list.len(),
        RULES_MAX
    );
    let problems = Rules::parse(&file(RULES_MAX + 1)).unwrap_err();
    assert_eq!(problems, ["1025 rules, expected at most 1024"]);
}
