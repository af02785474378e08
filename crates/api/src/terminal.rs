//! Texts of others on a terminal: shown, and not obeyed.
//!
//! A text may hold escape sequences (ECMA-48), begin lines that look like ours, or turn the direction of writing (Unicode
//! TR 36).

use std::borrow::Cow;

fn is_obeyed(c: &char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text in one line, with what a terminal would obey as Rust writes it: `\n`, `\u{1b}`.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed, |c| c.escape_default().to_string())
}

/// JSON that reads the same, with what a terminal would obey escaped; line breaks between its parts stay.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let is_text = |c: &char| *c != '\n' && is_obeyed(c);
    escaped(json, is_text, |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped<'t>(
    text: &'t str,
    is_obeyed: impl Fn(&char) -> bool,
    shown: impl Fn(char) -> String,
) -> Cow<'t, str> {
    if !text.chars().any(|c| is_obeyed(&c)) {
        return text.into();
    }
    let shown = |c: char| match is_obeyed(&c) {
        true => shown(c),
        false => c.into(),
    };
    text.chars().map(shown).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nobody_who_writes_a_text() {
        assert!(matches!(plain("caf\u{e9} 100 %"), Cow::Borrowed(_)));
        let hostile = "ok\n\r\t\u{1b}[2J\u{9b}1m\u{202e}txt";
        let shown = r"ok\n\r\t\u{1b}[2J\u{9b}1m\u{202e}txt";
        assert_eq!(plain(hostile), shown);
    }

    #[test]
    fn json_stays_what_it_says() {
        let value = serde_json::json!({"a": "\u{9b}1m\u{202e}\u{7f}\n"});
        let text = serde_json::to_string_pretty(&value).expect("it is JSON");
        let shown = plain_json(&text);
        assert_eq!(shown, "{\n  \"a\": \"\\u009b1m\\u202e\\u007f\\n\"\n}");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
        assert_eq!(read, value);
    }
}
