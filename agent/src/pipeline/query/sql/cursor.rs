//! A place in the tokens of a text.

use std::time::Duration;

use sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, Tokenizer},
};

use super::{SqlError, is_reserved, refused, spelled};

/// A token, as far as it can stand in a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// A name or word; true when it was quoted.
    Word(String, bool),
    Text(String),
    Number(String),
    Comma,
    Open,
    Close,
    Star,
    Minus,
    Semicolon,
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`
    Operator(&'static str),
    /// Anything else.
    Other(String),
    End,
}

/// An item and its bytes.
struct Placed {
    item: Item,
    start: usize,
    end: usize,
}

pub(super) struct Cursor<'t> {
    text: &'t str,
    items: Vec<Placed>,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, SqlError> {
        let lines = Lines::new(text);
        let tokens = match Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() {
            Ok(tokens) => tokens,
            Err(error) => return Err(at(text, lines.offset(error.location), error.message)),
        };
        let placed =
            tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let mut items: Vec<Placed> = placed
            .map(|token| Placed {
                item: item(token.token),
                start: lines.offset(token.span.start),
                end: lines.offset(token.span.end),
            })
            .collect();
        items.push(Placed { item: Item::End, start: text.len(), end: text.len() });
        Ok(Self { text, items, at: 0 })
    }

    fn placed(&self) -> &Placed {
        // The last one is never passed.
        &self.items[self.at]
    }

    pub(super) fn peek(&self) -> &Item {
        &self.placed().item
    }

    /// Where the next item begins.
    pub(super) fn here(&self) -> usize {
        self.placed().start
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.items.len() - 1);
    }

    pub(super) fn takes(&mut self, item: &Item) -> bool {
        let is = self.peek() == item;
        if is {
            self.advance();
        }
        is
    }

    /// Takes a word of the language.
    pub(super) fn takes_word(&mut self, wanted: &str) -> bool {
        let is = matches!(self.peek(), Item::Word(word, false) if word.eq_ignore_ascii_case(wanted));
        if is {
            self.advance();
        }
        is
    }

    pub(super) fn expect(&mut self, item: &Item, otherwise: &str) -> Result<(), SqlError> {
        if self.takes(item) { Ok(()) } else { Err(self.unexpected(otherwise)) }
    }

    /// Takes a word that must stand here.
    pub(super) fn clause(&mut self, word: &str, otherwise: &str) -> Result<(), SqlError> {
        if self.takes_word(word) { Ok(()) } else { Err(self.unexpected(otherwise)) }
    }

    /// Takes a name.
    pub(super) fn name(&mut self, what: &str) -> Result<String, SqlError> {
        match self.peek() {
            Item::Word(word, quoted) if *quoted || !is_reserved(word) => {
                let name = word.clone();
                self.advance();
                Ok(name)
            }
            Item::Text(text) => {
                let message = format!("a name stands in double quotes: \"{text}\"");
                Err(self.error_at(self.here(), message))
            }
            Item::Word(word, _) if refused(word).is_none() => {
                let message = format!("`{word}` is a word of SQL: as a name it stands in double quotes");
                Err(self.error_at(self.here(), message))
            }
            _ => Err(self.unexpected(&format!("here stands {what}"))),
        }
    }

    /// Takes a span of time.
    pub(super) fn span(&mut self) -> Result<Duration, SqlError> {
        let start = self.here();
        let wrong = "a span of time is a whole number and ms, s, m or h without a space, as in 10s";
        let (number, end) = match &self.placed().item {
            Item::Number(number) => (number.clone(), self.placed().end),
            Item::Text(text) => {
                let span = spelled(text, "").ok_or_else(|| self.error_at(start, wrong));
                self.advance();
                return span;
            }
            _ => return Err(self.unexpected(wrong)),
        };
        self.advance();
        let span = match &self.placed().item {
            Item::Word(unit, false) if self.here() == end => spelled(&number, unit),
            _ => None,
        };
        let span = span.ok_or_else(|| self.error_at(start, wrong));
        self.advance();
        span
    }

    /// An error about the next item.
    pub(super) fn unexpected(&self, otherwise: &str) -> SqlError {
        let message = match self.peek() {
            Item::End => format!("the text ends too early: {otherwise}"),
            Item::Word(word, false) => {
                refused(word).unwrap_or_else(|| format!("unexpected `{word}`: {otherwise}"))
            }
            _ => {
                let placed = self.placed();
                let item = self.text.get(placed.start..placed.end).unwrap_or_default();
                format!("unexpected `{item}`: {otherwise}")
            }
        };
        self.error_at(self.here(), message)
    }

    pub(super) fn error_at(&self, offset: usize, message: impl Into<String>) -> SqlError {
        at(self.text, offset, message.into())
    }
}

fn item(token: Token) -> Item {
    match token {
        Token::Word(word) => Item::Word(word.value, word.quote_style.is_some()),
        Token::SingleQuotedString(text) => Item::Text(text),
        Token::Number(number, false) => Item::Number(number),
        Token::Comma => Item::Comma,
        Token::LParen => Item::Open,
        Token::RParen => Item::Close,
        Token::Mul => Item::Star,
        Token::Minus => Item::Minus,
        Token::SemiColon => Item::Semicolon,
        Token::Eq | Token::DoubleEq => Item::Operator("="),
        Token::Neq => Item::Operator("!="),
        Token::Lt => Item::Operator("<"),
        Token::LtEq => Item::Operator("<="),
        Token::Gt => Item::Operator(">"),
        Token::GtEq => Item::Operator(">="),
        Token::Tilde => Item::Operator("~"),
        Token::ExclamationMarkTilde => Item::Operator("!~"),
        other => Item::Other(other.to_string()),
    }
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The byte of a place that is given by line and character.
    fn offset(&self, place: Location) -> usize {
        let line = usize::try_from(place.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(place.column).unwrap_or(1).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }
}

/// An error at a byte of the text.
fn at(text: &str, offset: usize, message: String) -> SqlError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    SqlError { offset, line, column, message }
}
