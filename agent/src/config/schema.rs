//! The keys of the configuration file, as data. Reading, validation, the reference, the example, what a
//! reload changes and what `pitot check` shows derive from these tables; defaults are those of
//! [`Config::default`](super::Config::default) and of the `new` of each part.

mod tables;
mod text;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use self::tables::{
    CHECK_KEYS, INPUT_KEYS, INPUT_TABLE, OUTPUT_KEYS, OUTPUT_TABLE, PIPELINE_TABLE, SOURCE_KEYS, TABLES,
    Table,
};
use self::text::bytes;
pub(crate) use self::text::duration;
pub(super) use self::text::{array, quoted};
use crate::{
    catalogue::OptionValue,
    pipeline::{QueryConfig, Selector, ValueRule},
};

/// A key of the file.
#[derive(Debug)]
pub struct Key<T: 'static> {
    /// Name in the file.
    pub name: &'static str,
    /// Type, and the field it sets.
    pub slot: Slot<T>,
    /// One sentence.
    pub help: &'static str,
    /// For keys without a default.
    pub unset: Option<Unset>,
}

/// A key without a default.
#[derive(Debug)]
pub struct Unset {
    /// What holds without it.
    pub means: &'static str,
    /// A value to show, as it stands in the file.
    pub example: &'static str,
}

/// The type of a key, and the field it sets.
#[derive(Debug)]
pub enum Slot<T: 'static> {
    /// `true` or `false`.
    Bool(fn(&mut T) -> &mut bool),
    /// A path of the file system.
    Path(fn(&mut T) -> &mut PathBuf),
    /// A path that may be absent.
    OptionalPath(fn(&mut T) -> &mut Option<PathBuf>),
    /// A length of time, at least a millisecond.
    Duration(fn(&mut T) -> &mut Duration),
    /// A length of time that may be zero.
    Offset(fn(&mut T) -> &mut Duration),
    /// A length of time that may be absent.
    Interval(fn(&mut T) -> &mut Option<Duration>),
    /// A length of time that may be zero, or absent.
    Span(fn(&mut T) -> &mut Option<Duration>),
    /// Where to listen.
    Addresses(fn(&mut T) -> &mut Vec<SocketAddr>),
    /// A text that may be absent.
    Text(fn(&mut T) -> &mut Option<String>),
    /// Texts.
    Lines(fn(&mut T) -> &mut Vec<String>),
    /// Labels, and patterns of their values.
    LabelPatterns(fn(&mut T) -> &mut Vec<Patterns>),
    /// Patterns of names, and what is done to values.
    Values(fn(&mut T) -> &mut Vec<ValueRule>),
    /// Queries. They are read together with the keys that are parts of one.
    Queries(fn(&mut T) -> &mut Vec<QueryConfig>),
    /// A part of a query as data, of this type: another way to say what the key of the queries says.
    Part(&'static str),
    /// Globs on metric names.
    Globs(fn(&mut T) -> &mut Vec<String>),
    /// Label names and values.
    Tags(fn(&mut T) -> &mut Vec<(String, String)>),
    /// Names of other parts of the file, such as outputs.
    Names(fn(&mut T) -> &mut Vec<String>),
    /// Name of another part of the file.
    Name(fn(&mut T) -> &mut Option<String>),
    /// One of several words.
    Choice(Choice<T>),
    /// A number above zero.
    Count(fn(&mut T) -> &mut u32),
    /// An amount of data, in bytes.
    Bytes(fn(&mut T) -> &mut u64),
    /// A number that may have a fraction; 0 is no limit.
    Limit(fn(&mut T) -> &mut f64),
    /// What containers must be like.
    Target(fn(&mut T) -> &mut Option<Selector>),
}

/// A label, and patterns of its values.
type Patterns = (String, Vec<String>);

/// One of several words, and the field that they stand for.
#[derive(Debug)]
pub struct Choice<T: 'static> {
    /// The words.
    pub words: &'static [&'static str],
    /// Which of them the field has.
    pub get: fn(&T) -> usize,
    /// Gives the field one of them.
    pub set: fn(&mut T, usize),
}

impl<T> Slot<T> {
    /// The type, for people.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "boolean",
            Self::Path(_) | Self::OptionalPath(_) => "path",
            Self::Duration(_) | Self::Offset(_) | Self::Interval(_) | Self::Span(_) => "duration",
            Self::Addresses(_) => "array of \"ADDR:PORT\"",
            Self::Text(_) | Self::Name(_) => "string",
            Self::Lines(_) => "array of strings",
            Self::Queries(_) => "string or array of strings",
            Self::Part(kind) => kind,
            Self::LabelPatterns(_) => "table of arrays of patterns",
            Self::Values(_) => "table of `{ manipulate, keep_negative }`",
            Self::Choice(_) => "word",
            Self::Names(_) => "array of names",
            Self::Bytes(_) => "size",
            Self::Globs(_) => "array of patterns",
            Self::Tags(_) => "table of strings",
            Self::Count(_) => "integer",
            Self::Limit(_) => "number",
            Self::Target(_) => "table of patterns",
        }
    }

    /// The value that the field has, as it would stand in the file; nothing when it is not set.
    pub fn text(&self, of: &mut T) -> Option<String> {
        Some(match self {
            Self::Bool(field) => field(of).to_string(),
            Self::Path(field) => quoted(&field(of).to_string_lossy()),
            Self::Duration(field) | Self::Offset(field) => quoted(&duration(*field(of))),
            Self::Interval(field) | Self::Span(field) => quoted(&duration((*field(of))?)),
            Self::Addresses(field) => array(field(of).iter().map(ToString::to_string)),
            Self::OptionalPath(field) => quoted(&field(of).as_deref()?.to_string_lossy()),
            Self::Text(field) | Self::Name(field) => quoted(field(of).as_deref()?),
            Self::Choice(choice) => quoted(choice.words.get((choice.get)(of))?),
            Self::Bytes(field) => quoted(&bytes(*field(of))),
            Self::Globs(field) | Self::Names(field) | Self::Lines(field) => array(field(of).iter()),
            Self::Queries(field) => match &field(of)[..] {
                [] => return None,
                [query] => quoted(&query.to_string()),
                queries => array(queries.iter().map(ToString::to_string)),
            },
            Self::Part(_) => return None,
            Self::LabelPatterns(field) => {
                text::inline(field(of).iter().map(|(label, patterns)| (label, array(patterns.iter()))))
            }
            Self::Values(field) => text::inline(field(of).iter().map(|rule| {
                let which = super::value::MANIPULATIONS.iter().find(|(_, which)| *which == rule.manipulation);
                let word = which.map_or("", |(word, _)| word);
                let keep = if rule.keep_negative { ", keep_negative = true" } else { "" };
                (&rule.pattern, format!("{{ manipulate = \"{word}\"{keep} }}"))
            })),
            Self::Tags(field) => text::inline(field(of).iter().map(|(name, value)| (name, quoted(value)))),
            Self::Count(field) => field(of).to_string(),
            Self::Limit(field) => field(of).to_string(),
            Self::Target(field) => text::selector(field(of).as_ref()?),
        })
    }
}

impl OptionValue {
    /// The type, for people.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "boolean",
            Self::Regex(_) => "regular expression",
            Self::Text(_) => "string",
            Self::Texts(_) => "array of strings",
            Self::Duration(_) => "duration",
            Self::Integer { .. } => "integer",
        }
    }

    /// The default, as it would stand in the file.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Regex(text) | Self::Text(text) => quoted(text),
            Self::Texts(texts) => array(texts.iter()),
            Self::Duration(length) => quoted(&duration(*length)),
            Self::Integer { default, .. } => default.to_string(),
        }
    }
}
