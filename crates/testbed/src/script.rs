//! The text of a scenario: prose, commands and what they print.
//!
//! A line that begins with `$ ` is a command; if it ends with `<<EOF`, the lines up to `EOF` are its standard input.
//! What follows up to the next command or line of prose (`# `) is what the command prints. Blank lines at its end do
//! not count.

use std::fmt;

use anyhow::{Result, bail};

/// What a command line ends with when its standard input follows.
const INPUT: &str = "<<EOF";
/// The line that ends a standard input.
const INPUT_END: &str = "EOF";

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Its parts in order.
    pub parts: Vec<Part>,
}

/// A part of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Lines for the reader, without their `# `.
    Prose(Vec<String>),
    /// A command and what it prints.
    Command(Command),
}

/// A command and what it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The command line, without input.
    pub line: String,
    /// Its standard input.
    pub input: Option<String>,
    /// What it prints, without blank lines at the end.
    pub output: String,
}

impl Script {
    /// Reads a scenario.
    pub fn parse(text: &str) -> Result<Self> {
        let mut script = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(line) = line.strip_prefix("$ ") {
                let mut command = Command::default();
                let wants_input = line.strip_suffix(INPUT);
                command.line = wants_input.unwrap_or(line).trim().to_owned();
                if wants_input.is_some() {
                    command.input = Some(input(&mut lines, line)?);
                }
                script.parts.push(Part::Command(command));
            } else if line.starts_with('#') {
                script.tell(line.trim_start_matches('#').trim_start());
            } else {
                script.print(line)?;
            }
        }
        script.trim();
        Ok(script)
    }

    fn tell(&mut self, line: &str) {
        match self.parts.last_mut() {
            Some(Part::Prose(prose)) => prose.push(line.to_owned()),
            _ => self.parts.push(Part::Prose(vec![line.to_owned()])),
        }
    }

    fn print(&mut self, line: &str) -> Result<()> {
        match self.parts.last_mut() {
            Some(Part::Command(command)) => {
                command.output += line;
                command.output.push('\n');
            }
            _ if line.trim().is_empty() => {}
            _ => bail!("`{line}` belongs to no command; prose begins with `# `"),
        }
        Ok(())
    }

    fn trim(&mut self) {
        for part in &mut self.parts {
            if let Part::Command(command) = part {
                command.output = trimmed(&command.output);
            }
        }
    }
}

/// Output as it stands in a scenario: no blanks at the end of it or of a line.
pub fn trimmed(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    match text.trim_end() {
        "" => String::new(),
        text => format!("{text}\n"),
    }
}

fn input<'a>(lines: &mut impl Iterator<Item = &'a str>, command: &str) -> Result<String> {
    let mut input = String::new();
    for line in lines {
        if line == INPUT_END {
            return Ok(input);
        }
        input += line;
        input.push('\n');
    }
    bail!("the input of `{command}` has no end; a line `{INPUT_END}` ends it")
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match part {
                Part::Prose(lines) => {
                    for line in lines {
                        writeln!(f, "{}", format!("# {line}").trim_end())?;
                    }
                }
                Part::Command(command) => write!(f, "{command}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.input {
            Some(input) => writeln!(f, "$ {} {INPUT}\n{input}{INPUT_END}", self.line)?,
            None => writeln!(f, "$ {}", self.line)?,
        }
        f.write_str(&self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A story\n# in two lines.\n\n$ apply <<EOF\na: 1\n\nb: 2\nEOF\nmade\n\nand more\n\n$ wait\n\n# The end.\n";

    #[test]
    fn what_was_read_is_written_back() {
        assert_eq!(Script::parse(TEXT).unwrap().to_string(), TEXT);
    }

    #[test]
    fn input_and_output_are_told_apart() {
        let script = Script::parse(TEXT).unwrap();
        let Part::Command(command) = &script.parts[1] else {
            panic!("{script:?}");
        };
        assert_eq!(command.line, "apply");
        assert_eq!(command.input.as_deref(), Some("a: 1\n\nb: 2\n"));
        assert_eq!(command.output, "made\n\nand more\n");
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert!(Script::parse("hello\n").is_err());
        assert!(Script::parse("$ apply <<EOF\na\n").is_err());
    }
}
