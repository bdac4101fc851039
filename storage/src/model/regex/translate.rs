//! Go's regex dialect, which users of Prometheus write, in the words of the regex crate. They differ in what the Perl
//! classes and word boundaries mean (ASCII in Go), in what needs escaping (`{`, `[` within a class), and in extensions
//! of either side. One pass over the pattern; whether the result is well-formed is for its parser to say.

use std::iter::Peekable;
use std::str::Chars;

/// Go refuses more repetitions than this.
const REPEAT_MAX: u32 = 1000;

/// Rewrites a Go pattern.
pub(super) fn to_rust(pattern: &str) -> Result<String, String> {
    let mut translator = Translator { input: pattern.chars().peekable(), output: String::with_capacity(pattern.len()) };
    translator.run()?;
    Ok(translator.output)
}

struct Translator<'a> {
    input: Peekable<Chars<'a>>,
    output: String,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut repeated = false;
        while let Some(c) = self.input.next() {
            let was_repeated = std::mem::take(&mut repeated);
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => repeated = self.repeat()?,
                '*' | '+' | '?' => {
                    self.output.push(c);
                    repeated = true;
                }
                other => self.output.push(other),
            }
            if repeated {
                if was_repeated {
                    return Err("invalid nested repetition operator".into());
                }
                // A question mark after a repetition makes it lazy, which changes nothing in what matches.
                self.input.next_if_eq(&'?');
            }
        }
        Ok(())
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let c = self.input.next().ok_or("trailing backslash at end of expression")?;
        match c {
            'b' | 'B' => {
                self.output.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
                Ok(())
            }
            'A' | 'z' => {
                self.output.extend(['\\', c]);
                Ok(())
            }
            'Q' => {
                self.quoted();
                Ok(())
            }
            other => match perl_class(other) {
                Some((negated, members)) => {
                    self.output.push_str(if negated { "[^" } else { "[" });
                    self.output.push_str(members);
                    self.output.push(']');
                    Ok(())
                }
                None => self.escaped_char(other),
            },
        }
    }

    /// Plain text up to `\E` or the end.
    fn quoted(&mut self) {
        while let Some(c) = self.input.next() {
            if c == '\\' && self.input.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(c);
        }
    }

    /// An escape that means the same within a class and outside.
    fn escaped_char(&mut self, c: char) -> Result<(), String> {
        match c {
            'p' | 'P' => self.unicode_class(c),
            'x' => self.hexadecimal(),
            '0'..='7' => self.octal(c),
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => {
                self.output.extend(['\\', c]);
                Ok(())
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => {
                self.literal(c);
                Ok(())
            }
            c => Err(format!("invalid escape sequence: \\{c}")),
        }
    }

    fn unicode_class(&mut self, p: char) -> Result<(), String> {
        self.output.extend(['\\', p]);
        let first = self.input.next().ok_or("invalid character class range")?;
        self.output.push(first);
        if first == '{' {
            for c in self.input.by_ref() {
                self.output.push(c);
                if c == '}' {
                    return Ok(());
                }
            }
            return Err("invalid character class range".into());
        }
        Ok(())
    }

    fn hexadecimal(&mut self) -> Result<(), String> {
        let braced = self.input.next_if_eq(&'{').is_some();
        let mut digits = String::new();
        while braced || digits.len() < 2 {
            match self.input.next() {
                Some('}') if braced => break,
                Some(c) if c.is_ascii_hexdigit() && digits.len() < 6 => digits.push(c),
                _ => return Err("invalid escape sequence: \\x".into()),
            }
        }
        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        self.literal(c.ok_or("invalid escape sequence: \\x")?);
        Ok(())
    }

    /// `\0` to `\377`; a single digit from 1 on would be a back-reference, which RE2 does not have.
    fn octal(&mut self, first: char) -> Result<(), String> {
        let mut code = first.to_digit(8).unwrap_or(0);
        let next_is_octal = self.input.peek().is_some_and(|c| c.is_digit(8));
        if first != '0' && !next_is_octal {
            return Err(format!("invalid escape sequence: \\{first}"));
        }
        for _ in 0..2 {
            match self.input.next_if(|c| c.is_digit(8)) {
                Some(digit) => code = code * 8 + digit.to_digit(8).unwrap_or(0),
                None => break,
            }
        }
        self.literal(char::from_u32(code).ok_or("invalid escape sequence")?);
        Ok(())
    }

    /// A bracketed class. Its members are written one by one, so that nothing of the other dialect takes effect.
    fn class(&mut self) -> Result<(), String> {
        self.output.push('[');
        if self.input.next_if_eq(&'^').is_some() {
            self.output.push('^');
        }
        let mut first = true;
        loop {
            match self.input.next().ok_or("missing closing ]")? {
                ']' if !first => break,
                '[' if self.input.peek() == Some(&':') => self.posix_class()?,
                c => self.class_member(c)?,
            }
            first = false;
        }
        self.output.push(']');
        Ok(())
    }

    /// One character, range or Perl class within brackets.
    fn class_member(&mut self, c: char) -> Result<(), String> {
        if c == '\\' {
            let escaped = self.input.next().ok_or("trailing backslash at end of expression")?;
            if let Some((negated, members)) = perl_class(escaped) {
                let members = if negated { format!("[^{members}]") } else { members.to_owned() };
                self.output.push_str(&members);
                return Ok(());
            }
            self.escaped_char(escaped)?;
        } else {
            self.literal(c);
        }
        let mut ahead = self.input.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
            self.input.next();
            self.output.push('-');
            match self.input.next().ok_or("missing closing ]")? {
                '\\' => {
                    let escaped = self.input.next().ok_or("trailing backslash at end of expression")?;
                    self.escaped_char(escaped)?;
                }
                high => self.literal(high),
            }
        }
        Ok(())
    }

    /// `[:name:]`, or a plain `[` where it is none.
    fn posix_class(&mut self) -> Result<(), String> {
        let rest: String = self.input.clone().take(12).collect();
        let Some(end) = rest.find(":]") else {
            return self.class_member('[');
        };
        for _ in 0..end + 2 {
            self.input.next();
        }
        self.output.push('[');
        self.output.push_str(&rest[..end + 2]);
        Ok(())
    }

    /// A group. Only Go's flags are let through: `i`, `m`, `s`, `U`.
    fn group(&mut self) -> Result<(), String> {
        self.output.push('(');
        if self.input.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.output.push('?');
        for c in self.input.by_ref() {
            self.output.push(c);
            match c {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' | ')' | 'P' | '<' => return Ok(()),
                other => return Err(format!("invalid or unsupported Perl syntax: (?{other}")),
            }
        }
        Err("missing closing )".into())
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else is a plain brace. Answers whether it repeats.
    fn repeat(&mut self) -> Result<bool, String> {
        let bounds: String = self.input.clone().take(16).take_while(|c| *c != '}').collect();
        let mut parts = bounds.splitn(2, ',');
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        let (low, high) = (parts.next().unwrap_or(""), parts.next());
        let well_formed = !low.is_empty() && number(low).is_some() && high.is_none_or(|h| number(h).is_some());
        let closed = self.input.clone().nth(bounds.chars().count()) == Some('}');
        if !well_formed || !closed {
            self.output.push_str(r"\{");
            return Ok(false);
        }
        let limits = [Some(low), high.filter(|h| !h.is_empty())];
        if limits.into_iter().flatten().any(|text| text.parse::<u32>().is_ok_and(|n| n > REPEAT_MAX)) {
            return Err("invalid repeat count".into());
        }
        self.output.push('{');
        self.output.push_str(&bounds);
        self.output.push('}');
        for _ in 0..=bounds.chars().count() {
            self.input.next();
        }
        Ok(true)
    }

    /// A character that stands for itself.
    fn literal(&mut self, c: char) {
        if regex_syntax::is_meta_character(c) {
            self.output.push('\\');
        }
        self.output.push(c);
    }
}

/// The members of a Perl class, and whether it is negated.
fn perl_class(c: char) -> Option<(bool, &'static str)> {
    let members = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\f\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((c.is_ascii_uppercase(), members))
}
