//! Query text to tokens.
//!
//! The lexer knows three places: outside, between braces (label matchers: names are never keywords), and between
//! brackets (a colon stands alone there). Spaces and comments vanish. A mistake ends the list with one
//! [`Kind::Error`]; whether the parser gets that far decides which mistake is reported.

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
    Start,
    End,
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
    let mut lexer = Lexer { text, at: 0, place: Place::Outside, open_parens: 0 };
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
    Outside,
    Braces,
    /// `true` once the colon was seen.
    Brackets(bool),
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    place: Place,
    open_parens: usize,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Result<Token> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.place {
            Place::Braces => self.in_braces(),
            _ => self.outside(),
        };
        // The text ahead of a mistake is consumed by then, so that the message can point at where the token began.
        let span = Span { start, end: self.at.max(start) };
        kind.map(|kind| Token { kind, span }).map_err(|message| Failure::new(span, message))
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
            self.skip_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            if self.peek() != Some('#') {
                return;
            }
            self.skip_while(|c| c != '\n' && c != '\r');
        }
    }

    fn next_description(&self) -> String {
        self.peek().map_or("end of input".into(), quote_char)
    }

    fn outside(&mut self) -> Result<Kind, String> {
        let Some(c) = self.peek() else { return self.end_of_text() };
        match c {
            '0'..='9' | '.' => return self.number_or_duration(),
            '"' | '\'' | '`' => return self.string(),
            'a'..='z' | 'A'..='Z' | '_' => return Ok(self.word()),
            ':' if !matches!(self.place, Place::Brackets(_)) => return Ok(self.word()),
            _ => self.at += c.len_utf8(),
        }
        Ok(match c {
            ',' => Kind::Comma,
            '@' => Kind::At,
            '+' => Kind::Operator(BinaryOp::Add),
            '-' => Kind::Operator(BinaryOp::Sub),
            '*' => Kind::Operator(BinaryOp::Mul),
            '/' => Kind::Operator(BinaryOp::Div),
            '%' => Kind::Operator(BinaryOp::Mod),
            '^' => Kind::Operator(BinaryOp::Pow),
            '=' if self.accept('=') => Kind::Operator(BinaryOp::Eql),
            '=' if self.peek() == Some('~') => return Err("unexpected character after '=': '~'".into()),
            '=' => Kind::Equal,
            '!' if self.accept('=') => Kind::Operator(BinaryOp::Neq),
            '!' => return Err(format!("unexpected character after '!': {}", self.next_description())),
            '<' if self.accept('=') => Kind::Operator(BinaryOp::Lte),
            '<' => Kind::Operator(BinaryOp::Lss),
            '>' if self.accept('=') => Kind::Operator(BinaryOp::Gte),
            '>' => Kind::Operator(BinaryOp::Gtr),
            '{' => {
                if self.place != Place::Outside {
                    return Err("unexpected left brace '{'".into());
                }
                self.place = Place::Braces;
                Kind::LeftBrace
            }
            '}' => return Err("unexpected right brace '}'".into()),
            _ => return self.nesting(c),
        })
    }

    fn nesting(&mut self, c: char) -> Result<Kind, String> {
        match (c, self.place) {
            ('(', _) => {
                self.open_parens += 1;
                Ok(Kind::LeftParen)
            }
            (')', _) => {
                let rest = self.open_parens.checked_sub(1);
                self.open_parens = rest.ok_or("unexpected right parenthesis ')'")?;
                Ok(Kind::RightParen)
            }
            ('[', Place::Brackets(_)) => Err("unexpected left bracket '['".into()),
            ('[', _) => {
                self.place = Place::Brackets(false);
                Ok(Kind::LeftBracket)
            }
            (']', Place::Brackets(_)) => {
                self.place = Place::Outside;
                Ok(Kind::RightBracket)
            }
            (']', _) => Err("unexpected right bracket ']'".into()),
            (':', Place::Brackets(false)) => {
                self.place = Place::Brackets(true);
                Ok(Kind::Colon)
            }
            (':', _) => Err("unexpected colon ':'".into()),
            _ => Err(format!("unexpected character: {}", quote_char(c))),
        }
    }

    fn end_of_text(&self) -> Result<Kind, String> {
        match self.place {
            _ if self.open_parens > 0 => Err("unclosed left parenthesis".into()),
            Place::Brackets(_) => Err("unclosed left bracket".into()),
            _ => Ok(Kind::Eof),
        }
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

    fn word(&mut self) -> Kind {
        let start = self.at;
        let colons = !matches!(self.place, Place::Brackets(_));
        self.skip_while(|c| c == '_' || c.is_ascii_alphanumeric() || (colons && c == ':'));
        let word = self.text.get(start..self.at).unwrap_or("");
        if word.contains(':') { Kind::MetricIdentifier } else { reserved(word).unwrap_or(Kind::Identifier) }
    }
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
        "start" => Kind::Keyword(Keyword::Start),
        "end" => Kind::Keyword(Keyword::End),
        lower => Kind::Aggregator(AggregateOp::from_name(lower)?),
    })
}

/// A token in messages, as Prometheus names it.
pub(super) fn describe(kind: Kind, text: &str) -> String {
    let word_class = match kind {
        Kind::Eof => return "end of input".into(),
        Kind::Operator(_) | Kind::EqualRegex | Kind::NotEqualRegex | Kind::At => "op:",
        Kind::Aggregator(_) => "aggr:",
        Kind::Keyword(Keyword::Start | Keyword::End) => return quote(text),
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
