//! Query text to tokens.
//!
//! The lexer knows three places: outside, between braces (label matchers: names are never keywords), and between
//! brackets (a colon stands alone there, and words are those of durations). Up to the first number between brackets only the
//! arithmetic of durations is known; that this ends with the number shows in the messages, which are Prometheus'. Spaces and
//! comments vanish. A mistake ends the list with one [`Kind::Error`]; whether the parser gets that far decides which mistake
//! is reported.

use super::ast::{AggregateOp, BinaryOp, Span};
use super::error::{Failure, Result};
use super::number::{self, Scanned};
use super::strings::{quote, quote_char, read_quoted};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Eof,
    /// The message is in [`Tokens::error`].
    Error,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    At,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    Operator(BinaryOp),
    String,
    Number,
    Duration,
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Aggregator(AggregateOp),
    Keyword(Keyword),
}

/// Reserved words that are no operators and no aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Without,
    Anchored,
    Smoothed,
    Fill,
    FillLeft,
    FillRight,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

impl Keyword {
    /// Whether it is a function when a parenthesis follows.
    pub(super) fn is_preprocessor(self) -> bool {
        matches!(self, Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// All tokens of a query; the last is `Eof` or `Error`.
pub(super) struct Tokens {
    pub(super) list: Vec<Token>,
    /// The message of the `Error` token.
    pub(super) error: String,
}

/// Cuts a query into tokens.
pub(super) fn tokenize(text: &str) -> Tokens {
    let mut lexer = Lexer {
        text,
        at: 0,
        start: 0,
        place: Place::Outside,
        open_parens: 0,
        in_brackets: false,
        got_colon: false,
        got_duration: false,
    };
    let mut list = Vec::new();
    loop {
        match lexer.next_token() {
            Ok(token) => {
                list.push(token);
                if token.kind == Kind::Eof {
                    return Tokens { list, error: String::new() };
                }
            }
            Err(failure) => {
                list.push(Token { kind: Kind::Error, span: failure.span });
                return Tokens { list, error: failure.message };
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Also between brackets, once a number was seen there.
    Outside,
    Braces,
    /// Between brackets, up to the first number.
    Duration,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where messages about the token under way point.
    start: usize,
    place: Place,
    open_parens: usize,
    in_brackets: bool,
    /// A colon was seen since the bracket opened.
    got_colon: bool,
    /// A number was seen between brackets, anywhere in the text.
    got_duration: bool,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Result<Token> {
        self.skip_blanks();
        let start = self.at;
        self.start = start;
        let kind = match self.place {
            Place::Braces => self.in_braces(),
            Place::Outside => self.outside(),
            Place::Duration => self.in_duration(),
        };
        let span = Span { start, end: self.at.max(start) };
        kind.map(|kind| Token { kind, span })
            .map_err(|message| Failure::new(Span { start: self.start, end: self.text.len() }, message))
    }

    /// A mistake that Prometheus places behind the token under way.
    fn behind(&mut self, message: &str) -> Result<Kind, String> {
        self.start = self.at;
        Err(message.into())
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over the next character if it is `wanted`.
    fn accept(&mut self, wanted: char) -> bool {
        let hit = self.peek() == Some(wanted);
        if hit {
            self.at += wanted.len_utf8();
        }
        hit
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    }

    fn skip_blanks(&mut self) {
        loop {
            self.skip_while(is_blank);
            if self.peek() != Some('#') || self.place == Place::Duration {
                return;
            }
            self.skip_while(|c| c != '\n' && c != '\r');
        }
    }

    fn next_description(&self) -> String {
        self.peek().map_or("'\u{fffd}'".into(), quote_char)
    }

    fn outside(&mut self) -> Result<Kind, String> {
        let Some(c) = self.peek() else { return self.end_of_text() };
        match c {
            '0'..='9' => return self.number_or_duration(),
            '.' if self.digit_follows() => return self.number_or_duration(),
            '"' | '\'' | '`' => return self.string(),
            'a'..='z' | 'A'..='Z' | '_' | ':' => return self.word(c),
            _ => self.at += c.len_utf8(),
        }
        if let Some(kind) = arithmetic(c) {
            return Ok(kind);
        }
        Ok(match c {
            '@' => Kind::At,
            '=' if self.accept('=') => Kind::Operator(BinaryOp::Eql),
            '=' if self.peek() == Some('~') => return Err("unexpected character after '=': '~'".into()),
            '=' => Kind::Equal,
            '!' if self.accept('=') => Kind::Operator(BinaryOp::Neq),
            '!' => return Err(format!("unexpected character after '!': {}", self.next_description())),
            '<' if self.accept('=') => Kind::Operator(BinaryOp::Lte),
            '<' if self.accept('/') => Kind::Operator(BinaryOp::TrimUpper),
            '<' => Kind::Operator(BinaryOp::Lss),
            '>' if self.accept('=') => Kind::Operator(BinaryOp::Gte),
            '>' if self.accept('/') => Kind::Operator(BinaryOp::TrimLower),
            '>' => Kind::Operator(BinaryOp::Gtr),
            '{' => {
                self.place = Place::Braces;
                Kind::LeftBrace
            }
            '(' | ')' => return self.parenthesis(c),
            '[' if self.in_brackets => return Err("unexpected left bracket '['".into()),
            '[' => {
                self.in_brackets = true;
                self.got_colon = false;
                self.place = Place::Duration;
                Kind::LeftBracket
            }
            ']' if self.in_brackets => {
                self.in_brackets = false;
                Kind::RightBracket
            }
            ']' => return Err("unexpected right bracket ']'".into()),
            _ => return Err(format!("unexpected character: {}", quote_char(c))),
        })
    }

    fn digit_follows(&self) -> bool {
        self.rest().chars().nth(1).is_some_and(|c| c.is_ascii_digit())
    }

    fn parenthesis(&mut self, c: char) -> Result<Kind, String> {
        if c == '(' {
            self.open_parens += 1;
            return Ok(Kind::LeftParen);
        }
        match self.open_parens.checked_sub(1) {
            Some(rest) => {
                self.open_parens = rest;
                Ok(Kind::RightParen)
            }
            None => self.behind("unexpected right parenthesis ')'"),
        }
    }

    /// Between brackets, up to the first number.
    fn in_duration(&mut self) -> Result<Kind, String> {
        let Some(c) = self.peek() else { return Err("unexpected end of input in duration expression".into()) };
        if c.is_ascii_digit() || c == '.' && self.digit_follows() {
            self.got_duration = true;
            self.place = Place::Outside;
            return self.number_or_duration();
        }
        if let Some(keyword) = self.duration_keyword() {
            return Ok(keyword);
        }
        self.at += c.len_utf8();
        if let Some(kind) = arithmetic(c) {
            return Ok(kind);
        }
        match c {
            '(' | ')' => self.parenthesis(c),
            ']' => {
                self.in_brackets = false;
                self.got_colon = false;
                self.place = Place::Outside;
                Ok(Kind::RightBracket)
            }
            ':' if !self.got_duration => self.behind("unexpected colon before duration in duration expression"),
            ':' if self.got_colon => self.behind("unexpected repeated colon in duration expression"),
            ':' => {
                self.got_colon = true;
                Ok(Kind::Colon)
            }
            _ => Err(format!("unexpected character in duration expression: {}", quote_char(c))),
        }
    }

    /// Takes `step`, `range`, `min_of` or `max_of`, in any case.
    fn duration_keyword(&mut self) -> Option<Kind> {
        let rest = self.rest();
        let length = rest.find(|c: char| c != '_' && !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or("");
        let keyword = match reserved(word)? {
            Kind::Keyword(word @ (Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf)) => word,
            _ => return None,
        };
        self.at += length;
        Some(Kind::Keyword(keyword))
    }

    fn end_of_text(&self) -> Result<Kind, String> {
        if self.open_parens > 0 {
            return Err("unclosed left parenthesis".into());
        }
        if self.in_brackets {
            return Err("unclosed left bracket".into());
        }
        Ok(Kind::Eof)
    }

    fn in_braces(&mut self) -> Result<Kind, String> {
        let Some(c) = self.peek() else { return Err("unexpected end of input inside braces".into()) };
        match c {
            '"' | '\'' | '`' => return self.string(),
            'a'..='z' | 'A'..='Z' | '_' => {
                self.skip_while(|c| c == '_' || c.is_ascii_alphanumeric());
                return Ok(Kind::Identifier);
            }
            _ => self.at += c.len_utf8(),
        }
        match c {
            ',' => Ok(Kind::Comma),
            '=' if self.accept('~') => Ok(Kind::EqualRegex),
            '=' => Ok(Kind::Equal),
            '!' if self.accept('~') => Ok(Kind::NotEqualRegex),
            '!' if self.accept('=') => Ok(Kind::Operator(BinaryOp::Neq)),
            '!' => Err(format!("unexpected character after '!' inside braces: {}", self.next_description())),
            '{' => Err("unexpected left brace '{'".into()),
            '}' => {
                self.place = Place::Outside;
                Ok(Kind::RightBrace)
            }
            _ => Err(format!("unexpected character inside braces: {}", quote_char(c))),
        }
    }

    fn string(&mut self) -> Result<Kind, String> {
        self.at = read_quoted(self.text, self.at)?.end;
        Ok(Kind::String)
    }

    fn number_or_duration(&mut self) -> Result<Kind, String> {
        let start = self.at;
        let (length, kind) = match number::scan(self.rest(), false) {
            Scanned::Number(length) => (length, Kind::Number),
            Scanned::Duration(length) => (length, Kind::Duration),
            Scanned::Bad(length) => {
                let text = self.text.get(start..start + length).unwrap_or("");
                return Err(format!("bad number or duration syntax: \"{text}\""));
            }
        };
        self.at += length;
        Ok(kind)
    }

    fn word(&mut self, first: char) -> Result<Kind, String> {
        if self.in_brackets {
            return self.word_in_brackets(first);
        }
        let start = self.at;
        self.skip_while(|c| c == '_' || c == ':' || c.is_ascii_alphanumeric());
        let word = self.text.get(start..self.at).unwrap_or("");
        if word.contains(':') {
            return Ok(Kind::MetricIdentifier);
        }
        let kind = reserved(word).unwrap_or(Kind::Identifier);
        let fills = matches!(kind, Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight));
        // Those are names, too, where no value follows.
        let value_follows = self.rest().trim_start_matches(is_blank).starts_with('(');
        Ok(if fills && !value_follows { Kind::Identifier } else { kind })
    }

    fn word_in_brackets(&mut self, first: char) -> Result<Kind, String> {
        if first != ':' {
            return self
                .duration_keyword()
                .ok_or_else(|| format!("unexpected character: {}, expected ':'", quote_char(first)));
        }
        if self.got_colon {
            return Err("unexpected colon ':'".into());
        }
        self.at += 1;
        self.got_colon = true;
        Ok(Kind::Colon)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The operators that durations know, too, and the comma.
fn arithmetic(c: char) -> Option<Kind> {
    Some(match c {
        ',' => Kind::Comma,
        '+' => Kind::Operator(BinaryOp::Add),
        '-' => Kind::Operator(BinaryOp::Sub),
        '*' => Kind::Operator(BinaryOp::Mul),
        '/' => Kind::Operator(BinaryOp::Div),
        '%' => Kind::Operator(BinaryOp::Mod),
        '^' => Kind::Operator(BinaryOp::Pow),
        _ => return None,
    })
}

/// The longest reserved word; longer words need no look-up.
const LONGEST_RESERVED: usize = "count_values".len();

/// What a word is, in any case, if it is reserved.
fn reserved(word: &str) -> Option<Kind> {
    if word.len() > LONGEST_RESERVED {
        return None;
    }
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => Kind::Operator(BinaryOp::And),
        "or" => Kind::Operator(BinaryOp::Or),
        "unless" => Kind::Operator(BinaryOp::Unless),
        "atan2" => Kind::Operator(BinaryOp::Atan2),
        "inf" | "nan" => Kind::Number,
        "bool" => Kind::Keyword(Keyword::Bool),
        "by" => Kind::Keyword(Keyword::By),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "offset" => Kind::Keyword(Keyword::Offset),
        "on" => Kind::Keyword(Keyword::On),
        "without" => Kind::Keyword(Keyword::Without),
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "start" => Kind::Keyword(Keyword::Start),
        "end" => Kind::Keyword(Keyword::End),
        "step" => Kind::Keyword(Keyword::Step),
        "range" => Kind::Keyword(Keyword::Range),
        "min_of" => Kind::Keyword(Keyword::MinOf),
        "max_of" => Kind::Keyword(Keyword::MaxOf),
        lower => Kind::Aggregator(AggregateOp::from_name(lower)?),
    })
}

/// A token in messages, as Prometheus names it.
pub(super) fn describe(kind: Kind, text: &str) -> String {
    let word_class = match kind {
        Kind::Eof => return "end of input".into(),
        Kind::Operator(_) | Kind::EqualRegex | Kind::NotEqualRegex | Kind::At => "op:",
        Kind::Aggregator(_) => "aggr:",
        Kind::Keyword(word) if word.is_preprocessor() => return quote(text),
        Kind::Keyword(_) => "",
        Kind::Identifier => return format!("identifier {}", quote(text)),
        Kind::MetricIdentifier => return format!("metric identifier {}", quote(text)),
        Kind::String => return format!("string {}", shortened(text)),
        Kind::Number => return format!("number {}", shortened(text)),
        Kind::Duration => return format!("duration {}", shortened(text)),
        _ => return quote(text),
    };
    format!("<{word_class}{text}>")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((end, _)) => format!("{}...", quote(text.get(..end).unwrap_or(text))),
        None => quote(text),
    }
}
