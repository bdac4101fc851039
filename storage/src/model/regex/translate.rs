//! Go's regex dialect, which users of Prometheus write, in the words of the regex crate. They differ in what the Perl
//! classes and word boundaries mean (ASCII in Go), in what needs escaping (`{`, `[` within a class), and in extensions
//! of either side. One pass over the pattern, from the left: what Go would refuse is refused where Go comes upon it, in its words.

use std::collections::HashSet;

use regex_syntax::is_meta_character;

/// Go refuses more repetitions than this.
const REPEAT_MAX: u32 = 1000;
/// Names of `[:name:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Why Go refuses a pattern, and the part of it that it names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal<'a> {
    pub(super) why: &'static str,
    pub(super) part: &'a str,
}

type Outcome<'a, T = ()> = Result<T, Refusal<'a>>;

/// Rewrites a Go pattern.
pub(super) fn to_rust(pattern: &str) -> Result<String, Refusal<'_>> {
    let output = String::with_capacity(pattern.len());
    let last_posix_end = pattern.rfind(":]").unwrap_or(0);
    let names = HashSet::new();
    let mut translator = Translator { pattern, at: 0, output, depth: 0, has_operand: false, last_posix_end, names };
    translator.run()?;
    Ok(translator.output)
}

struct Translator<'a> {
    pattern: &'a str,
    /// Up to where it is rewritten, bytes.
    at: usize,
    output: String,
    /// Groups that are open.
    depth: usize,
    /// Whether there is something that a repetition could be of.
    has_operand: bool,
    /// Where the last `:]` is, so that none is looked for behind it.
    last_posix_end: usize,
    /// Names of groups.
    names: HashSet<&'a str>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Outcome<'a> {
        let mut repeated = None;
        while let Some(c) = self.peek() {
            let begin = self.at;
            let last = std::mem::take(&mut repeated);
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' if self.rest().starts_with("(?") => self.flags()?,
                '(' => {
                    self.at += 1;
                    self.open("(");
                }
                ')' if self.depth == 0 => return Err(Refusal { why: "unexpected )", part: self.pattern }),
                '{' if self.bounds()?.is_none() => {
                    self.at += 1;
                    self.literal('{');
                    self.has_operand = true;
                }
                '*' | '+' | '?' | '{' => {
                    self.at += self.bounds()?.unwrap_or(1);
                    self.output.push_str(self.since(begin));
                    self.repeat(begin, last)?;
                    repeated = Some(begin);
                }
                other => {
                    self.at += other.len_utf8();
                    self.output.push(other);
                    self.depth -= usize::from(other == ')');
                    self.has_operand = other != '|';
                }
            }
        }
        match self.depth {
            0 => Ok(()),
            _ => Err(Refusal { why: "missing closing )", part: self.pattern }),
        }
    }

    fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn since(&self, begin: usize) -> &'a str {
        self.pattern.get(begin..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        self.at += if is_next { c.len_utf8() } else { 0 };
        is_next
    }

    fn refuse<T>(&self, why: &'static str, begin: usize) -> Outcome<'a, T> {
        Err(Refusal { why, part: self.since(begin) })
    }

    /// Begins a group.
    fn open(&mut self, with: &str) {
        self.output.push_str(with);
        self.depth += 1;
        self.has_operand = false;
    }

    /// Behind a repetition that begins at `begin`; the one that ends there begins at `last`.
    fn repeat(&mut self, begin: usize, last: Option<usize>) -> Outcome<'a> {
        // A question mark after a repetition makes it lazy, which changes nothing in what matches, but in what groups are.
        if self.eat('?') {
            self.output.push('?');
        }
        match last {
            Some(last) => self.refuse("invalid nested repetition operator", last),
            None if !self.has_operand => self.refuse("missing argument to repetition operator", begin),
            None => Ok(()),
        }
    }

    /// How long `{n}`, `{n,}` or `{n,m}` is, if that comes next; any other brace is a plain one.
    fn bounds(&self) -> Outcome<'a, Option<usize>> {
        let Some(inner) = self.rest().strip_prefix('{') else { return Ok(None) };
        let (low, behind) = split_digits(inner);
        let (high, behind) = behind.strip_prefix(',').map_or((None, behind), |behind| {
            let (high, behind) = split_digits(behind);
            (Some(high).filter(|high| !high.is_empty()), behind)
        });
        // No zeros before other digits.
        let is_number = |digits: &str| digits == "0" || !digits.is_empty() && !digits.starts_with('0');
        if !behind.starts_with('}') || !is_number(low) || !high.is_none_or(is_number) {
            return Ok(None);
        }
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
        let bytes = self.rest().len() - behind.len() + 1;
        match (number(low), high.map(number)) {
            (Some(_), None) => Ok(Some(bytes)),
            (Some(low), Some(Some(high))) if low <= high => Ok(Some(bytes)),
            _ => Err(Refusal { why: "invalid repeat count", part: self.rest().get(..bytes).unwrap_or_default() }),
        }
    }

    /// What a backslash begins outside of a class.
    fn escape(&mut self) -> Outcome<'a> {
        let begin = self.at;
        match self.rest().chars().nth(1) {
            Some('Q') => {
                self.at += 2;
                self.quoted();
                return Ok(());
            }
            Some('C') => {
                self.at += 2;
                return self.refuse("invalid escape sequence", begin);
            }
            Some(c @ ('A' | 'z')) => {
                self.at += 2;
                self.output.extend(['\\', c]);
            }
            Some(c @ ('b' | 'B')) => {
                self.at += 2;
                self.output.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            _ => match self.escaped_class()? {
                true => {}
                false => {
                    let c = self.escaped_char()?;
                    self.literal(c);
                }
            },
        }
        self.has_operand = true;
        Ok(())
    }

    /// Plain text up to `\E` or the end.
    fn quoted(&mut self) {
        let rest = self.rest();
        let (text, bytes) = rest.split_once(r"\E").map_or((rest, rest.len()), |(text, _)| (text, text.len() + 2));
        text.chars().for_each(|c| self.literal(c));
        self.has_operand |= !text.is_empty();
        self.at += bytes;
    }

    /// `\d`, `\p{Greek}` and the like, within brackets and without; `false` if something else comes.
    fn escaped_class(&mut self) -> Outcome<'a, bool> {
        let begin = self.at;
        let Some(c) = self.rest().strip_prefix('\\').and_then(|rest| rest.chars().next()) else { return Ok(false) };
        if let Some((negated, members)) = perl_class(c) {
            self.at += 2;
            self.output.push_str(if negated { "[^" } else { "[" });
            self.output.push_str(members);
            self.output.push(']');
            return Ok(true);
        }
        if !matches!(c, 'p' | 'P') {
            return Ok(false);
        }
        self.at += 2;
        let name = match self.next() {
            Some('{') => match self.rest().split_once('}') {
                Some((name, _)) => {
                    self.at += name.len() + 1;
                    name
                }
                None => {
                    self.at = self.pattern.len();
                    return self.refuse("invalid character class range", begin);
                }
            },
            _ => self.since(begin + 2),
        };
        let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let class = format!(r"\{}{{{name}}}", if (c == 'P') != inverted { 'P' } else { 'p' });
        if name.is_empty() || regex_syntax::parse(&class).is_err() {
            return self.refuse("invalid character class range", begin);
        }
        self.output.push_str(&class);
        Ok(true)
    }

    /// A character behind a backslash, which means the same within a class and outside.
    fn escaped_char(&mut self) -> Outcome<'a, char> {
        let begin = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(Refusal { why: "trailing backslash at end of expression", part: "" });
        };
        let escaped = match c {
            'x' => self.hexadecimal(),
            // A single digit from 1 on would be a back-reference, which RE2 does not have.
            '1'..='7' if !self.peek().is_some_and(|next| next.is_digit(8)) => None,
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    if let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) {
                        self.at += 1;
                        code = code * 8 + digit;
                    }
                }
                char::from_u32(code)
            }
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            c => Some(c).filter(|c| c.is_ascii() && !c.is_ascii_alphanumeric()),
        };
        match escaped {
            Some(c) => Ok(c),
            None => self.refuse("invalid escape sequence", begin),
        }
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<char> {
        let first = self.next()?;
        if first != '{' {
            let (high, low) = (first.to_digit(16), self.next()?.to_digit(16));
            return char::from_u32(high? * 16 + low?);
        }
        let mut code = None;
        loop {
            match self.next()? {
                '}' => return code.and_then(char::from_u32),
                digit => {
                    let digit = digit.to_digit(16)?;
                    code = Some(code.unwrap_or(0) * 16 + digit).filter(|code| *code <= u32::from(char::MAX));
                    code?;
                }
            }
        }
    }

    /// A bracketed class. Its members are written one by one, so that nothing of the other dialect takes effect.
    fn class(&mut self) -> Outcome<'a> {
        let begin = self.at;
        self.at += 1;
        self.output.push('[');
        if self.eat('^') {
            self.output.push('^');
        }
        let first = self.at;
        while self.at == first || self.peek() != Some(']') {
            if self.posix_class()? || self.escaped_class()? {
                continue;
            }
            let from = self.at;
            let low = self.class_char(begin)?;
            self.literal(low);
            if !self.rest().starts_with('-') || matches!(self.rest(), "-") || self.rest().starts_with("-]") {
                continue;
            }
            self.at += 1;
            let high = self.class_char(begin)?;
            if high < low {
                return self.refuse("invalid character class range", from);
            }
            self.output.push('-');
            self.literal(high);
        }
        self.at += 1;
        self.output.push(']');
        self.has_operand = true;
        Ok(())
    }

    /// A character of the class that begins at `begin`.
    fn class_char(&mut self, begin: usize) -> Outcome<'a, char> {
        match self.peek() {
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(c)
            }
            None => self.refuse("missing closing ]", begin),
        }
    }

    /// `[:name:]`; `false` if something else comes.
    fn posix_class(&mut self) -> Outcome<'a, bool> {
        let begin = self.at;
        let name = match self.rest().strip_prefix("[:") {
            Some(rest) if begin < self.last_posix_end => rest.split_once(":]").map(|(name, _)| name),
            _ => None,
        };
        let Some(name) = name else { return Ok(false) };
        self.at += name.len() + 4;
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return self.refuse("invalid character class range", begin);
        }
        self.output.push_str(self.since(begin));
        Ok(true)
    }

    /// What begins with `(?`: a group with a name, one with flags, or flags for what follows. Only Go's flags are let through.
    fn flags(&mut self) -> Outcome<'a> {
        let (begin, rest) = (self.at, self.rest());
        let named = rest.strip_prefix("(?P<").or(rest.strip_prefix("(?<"));
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            let Some((name, after)) = name.split_once('>') else {
                self.at = self.pattern.len();
                return self.refuse("invalid named capture", begin);
            };
            self.at = self.pattern.len() - after.len();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return self.refuse("invalid named capture", begin);
            }
            // Go lets names begin with digits, and several groups have one.
            match !name.starts_with(|c: char| c.is_ascii_digit()) && self.names.insert(name) {
                true => self.open(&format!("(?P<{name}>")),
                false => self.open("("),
            }
            return Ok(());
        }
        self.at += 2;
        let (mut flags, mut is_negative, mut is_open) = (String::new(), false, false);
        while let Some(c) = self.next() {
            match c {
                'i' | 'm' | 's' | 'U' => is_open = false,
                '-' if !is_negative => (is_negative, is_open) = (true, true),
                ':' | ')' if is_open => break,
                ':' => {
                    self.open(&format!("(?{flags}:"));
                    return Ok(());
                }
                ')' if flags.is_empty() => return Ok(()),
                ')' => {
                    self.output.push_str(&format!("(?{flags})"));
                    return Ok(());
                }
                _ => break,
            }
            flags.push(c);
        }
        self.refuse("invalid or unsupported Perl syntax", begin)
    }

    /// A character that stands for itself.
    fn literal(&mut self, c: char) {
        if is_meta_character(c) {
            self.output.push('\\');
        }
        self.output.push(c);
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
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
